"""Scores of a field's features on held-out views, beside those of the teacher they are distilled from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from tqdm import tqdm

from gsdff.errors import UserError
from gsdff.evaluation.classes import GroundTruth, ScoredClasses, find_classes
from gsdff.evaluation.cuts import draw_labels, label_gaussians
from gsdff.evaluation.label_metrics import text_margin, visible_pixels
from gsdff.evaluation.report import draw_label_maps, draw_pca
from gsdff.evaluation.scores import MIN_OPACITY, FeatureScores, Prediction, enlarge
from gsdff.field.base import FieldBase
from gsdff.field.relevancy import classify
from gsdff.gaussians import Gaussians
from gsdff.io.pictures import Picture, fit_pca, save_png, to_bytes
from gsdff.latents import Basis, encode, teacher_cosine, text_cosine
from gsdff.ranks import this_job
from gsdff.render import render_depth, render_features
from gsdff.scene import VOID, View, picture_name
from gsdff.teachers import Teacher


@torch.no_grad()
def evaluate_features(
    field: FieldBase, out_folder: Path, labels: Path | None = None, classes: Sequence[str] = ()
) -> dict[str, Any]:
    """Scores features of the held-out views, field and teacher side by side; returns {} for a field without features.

    Writes `<name>_pca.png` (photo, teacher, field, in one colour basis for the scene) into `out_folder` and, if there
    are classes to score, `<name>_labels.png` (photo, truth, teacher, field). `labels` is a folder of images of ids
    with a classes.json inside or beside it, by default `labels/` in the scene's folder. `classes` are texts: with
    labels, the labels' classes that compete; without, the classes of the pixels. Instance maps, 8 or 16 bits with 0 for
    none, are read from `instances/` beside the labels. Raises `UserError` if the teacher's maps, the basis, or the
    labels and classes given are missing or cannot be used.
    """
    if field.gaussians.features is None:
        return {}
    basis, scene, teacher = field.require_features(), field.scene, field.teacher
    basis = replace(basis, B=basis.B.cpu())  # the maps are on the CPU
    gaussians = field.trained
    views = [scene.views[view_id] for view_id in scene.test_ids]
    scored = find_classes(teacher, scene, labels, classes)
    text = None if scored is None else teacher.text(scored.queries)
    teacher_predictions = _predict_by_teacher(teacher, views, basis, text, scored)
    pca = fit_pca(torch.cat([prediction.latents[prediction.latents.any(-1)] for prediction in teacher_predictions]))

    own_labels = None if text is None else label_gaussians(gaussians, text, basis.B)

    def compare(view: View, by_teacher: Prediction) -> _ComparedView:
        size = view.image.shape[:2]
        at_map_size = _render(gaussians, view, by_teacher.latents.shape[:2])
        cosine = _mean_cosine(at_map_size, by_teacher.latents)
        latents = _render(gaussians, view, size)
        maps = {"teacher": enlarge(by_teacher.latents, size, "nearest-exact"), "field": latents}
        pictures = {"pca": draw_pca(view, maps, pca)}
        scores = None if scored is None else FeatureScores(scored)
        if scores is not None and text is not None:
            truth = scores.scored.load(view)
            scored_texts = text_cosine(latents, text, basis.B)
            margin = None if truth is None else text_margin(scored_texts, truth.labels)
            by_field = Prediction(latents, classify(scored_texts, latents.any(-1)), margin)
            drawn = None if truth is None or own_labels is None else _draw_cuts(gaussians, own_labels, view, truth)
            scores.add({"teacher": by_teacher, "field": by_field}, truth, _visible_pixels(gaussians, view), drawn)
            maps = {} if truth is None else {"truth": truth.labels}
            maps |= {"teacher": by_teacher.labels, "field": by_field.labels}
            pictures["labels"] = draw_label_maps(view, scores.scored.classes, maps)
        return _ComparedView(cosine, scores, {kind: to_bytes(picture) for kind, picture in pictures.items()})

    ranks, cosines = this_job(), {}
    scores = None if scored is None else FeatureScores(scored)
    compared = ranks.collect(map(compare, ranks.share(views), ranks.share(teacher_predictions)), len(views))
    for view, each in zip(tqdm(views, desc="features", unit="view", leave=False), compared, strict=True):
        cosines[view.name] = each.cosine
        if scores is not None and each.scores is not None:
            scores.merge(each.scores)
        for kind, picture in each.pictures.items() if ranks.is_first else ():
            save_png(out_folder / f"{picture_name(view)}_{kind}.png", picture)
    known = [cosine for cosine in cosines.values() if cosine is not None]
    return {
        "teacher": {"name": teacher.name, "channels": basis.B.shape[0]},
        "features": {"dim": basis.B.shape[1], "kept_energy": basis.energy},
        "num_views": len(views),
        "cosine_to_teacher": fmean(known) if known else None,
        "views": {name: {"cosine_to_teacher": cosine} for name, cosine in cosines.items()},
    } | ({} if scores is None else scores.result())


@dataclass(frozen=True)
class _ComparedView:
    """Result of one view."""

    cosine: float | None
    """Mean cosine to the teacher."""
    scores: FeatureScores | None
    """Scores of this view alone; None without classes."""
    pictures: dict[str, Picture]
    """Pictures by the ending of their names."""


def check_scored_classes(field: FieldBase, labels: Path | None, classes: Sequence[str]) -> None:
    """Raises `UserError` for labels or classes that `evaluate_features` could not score; renders nothing."""
    if field.gaussians.features is None:
        raise UserError(f"{field.source}: has no features to score by labels or classes; train it with a teacher")
    find_classes(field.teacher, field.scene, labels, classes)


def _predict_by_teacher(
    teacher: Teacher,
    views: Sequence[View],
    basis: Basis,
    text: Float[Tensor, "Q T"] | None,
    scored: ScoredClasses | None,
) -> list[Prediction]:
    """The teacher's maps in the basis, and its labels (all VOID without texts); masked pixels have no latents.

    Holds one map of T channels at most, and with ground truth two bytes a pixel for the lead of the right text.
    """

    def predict(view: View, channels_first: Float[Tensor, "T h w"]) -> Prediction:
        features = channels_first.cpu().permute(1, 2, 0)
        size = view.image.shape[:2]
        labels, margin = torch.full(size, VOID, dtype=torch.uint8), None
        if text is not None and scored is not None:
            truth, cosines = scored.load(view), enlarge(features @ text.T, size)
            labels = classify(cosines, _has_feature(features, size))
            margin = None if truth is None else text_margin(cosines, truth.labels).half()
        latents = encode(features, basis.B)
        if view.mask is not None:
            latents = latents * (enlarge(view.mask[..., None].float(), latents.shape[:2], "area") >= 0.5)
        return Prediction(latents, labels, margin)

    own = this_job().share(views)
    made = this_job().collect(map(predict, own, teacher.extract(own)), len(views))
    return [*tqdm(made, desc="maps", unit="view", total=len(views), leave=False)]


def _has_feature(features: Float[Tensor, "h w T"], size: Sequence[int]) -> Bool[Tensor, "H W"]:
    """Whether the teacher's map has a feature at each pixel of the photo."""
    return enlarge(features.any(-1, keepdim=True).float(), size, "nearest-exact")[..., 0] > 0


