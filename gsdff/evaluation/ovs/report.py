"""Results of the open-vocabulary benchmarks: a description of the procedure, a table, pictures."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from gsdff.evaluation.ovs.options import OvsOptions
from gsdff.evaluation.ovs.scores import CategoryPrediction
from gsdff.evaluation.report import draw_label_maps
from gsdff.evaluation.run import picture_name
from gsdff.field.relevancy import classify
from gsdff.io.pictures import Picture, heat, save_png, spotlight, titled
from gsdff.labels import LabelClass
from gsdff.ranks import this_job
from gsdff.scene import View

MARK = torch.tensor([0, 255, 0], dtype=torch.uint8)
"""Colour of the peak, which no heat map has."""
MARK_RADIUS = 4
"""Half the length of the peak's cross, in pixels."""


def describe_lerf_ovs(options: OvsOptions, texts: str, negatives: str, num_levels: int) -> dict[str, str]:
    """Describes the procedure of `score_lerf_ovs`, in 2D and in 3D."""
    by_relevancy = f"{_relevancy(options, negatives)}, {_stretched(options, 'all Gaussians')}"
    by_argmax = (
        "the text with the largest cosine among the texts of all labels, no negatives, as OpenGaussian scores LangSplat"
    )
    alone = f"drawn alone, hidden by nothing, as in OpenGaussian; covered are pixels of opacity above {options.alpha:g}"
    scene = "drawn in the scene, where others hide them, not as published; covered are pixels that show mostly them"
    return {
        "texts": texts,
        "truth": "polygons filled as OpenCV's fillPoly does, border included",
        "2d": f"{_from_pixels(options, negatives, num_levels)}; as in LangSplat",
        "3d": f"Gaussians selected by {by_argmax if options.select == 'argmax' else by_relevancy}; "
        f"{alone if options.occlusion == 'alone' else scene}; without OpenGaussian's filters (Gaussians of 0.1 scene "
        "units or more and outliers among their neighbours removed, no mask from fewer than 100)",
        **MEANS,
    }


MEANS = {
    "mean": "over pairs of a category and a frame that shows it, as published",
    "macro": "over categories, of their means over frames",
    "micro": "over pixels: intersections and unions of all pairs are summed",
    "strict": "these means over the frames that the photos' split holds out of training",
}
"""Means of both benchmarks."""


def describe_3d_ovs(options: OvsOptions, texts: str, negatives: str | None) -> dict[str, str]:
    """Describes the procedure of `score_3d_ovs`."""
    argmax = "features rendered, then every pixel gets the class with the largest cosine, no negatives; as in 3D-OVS"
    return {
        "texts": texts,
        "2d": argmax if negatives is None else f"each class alone: {_from_pixels(options, negatives)}; as in LangSplat",
        "iou": "of each class in each view over all pixels, also those of no class; none if a class is neither in the "
        "truth nor predicted",
        "accuracy": "share of all pixels with exactly their true classes; class accuracy: share of a class's pixels "
        "that is found",
        **MEANS,
        "mean": "over pairs of a class and a view, as published",
    }


def _relevancy(options: OvsOptions, negatives: str) -> str:
    return f"LERF's relevancy (temperature {options.temperature:g}) against {negatives}"


def _stretched(options: OvsOptions, whole: str) -> str:
    return f"stretched from its range over {whole} to -1..1, clipped to 0..1 and cut above {options.threshold:g}"


def _from_pixels(options: OvsOptions, negatives: str, num_levels: int | None = None) -> str:
    """How masks follow from rendered features and, if levels are given, how places do."""
    place = "localization: the peak of the filtered map lies in a box of the category; "
    levels = f"the best of {num_levels} levels by their highest relevancy, compared before they are stretched"
    return (
        f"features rendered, then {_relevancy(options, negatives)}; mean filter of {options.filter_size} px of the "
        f"labelled picture; {'' if num_levels is None else place}mask: mean of filtered and unfiltered map, "
        f"{_stretched(options, 'the picture')}, majority vote of {options.majority_size} px; "
        f"{levels if num_levels is not None and num_levels > 1 else 'no choice among levels'}"
    )


