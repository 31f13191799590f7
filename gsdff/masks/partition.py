"""From overlapping candidate masks to a partition: every pixel is in one segment or in none."""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Float64, Int, Int32
from torch import Tensor

MAX_SEGMENTS = 65535
"""Largest number of segments of an image, as ids are stored in 16 bits."""
INSIDE = 0.9
"""Share of a mask's pixels in another mask from which it counts as inside the other."""
_PIXELS_AT_A_TIME = 1 << 16
"""Number of pixels of all masks that are converted to floats at a time, to bound the memory."""


def partition(
    masks: Bool[Tensor, "M H W"],
    scores: Float[Tensor, "M"],
    *,
    min_area: int = 500,
    nms_iou: float = 0.8,
    level: Literal["part", "whole"] = "part",
) -> Int32[Tensor, "H W"]:
    """Partition with one id per pixel, consecutive from 1 by falling area of the segments, 0 outside all masks.

    First, masks of fewer than `min_area` pixels are dropped. Then, from the best score down, a mask is dropped if its
    IoU with one that is kept is above `nms_iou`. With `whole`, a mask inside a larger one that is kept is dropped too.
    Where the others overlap, the smaller one wins (of equal ones the one with the better score), so a segment is a part
    of one mask and may be smaller than `min_area`.
    """
    # mask by mask, as at once it would take 8 M H W bytes
    areas = torch.stack([mask.sum() for mask in masks]).cpu() if len(masks) else torch.zeros(0, dtype=torch.long)
    by_score = scores.cpu().argsort(descending=True, stable=True)
    order = by_score[areas[by_score] >= max(1, min_area)]
    masks, areas = masks[order.to(masks.device)], areas[order]
    overlaps = _intersections(masks)
    kept = _suppress(overlaps, areas, nms_iou)
    if level == "whole":
        kept = _drop_inner(overlaps, areas, kept)
    labels = torch.zeros(masks.shape[1:], dtype=torch.int32, device=masks.device)
    # later ones win: the smallest comes last, and among equal ones the best score
    for number, index in enumerate(sorted(reversed(kept), key=lambda index: -int(areas[index])), 1):
        labels.masked_fill_(masks[index], number)
    return number_by_area(labels)


def number_by_area(labels: Int[Tensor, "H W"]) -> Int32[Tensor, "H W"]:
    """The same segments with consecutive ids from 1 by falling area; 0 stays 0."""
    counts = torch.bincount(labels.flatten())
    counts[:1] = 0
    order = counts.argsort(descending=True, stable=True)[: int((counts > 0).sum())]
    ids = torch.zeros(len(counts), dtype=torch.int32, device=labels.device)
    ids[order] = torch.arange(1, len(order) + 1, dtype=torch.int32, device=labels.device)
    return ids[labels.long()]


def _intersections(masks: Bool[Tensor, "M H W"]) -> Float64[Tensor, "M M"]:
    """Exact number of pixels that each two masks share, on the CPU."""
    pixels = masks.flatten(1)
    total = torch.zeros(len(masks), len(masks), dtype=torch.float64, device=masks.device)
    for part in pixels.split(_PIXELS_AT_A_TIME, dim=1):
        values = part.float()
        total += values @ values.T
    return total.cpu()


def _suppress(overlaps: Float[Tensor, "M M"], areas: Int[Tensor, "M"], nms_iou: float) -> list[int]:
    """Greedy non-maximum suppression of masks in the order of their scores: indices of the kept ones, in order."""
    similar = overlaps > nms_iou * (areas[:, None] + areas - overlaps)
    kept: list[int] = []
    for index in range(len(areas)):
        if not similar[index, kept].any():
            kept.append(index)
    return kept


def _drop_inner(overlaps: Float[Tensor, "M M"], areas: Int[Tensor, "M"], kept: list[int]) -> list[int]:
    """The masks in `kept` that are not inside a larger one that is kept, in their order."""
    outer: list[int] = []
    for index in sorted(kept, key=lambda index: -int(areas[index])):
        if not (overlaps[index, outer] >= INSIDE * int(areas[index])).any():
            outer.append(index)
    return [index for index in kept if index in set(outer)]
