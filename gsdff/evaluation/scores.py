"""Scores of label maps and features, accumulated over views, for the field and its teacher side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from gsdff.evaluation.classes import GroundTruth, ScoredClasses
from gsdff.evaluation.cuts import CutScores
from gsdff.evaluation.label_metrics import (
    DEPTH_TOLERANCE,
    KEPT_SHARE,
    SPECKLE_AREA,
    Mean,
    agreement,
    boundary_distance,
    gradient_energy,
    margin_kept,
    speckles,
    view_consistency,
)
from gsdff.labels import LabelClass, Truth
from gsdff.metrics import confusion_matrix, finite_or_none, label_scores
from gsdff.scene import VOID

BAND_RADII = (3, 5)
"""Half widths, in pixels, of the bands around boundaries that are scored separately."""
MIN_OPACITY = 0.5
"""Least opacity of a Gaussian whose centre counts as a surface point."""
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
MARGIN_PROTOCOL = (
    "share of the pixels whose true class's text leads in the teacher (its cosine minus the largest of the other "
    f"competing texts' is positive) at which it leads in the field by at least {KEPT_SHARE:g} of that; the teacher's "
    "cosines are enlarged to the photo bilinearly"
)
CUTS = ("field", "gaussians", "teacher")
"""Sides that things are cut out of: pixels of the field, its Gaussians, pixels of the teacher."""


@dataclass(frozen=True)
class Prediction:
    """Features and labels of a view, as the field or its teacher predicts them."""

    latents: Float[Tensor, "h w K"]
    """Features in the basis, at any size."""
    labels: UInt8[Tensor, "H W"]
    """Indices of classes at the size of the photo, VOID without a prediction."""
    margin: Float[Tensor, "H W"] | None = None
    """Lead of the right text in half precision or more (`text_margin`); None without ground truth."""


@dataclass
class _Sums:
    """Sums over views of the field's predictions, or of its teacher's."""

    confusion: Int[Tensor, "Q Q1"]
    bands: dict[int, Int[Tensor, "Q Q1"]]
    speckles: Mean = field(default_factory=Mean)
    energy: Mean = field(default_factory=Mean)
    point_labels: list[UInt8[Tensor, "P"]] = field(default_factory=list)

    def compare(self, prediction: Prediction, truth: GroundTruth, distance: Float[Tensor, "H W"]) -> None:
        """Adds the comparison of a view with its ground truth; `distance` is the distance to the nearest boundary."""
        self.confusion = self.confusion + confusion_matrix(prediction.labels, truth.labels, len(self.confusion))
        for radius, counts in self.bands.items():
            near = truth.labels.masked_fill(distance > radius, VOID)
            self.bands[radius] = counts + confusion_matrix(prediction.labels, near, len(counts))
        latents = enlarge(prediction.latents, truth.segments.shape)
        self.energy += gradient_energy(latents, truth.segments, none=truth.no_segment)

    def merge(self, other: "_Sums") -> None:
        """Adds the sums over other views."""
        self.confusion = self.confusion + other.confusion
        self.bands = {radius: counts + other.bands[radius] for radius, counts in self.bands.items()}
        self.speckles += other.speckles
        self.energy += other.energy
        self.point_labels += other.point_labels


class FeatureScores:
    """Scores of label maps over several views: `add` each, or `merge` the scores of some, then read the `result`."""

    def __init__(self, scored: ScoredClasses):
        self.scored = scored
        num_classes = len(scored.classes)
        zeros = torch.zeros(num_classes, num_classes + 1, dtype=torch.long)
        self.sums = {name: _Sums(zeros, dict.fromkeys(BAND_RADII, zeros)) for name in ("field", "teacher")}
        self.agreement = Mean()
        self.is_visible: list[Bool[Tensor, "P"]] = []
        self.num_labelled_views = 0
        self.cuts = CutScores(CUTS, BAND_RADII)
        self.margin = Mean()

    def add(
        self,
        predictions: Mapping[str, Prediction],
        truth: GroundTruth | None,
        pixels: Int[Tensor, "P"],
        drawn: UInt8[Tensor, "H W"] | None = None,
    ) -> None:
        """Adds predictions of `field` and `teacher` for a view; `pixels` show the surface points (-1: not visible).

        `drawn` are the labels of the Gaussians as the view shows them (`draw_labels`); None if there are none.
        """
        self.agreement += agreement(predictions["field"].labels, predictions["teacher"].labels)
        self.is_visible.append(pixels >= 0)
        for name, sums in self.sums.items():
            sums.speckles += speckles(predictions[name].labels)
            sums.point_labels.append(predictions[name].labels.flatten()[pixels])
        if truth is not None:
            self.num_labelled_views += 1
            distance = boundary_distance(truth.ids)
            for name, sums in self.sums.items():
                sums.compare(predictions[name], truth, distance)
            nothing = torch.full_like(truth.labels, VOID)
            maps = {name: predictions[name].labels for name in self.sums}
            self.cuts.add(maps | {"gaussians": nothing if drawn is None else drawn}, truth)
            margins = [predictions[name].margin for name in ("field", "teacher")]
            if margins[0] is not None and margins[1] is not None:
                self.margin += margin_kept(margins[0], margins[1].float())

    def merge(self, other: "FeatureScores") -> None:
        """Adds the sums over other views; of one view after the other, to the same bits as `add`."""
        for name, sums in self.sums.items():
            sums.merge(other.sums[name])
        self.agreement += other.agreement
        self.is_visible += other.is_visible
        self.num_labelled_views += other.num_labelled_views
        self.cuts.merge(other.cuts)
        self.margin += other.margin

    def result(self) -> dict[str, Any]:
        """Returns {"label_maps": ...} and, with ground truth, {"labels": ...}; a score of no pixels is None."""
        truth, result = self.scored.truth, {"label_maps": self._maps_result()}
        return result if truth is None else result | {"labels": self._labels_result(truth)}

    def _maps_result(self) -> dict[str, Any]:
        """Scores that need no ground truth."""
        visible = torch.stack(self.is_visible)
        consistency = {
            name: view_consistency(torch.stack(sums.point_labels), visible) for name, sums in self.sums.items()
        }
        return {
            "protocol": MAPS_PROTOCOL,
            "classes": [entry.name for entry in self.scored.classes],
            "queries": self.scored.queries,
            "agreement_with_teacher": finite_or_none(self.agreement.value),
            "num_points": consistency["field"].count,
        } | {
            name: {
                "speckle_share": finite_or_none(sums.speckles.value),
                "view_consistency": finite_or_none(consistency[name].value),
            }
            for name, sums in self.sums.items()
        }

    def _labels_result(self, truth: Truth) -> dict[str, Any]:
        """Scores against the ground truth."""
        return {
            "protocol": LABELS_PROTOCOL,
            "competing": [entry.name for entry in truth.competing],
            "queries": [entry.query for entry in truth.competing],
            "ignored": [entry.name for entry in truth.ignored],
            "not_in_mean": [entry.name for entry in truth.competing if not entry.counts],
            "moving": [entry.name for entry in truth.competing if entry.moves],
            "num_views": self.num_labelled_views,
            "num_pixels": label_scores(self.sums["field"].confusion).num_pixels,
            "segments": "labels" if self.scored.instances is None else "instances",
            "text_margin": {
                "protocol": MARGIN_PROTOCOL,
                "kept": finite_or_none(self.margin.value),
                "num_pixels": self.margin.count,
            },
            "cuts": self.cuts.result(
                [entry.name for entry in truth.competing], are_instances=self.scored.instances is not None
            ),
        } | {name: _against_truth(sums, truth.competing) for name, sums in self.sums.items()}


def enlarge(values: Float[Tensor, "h w D"], size: Sequence[int], mode: str = "bilinear") -> Float[Tensor, "H W D"]:
    """Resizes a map to [H, W]; it covers the same image."""
    return F.interpolate(values.permute(2, 0, 1)[None], tuple(size), mode=mode)[0].permute(1, 2, 0)


def _against_truth(sums: _Sums, classes: Sequence[LabelClass]) -> dict[str, Any]:
    scores = label_scores(sums.confusion)
    counting = [i for i, entry in enumerate(classes) if entry.counts]
    static = [i for i in counting if not classes[i].moves]
    bands = {f"{radius}px": label_scores(counts).iou[counting] for radius, counts in sums.bands.items()}
    return {
        "miou": finite_or_none(float(scores.iou[counting].nanmean())),
        "miou_static": finite_or_none(float(scores.iou[static].nanmean())),
        "accuracy": finite_or_none(scores.accuracy),
        "boundary_miou": {band: finite_or_none(float(iou.nanmean())) for band, iou in bands.items()},
        "gradient_energy": finite_or_none(sums.energy.value),
        "iou": {entry.name: finite_or_none(iou) for entry, iou in zip(classes, scores.iou.tolist(), strict=True)},
    }
