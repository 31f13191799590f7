"""Open-vocabulary segmentation benchmarks: LERF-OVS (localisation, 2D and 3D masks) and 3D-OVS (class masks).

`protocol` in the results describes the procedure with its options (`gsdff.evaluation.ovs.options`); in short:

lerf-ovs, after LangSplat and OpenGaussian: every text is searched for alone (`gsdff.evaluation.ovs.lerf`).
3d-ovs, after 3D-OVS (Liu et al. 2023): all classes compete for every pixel.

Means are over all pairs of a category and a frame that shows it, as published. Beside them are those over categories
(macro), over pixels (micro), and all of these over the frames that were not trained on (strict).
"""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any, get_args

import torch
from tqdm import tqdm

import gsdff
from gsdff.errors import UserError
from gsdff.evaluation.ovs.labels import LerfFrame, MaskFrame, find_views, masks_in_view, read_3d_ovs, read_lerf_ovs
from gsdff.evaluation.ovs.lerf import names_held_out, score_lerf_ovs, score_relevancy
from gsdff.evaluation.ovs.options import OvsBenchmark, OvsOptions
from gsdff.evaluation.ovs.report import describe_3d_ovs, draw_classes, save_pictures
from gsdff.evaluation.ovs.scores import PixelCounts, count_pixels, predict_category
from gsdff.evaluation.ovs.texts import choose_prompts, describe_negatives, describe_texts, prepare_text
from gsdff.evaluation.run import evaluation_folder
from gsdff.field import search
from gsdff.field.base import FieldBase
from gsdff.field.checks import check_choice, check_path
from gsdff.field.query import Query
from gsdff.field.search import prepare
from gsdff.files.writing import together, whole_file
from gsdff.io.pictures import Picture
from gsdff.metrics import finite_or_none
from gsdff.ranks import this_job
from gsdff.scene import View

CLIP = "OpenAI's ViT-B/16"
"""Network of 3D-OVS's published figures."""
LISTED = 30
"""Largest number of known names in an error message."""


def score_ovs(
    field: FieldBase,
    benchmark: OvsBenchmark,
    labels: str | Path,
    *,
    options: OvsOptions | None = None,
    levels: Sequence[FieldBase] = (),
) -> tuple[dict[str, Any], Path]:
    """Scores a field on labelled photos; returns the scores and the JSON file with them.

    Beside it are a folder of pictures and a table with a line per query (`<benchmark>_queries.csv`). `levels` are
    further fields of the same photos (lerf-ovs), of which each text takes the one with the highest relevancy. Raises
    `UserError` before anything is rendered for labels that cannot be read, that match no photo, or that name something
    the field does not know. Ranks share the photos, and the first one writes.
    """
    check_choice("benchmark", benchmark, get_args(OvsBenchmark))
    check_path("labels", labels)
    options, labels = options or OvsOptions(), Path(labels)
    out = evaluation_folder(field.source)
    if benchmark == "lerf-ovs":
        frames = read_lerf_ovs(labels)
        for level in levels:
            _find_checked_views(level, frames, labels)
        views = _find_checked_views(field, frames, labels)
        scores = score_lerf_ovs(field, frames, views, options, out / benchmark, levels)
    elif levels:
        raise UserError("`levels`: expected none for 3d-ovs, whose classes compete within one field")
    else:
        frames = read_3d_ovs(labels)
        views = _find_checked_views(field, frames, labels)
        scores = score_3d_ovs(field, frames, views, options, out / benchmark)
    held_out = names_held_out([field, *levels])
    result = {
        "gsdff": gsdff.__version__,
        "source": str(field.source),
        "labels": str(labels),
        "levels": [str(level.source) for level in levels],
        "protocol": scores.pop("protocol"),
        "options": asdict(options),
        "num_frames": len(frames),
        "num_frames_held_out": sum(view.name in held_out for view in views),
    } | scores
    path = out / f"{benchmark}.json"
    if not this_job().is_first:
        return result, path
    with together(path):
        with whole_file(path) as partial:
            partial.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        _write_queries(out / f"{benchmark}_queries.csv", result["frames"])
    return result, path


