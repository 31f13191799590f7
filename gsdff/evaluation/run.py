"""Evaluation of a field: scores and pictures of its held-out views."""

import json
import logging
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

import gsdff
from gsdff.errors import UserError
from gsdff.evaluation.features import check_scored_classes, evaluate_features
from gsdff.evaluation.report import features_table
from gsdff.field.base import FieldBase
from gsdff.field.checks import check_path
from gsdff.files.writing import together, whole_file
from gsdff.io.pictures import Picture, error_map, save_png, side_by_side
from gsdff.metrics import ImageDistance, black_outside, fit_colors, open_lpips, psnr, ssim
from gsdff.ranks import this_job
from gsdff.render import render_view
from gsdff.run_folder import RunFolder
from gsdff.scene import View, picture_name
from gsdff.words import as_words

log = logging.getLogger("gsdff")

FOLDER = "evaluation"
"""Folder of results, inside the run's."""
DIGITS = {"psnr": 2, "ssim": 4, "lpips": 4, "psnr_fitted": 2}
"""Number of decimals that are printed."""
TITLES = {"psnr_fitted": "FITTED"}
"""Titles of columns that are not the scores' names."""


@dataclass(frozen=True)
class Evaluation:
    """Result of `score`, with the contents of `folder`/metrics.json."""

    folder: Path
    facts: Mapping[str, Any]
    """Data, step, numbers of Gaussians and views, and so on."""
    images: Mapping[str, Any]
    """Result of `score_images`."""
    features: Mapping[str, Any]
    """Result of `evaluate_features`; empty for a field without features."""


def score(
    field: FieldBase,
    *,
    labels: str | Path | None = None,
    classes: Sequence[str] = (),
    download: bool = False,
) -> Evaluation:
    """Scores the held-out views of a field and writes `evaluation/` beside it: metrics.json and pictures.

    `labels` (a folder of label images) and `classes` (texts that compete for the pixels) score the features of a field
    that has some, see `evaluate_features`; `download` fetches the weights of LPIPS if they are missing. Raises
    `UserError` for a field without photos or held-out views, and for labels or classes that cannot be scored. Ranks
    share the views, and the first one writes.
    """
    check_path("labels", labels)
    labels, classes = None if labels is None else Path(labels), as_words(classes, "classes")
    if not field.scene.test_ids:
        raise UserError(f"{field.data}: expected held-out views to score, the dataset's own split has none")
    if labels or classes:
        check_scored_classes(field, labels, classes)
    out = evaluation_folder(field.source)
    facts = _describe(field)
    metrics = out / "metrics.json"
    is_first = this_job().is_first
    with together(metrics) if is_first else nullcontext():
        images = score_images(field, out, open_lpips(field.device.type, download=download))
        # written before features are scored, so that a missing teacher does not lose the scores of the images
        if is_first:
            _write_json(metrics, {**facts, "images": images})
    with together(metrics) if is_first else nullcontext():
        features = evaluate_features(field, out, labels, classes)
        if features and is_first:
            _write_json(metrics, {**facts, "images": images, "features": features})
    return Evaluation(out, facts, images, features)


def evaluation_folder(source: Path) -> Path:
    """Folder of the results: inside the run's folder, or beside the PLY."""
    return source.with_name(f"{source.stem}_{FOLDER}") if source.is_file() else source / FOLDER


