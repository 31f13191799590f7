"""Feature scores as a table, and feature and label maps of the held-out views as pictures."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from gsdff.io.pictures import (
    PcaBasis,
    Picture,
    label_colors,
    label_palette,
    legend,
    pca_colors,
    stacked,
    titled,
)
from gsdff.labels import LabelClass
from gsdff.scene import View


def features_table(result: Mapping[str, Any]) -> str:
    """Formats the result of `evaluate_features` as lines to print; empty for {}."""
    if not result:
        return ""
    dim, channels = result["features"]["dim"], result["teacher"]["channels"]
    lines = [
        f"features: {dim} of {channels} channels, {result['features']['kept_energy']:.4f} of the teacher's energy",
        f"cosine to the teacher ({result['teacher']['name']}): {_number(result['cosine_to_teacher'], '.4f')}, "
        f"mean of {result['num_views']} held-out views",
    ]
    if (maps := result.get("label_maps")) is None:
        return "\n".join(lines)
    lines.append(f"agreement with the teacher: {_number(maps['agreement_with_teacher'])} of its pixels")
    lines.append(f"{len(maps['classes'])} classes compete ({', '.join(maps['classes'])})")
    labels = result.get("labels")
    if labels and labels["ignored"]:
        lines.append(f"pixels of other classes do not count ({', '.join(labels['ignored'])})")
    if labels and labels["not_in_mean"]:
        lines.append(f"the means leave out {', '.join(labels['not_in_mean'])}")
    rows = [] if labels is None else _truth_rows(labels)
    rows += [_row("in speckles", maps, "speckle_share"), _row("view consistency", maps, "view_consistency")]
    width = max(len(title) for title, *_ in rows) + 2
    lines += [f"{title:<{width}}{field:>8}{teacher:>9}" for title, field, teacher in [("", "field", "teacher"), *rows]]
    return "\n".join(lines)


def draw_pca(view: View, maps: Mapping[str, Float[Tensor, "H W K"]], pca: PcaBasis) -> Picture:
    """The photo and feature maps with titles; only directions are drawn, as teacher features have unit norm."""
    panels = {title: pca_colors(F.normalize(features, dim=-1), pca)[0] for title, features in maps.items()}
    return titled({"photo": view.image} | panels)


def draw_label_maps(view: View, classes: Sequence[LabelClass], maps: Mapping[str, UInt8[Tensor, "H W"]]) -> Picture:
    """The photo and label maps with titles, above a legend."""
    palette = _palette(classes)
    row = titled({"photo": view.image} | {title: label_colors(labels, palette) for title, labels in maps.items()})
    return stacked(row, legend([entry.name for entry in classes], palette, width=row.shape[1]))


def _palette(classes: Sequence[LabelClass]) -> UInt8[Tensor, "Q 3"]:
    """Colours of the class list if it has one for every class, otherwise our own."""
    if all(entry.color is not None for entry in classes):
        return torch.tensor([entry.color for entry in classes], dtype=torch.uint8)
    return label_palette(len(classes))


def _truth_rows(labels: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    ious = {side: labels[side]["iou"] for side in ("field", "teacher")}
    bands = {side: labels[side]["boundary_miou"] for side in ("field", "teacher")}
    rows = [_row(f"IoU {name}", ious, name) for name in labels["competing"]]
    rows += [_row("mean IoU", labels, "miou")]
    if labels["moving"]:
        rows += [_row("  of static classes", labels, "miou_static")]
    rows += [_row(f"  {radius.removesuffix('px')} px around boundaries", bands, radius) for radius in bands["field"]]
    rows += _cut_rows(labels["cuts"])
    rows += [("text margin kept", _number(labels["text_margin"]["kept"]), "-")]
    return [*rows, _row("accuracy", labels, "accuracy"), _row("gradient energy", labels, "gradient_energy", ".2g")]


def _cut_rows(cuts: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Boundary IoU of things that are cut out of pixels and, in the field's column only, out of Gaussians."""
    rows = []
    for band in cuts["field"]:
        title = f"  {band.removesuffix('px')} px around things, cut out of"
        rows.append(_row(f"{title} pixels", cuts, band))
        rows.append((f"{title} Gaussians", _number(cuts["gaussians"][band]), "-"))
    return rows


def _row(title: str, sides: Mapping[str, Any], key: str, form: str = ".3f") -> tuple[str, str, str]:
    return title, _number(sides["field"][key], form), _number(sides["teacher"][key], form)


def _number(value: float | None, form: str = ".3f") -> str:
    return "-" if value is None else format(value, form)