def _draw_cuts(
    gaussians: Gaussians, labels: UInt8[Tensor, "N"], view: View, truth: GroundTruth
) -> UInt8[Tensor, "H W"]:
    """Labels of the Gaussians as a view shows them, of the classes that it shows."""
    shown = [index for index in truth.labels.unique().tolist() if index != VOID]
    return draw_labels(gaussians, labels, shown, view.camera.to(gaussians.means.device))


def _render(gaussians: Gaussians, view: View, size: Sequence[int]) -> Float[Tensor, "H W K"]:
    """Renders latents of a view at size [H, W]; the result is on the CPU.

    Antialiased at any size but the photo's, so that a pixel is the mean of the area it covers.
    """
    camera = view.camera.resized(size[1], size[0]).to(gaussians.means.device)
    is_photo_size = tuple(size) == (view.camera.height, view.camera.width)
    if not is_photo_size:
        gaussians = replace(gaussians, rasterize_mode="antialiased")
    return render_features(gaussians, camera).image.cpu()


def _visible_pixels(gaussians: Gaussians, view: View) -> Int[Tensor, "P"]:
    """Pixel in which the centre of each opaque Gaussian is visible, -1 if it is not; on the CPU."""
    camera = view.camera.to(gaussians.means.device)
    rendered = render_depth(gaussians, camera)
    points = gaussians.means[gaussians.opacities >= MIN_OPACITY]
    return visible_pixels(points, camera, rendered.image[..., 0], rendered.alpha[..., 0]).cpu()


def _mean_cosine(field: Float[Tensor, "h w K"], teacher: Float[Tensor, "h w K"]) -> float | None:
    """Mean cosine over the pixels with a teacher feature; None if there are none."""
    has_feature = teacher.any(-1)
    return float(teacher_cosine(field, teacher)[has_feature].mean()) if has_feature.any() else None
