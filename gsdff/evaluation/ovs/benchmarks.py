"""Open-vocabulary segmentation scored as it is published: LERF-OVS (localisation, 2D and 3D masks) and 3D-OVS.

What is done is said in `protocol` of the result, with the settings (`gsdff.evaluation.ovs.options`); in short:

lerf-ovs 2D, after LangSplat (Qin et al. 2024): LERF's relevancy of every pixel's rendered feature, a 30 x 30 mean
    filter; its peak lies in the category's box or not; the mean of filtered and unfiltered, stretched and cut at 0.4
    and voted on in 7 x 7 windows, is the mask. LangSplat chooses the best of three levels; a field here has one.
lerf-ovs 3D, after OpenGaussian (Wu et al. 2024): Gaussians that answer are drawn on their own, covering what lies
    before them, and what their opacity covers is the mask. OpenGaussian's own Gaussians come in clusters; for
    features per Gaussian it takes the nearest of all texts (`select argmax`), others threshold the relevancy.
3d-ovs, after 3D-OVS (Liu et al. 2023): the class list competes for every pixel.

Means are over all pairs of a category and a frame that shows it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from math import isnan
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from tqdm import tqdm

import gsdff
from gsdff.errors import UserError
from gsdff.evaluation.ovs.labels import LerfFrame, MaskFrame, find_views, read_3d_ovs, read_lerf_ovs
from gsdff.evaluation.ovs.options import OvsBenchmark, OvsOptions
from gsdff.evaluation.ovs.report import describe_3d_ovs, describe_lerf_ovs, save_classes, save_found
from gsdff.evaluation.ovs.scores import find, iou, is_hit, stretch
from gsdff.evaluation.run import evaluation_folder
from gsdff.field import search
from gsdff.field.base import FieldBase
from gsdff.field.hit import Hit
from gsdff.field.query import Query
from gsdff.field.relevancy import DEFAULT_NEGATIVES, lerf_relevancy
from gsdff.field.search import PreparedQuery, prepare
from gsdff.files import whole_file
from gsdff.latents import text_cosine
from gsdff.render import render_features
from gsdff.scene import View

READERS = {"lerf-ovs": read_lerf_ovs, "3d-ovs": read_3d_ovs}
ACCURACY_IOUS = (0.25, 0.5)
"""Masks of 3D answers count as right above these."""
LISTED = 30
"""As many known names an error spells out."""


def score_ovs(
    field: FieldBase, benchmark: OvsBenchmark, labels: str | Path, *, options: OvsOptions | None = None
) -> tuple[dict[str, Any], Path]:
    """Scores of a field on labelled photos, and the JSON file that has them; pictures are in the folder beside.

    Raises `UserError` before anything is rendered for labels that cannot be read, that belong to no photo, or that
    name something the field does not know.
    """
    options, labels = options or OvsOptions(), Path(labels)
    frames = READERS[benchmark](labels)
    field.require_features()
    names = _names(frames)
    _check_names(field, names, labels)
    views = find_views(frames, field.scene)
    out = evaluation_folder(field.source)
    score = score_lerf_ovs if benchmark == "lerf-ovs" else score_3d_ovs
    with torch.no_grad():
        scores = score(field, frames, views, options, out / benchmark)
    held_out = {field.scene.views[i].name for i in field.scene.test_ids}
    result = {
        "gsdff": gsdff.__version__,
        "source": str(field.source),
        "labels": str(labels),
        "protocol": scores.pop("protocol"),
        "options": asdict(options),
        "num_frames": len(frames),
        "num_frames_held_out": sum(view.name in held_out for view in views),
    } | scores
    path = out / f"{benchmark}.json"
    with whole_file(path) as partial:
        partial.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return result, path


def score_lerf_ovs(
    field: FieldBase, frames: Sequence[LerfFrame], views: Sequence[View], options: OvsOptions, out: Path
) -> dict[str, Any]:
    """2D and 3D scores by category and frame; a picture of each pair goes into `out`."""
    names = _names(frames)
    asked = {name: _ask_for(field, name, options) for name in names}
    answers = _select(field, asked, options)
    rows: dict[str, dict[str, dict]] = {}
    pairs = list(zip(frames, views, strict=True))
    for frame, view in tqdm(pairs, desc="lerf-ovs", unit="frame"):
        size = view.camera.width, view.camera.height
        truths, boxes = frame.masks(*size), frame.scaled_boxes(*size)
        latents = field.blend(view)
        rows[view.name] = {}
        for name, truth in truths.items():
            found = find(_relevancy(field, latents, asked[name]), options, size[0] / frame.width)
            covered = _cover(field, answers[name], view, options).cpu()
            row = {
                "iou_2d": iou(found.mask.cpu(), truth),
                "is_hit": is_hit(found.peaks.cpu(), boxes[name]),
                "iou_3d": iou(covered, truth),
            }
            rows[view.name][name] = row
            number = len(rows[view.name]) - 1
            save_found(out, view, (number, name), {"truth": truth, "3D": covered}, found, row)
    by_name = {name: [by[name] for by in rows.values() if name in by] for name in names}
    counts = {name: int(found.selected.sum()) for name, found in answers.items()}
    return {
        "protocol": describe_lerf_ovs(options, _say_negatives(field, asked)),
        "mean": _mean_of([row for some in by_name.values() for row in some]),
        "categories": {name: _mean_of(some) | {"num_gaussians": counts[name]} for name, some in by_name.items()},
        "frames": rows,
    }


def score_3d_ovs(
    field: FieldBase, frames: Sequence[MaskFrame], views: Sequence[View], options: OvsOptions, out: Path
) -> dict[str, Any]:
    """Scores of all classes in every labelled view; a picture of each goes into `out`."""
    classes = tuple(frames[0].files)
    is_argmax = options.answer == "argmax"
    asked = {name: _ask_for(field, name, options) for name in classes if not is_argmax}
    competing = prepare(field, Query(classes=classes)) if is_argmax else None
    rows: dict[str, dict] = {}
    for frame, view in tqdm(list(zip(frames, views, strict=True)), desc="3d-ovs", unit="view"):
        masks = frame.masks(view.camera.width, view.camera.height)
        truth = torch.stack([masks[name] for name in classes])
        if competing is not None:
            labels = search.find(field, competing, view).labels
            found = torch.stack([labels == i for i in range(len(classes))]).cpu()
        else:
            latents = field.blend(view)
            scale = view.camera.width / frame.width
            found = [find(_relevancy(field, latents, asked[name]), options, scale).mask for name in classes]
            found = torch.stack(found).cpu()
        right = (found & truth).flatten(1).sum(1) / truth.flatten(1).sum(1)  # 0 / 0 is NaN: not in the view
        rows[view.name] = {
            "iou": dict(zip(classes, map(_finite, map(iou, found, truth)), strict=True)),
            "class_accuracy": dict(zip(classes, map(_finite, right.tolist()), strict=True)),
            "accuracy": float((found == truth).all(0).double().mean()),
        }
        save_classes(out, view, classes, {"truth": truth, "answer": found})
    by_name = {
        name: {key: _mean([row[key][name] for row in rows.values()]) for key in ("iou", "class_accuracy")}
        for name in classes
    }
    every = {
        key: _mean([value for row in rows.values() for value in row[key].values()]) for key in ("iou", "class_accuracy")
    }
    return {
        "protocol": describe_3d_ovs(options, None if is_argmax else _say_negatives(field, asked)),
        "mean": every | {"accuracy": fmean(row["accuracy"] for row in rows.values())},
        "categories": by_name,
        "frames": rows,
    }


def _names(frames: Sequence[LerfFrame | MaskFrame]) -> list[str]:
    """All categories, in the order in which they come."""
    return list(dict.fromkeys(name for frame in frames for name in frame.names))


def _check_names(field: FieldBase, names: Sequence[str], labels: Path) -> None:
    unknown = [name for name in names if not field.knows(name)]
    if not unknown:
        return
    known = list(field.vocabulary.vectors)
    if not known:
        field.encode_text(unknown)  # says that it knows no text, and what to do
    listed = ", ".join(known[:LISTED]) + (f", ... ({len(known)})" if len(known) > LISTED else "")
    raise UserError(
        f"{labels}: labels {', '.join(unknown)}, which {field.source} ({field.teacher_config.name} teacher) cannot be "
        f"asked for; it knows {listed}. Leave those labels out, or name them as the teacher does"
    )


def _ask_for(field: FieldBase, name: str, options: OvsOptions) -> PreparedQuery:
    # the threshold is not read: that of a stretched score depends on all of them
    return prepare(field, Query((name,), method="lerf", temperature=options.temperature, threshold=0.5))


def _relevancy(field: FieldBase, latents: Float[Tensor, "*S K"], asked: PreparedQuery) -> Float[Tensor, "*S"]:
    temperature = asked.query.temperature
    return lerf_relevancy(latents, asked.positives, asked.negatives, field.B, temperature=temperature).nan_to_num()


def _select(field: FieldBase, asked: Mapping[str, PreparedQuery], options: OvsOptions) -> dict[str, Hit]:
    """The Gaussians that answer to each name."""
    answers = {name: search.find(field, question) for name, question in asked.items()}
    if options.select == "argmax":
        cosines = text_cosine(field.latents, torch.cat([question.positives for question in asked.values()]), field.B)
        best = cosines.nan_to_num(-1).argmax(-1)
        masks = [best == i for i in range(len(answers))]
    else:
        masks = [stretch(found.scores.nan_to_num()) > options.threshold for found in answers.values()]
    return {
        name: replace(found, selected=mask & found.answered)
        for (name, found), mask in zip(answers.items(), masks, strict=True)
    }


def _cover(field: FieldBase, found: Hit, view: View, options: OvsOptions) -> Bool[Tensor, "H W"]:
    """The pixels that show the Gaussians selected."""
    if options.occlusion == "scene":
        return found.in_view(view).selected
    alone = field.gaussians.map(lambda tensor: tensor[found.selected]).to_working_frame(field.scene.frame)
    drawn = render_features(alone, view.camera.to(field.device))
    return drawn.alpha[..., 0] > options.alpha


def _say_negatives(field: FieldBase, asked: Mapping[str, PreparedQuery]) -> str:
    if all(map(field.knows, DEFAULT_NEGATIVES)):
        return ", ".join(DEFAULT_NEGATIVES)
    count = len(next(iter(asked.values())).negatives)
    return f"all {count} other names that the field knows, as it lacks {', '.join(DEFAULT_NEGATIVES)}"


def _mean_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    ious = [row["iou_3d"] for row in rows]
    return {
        "num": len(rows),
        "iou_2d": fmean(row["iou_2d"] for row in rows),
        "localization": fmean(row["is_hit"] for row in rows),
        "iou_3d": fmean(ious),
    } | {f"accuracy_{least}": fmean(iou > least for iou in ious) for least in ACCURACY_IOUS}


def _mean(values: Sequence[float | None]) -> float | None:
    """Of those there are."""
    there = [value for value in values if value is not None]
    return fmean(there) if there else None


def _finite(value: float) -> float | None:
    return None if isnan(value) else value  # JSON knows no NaN
