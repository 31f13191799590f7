"""Peaks and masks from relevancy maps, as in LangSplat's evaluation, and their scores.

Qin et al. 2024, "LangSplat: 3D Language Gaussian Splatting", section 4 and its published evaluation.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gsdff.errors import UserError
from gsdff.evaluation.ovs.options import OvsOptions


@dataclass(frozen=True, eq=False)
class CategoryPrediction:
    """Peak and mask of one category in a view, predicted from its relevancy map."""

    relevancy: Float[Tensor, "H W"]
    """Mean of the relevancy map and its filtered copy."""
    peaks: Int[Tensor, "P 2"]
    """x, y of the largest value of the filtered map; several if values are equal."""
    mask: Bool[Tensor, "H W"]
    peak_relevancy: float
    """Value of the filtered map at its peaks."""
    level: int = 0
    """Number of the level that the mask is of."""


@dataclass(frozen=True)
class PixelCounts:
    """Numbers of pixels of a mask, of its truth, and of both."""

    mask: int
    truth: int
    common: int

    @property
    def iou(self) -> float:
        """Intersection over union; NaN if both are empty."""
        union = self.mask + self.truth - self.common
        return self.common / union if union else float("nan")

    @property
    def iou_or_zero(self) -> float:
        """Intersection over union, 0 if both are empty: a polygon of which a view shows nothing cannot be found."""
        return self.iou if self.mask or self.truth else 0.0


def predict_category(relevancy: Float[Tensor, "H W"], options: OvsOptions, scale: float = 1.0) -> CategoryPrediction:
    """Finds the peaks of the filtered map, and the mask of the mean of both maps: stretched, cut, majority filtered.

    `scale` is the width of the map divided by that of the labelled picture, in whose pixels the windows are given.
    """
    filtered = mean_filter(relevancy, max(1, round(options.filter_size * scale)))
    mean = (relevancy + filtered) / 2
    peaks = (filtered == filtered.max()).nonzero().flip(-1)
    radius = round((options.majority_size - 1) / 2 * scale)
    mask = majority(stretch(mean) > options.threshold, 2 * radius + 1)
    return CategoryPrediction(mean, peaks, mask, float(filtered.max()))


def choose_level(predictions: Sequence[CategoryPrediction]) -> CategoryPrediction:
    """Joins the predictions of several levels: the mask with the highest relevancy, and the peaks with theirs.

    As in LangSplat, relevancies are compared as they are; once stretched, the best of every level would be the same.
    The first among equals wins.
    """
    best = max(range(len(predictions)), key=lambda i: float(predictions[i].relevancy.max()))
    place = max(predictions, key=lambda prediction: prediction.peak_relevancy)
    return replace(predictions[best], level=best, peaks=place.peaks, peak_relevancy=place.peak_relevancy)


def mean_filter(values: Float[Tensor, "H W"], size: int) -> Float[Tensor, "H W"]:
    """Means over squares of `size` pixels, with the picture mirrored at its edge pixels, as OpenCV's filter2D.

    An even square reaches one pixel further to the left and top. Raises `UserError` if the picture is too small to be
    mirrored that far.
    """
    before, after = size // 2, (size - 1) // 2
    if before >= min(values.shape):
        raise UserError(
            f"`ovs.filter_size`: a mean filter of {size} pixels needs a picture of more than {before} pixels a side, "
            f"got {values.shape[1]}x{values.shape[0]}"
        )
    padded = F.pad(values[None, None], (before, after, before, after), mode="reflect")
    return F.avg_pool2d(F.avg_pool2d(padded, (size, 1), stride=1), (1, size), stride=1)[0, 0]


def stretch(values: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
    """Maps values linearly from their range to -1..1, and clips to 0..1: the lower half of the range becomes 0."""
    low, high = values.min(), values.max()
    return (2 * (values - low) / (high - low + 1e-9) - 1).clamp(0, 1)


def majority(mask: Bool[Tensor, "H W"], size: int) -> Bool[Tensor, "H W"]:
    """Majority of each pixel's square of side `size` (odd), as far as it lies in the picture; a tie is false.

    LangSplat leaves the last row and column out of the squares.
    """
    share = F.avg_pool2d(mask[None, None].double(), size, stride=1, padding=size // 2, count_include_pad=False)
    return share[0, 0] > 0.5


def count_pixels(mask: Bool[Tensor, "*S"], truth: Bool[Tensor, "*S"]) -> PixelCounts:
    """Counts the pixels of a mask, of its truth, and of both."""
    return PixelCounts(int(mask.sum()), int(truth.sum()), int((mask & truth).sum()))


def is_hit(peaks: Int[Tensor, "P 2"], boxes: Sequence[Sequence[float]]) -> bool:
    """Whether any peak lies in any box [x0, y0, x1, y1], border included."""
    x, y = peaks.unbind(-1)
    inside = [(x >= x0) & (x <= x1) & (y >= y0) & (y <= y1) for x0, y0, x1, y1 in boxes]
    return bool(torch.stack(inside).any())
