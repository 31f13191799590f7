"""How good a run is: its held-out views rendered, scored and set beside the photos."""

import json
import logging
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

import gsdff
from gsdff.data import load_scene
from gsdff.errors import UserError
from gsdff.evaluation.features import check_questions, evaluate_features
from gsdff.evaluation.report import features_table
from gsdff.files import whole_file
from gsdff.io.pictures import error_map, save_png, side_by_side
from gsdff.io.runs import LoadedRun, check_poses, load_run
from gsdff.metrics import ImageDistance, open_lpips, psnr, ssim
from gsdff.scene import Scene, View
from gsdff.training.report import render_view

log = logging.getLogger("gsdff")

FOLDER = "evaluation"
"""Below the run's folder."""
DIGITS = {"psnr": 2, "ssim": 4, "lpips": 4}
"""How many are printed after the point."""


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate_run` found, as it is in `folder`/metrics.json."""

    folder: Path
    facts: Mapping[str, Any]
    """What was evaluated: data, step, Gaussians, views and so on."""
    images: Mapping[str, Any]
    """Of `score_images`."""
    features: Mapping[str, Any]
    """Of `evaluate_features`; empty for a run without features."""


def evaluate_run(
    folder: Path,
    *,
    labels: Path | None = None,
    classes: Sequence[str] | None = None,
    download: bool = False,
) -> Evaluation:
    """Scores the held-out views of a run and writes `evaluation/`: metrics.json and pictures.

    `labels` (a folder of label images) and `classes` (texts that compete for the pixels) are for runs with features,
    as `evaluate_features` takes them; `download` fetches LPIPS' weights where they are missing. Raises `UserError` for
    a folder that is no run, whose data has changed, or that cannot be asked so.
    """
    run = load_run(folder)
    scene = load_scene(run.config.data, run.config.dataset)
    _check_scene(run, scene)
    if labels or classes:
        check_questions(run, scene, labels, classes or ())
    device = "cuda" if run.config.device != "cpu" and torch.cuda.is_available() else "cpu"
    run = replace(run, gaussians=run.gaussians.to(device))
    out = folder / FOLDER
    facts = _describe(run, scene)
    images = score_images(run, scene, out, open_lpips(device, download=download))
    # written before features are asked for: should their teacher be missing, the images have been scored
    _write_json(out / "metrics.json", {**facts, "images": images})
    features = evaluate_features(run, scene, out, labels, classes or ())
    if features:
        _write_json(out / "metrics.json", {**facts, "images": images, "features": features})
    return Evaluation(out, facts, images, features)


def score_images(run: LoadedRun, scene: Scene, out: Path, lpips: ImageDistance | None) -> dict[str, Any]:
    """PSNR, SSIM and, given its network, LPIPS of the held-out views: {"mean": {score}, "views": {name: {score}}}.

    Writes photo | rendering | error of each into `out`. Renderings are clamped to [0, 1] and scored as floats, as 3DGS
    and gsplat do while training; rounding them to 8 bits first would change a PSNR of 30 dB by a hundredth at most.
    """
    metrics = {"psnr": psnr, "ssim": ssim} | ({"lpips": lpips} if lpips else {})
    views = [scene.views[i] for i in scene.test_ids]
    scores = {}
    for view in tqdm(views, desc="evaluating", unit="view"):
        image = render_view(run.gaussians, view, run.config).cpu()
        scores[view.name] = {name: metric(image, view.target) for name, metric in metrics.items()}
        save_png(out / f"{picture_name(view)}.png", side_by_side(view.image, image, error_map(image, view.target)))
    mean = {name: statistics.fmean(row[name] for row in scores.values()) for name in metrics}
    return {"mean": mean, "views": scores}


def picture_name(view: View) -> str:
    """A view's name as one file's stem: folders become part of it, so that equal stems in two of them do not meet."""
    return "_".join(part for part in Path(view.name).with_suffix("").parts if part not in ("/", ".."))


def images_table(images: Mapping[str, Any]) -> str:
    """The result of `score_images` as aligned text: a line per view and one for the means."""
    rows = {"view": {name: name.upper() for name in images["mean"]}}
    for view, scores in {**images["views"], "mean": images["mean"]}.items():
        rows[view] = {name: f"{score:.{DIGITS[name]}f}" for name, score in scores.items()}
    width = max(map(len, rows))
    return "\n".join(view.ljust(width) + "".join(cell.rjust(9) for cell in row.values()) for view, row in rows.items())


def format_evaluation(evaluation: Evaluation) -> str:
    """All of it as text to print."""
    facts = evaluation.facts
    size = "x".join(map(str, facts["image_size"]))
    header = f"{facts['held_out_views']} held-out views of {facts['data']} at {size}, "
    header += f"step {facts['step']}, {facts['gaussians']:,} Gaussians"
    parts = [header, images_table(evaluation.images), features_table(evaluation.features)]
    return "\n\n".join(part for part in parts if part)


def _check_scene(run: LoadedRun, scene: Scene) -> None:
    """There must be something to score, and the poses must be those the run was trained on."""
    if not scene.test_ids:
        raise UserError(f"{run.config.data}: expected held-out views to score, the dataset's own split has none")
    check_poses(run, scene)


def _describe(run: LoadedRun, scene: Scene) -> dict[str, Any]:
    camera = scene.views[scene.test_ids[0]].camera
    return {
        "gsdff": gsdff.__version__,
        "data": str(run.config.data),
        "step": run.step,
        "gaussians": len(run.gaussians),
        "sh_degree": run.gaussians.sh_degree,
        "training_views": len(scene.train_ids),
        "held_out_views": len(scene.test_ids),
        "image_size": [camera.width, camera.height],
    }


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    with whole_file(path) as partial:
        partial.write_text(json.dumps(_plain(value), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    """The value as JSON has it: numbers that are not finite (the PSNR of equal images) become null."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
