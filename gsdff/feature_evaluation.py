"""How well a run's features agree with their teacher, and with the truth where pixels are labelled."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from statistics import fmean

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from tqdm import tqdm

from gsdff.features import encode, teacher_cosine, text_cosine
from gsdff.labels import LabelClass, Truth, find_truth
from gsdff.metrics import confusion_matrix, label_scores
from gsdff.pictures import (
    PcaBasis,
    fit_pca,
    label_colors,
    label_palette,
    legend,
    pca_colors,
    save_png,
    side_by_side,
    stacked,
)
from gsdff.query import classify
from gsdff.render import render_features
from gsdff.runs import LoadedRun, RunFolder
from gsdff.scene import Scene, View
from gsdff.teachers import Teacher, open_teacher
from gsdff.teachers.basis import Basis

PROTOCOL = (
    "held-out views; every pixel gets the competing class whose text vector has the largest cosine with its feature; "
    "pixels of other classes and void do not count; a pixel without a feature counts as wrong; intersections and "
    "unions are summed over the views; the teacher's own label map is enlarged to the photo with nearest neighbour"
)


@dataclass(frozen=True)
class _Looked:
    """One held-out view through both pairs of eyes."""

    latents: Float[Tensor, "h w K"]
    """The teacher's map in the basis, at its own size."""
    labels: UInt8[Tensor, "h w"] | None
    """The teacher's answers there."""


@torch.no_grad()
def evaluate_features(run: LoadedRun, scene: Scene, out_folder: Path, labels: Path | None = None) -> dict:
    """Scores and pictures of the held-out views; {} for a run without features.

    Writes `<stem>_pca.png` (photo, teacher, field, in one colour basis for the scene) into `out_folder` and, where
    pixels are labelled, `<stem>_labels.png` (photo, truth, teacher, field). `labels` is a folder of `<stem>.png` ids
    with a classes.json inside or beside it; without it, `labels/` in the scene's folder is used where there is one.
    Raises `UserError` where the teacher's maps, the basis, or labels that were asked for cannot be read.
    """
    if run.gaussians.features is None:
        return {}
    teacher = open_teacher(run.config.teacher)
    assert teacher is not None, "a run with features has a teacher"
    basis = Basis.load(RunFolder(run.folder).basis)
    views = [scene.views[view_id] for view_id in scene.test_ids]
    truth = find_truth(scene, labels, teacher.knows)
    text = teacher.text([row.query for row in truth.competing]) if truth else None
    looked = [_ask_teacher(teacher, view, basis, text) for view in tqdm(views, desc="maps", unit="view", leave=False)]
    pca = fit_pca(torch.cat([look.latents[look.latents.any(-1)] for look in looked]))

    cosines = {}
    counts = _Counts(len(truth.competing)) if truth else None
    for view, look in zip(tqdm(views, desc="features", unit="view", leave=False), looked, strict=True):
        cosines[view.name] = _mean_cosine(_render(run, view, look.latents.shape[:2]), look.latents)
        field = _render(run, view, view.image.shape[:2])
        _save_pca(out_folder / f"{view.stem}_pca.png", view, look.latents, field, pca)
        if truth is not None and (true := truth.load(view)) is not None:
            answers = classify(text_cosine(field, text, basis.B), field.any(-1))
            teacher_answers = enlarge(look.labels, *true.shape)
            counts.add(true, answers, teacher_answers)
            _save_labels(out_folder / f"{view.stem}_labels.png", view, truth, (true, teacher_answers, answers))
    result = {
        "teacher": {"name": teacher.name, "channels": basis.B.shape[0]},
        "features": {"dim": basis.B.shape[1], "kept_energy": basis.energy},
        "num_views": len(views),
        "cosine_to_teacher": fmean(cosines.values()),
        "views": {name: {"cosine_to_teacher": cosine} for name, cosine in cosines.items()},
    }
    if truth is not None:
        result["labels"] = _label_result(truth, counts)
    return result


def features_table(result: dict) -> str:
    """The result of `evaluate_features` as lines to print; empty for {}."""
    if not result:
        return ""
    dim, channels = result["features"]["dim"], result["teacher"]["channels"]
    lines = [
        f"features: {dim} of {channels} channels, {result['features']['kept_energy']:.4f} of the teacher's energy",
        f"cosine to the teacher ({result['teacher']['name']}): {result['cosine_to_teacher']:.4f}, "
        f"mean of {result['num_views']} held-out views",
    ]
    if (labels := result.get("labels")) is None:
        return "\n".join(lines)
    lines.append(f"labels by text: {len(labels['competing'])} classes compete ({', '.join(labels['competing'])})")
    if labels["ignored"]:
        lines.append(f"pixels of other classes do not count ({', '.join(labels['ignored'])})")
    lines.append(f"{'':<14}{'field':>8}{'teacher':>9}")
    rows = [(name, labels["field"]["iou"][name], labels["teacher"]["iou"][name]) for name in labels["competing"]]
    for title, key in (("mean IoU", "miou"), ("  static", "miou_static"), ("accuracy", "accuracy")):
        rows.append((title, labels["field"][key], labels["teacher"][key]))
    lines += [f"{title:<14}{_number(field):>8}{_number(teacher):>9}" for title, field, teacher in rows]
    return "\n".join(lines)