@torch.no_grad()
def score_3d_ovs(
    field: FieldBase, frames: Sequence[MaskFrame], views: Sequence[View], options: OvsOptions, out: Path
) -> dict[str, Any]:
    """Scores the masks of all classes in every labelled view; writes a picture of each view into `out`."""
    classes = tuple(frames[0].files)
    is_argmax = options.answer == "argmax"
    queries = {name: prepare_text(field, name, options) for name in classes if not is_argmax}
    prompts = choose_prompts(field, options)
    competing = prepare(field, Query(classes=classes, prompts=prompts)) if is_argmax else None
    held_out = names_held_out([field])
    ranks = this_job()

    def score(frame: MaskFrame, view: View) -> tuple[dict[str, Any], tuple[str, Picture]]:
        """The scores of a view, and its picture with a name."""
        masks = masks_in_view(frame, view)
        truth = torch.stack([masks[name] for name in classes])
        if competing is not None:
            labels = search.find(field, competing, view).labels
            predicted = [labels == i for i in range(len(classes))]
        else:
            latents = field.blend(view)
            scale = view.camera.width / frame.width
            maps = [score_relevancy(field, latents, queries[name]) for name in classes]
            predicted = [predict_category(relevancy, options, scale).mask for relevancy in maps]
        predicted = torch.stack(predicted).cpu()
        counts = list(map(count_pixels, predicted, truth))
        row = {
            "is_held_out": view.name in held_out,
            "iou": dict(zip(classes, [finite_or_none(each.iou) for each in counts], strict=True)),
            "class_accuracy": dict(zip(classes, map(_share_found, counts), strict=True)),
            "accuracy": float((predicted == truth).all(0).double().mean()),
            "pixels": dict(zip(classes, map(asdict, counts), strict=True)),
        }
        return row, draw_classes(view, classes, {"truth": truth, "answer": predicted})

    rows: dict[str, dict[str, Any]] = {}
    results = ranks.collect(map(score, ranks.share(frames), ranks.share(views)), len(views))
    for view, (row, picture) in zip(tqdm(views, desc="3d-ovs", unit="view"), results, strict=True):
        rows[view.name] = row
        save_pictures(out, [picture])
    strict = [row for row in rows.values() if row["is_held_out"]]
    negatives = None if is_argmax else describe_negatives(field, queries)
    return {
        "protocol": describe_3d_ovs(options, describe_texts(field, options, CLIP), negatives),
        **_average_views(list(rows.values()), classes),
        "categories": {name: _average_class(list(rows.values()), name) for name in classes},
        "strict": _average_views(strict, classes) if strict else None,
        "frames": rows,
    }


def _share_found(counts: PixelCounts) -> float | None:
    """Share of the truth that is in the mask; None if the class is not in the view."""
    return counts.common / counts.truth if counts.truth else None


def _average_class(rows: Sequence[Mapping[str, Any]], name: str) -> dict[str, float | None]:
    return {key: _mean(row[key][name] for row in rows) for key in ("iou", "class_accuracy")}


def _average_views(rows: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> dict[str, Any]:
    """Means over pairs of a class and a view, over classes (macro), and over pixels (micro)."""
    by_class = [_average_class(rows, name) for name in classes]
    pixels = [counts for row in rows for counts in row["pixels"].values()]
    common, truth, mask = (sum(counts[key] for counts in pixels) for key in ("common", "truth", "mask"))
    keys = ("iou", "class_accuracy")
    return {
        "mean": {key: _mean(value for row in rows for value in row[key].values()) for key in keys}
        | {"accuracy": fmean(row["accuracy"] for row in rows)},
        "macro": {key: _mean(each[key] for each in by_class) for key in keys},
        "micro": {
            "iou": finite_or_none(PixelCounts(mask, truth, common).iou),
            "class_accuracy": common / truth if truth else None,
        },
    }


def _write_queries(path: Path, frames: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes a table with a line per query: the frame, the text, and everything that is known about the answer."""
    rows = [
        {"frame": frame, "text": text} | _flatten(query)
        for frame, row in frames.items()
        for text, query in (row.items() if "iou" not in row else _split_classes(row))
    ]
    with whole_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def _split_classes(row: Mapping[str, Any]) -> Iterable[tuple[str, dict[str, Any]]]:
    """The scores of a view by class (3d-ovs)."""
    for name, counts in row["pixels"].items():
        scores = {key: row[key][name] for key in ("iou", "class_accuracy")}
        yield name, {"is_held_out": row["is_held_out"], **scores, "pixels": counts}


def _flatten(query: Mapping[str, Any]) -> dict[str, Any]:
    flat = {key: value for key, value in query.items() if key not in ("peak", "pixels")}
    if "peak" in query:
        flat |= dict(zip(("peak_x", "peak_y"), query["peak"], strict=True))
    return flat | {f"pixels_{key}": count for key, count in query["pixels"].items()}


def _find_checked_views(field: FieldBase, frames: Sequence[LerfFrame | MaskFrame], labels: Path) -> list[View]:
    """The photos of the frames; raises `UserError` for names that the field does not know."""
    field.require_features()
    _check_names(field, list(dict.fromkeys(name for frame in frames for name in frame.names)), labels)
    return find_views(frames, field.scene)


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


def _mean(values: Iterable[float | None]) -> float | None:
    """Mean of the values that are not None."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
