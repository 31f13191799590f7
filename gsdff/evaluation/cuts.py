"""Edges of binary cuts: one thing against everything else, in a band around its border.

A thing is a segment of the truth with one class: an instance if there are instance images, otherwise all of the class.
It is cut by the text of its class, out of the pixels of a label map or out of the Gaussians.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.evaluation.classes import GroundTruth
from gsdff.evaluation.label_metrics import boundary_distance
from gsdff.field.relevancy import classify
from gsdff.gaussians import Gaussians
from gsdff.latents import text_cosine
from gsdff.metrics import finite_or_none
from gsdff.render import render_features
from gsdff.scene import VOID

PART = 65536
"""Gaussians that are labelled at a time."""
CHANNELS = 32
"""Classes that are drawn at a time."""
MAJORITY = 0.5
"""Share of what a pixel shows that belongs to a cut, from which the pixel does."""
CUTS_PROTOCOL = (
    "each thing (an instance of a class or, without instance images, all of the class) against everything else, cut by "
    "the text of its class: pixels with that label (field, teacher), or pixels at least half of which show Gaussians "
    "whose own feature has that label (gaussians); over the pixels at most so many px from the thing's border, "
    "unlabelled pixels, classes that do not compete and other things of the class aside; mean of the IoU inside and "
    "the IoU outside, summed over the views, then mean over the things"
)

Thing = tuple[int, int]
"""Index of the class, and the segment."""


class CutScores:
    """Boundary IoU of binary cuts over several views: `add` each, then read the `result`."""

    def __init__(self, sides: Sequence[str], radii: Sequence[int]):
        self.sides, self.radii = tuple(sides), tuple(radii)
        self.counts: dict[Thing, Int[Tensor, "S R 4"]] = {}
        """Pixels by thing, side and radius, as of `_count`."""

    def add(self, maps: Mapping[str, UInt8[Tensor, "H W"]], truth: GroundTruth) -> None:
        """Adds the label maps of all sides for a view."""
        for thing, window in _find_things(truth, margin=max(self.radii) + 1):
            inside, distance, counted = _split(truth, thing, window)
            bands = [(distance <= radius) & counted for radius in self.radii]
            cuts = [maps[side][window] == thing[0] for side in self.sides]
            counts = torch.stack([torch.stack([_count(inside, cut, band) for band in bands]) for cut in cuts])
            self.counts[thing] = self.counts.get(thing, 0) + counts

    def merge(self, other: "CutScores") -> None:
        """Adds the sums over other views."""
        for thing, counts in other.counts.items():
            self.counts[thing] = self.counts.get(thing, 0) + counts

    def result(self, names: Sequence[str], *, are_instances: bool) -> dict[str, Any]:
        """Returns the mean over the things for each side, and the scores of each thing; a score of nothing is None."""
        scores = {
            f"{names[index]} {segment}" if are_instances else names[index]: _boundary_miou(counts)
            for (index, segment), counts in sorted(self.counts.items())
        }
        bands = [f"{radius}px" for radius in self.radii]

        def describe(values: Float[Tensor, "R"]) -> dict[str, float | None]:
            return dict(zip(bands, map(finite_or_none, values.tolist()), strict=True))

        every = torch.stack([*scores.values()]) if scores else torch.full((1, len(self.sides), len(bands)), torch.nan)
        means = every.nanmean(0)
        return {
            "protocol": CUTS_PROTOCOL,
            "num_things": len(scores),
            **{side: describe(means[i]) for i, side in enumerate(self.sides)},
            "things": {
                name: {side: describe(values[i]) for i, side in enumerate(self.sides)}
                for name, values in scores.items()
            },
        }


def label_gaussians(gaussians: Gaussians, text: Float[Tensor, "Q T"], B: Float[Tensor, "T K"]) -> UInt8[Tensor, "N"]:
    """Index of the text that is nearest to each Gaussian's own feature, VOID for a Gaussian without one."""
    assert gaussians.features is not None, "only Gaussians with features can be labelled"
    text, B = text.to(gaussians.features), B.to(gaussians.features)
    return torch.cat([classify(text_cosine(part, text, B), part.any(-1)) for part in gaussians.features.split(PART)])


def draw_labels(
    gaussians: Gaussians, labels: UInt8[Tensor, "N"], class_ids: Sequence[int], camera: Camera
) -> UInt8[Tensor, "H W"]:
    """Class, of those listed, that at least half of what a pixel shows belongs to; VOID if there is none.

    On the CPU. Classes are drawn some at a time, so that memory does not grow with their number.
    """
    drawn = torch.full((camera.height, camera.width), VOID, dtype=torch.uint8)
    for start in range(0, len(class_ids), CHANNELS):
        ids = torch.tensor(class_ids[start : start + CHANNELS], dtype=torch.uint8, device=labels.device)
        rendered = render_features(gaussians, camera, features=(labels[:, None] == ids).float())
        share, best = rendered.image.max(-1)
        is_cut = (rendered.alpha[..., 0] > 0) & (share >= MAJORITY * rendered.alpha[..., 0])
        drawn = torch.where(is_cut.cpu(), ids[best].cpu(), drawn)
    return drawn


def _find_things(truth: GroundTruth, margin: int) -> Iterator[tuple[Thing, tuple[slice, slice]]]:
    """The things that a view shows, and a window around each; the window keeps the work per thing small."""
    height, width = truth.labels.shape
    is_thing = (truth.labels != VOID) & (truth.segments != truth.no_segment)
    keys = torch.where(is_thing, truth.segments.long() * (VOID + 1) + truth.labels, -1)
    for key in keys.unique().tolist():
        if key < 0:
            continue
        y, x = (keys == key).nonzero(as_tuple=True)
        rows = slice(max(int(y.min()) - margin, 0), min(int(y.max()) + margin + 1, height))
        columns = slice(max(int(x.min()) - margin, 0), min(int(x.max()) + margin + 1, width))
        yield (key % (VOID + 1), key // (VOID + 1)), (rows, columns)


def _split(
    truth: GroundTruth, thing: Thing, window: tuple[slice, slice]
) -> tuple[Bool[Tensor, "h w"], Float[Tensor, "h w"], Bool[Tensor, "h w"]]:
    """Pixels of a thing in its window, the distance of each pixel to its border, and the pixels that count.

    There is no border to other things of the class, which a text cannot tell apart, nor to unlabelled pixels.
    """
    labels, ids, segments = (map[window] for map in (truth.labels, truth.ids, truth.segments))
    index, segment = thing
    inside = (labels == index) & (segments == segment)
    others = (labels == index) & ~inside
    distance = boundary_distance(inside.byte().masked_fill(others | (ids == VOID), VOID))
    return inside, distance, (labels != VOID) & ~others


def _count(inside: Bool[Tensor, "h w"], cut: Bool[Tensor, "h w"], band: Bool[Tensor, "h w"]) -> Int[Tensor, "4"]:
    """Pixels of the band that are in neither, only in the cut, only in the thing, in both."""
    return torch.bincount((2 * inside.long() + cut)[band], minlength=4)


def _boundary_miou(counts: Int[Tensor, "S R 4"]) -> Float[Tensor, "S R"]:
    """Mean of the IoU of the inside and that of the outside; NaN for bands without pixels."""
    neither, only_cut, only_thing, both = counts.double().unbind(-1)
    wrong = only_cut + only_thing
    return torch.stack([both / (both + wrong), neither / (neither + wrong)]).nanmean(0)
