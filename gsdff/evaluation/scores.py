"""Scores of label maps and features, the field's and its teacher's side by side, added up over views."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from gsdff.evaluation.classes import Questions, ViewTruth
from gsdff.evaluation.label_metrics import (
    DEPTH_TOLERANCE,
    SPECKLE_AREA,
    Mean,
    agreement,
    boundary_distance,
    gradient_energy,
    speckles,
    view_consistency,
)
from gsdff.labels import LabelClass
from gsdff.metrics import confusion_matrix, label_scores
from gsdff.scene import VOID

BAND_RADII = (3, 5)
"""Pixels on either side of a boundary that are scored on their own."""
MIN_OPACITY = 0.5
"""Gaussians less opaque than that mark no point of a surface."""
MAPS_PROTOCOL = (
    "held-out views at the photo's size; every pixel gets the class whose text vector has the largest cosine with its "
    "feature, the teacher's cosines being enlarged to the photo bilinearly; agreement: share of the pixels the teacher "
    "answers at which the field answers the same; speckles: share of pixels in 4-connected components of one label "
    f"under {SPECKLE_AREA} px; view consistency: mean probability that two of the views that see a Gaussian's centre "
    f"(opacity {MIN_OPACITY} or more, within {DEPTH_TOLERANCE:.0%} of the rendered depth) label it the same; no answer "
    "is a label of its own"
)
LABELS_PROTOCOL = (
    "label maps against the truth; pixels of classes that do not compete and void do not count; a pixel without a "
    "feature counts as wrong; intersections and unions are summed over the views; boundary: over the pixels at most so "
    "many px from a border between two ids, competing or not, void aside; gradient energy: mean squared difference of "
    "the unit features of 4-neighbours within a segment of the truth, in the run's basis, the teacher's map enlarged "
    "to the photo bilinearly"
)


@dataclass(frozen=True)
class ViewAnswer:
    """What the field, or its teacher, makes of a view."""

    latents: Float[Tensor, "h w K"]
    """In the basis, at any size."""
    labels: UInt8[Tensor, "H W"]
    """Indices of classes at the photo's size, VOID where there is no answer."""


@dataclass
class _Sums:
    """Of one of the two, field or teacher."""

    confusion: Int[Tensor, "Q Q1"]
    bands: dict[int, Int[Tensor, "Q Q1"]]
    speckles: Mean = field(default_factory=Mean)
    energy: Mean = field(default_factory=Mean)
    point_labels: list[UInt8[Tensor, "P"]] = field(default_factory=list)

    def compare(self, answer: ViewAnswer, truth: ViewTruth, distance: Float[Tensor, "H W"]) -> None:
        """Counts a view against its truth; `distance` is that to the nearest boundary."""
        self.confusion = self.confusion + confusion_matrix(answer.labels, truth.labels, len(self.confusion))
        for radius, counts in self.bands.items():
            near = truth.labels.masked_fill(distance > radius, VOID)
            self.bands[radius] = counts + confusion_matrix(answer.labels, near, len(counts))
        latents = enlarge(answer.latents, truth.segments.shape)
        self.energy += gradient_energy(latents, truth.segments, none=truth.no_segment)


class FeatureScores:
    """Add every held-out view, then ask for the `result`."""

    def __init__(self, questions: Questions):
        self.questions = questions
        nothing = torch.zeros(len(questions.classes), len(questions.classes) + 1, dtype=torch.long)
        self.sums = {name: _Sums(nothing, dict.fromkeys(BAND_RADII, nothing)) for name in ("field", "teacher")}
        self.agreement = Mean()
        self.seen: list[Bool[Tensor, "P"]] = []
        self.num_labelled_views = 0

    def add(self, answers: Mapping[str, ViewAnswer], truth: ViewTruth | None, points: Int[Tensor, "P"]) -> None:
        """The answers of `field` and `teacher` about a view, and which pixel shows each point (-1: not seen)."""
        self.agreement += agreement(answers["field"].labels, answers["teacher"].labels)
        self.seen.append(points >= 0)
        for name, sums in self.sums.items():
            sums.speckles += speckles(answers[name].labels)
            sums.point_labels.append(answers[name].labels.flatten()[points])
        if truth is not None:
            self.num_labelled_views += 1
            distance = boundary_distance(truth.ids)
            for name, sums in self.sums.items():
                sums.compare(answers[name], truth, distance)

    def result(self) -> dict:
        """{"label_maps": ...} and, where there is a truth, {"labels": ...}; None where nothing was found."""
        result = {"label_maps": self._maps_result()}
        return result if self.questions.truth is None else result | {"labels": self._labels_result()}

    def _maps_result(self) -> dict:
        seen = torch.stack(self.seen)
        consistency = {name: view_consistency(torch.stack(sums.point_labels), seen) for name, sums in self.sums.items()}
        return {
            "protocol": MAPS_PROTOCOL,
            "classes": [row.name for row in self.questions.classes],
            "queries": [row.query for row in self.questions.classes],
            "agreement_with_teacher": _finite(self.agreement.value),
            "num_points": consistency["field"].count,
        } | {
            name: {
                "speckle_share": _finite(sums.speckles.value),
                "view_consistency": _finite(consistency[name].value),
            }
            for name, sums in self.sums.items()
        }

    def _labels_result(self) -> dict:
        truth = self.questions.truth
        return {
            "protocol": LABELS_PROTOCOL,
            "competing": [row.name for row in truth.competing],
            "queries": [row.query for row in truth.competing],
            "ignored": [row.name for row in truth.ignored],
            "not_in_mean": [row.name for row in truth.competing if not row.counts],
            "moving": [row.name for row in truth.competing if row.moves],
            "num_views": self.num_labelled_views,
            "num_pixels": label_scores(self.sums["field"].confusion).num_pixels,
            "segments": "labels" if self.questions.instances is None else "instances",
        } | {name: _against_truth(sums, truth.competing) for name, sums in self.sums.items()}


def enlarge(values: Float[Tensor, "h w D"], size: Sequence[int], mode: str = "bilinear") -> Float[Tensor, "H W D"]:
    """A map at another size [H, W] that covers the same image."""
    return F.interpolate(values.permute(2, 0, 1)[None], tuple(size), mode=mode)[0].permute(1, 2, 0)


def _against_truth(sums: _Sums, classes: Sequence[LabelClass]) -> dict:
    scores = label_scores(sums.confusion)
    counting = [i for i, row in enumerate(classes) if row.counts]
    static = [i for i in counting if not classes[i].moves]
    bands = {f"{radius}px": label_scores(counts).iou[counting] for radius, counts in sums.bands.items()}
    return {
        "miou": _finite(float(scores.iou[counting].nanmean())),
        "miou_static": _finite(float(scores.iou[static].nanmean())),
        "accuracy": _finite(scores.accuracy),
        "boundary_miou": {band: _finite(float(iou.nanmean())) for band, iou in bands.items()},
        "gradient_energy": _finite(sums.energy.value),
        "iou": {row.name: _finite(iou) for row, iou in zip(classes, scores.iou.tolist(), strict=True)},
    }


def _finite(value: float) -> float | None:
    return None if isnan(value) else value  # JSON knows no NaN
