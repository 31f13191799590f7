"""Options of the open-vocabulary benchmarks; the defaults are the published settings."""

from dataclasses import dataclass
from typing import Literal, get_args

from gsdff.config.checks import COLDEST, HOTTEST
from gsdff.errors import UserError, shown
from gsdff.field.checks import check_choice
from gsdff.field.query import NAME_PLACE

MOST_PIXELS = 1000
"""Largest side of a window over a picture."""
OvsBenchmark = Literal["lerf-ovs", "3d-ovs"]
Select = Literal["relevancy", "argmax"]
Occlusion = Literal["alone", "scene"]
Answer = Literal["argmax", "relevancy"]
BARE = NAME_PLACE
"""Prompt of a word alone, as LangSplat, OpenGaussian and 3D-OVS encode it."""


@dataclass(frozen=True)
class OvsOptions:
    """Options of `gsdff.evaluation.ovs.benchmarks`. Raises `UserError` for values out of range."""

    threshold: float = 0.4
    """Threshold on relevancies, stretched from their range to -1..1 and clipped to 0..1 (LangSplat's)."""
    filter_size: int = 30
    """Side of the mean filter over relevancy maps, in pixels of the labelled picture; 1 is none (LangSplat's is 30)."""
    majority_size: int = 7
    """Side of the window of the majority vote over masks, in the same pixels; 1 is none."""
    temperature: float = 0.1
    """Temperature of LERF's relevancy (its code's)."""
    select: Select = "relevancy"
    """Selected Gaussians: relevancy above the threshold, or argmax, if no other label's text has a larger cosine."""
    occlusion: Occlusion = "alone"
    """Whether the selected Gaussians are drawn alone, as published, or in the scene, where others may hide them."""
    alpha: float = 0.7
    """Opacity above which a pixel is covered by the selected Gaussians, if they are drawn alone."""
    prompt: str = BARE
    """Sentence around a text and its negatives, for teachers that encode any words; {} alone is the bare word, as
    published, and an empty one takes the teacher's own."""
    answer: Answer = "argmax"
    """3d-ovs: the best class of each pixel, or the relevancy of each class above the threshold, as in lerf-ovs."""

    def __post_init__(self) -> None:
        for name, choices in (("select", Select), ("occlusion", Occlusion), ("answer", Answer)):
            check_choice(f"ovs.{name}", getattr(self, name), get_args(choices))
        for name in ("threshold", "alpha"):
            if not (isinstance(value := getattr(self, name), int | float) and 0 <= value < 1):
                raise UserError(f"`ovs.{name}`: expected a number from 0 to below 1, got {shown(value)}")
        for name in ("filter_size", "majority_size"):
            if not (isinstance(size := getattr(self, name), int) and 1 <= size <= MOST_PIXELS):
                raise UserError(f"`ovs.{name}`: expected 1 pixel or more, at most {MOST_PIXELS}, got {shown(size)}")
        if self.majority_size % 2 == 0:
            raise UserError(f"`ovs.majority_size`: expected an odd number of pixels, got {self.majority_size}")
        if not (isinstance(self.prompt, str) and (not self.prompt or self.prompt.count(NAME_PLACE) == 1)):
            expected = f"one {NAME_PLACE} for the text, as in 'a photo of a {NAME_PLACE}', or nothing"
            raise UserError(f"`ovs.prompt`: expected {expected}, got {shown(self.prompt)}")
        if not (isinstance(self.temperature, int | float) and COLDEST <= self.temperature <= HOTTEST):
            expected = f"a positive number, {COLDEST:g} to {HOTTEST:g}"
            raise UserError(f"`ovs.temperature`: expected {expected}, got {shown(self.temperature)}")
