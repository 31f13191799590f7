"""Open-vocabulary segmentation benchmarks: LERF-OVS (localisation, 2D and 3D masks) and 3D-OVS (class masks).

`protocol` in the results describes the procedure with its options (`gsdff.evaluation.ovs.options`); in short:

lerf-ovs 2D, after LangSplat (Qin et al. 2024): LERF's relevancy of the rendered feature of every pixel, smoothed by a
    30 x 30 mean filter. Localisation: whether its peak lies in a box of the category. Mask: the mean of the filtered
    and the unfiltered map, stretched, cut at 0.4 and majority filtered in 7 x 7 windows. LangSplat chooses the best of
    three levels; a field here has one.
lerf-ovs 3D, after OpenGaussian (Wu et al. 2024): the selected Gaussians are drawn alone, so that nothing hides them,
    and the pixels that they cover are the mask. OpenGaussian selects clusters of its own Gaussians; for features per
    Gaussian it takes the nearest of all texts (`select argmax`), others threshold the relevancy.
3d-ovs, after 3D-OVS (Liu et al. 2023): all classes compete for every pixel.

Means are over all pairs of a category and a frame that shows it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from typing import Any, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from tqdm import tqdm

import gsdff
from gsdff.errors import UserError
from gsdff.evaluation.ovs.labels import (
    LerfFrame,
    MaskFrame,
    boxes_in_view,
    find_views,
    masks_in_view,
    read_3d_ovs,
    read_lerf_ovs,
)
from gsdff.evaluation.ovs.options import OvsBenchmark, OvsOptions
from gsdff.evaluation.ovs.report import describe_3d_ovs, describe_lerf_ovs, save_category, save_classes
from gsdff.evaluation.ovs.scores import iou, is_hit, predict_category, stretch
from gsdff.evaluation.run import evaluation_folder
from gsdff.field import search
from gsdff.field.base import FieldBase
from gsdff.field.checks import check_choice, check_path
from gsdff.field.hit import Hit
from gsdff.field.query import Query
from gsdff.field.relevancy import DEFAULT_NEGATIVES, lerf_relevancy
from gsdff.field.search import PreparedQuery, prepare
from gsdff.files.writing import whole_file
from gsdff.latents import text_cosine
from gsdff.metrics import finite_or_none
from gsdff.render import render_features
from gsdff.scene import View

ACCURACY_IOUS = (0.25, 0.5)
"""IoU above which a 3D mask counts as right, for the accuracies."""
LISTED = 30
"""Largest number of known names in an error message."""


def score_ovs(
    field: FieldBase, benchmark: OvsBenchmark, labels: str | Path, *, options: OvsOptions | None = None
) -> tuple[dict[str, Any], Path]:
    """Scores a field on labelled photos; returns the scores and the JSON file with them, beside a folder of pictures.

    Raises `UserError` before anything is rendered for labels that cannot be read, that match no photo, or that name
    something the field does not know.
    """
    check_choice("benchmark", benchmark, get_args(OvsBenchmark))
    check_path("labels", labels)
    options, labels = options or OvsOptions(), Path(labels)
    out = evaluation_folder(field.source)
    if benchmark == "lerf-ovs":
        frames = read_lerf_ovs(labels)
        views = _find_checked_views(field, frames, labels)
        scores = score_lerf_ovs(field, frames, views, options, out / benchmark)
    else:
        frames = read_3d_ovs(labels)
        views = _find_checked_views(field, frames, labels)
        scores = score_3d_ovs(field, frames, views, options, out / benchmark)
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


@torch.no_grad()
def score_lerf_ovs(
    field: FieldBase, frames: Sequence[LerfFrame], views: Sequence[View], options: OvsOptions, out: Path
) -> dict[str, Any]:
    """Scores 2D and 3D masks by category and frame; writes a picture of each pair into `out`."""
    names = _all_names(frames)
    queries = {name: _prepare_query(field, name, options) for name in names}
    hits = _select_gaussians(field, queries, options)
    rows: dict[str, dict[str, dict[str, Any]]] = {}
    for frame, view in tqdm(list(zip(frames, views, strict=True)), desc="lerf-ovs", unit="frame"):
        size = view.camera.width, view.camera.height
        truths, boxes = masks_in_view(frame, view), boxes_in_view(frame, view)
        latents = field.blend(view)
        rows[view.name] = {}
        for number, (name, truth) in enumerate(truths.items()):
            predicted = predict_category(_relevancy(field, latents, queries[name]), options, size[0] / frame.width)
            covered = _covered_pixels(field, hits[name], view, options).cpu()
            row = {
                "iou_2d": iou(predicted.mask.cpu(), truth),
                "is_hit": is_hit(predicted.peaks.cpu(), boxes[name]),
                "iou_3d": iou(covered, truth),
            }
            rows[view.name][name] = row
            save_category(out, view, (number, name), {"truth": truth, "3D": covered}, predicted, row)
    by_name = {name: [by[name] for by in rows.values() if name in by] for name in names}
    counts = {name: int(hit.selected.sum()) for name, hit in hits.items()}
    return {
        "protocol": describe_lerf_ovs(options, _describe_negatives(field, queries)),
        "mean": _mean_of([row for some in by_name.values() for row in some]),
        "categories": {name: _mean_of(some) | {"num_gaussians": counts[name]} for name, some in by_name.items()},
        "frames": rows,
    }


@torch.no_grad()
def score_3d_ovs(
    field: FieldBase, frames: Sequence[MaskFrame], views: Sequence[View], options: OvsOptions, out: Path
) -> dict[str, Any]:
    """Scores the masks of all classes in every labelled view; writes a picture of each view into `out`."""
    classes = tuple(frames[0].files)
    is_argmax = options.answer == "argmax"
    queries = {name: _prepare_query(field, name, options) for name in classes if not is_argmax}
    competing = prepare(field, Query(classes=classes)) if is_argmax else None
    rows: dict[str, dict[str, Any]] = {}
    for frame, view in tqdm(list(zip(frames, views, strict=True)), desc="3d-ovs", unit="view"):
        masks = masks_in_view(frame, view)
        truth = torch.stack([masks[name] for name in classes])
        if competing is not None:
            labels = search.find(field, competing, view).labels
            predicted = [labels == i for i in range(len(classes))]
        else:
            latents = field.blend(view)
            scale = view.camera.width / frame.width
            maps = [_relevancy(field, latents, queries[name]) for name in classes]
            predicted = [predict_category(relevancy, options, scale).mask for relevancy in maps]
        predicted = torch.stack(predicted).cpu()
        right = (predicted & truth).flatten(1).sum(1) / truth.flatten(1).sum(1)  # 0 / 0 is NaN: not in the view
        rows[view.name] = {
            "iou": dict(zip(classes, map(finite_or_none, map(iou, predicted, truth)), strict=True)),
            "class_accuracy": dict(zip(classes, map(finite_or_none, right.tolist()), strict=True)),
            "accuracy": float((predicted == truth).all(0).double().mean()),
        }
        save_classes(out, view, classes, {"truth": truth, "answer": predicted})
    by_name = {
        name: {key: _mean([row[key][name] for row in rows.values()]) for key in ("iou", "class_accuracy")}
        for name in classes
    }
    every = {
        key: _mean([value for row in rows.values() for value in row[key].values()]) for key in ("iou", "class_accuracy")
    }
    return {
        "protocol": describe_3d_ovs(options, None if is_argmax else _describe_negatives(field, queries)),
        "mean": every | {"accuracy": fmean(row["accuracy"] for row in rows.values())},
        "categories": by_name,
        "frames": rows,
    }


def _find_checked_views(field: FieldBase, frames: Sequence[LerfFrame | MaskFrame], labels: Path) -> list[View]:
    """The photos of the frames; raises `UserError` for names that the field does not know."""
    field.require_features()
    _check_names(field, _all_names(frames), labels)
    return find_views(frames, field.scene)


def _all_names(frames: Sequence[LerfFrame | MaskFrame]) -> list[str]:
    """All categories, in the order of the frames."""
    return list(dict.fromkeys(name for frame in frames for name in frame.names))


def _check_names(field: FieldBase, names: Sequence[str], labels: Path) -> None:
    unknown = [name for name in names if not field.knows(name)]
    if not unknown:
        return
    known = list(field.vocabulary.vectors) if field.vocabulary is not None else []
    if not known:
        field.encode_text(unknown)  # raises, with advice: the field knows no text
    listed = ", ".join(known[:LISTED]) + (f", ... ({len(known)})" if len(known) > LISTED else "")
    raise UserError(
        f"{labels}: labels {', '.join(unknown)}, which {field.source} ({field.teacher_config.name} teacher) does not "
        f"know; it knows {listed}. Remove those labels, or rename them to what the teacher knows"
    )


def _prepare_query(field: FieldBase, name: str, options: OvsOptions) -> PreparedQuery:
    # the query's threshold is not used: scores are cut after they are stretched
    return prepare(field, Query((name,), method="lerf", temperature=options.temperature, threshold=0.5))


def _relevancy(field: FieldBase, latents: Float[Tensor, "*S K"], query: PreparedQuery) -> Float[Tensor, "*S"]:
    temperature = query.query.temperature
    return lerf_relevancy(latents, query.positives, query.negatives, field.B, temperature=temperature).nan_to_num()


def _select_gaussians(field: FieldBase, queries: Mapping[str, PreparedQuery], options: OvsOptions) -> dict[str, Hit]:
    """The selected Gaussians of each category, by argmax over the categories or by relevancy."""
    hits = {name: search.find(field, query) for name, query in queries.items()}
    if options.select == "argmax":
        cosines = text_cosine(field.latents, torch.cat([query.positives for query in queries.values()]), field.B)
        best = cosines.nan_to_num(-1).argmax(-1)
        masks = [best == i for i in range(len(hits))]
    else:
        masks = [stretch(hit.scores.nan_to_num()) > options.threshold for hit in hits.values()]
    return {
        name: replace(hit, selected=mask & hit.answered) for (name, hit), mask in zip(hits.items(), masks, strict=True)
    }


def _covered_pixels(field: FieldBase, hit: Hit, view: View, options: OvsOptions) -> Bool[Tensor, "H W"]:
    """Pixels that show the selected Gaussians."""
    if options.occlusion == "scene":
        return hit.in_view(view).selected
    alone = field.gaussians.map(lambda tensor: tensor[hit.selected]).to_working_frame(field.scene.frame)
    rendered = render_features(alone, view.camera.to(field.device))
    return rendered.alpha[..., 0] > options.alpha


def _describe_negatives(field: FieldBase, queries: Mapping[str, PreparedQuery]) -> str:
    if all(map(field.knows, DEFAULT_NEGATIVES)):
        return ", ".join(DEFAULT_NEGATIVES)
    count = len(next(iter(queries.values())).negatives)
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
    """Mean of the values that are not None."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
