"""How good a run's features are on held-out views, beside those of the teacher they come from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from tqdm import tqdm

from gsdff.errors import UserError
from gsdff.evaluation.classes import find_questions
from gsdff.evaluation.label_metrics import seen_pixels
from gsdff.evaluation.report import save_label_maps, save_pca
from gsdff.evaluation.scores import MIN_OPACITY, FeatureScores, ViewAnswer, enlarge
from gsdff.field.base import FieldBase
from gsdff.field.relevancy import classify
from gsdff.gaussians import Gaussians
from gsdff.io.pictures import fit_pca
from gsdff.latents import Basis, encode, teacher_cosine, text_cosine
from gsdff.render import render_depth, render_features
from gsdff.scene import View
from gsdff.teachers import Teacher


@torch.no_grad()
def evaluate_features(
    field: FieldBase, out_folder: Path, labels: Path | None = None, classes: Sequence[str] = ()
) -> dict:
    """Scores and pictures of the held-out views, field and teacher side by side; {} for a run without features.

    Writes `<stem>_pca.png` (photo, teacher, field, in one colour basis for the scene) into `out_folder` and, where
    there are classes to tell apart, `<stem>_labels.png` (photo, truth, teacher, field). `labels` is a folder of
    `<stem>.png` ids with a classes.json inside or beside it; without it, `labels/` in the scene's folder is used where
    there is one. `classes` are texts: of those labels' classes, the ones that compete; without labels, what the pixels
    are asked for. Instance maps, 8 or 16 bits with 0 for none, are looked for in `instances/` beside the labels.
    Raises `UserError` where the teacher's maps, the basis, or labels and classes that were asked for cannot be had.
    """
    if field.gaussians.features is None:
        return {}
    basis, scene, teacher = field.require_features(), field.scene, field.teacher
    basis = replace(basis, B=basis.B.cpu())  # the maps are there
    gaussians = field.trained
    views = [scene.views[view_id] for view_id in scene.test_ids]
    questions = find_questions(teacher, scene, labels, classes)
    text = None if questions is None else teacher.text([row.query for row in questions.classes])
    looks = _ask_teacher(teacher, views, basis, text)
    pca = fit_pca(torch.cat([look.latents[look.latents.any(-1)] for look in looks]))

    cosines = {}
    scores = None if questions is None else FeatureScores(questions)
    for view, look in zip(tqdm(views, desc="features", unit="view", leave=False), looks, strict=True):
        size = view.image.shape[:2]
        cosines[view.name] = _mean_cosine(_render(gaussians, view, look.latents.shape[:2]), look.latents)
        latents = _render(gaussians, view, size)
        maps = {"teacher": enlarge(look.latents, size, "nearest-exact"), "field": latents}
        save_pca(out_folder / f"{view.stem}_pca.png", view, maps, pca)
        if scores is not None:
            truth = questions.load(view)
            cosine = text_cosine(latents, text, basis.B)
            field_map = ViewAnswer(latents, classify(cosine, latents.any(-1)))
            answers = {"teacher": ViewAnswer(look.latents, look.labels), "field": field_map}
            scores.add(answers, truth, _see_points(gaussians, view))
            maps = ({"truth": truth.labels} if truth else {}) | {name: answers[name].labels for name in answers}
            save_label_maps(out_folder / f"{view.stem}_labels.png", view, questions.classes, maps)
    answered = [cosine for cosine in cosines.values() if cosine is not None]
    return {
        "teacher": {"name": teacher.name, "channels": basis.B.shape[0]},
        "features": {"dim": basis.B.shape[1], "kept_energy": basis.energy},
        "num_views": len(views),
        "cosine_to_teacher": fmean(answered) if answered else None,
        "views": {name: {"cosine_to_teacher": cosine} for name, cosine in cosines.items()},
    } | ({} if scores is None else scores.result())


def check_questions(field: FieldBase, labels: Path | None, classes: Sequence[str]) -> None:
    """Raises `UserError` for labels or classes that `evaluate_features` could not score; renders nothing."""
    if field.gaussians.features is None:
        raise UserError(f"{field.source}: has no features to score by labels or classes; train it with a teacher")
    find_questions(field.teacher, field.scene, labels, classes)


@dataclass(frozen=True)
class _Look:
    """What the teacher makes of a view."""

    latents: Float[Tensor, "h w K"]
    """Its map in the basis, at its own size."""
    labels: UInt8[Tensor, "H W"] | None
    """Its answers at the photo's size."""


def _ask_teacher(
    teacher: Teacher, views: Sequence[View], basis: Basis, text: Float[Tensor, "Q T"] | None
) -> list[_Look]:
    """The teacher's maps in the basis and its answers; of the maps as they come, no more than one is held."""
    looks = []
    progress = tqdm(views, desc="maps", unit="view", leave=False)
    for view, channels_first in zip(progress, teacher.extract(views), strict=True):
        features = channels_first.permute(1, 2, 0)
        labels = None if text is None else _teacher_labels(features, text, view.image.shape[:2])
        looks.append(_Look(encode(features, basis.B), labels))
    return looks


def _teacher_labels(
    features: Float[Tensor, "h w T"], text: Float[Tensor, "Q T"], size: Sequence[int]
) -> UInt8[Tensor, "H W"]:
    """Answers at the photo's size from enlarged scores, which are the scores of enlarged features."""
    answered = enlarge(features.any(-1, keepdim=True).float(), size, "nearest-exact")[..., 0] > 0
    return classify(enlarge(features @ text.T, size), answered)


def _render(gaussians: Gaussians, view: View, size: Sequence[int]) -> Float[Tensor, "H W K"]:
    """Latents in a view at size [H, W], on the CPU.

    Antialiased at other than the photo's size, where a pixel shows the mean of what it covers.
    """
    camera = view.camera.resized(size[1], size[0]).to(gaussians.means.device)
    is_photo_size = tuple(size) == (view.camera.height, view.camera.width)
    if not is_photo_size:
        gaussians = replace(gaussians, rasterize_mode="antialiased")
    return render_features(gaussians, camera).image.cpu()


def _see_points(gaussians: Gaussians, view: View) -> Int[Tensor, "P"]:
    """The pixel that shows the centre of each opaque Gaussian, -1 where it is out of sight; on the CPU."""
    camera = view.camera.to(gaussians.means.device)
    rendered = render_depth(gaussians, camera)
    points = gaussians.means[gaussians.opacities >= MIN_OPACITY]
    return seen_pixels(points, camera, rendered.image[..., 0], rendered.alpha[..., 0]).cpu()


def _mean_cosine(field: Float[Tensor, "h w K"], teacher: Float[Tensor, "h w K"]) -> float | None:
    """Over the pixels the teacher answers; None where it answers none."""
    answered = teacher.any(-1)
    return float(teacher_cosine(field, teacher)[answered].mean()) if answered.any() else None