def score_images(field: FieldBase, out: Path, lpips: ImageDistance | None) -> dict[str, Any]:
    """Scores the held-out views with PSNR, SSIM and, if given, LPIPS.

    Returns {"mean": {score}, "views": {name: {score}}}, and writes photo | rendering | error of each view into `out`.
    Renderings are clamped to [0, 1] and scored as floats, as 3DGS and gsplat do during training; rounding them to 8
    bits first would change a PSNR of 30 dB by a hundredth at most. Pixels outside a photo's mask do not count. Of a
    run whose photos differ in exposure there is `psnr_fitted` too (`score_fitted`).
    """
    gaussians = field.trained
    fits_colors = field.run is not None and RunFolder(field.run.folder).exposure.is_file()
    metrics: dict[str, Callable[..., float]] = {"psnr": psnr, "ssim": ssim}
    if lpips:
        metrics["lpips"] = lambda image, target, mask: lpips(*(black_outside(each, mask) for each in (image, target)))
    views = [field.scene.views[i] for i in field.scene.test_ids]
    ranks = this_job()

    def measure(view: View) -> tuple[dict[str, float], Picture]:
        image = render_view(gaussians, view, field.background).cpu()
        error = error_map(*(black_outside(picture, view.mask) for picture in (image, view.target)))
        row = {name: metric(image, view.target, view.mask) for name, metric in metrics.items()}
        if fits_colors:
            row["psnr_fitted"] = score_fitted(image, view)
        return row, side_by_side(view.image, image, error)

    scores = {}
    measured = ranks.collect(map(measure, ranks.share(views)), len(views))
    for view, (row, picture) in zip(tqdm(views, desc="evaluating", unit="view"), measured, strict=True):
        scores[view.name] = row
        if ranks.is_first:
            save_png(out / f"{picture_name(view)}.png", picture)
    # a view that is masked completely has no scores
    names = [*metrics, *(["psnr_fitted"] if fits_colors else [])]
    counted = {name: [row[name] for row in scores.values() if not math.isnan(row[name])] for name in names}
    mean = {name: statistics.fmean(values) if values else math.nan for name, values in counted.items()}
    return {"mean": mean, "views": scores}


def score_fitted(image: Float[Tensor, "H W 3"], view: View) -> float:
    """PSNR of the right half of a rendering whose colours were fitted to the photo in the left half.

    So photos whose exposure is unknown are scored (NeRF in the Wild, Martin-Brualla et al. 2021). NaN if the mask
    leaves nothing of a half.
    """
    half = image.shape[1] // 2
    target, mask = view.target, view.mask
    left, right = (None, None) if mask is None else (mask[:, :half], mask[:, half:])
    if left is not None and not left.any():
        return math.nan
    colors = fit_colors(image[:, :half], target[:, :half], left)
    fitted = (image[:, half:] @ colors[:, :3].T + colors[:, 3]).clamp(0, 1)
    return psnr(fitted, target[:, half:], right)


def images_table(images: Mapping[str, Any]) -> str:
    """Formats the result of `score_images` as aligned text: one line per view and one for the means."""
    names: list[str] = list(images["mean"])
    rows = {"view": {name: TITLES.get(name, name.upper()) for name in names}}
    for view, scores in {**images["views"], "mean": images["mean"]}.items():
        rows[view] = {name: f"{score:.{DIGITS[name]}f}" for name, score in scores.items()}
    width = max(map(len, rows))
    return "\n".join(view.ljust(width) + "".join(cell.rjust(9) for cell in row.values()) for view, row in rows.items())


def format_evaluation(evaluation: Evaluation) -> str:
    """Formats all scores as text to print."""
    facts = evaluation.facts
    size = "x".join(map(str, facts["image_size"]))
    header = f"{facts['held_out_views']} held-out views of {facts['data']} at {size}, "
    header += f"{'' if facts['step'] is None else 'step {step}, '.format(**facts)}{facts['gaussians']:,} Gaussians"
    parts = [header, images_table(evaluation.images), features_table(evaluation.features)]
    return "\n\n".join(part for part in parts if part)


def _describe(field: FieldBase) -> dict[str, Any]:
    """The facts of an `Evaluation`."""
    scene = field.scene
    camera = scene.views[scene.test_ids[0]].camera
    return {
        "gsdff": gsdff.__version__,
        "data": str(field.data),
        "step": None if field.run is None else field.run.step,
        "gaussians": len(field.gaussians),
        "sh_degree": field.gaussians.sh_degree,
        "training_views": len(scene.train_ids),
        "held_out_views": len(scene.test_ids),
        "image_size": [camera.width, camera.height],
    }


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    with whole_file(path) as partial:
        partial.write_text(json.dumps(_plain(value), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    """The value in JSON's types: numbers that are not finite (the PSNR of equal images) become null."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
