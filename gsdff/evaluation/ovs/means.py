"""Means of the pairs of a category and a frame: over pairs, over categories (macro) and over pixels (micro)."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from gsdff.evaluation.ovs.scores import PixelCounts

ACCURACY_IOUS = (0.25, 0.5)
"""IoU above which a 3D mask counts as right, for the accuracies."""

Pairs = Mapping[str, Sequence[Mapping[str, Any]]]
"""Rows of the frames that show a category, by category."""


def average_pairs(pairs: Pairs) -> dict[str, Any]:
    """Means of all pairs, of those of each category, and (`strict`) of those in frames that were not trained on.

    Returns {"mean", "macro", "micro", "categories", "strict"}; "strict" has the first three, or is None without such
    frames.
    """
    held_out = {name: [row for row in rows if row["is_held_out"]] for name, rows in pairs.items()}
    held_out = {name: rows for name, rows in held_out.items() if rows}
    return _averages(pairs) | {
        "categories": {name: _mean(rows) for name, rows in pairs.items()},
        "strict": _averages(held_out) if held_out else None,
    }


def _averages(pairs: Pairs) -> dict[str, Any]:
    every = [row for rows in pairs.values() for row in rows]
    by_category = [_mean(rows) for rows in pairs.values()]
    return {
        "mean": _mean(every),
        "macro": {key: fmean(row[key] for row in by_category) for key in by_category[0] if key != "num"},
        "micro": {f"iou_{space}": _pixel_iou([row["pixels"] for row in every], space) for space in ("2d", "3d")},
    }


def _mean(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    ious = [row["iou_3d"] for row in rows]
    return {
        "num": len(rows),
        "iou_2d": fmean(row["iou_2d"] for row in rows),
        "localization": fmean(row["is_hit"] for row in rows),
        "iou_3d": fmean(ious),
    } | {f"accuracy_{least}": fmean(iou > least for iou in ious) for least in ACCURACY_IOUS}


def _pixel_iou(pixels: Sequence[Mapping[str, int]], space: str) -> float:
    """Intersection of all masks with their truths over the union: large things count for more."""
    mask, truth, common = (
        sum(counts[key] for counts in pixels) for key in (f"mask_{space}", "truth", f"common_{space}")
    )
    return PixelCounts(mask, truth, common).iou_or_zero