def enlarge(labels: UInt8[Tensor, "h w"], height: int, width: int) -> UInt8[Tensor, "H W"]:
    """A label map at another size, each pixel taking the label under its centre."""
    return F.interpolate(labels[None, None].float(), (height, width), mode="nearest-exact")[0, 0].byte()


class _Counts:
    """Confusion matrices of the field and of its teacher, summed over views."""

    def __init__(self, num_classes: int):
        self.field: Int[Tensor, "Q Q1"] = torch.zeros(num_classes, num_classes + 1, dtype=torch.long)
        self.teacher = self.field.clone()
        self.num_views = 0

    def add(self, true: Tensor, field: Tensor, teacher: Tensor) -> None:
        self.field += confusion_matrix(field, true, len(self.field))
        self.teacher += confusion_matrix(teacher, true, len(self.field))
        self.num_views += 1


def _ask_teacher(teacher: Teacher, view: View, basis: Basis, text: Float[Tensor, "Q T"] | None) -> _Looked:
    features = teacher.extract(view).permute(1, 2, 0)
    labels = None if text is None else classify(features @ text.T, features.any(-1))
    return _Looked(encode(features, basis.B), labels)


def _render(run: LoadedRun, view: View, size: Sequence[int]) -> Float[Tensor, "H W K"]:
    """The run's latents in a view at size [H, W], on the CPU; as in training, antialiased at other than photo size."""
    is_photo_size = tuple(size) == (view.camera.height, view.camera.width)
    mode = run.config.stage1.rasterize_mode if is_photo_size else "antialiased"
    camera = view.camera.resized(size[1], size[0]).to(run.gaussians.means.device)
    return render_features(run.gaussians, camera, rasterize_mode=mode).image.cpu()


def _mean_cosine(field: Float[Tensor, "h w K"], teacher: Float[Tensor, "h w K"]) -> float:
    """Over the pixels the teacher answers."""
    return float(teacher_cosine(field, teacher)[teacher.any(-1)].mean())


def _save_pca(path: Path, view: View, teacher: Tensor, field: Tensor, pca: PcaBasis) -> None:
    """Photo, teacher and field; directions only, since the teacher has no lengths."""
    height, width = view.image.shape[:2]
    teacher = F.interpolate(teacher.permute(2, 0, 1)[None], (height, width), mode="nearest-exact")[0].permute(1, 2, 0)
    field = F.normalize(field, dim=-1)
    save_png(path, side_by_side(view.image, pca_colors(teacher, pca)[0], pca_colors(field, pca)[0]))


def _save_labels(path: Path, view: View, truth: Truth, maps: Sequence[UInt8[Tensor, "H W"]]) -> None:
    palette = _palette(truth.competing)
    row = side_by_side(view.image, *(label_colors(labels, palette) for labels in maps))
    save_png(path, stacked(row, legend([row.name for row in truth.competing], palette, width=row.shape[1])))


def _palette(classes: Sequence[LabelClass]) -> UInt8[Tensor, "Q 3"]:
    """The colours of the class list where it has one for every class, otherwise ours."""
    if all(row.color is not None for row in classes):
        return torch.tensor([row.color for row in classes], dtype=torch.uint8)
    return label_palette(len(classes))


def _label_result(truth: Truth, counts: _Counts) -> dict:
    static = [i for i, row in enumerate(truth.competing) if not row.moves]
    return {
        "protocol": PROTOCOL,
        "competing": [row.name for row in truth.competing],
        "queries": [row.query for row in truth.competing],
        "ignored": [row.name for row in truth.ignored],
        "moving": [row.name for row in truth.competing if row.moves],
        "num_views": counts.num_views,
        "num_pixels": label_scores(counts.field).num_pixels,
        "field": _scores(counts.field, truth.competing, static),
        "teacher": _scores(counts.teacher, truth.competing, static),
    }


def _scores(confusion: Int[Tensor, "Q Q1"], classes: Sequence[LabelClass], static: Sequence[int]) -> dict:
    scores = label_scores(confusion)
    return {
        "miou": _finite(scores.miou),
        "miou_static": _finite(float(scores.iou[static].nanmean())),
        "accuracy": _finite(scores.accuracy),
        "iou": {row.name: _finite(iou) for row, iou in zip(classes, scores.iou.tolist(), strict=True)},
    }


def _finite(value: float) -> float | None:
    return None if isnan(value) else value  # JSON knows no NaN


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
