"""How open-vocabulary segmentation is scored: the settings of published protocols, with their values."""

from dataclasses import dataclass
from math import isfinite
from typing import Literal

from gsdff.errors import UserError

OvsBenchmark = Literal["lerf-ovs", "3d-ovs"]


@dataclass(frozen=True)
class OvsOptions:
    """Settings of `gsdff.evaluation.ovs.protocols`. Raises `UserError` for those that make no sense."""

    threshold: float = 0.4
    """Relevancies, stretched over their range to -1..1 and clipped to 0..1, are answers above this (LangSplat's)."""
    filter_size: int = 30
    """Side of the mean filter over relevancy maps, in pixels of the labelled picture; 1 for none. 30 is LangSplat's."""
    majority_size: int = 7
    """Side of the window of the majority vote over masks of pixels, in the same pixels; 1 for none."""
    temperature: float = 0.1
    """Of LERF's relevancy; its code's."""
    select: Literal["relevancy", "argmax"] = "relevancy"
    """Gaussians that answer: relevancy above the threshold, or argmax, where no other label's text is nearer."""
    occlusion: Literal["alone", "scene"] = "alone"
    """Gaussians that answer are drawn alone, as published, or in the scene, where others may hide them."""
    alpha: float = 0.7
    """Drawn alone, they cover pixels of more opacity than this."""
    answer: Literal["argmax", "relevancy"] = "argmax"
    """3d-ovs: the best class of each pixel, or each class's relevancy above the threshold, as lerf-ovs has it."""

    def __post_init__(self) -> None:
        for name in ("threshold", "alpha"):
            if not 0 <= (value := getattr(self, name)) < 1:
                raise UserError(f"--ovs.{name}: expected a number from 0 to below 1, got {value}")
        for name in ("filter_size", "majority_size"):
            if (size := getattr(self, name)) < 1:
                raise UserError(f"--ovs.{name.replace('_', '-')}: expected 1 pixel or more, got {size}")
        if self.majority_size % 2 == 0:
            raise UserError(f"--ovs.majority-size: expected an odd number of pixels, got {self.majority_size}")
        if not (self.temperature > 0 and isfinite(self.temperature)):
            raise UserError(f"--ovs.temperature: expected a positive number, got {self.temperature}")
