"""LERF-OVS: localisation, 2D masks of rendered features and 3D masks of selected Gaussians, by text and frame.

2D, after LangSplat (Qin et al. 2024): LERF's relevancy of the rendered feature of every pixel, smoothed by a 30 x 30
    mean filter. Localisation: whether its peak lies in a box of the category. Mask: the mean of the filtered and the
    unfiltered map, stretched, cut at 0.4 and majority filtered in 7 x 7 windows. LangSplat trains three levels and
    takes the one with the highest relevancy; here further runs can be `levels`.
3D, after OpenGaussian (Wu et al. 2024): the selected Gaussians are drawn alone, so that nothing hides them, and the
    pixels that they cover are the mask. OpenGaussian selects clusters of its own Gaussians; for features per Gaussian
    it takes the nearest of all texts (`select argmax`), others threshold the relevancy.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from tqdm import tqdm

from gsdff.errors import UserError
from gsdff.evaluation.ovs.labels import LerfFrame, boxes_in_view, masks_in_view
from gsdff.evaluation.ovs.means import average_pairs
from gsdff.evaluation.ovs.options import OvsOptions
from gsdff.evaluation.ovs.report import describe_lerf_ovs, draw_category, save_pictures
from gsdff.evaluation.ovs.scores import (
    CategoryPrediction,
    choose_level,
    count_pixels,
    is_hit,
    predict_category,
    stretch,
)
from gsdff.evaluation.ovs.texts import describe_negatives, describe_texts, prepare_text
from gsdff.field import search
from gsdff.field.base import FieldBase
from gsdff.field.hit import Hit
from gsdff.field.relevancy import lerf_relevancy
from gsdff.field.search import PreparedQuery
from gsdff.io.pictures import Picture
from gsdff.latents import text_cosine
from gsdff.ranks import this_job
from gsdff.render import render_features
from gsdff.scene import View

CLIP = "open_clip's ViT-B-16 with weights laion2b_s34b_b88k"
"""Network of LangSplat's and OpenGaussian's published figures."""


@dataclass(frozen=True, eq=False)
class Level:
    """One of several fields of the same photos, such as LangSplat's of small, middle and large things."""

    field: FieldBase
    queries: Mapping[str, PreparedQuery]
    """The queries of the categories, as this field's teacher encodes them."""

    def relevancies(self, view: View, names: Collection[str]) -> dict[str, Float[Tensor, "H W"]]:
        """Relevancies of the pixels of a photo to the categories."""
        latents = self.field.blend(self.field.find_view(view.name))
        size = view.camera.height, view.camera.width
        if latents.shape[:2] != size:
            height, width = latents.shape[:2]
            raise UserError(f"`levels` {self.field.source}: {view.name} is {width}x{height}, not {size[1]}x{size[0]}")
        return {name: score_relevancy(self.field, latents, self.queries[name]) for name in names}


@torch.no_grad()
def score_lerf_ovs(
    field: FieldBase,
    frames: Sequence[LerfFrame],
    views: Sequence[View],
    options: OvsOptions,
    out: Path,
    levels: Sequence[FieldBase] = (),
) -> dict[str, Any]:
    """Scores 2D and 3D masks by category and frame; writes a picture of each pair into `out`.

    Ranks share the frames, and the first one writes.
    `levels` are further fields of the same photos: the 2D answer is that of the one with the highest relevancy.
    """
    names = list(dict.fromkeys(name for frame in frames for name in frame.names))
    every = [Level(one, {name: prepare_text(one, name, options) for name in names}) for one in (field, *levels)]
    queries = every[0].queries
    hits = _select_gaussians(field, queries, options)
    held_out = names_held_out([field, *levels])
    ranks = this_job()

    def score(frame: LerfFrame, view: View) -> tuple[dict[str, dict[str, Any]], list[tuple[str, Picture]]]:
        """The scores of the categories in a frame, and their pictures with names."""
        truths, boxes = masks_in_view(frame, view), boxes_in_view(frame, view)
        maps = [level.relevancies(view, truths) for level in every]
        scale = view.camera.width / frame.width
        scored, pictures = {}, []
        for number, (name, truth) in enumerate(truths.items()):
            predicted = choose_level([predict_category(map[name], options, scale) for map in maps])
            covered = _covered_pixels(field, hits[name], view, options).cpu()
            row = _describe_pair(predicted, covered, truth, boxes[name]) | {"is_held_out": view.name in held_out}
            scored[name] = row
            pictures.append(draw_category(view, (number, name), {"truth": truth, "3D": covered}, predicted, row))
        return scored, pictures

    rows: dict[str, dict[str, dict[str, Any]]] = {}
    results = ranks.collect(map(score, ranks.share(frames), ranks.share(views)), len(views))
    for view, (scored, pictures) in zip(tqdm(views, desc="lerf-ovs", unit="frame"), results, strict=True):
        rows[view.name] = scored
        save_pictures(out, pictures)
    counts = {name: {"num_gaussians": int(hit.selected.sum())} for name, hit in hits.items()}
    means = average_pairs({name: [by[name] for by in rows.values() if name in by] for name in names})
    means["categories"] = {name: row | counts[name] for name, row in means["categories"].items()}
    texts = describe_texts(field, options, CLIP)
    return {
        "protocol": describe_lerf_ovs(options, texts, describe_negatives(field, queries), len(every)),
        **means,
        "frames": rows,
    }


def names_held_out(fields: Sequence[FieldBase]) -> set[str]:
    """Names of the photos that the splits of all fields hold out of training."""
    scenes = [field.scene for field in fields]
    return set.intersection(*({scene.views[i].name for i in scene.test_ids} for scene in scenes))


def score_relevancy(field: FieldBase, latents: Float[Tensor, "*S K"], query: PreparedQuery) -> Float[Tensor, "*S"]:
    """LERF's relevancy of latents to a prepared text; 0 where it is no number."""
    temperature = query.query.temperature
    return lerf_relevancy(latents, query.positives, query.negatives, field.B, temperature=temperature).nan_to_num()


def _describe_pair(
    predicted: CategoryPrediction,
    covered: Bool[Tensor, "H W"],
    truth: Bool[Tensor, "H W"],
    boxes: Sequence[Sequence[float]],
) -> dict[str, Any]:
    """The scores of a category in a frame, and what they follow from."""
    in_2d, in_3d = count_pixels(predicted.mask.cpu(), truth), count_pixels(covered, truth)
    x, y = predicted.peaks[0].tolist()
    return {
        "iou_2d": in_2d.iou_or_zero,
        "is_hit": is_hit(predicted.peaks.cpu(), boxes),
        "iou_3d": in_3d.iou_or_zero,
        "level": predicted.level,
        "relevancy_min": float(predicted.relevancy.min()),
        "relevancy_max": float(predicted.relevancy.max()),
        "peak": [x, y],
        "pixels": {"truth": in_2d.truth}
        | {f"{key}_2d": getattr(in_2d, key) for key in ("mask", "common")}
        | {f"{key}_3d": getattr(in_3d, key) for key in ("mask", "common")},
    }


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