def draw_category(
    view: View,
    category: tuple[int, str],
    masks: Mapping[str, Bool[Tensor, "H W"]],
    predicted: CategoryPrediction,
    row: Mapping[str, Any],
) -> tuple[str, Picture]:
    """File name and picture: photo | truth | relevancy | 2D | 3D of a category (number and name).

    A green cross marks the peak.
    """
    number, name = category
    slug = re.sub(r"[^\w-]+", "-", name).strip("-")
    panels = {
        f"{name}": view.image,
        "truth": spotlight(view.image, masks["truth"]),
        "relevancy, " + ("hit" if row["is_hit"] else "miss"): _draw_heat(predicted),
        f"2D, IoU {row['iou_2d']:.2f}": spotlight(view.image, predicted.mask),
        f"3D, IoU {row['iou_3d']:.2f}": spotlight(view.image, masks["3D"]),
    }
    return f"{picture_name(view)}_{number:02d}_{slug}.png", titled(panels)


def draw_classes(view: View, classes: Sequence[str], masks: Mapping[str, Bool[Tensor, "Q H W"]]) -> tuple[str, Picture]:
    """File name and picture: photo and masks with titles, in the colours of the classes (the first on top)."""
    maps = {title: classify(layers.float().movedim(0, -1), layers.any(0)) for title, layers in masks.items()}
    entries = [LabelClass(i, name, name) for i, name in enumerate(classes)]
    return f"{picture_name(view)}.png", draw_label_maps(view, entries, maps)


def save_pictures(folder: Path, pictures: Iterable[tuple[str, Picture]]) -> None:
    """Writes pictures under their names; of several ranks, the first one does."""
    for name, picture in pictures if this_job().is_first else ():
        save_png(folder / name, picture)


def format_ovs(result: Mapping[str, Any]) -> str:
    """Formats the result of `score_ovs` as lines to print: the procedure, and one row per category and mean."""
    held_out = f"{result['num_frames_held_out']} of them held out"
    lines = [f"{result['num_frames']} labelled photos, {held_out}, of {result['labels']}"]
    lines += [f"{title}: {text}" for title, text in result["protocol"].items()]
    is_lerf = "iou_2d" in result["mean"]
    heads, line = (LERF_HEADS, _lerf_row) if is_lerf else (CLASS_HEADS, _class_row)
    rows = {"": heads} | {name: line(row) for name, row in result["categories"].items()}
    rows |= {f"{key} over {what}": line(result[key]) for key, what in OVER.items()}
    if (strict := result["strict"]) is not None:
        rows |= {f"strict: {key} over {what}": line(strict[key]) for key, what in OVER.items()}
    name_width = max(map(len, rows)) + 2
    widths = [max(len(row[i]) for row in rows.values()) + 2 for i in range(len(heads))]
    lines += [""]
    for name, row in rows.items():
        cells = "".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        lines.append((name.ljust(name_width) + cells).rstrip())
    if strict is None:
        lines.append("no strict line: no labelled photo is held out of training")
    if not is_lerf:
        lines.append(f"accuracy over all pixels: {result['mean']['accuracy']:.3f}")
    return "\n".join(lines)


LERF_HEADS = ["pairs", "2D IoU", "localized", "Gaussians", "3D IoU", "above 0.25", "above 0.5"]
CLASS_HEADS = ["IoU", "class accuracy"]
OVER = {"mean": "pairs", "macro": "categories", "micro": "pixels"}
"""The means, and what each is over."""


def _lerf_row(row: Mapping[str, Any]) -> list[str]:
    keys = ("iou_2d", "localization", "iou_3d", "accuracy_0.25", "accuracy_0.5")
    iou_2d, localized, *in_3d = (_number(row.get(key)) for key in keys)
    gaussians = f"{row['num_gaussians']:,}" if "num_gaussians" in row else ""
    return [str(row.get("num", "")), iou_2d, localized, gaussians, *in_3d]


def _class_row(row: Mapping[str, Any]) -> list[str]:
    return [_number(row["iou"]), _number(row["class_accuracy"])]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _draw_heat(predicted: CategoryPrediction) -> UInt8[Tensor, "H W 3"]:
    low, high = predicted.relevancy.min(), predicted.relevancy.max()
    picture = heat((predicted.relevancy - low) / (high - low).clamp_min(1e-6))
    x, y = predicted.peaks[0].tolist()
    picture[y, max(x - MARK_RADIUS, 0) : x + MARK_RADIUS + 1] = MARK
    picture[max(y - MARK_RADIUS, 0) : y + MARK_RADIUS + 1, x] = MARK
    return picture
