"""Scores of predictions of the field and its teacher over several views, by hand."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gsdff.evaluation.classes import GroundTruth, ScoredClasses
from gsdff.evaluation.scores import FeatureScores, Prediction, enlarge
from gsdff.labels import LabelClass, Truth
from gsdff.scene import VOID

ROAD, CAR = LabelClass(0, "road", "road"), LabelClass(1, "car", "car", moves=True)
POLE = LabelClass(2, "pole", None)
UNLABELLED = ScoredClasses([ROAD, CAR], None, None)
SCORED = ScoredClasses([ROAD, CAR], Truth(Path("labels"), [ROAD, CAR], [POLE]), None)
HEIGHT, WIDTH = 4, 20
NO_POINTS = torch.zeros(0, dtype=torch.long)
COLUMNS = torch.arange(WIDTH).expand(HEIGHT, WIDTH)


def step_at(column: int) -> torch.Tensor:
    """Labels with road left of a column, car from there on."""
    return (column <= COLUMNS).byte()


def predict(labels: torch.Tensor) -> Prediction:
    """A prediction with features to match: right for road, up for car."""
    return Prediction(torch.eye(2)[labels.clamp(max=1).long()], labels)


def truth_of(labels: torch.Tensor, ids: torch.Tensor | None = None) -> GroundTruth:
    ids = labels if ids is None else ids
    return GroundTruth(labels, ids, ids.int(), no_segment=VOID)


def scores_of(scored: ScoredClasses, *views: tuple) -> dict:
    """Scores of views that are each (field, teacher, truth) or (field, teacher, truth, pixels)."""
    scores = FeatureScores(scored)
    for field, teacher, truth, *points in views:
        scores.add({"field": predict(field), "teacher": predict(teacher)}, truth, points[0] if points else NO_POINTS)
    return scores.result()


def test_boundary_scores_count_so_many_pixels_on_either_side() -> None:
    true = step_at(10)
    labels = scores_of(SCORED, (step_at(14), true, truth_of(true)))["labels"]
    # Among columns 7 to 12 half the road is right; among 5 to 14 five of nine, and one column of car of five.
    assert labels["field"]["boundary_miou"] == pytest.approx({"3px": (3 / 6 + 0) / 2, "5px": (5 / 9 + 1 / 5) / 2})
    assert labels["field"]["miou"] == pytest.approx((10 / 14 + 6 / 10) / 2)
    assert labels["teacher"]["boundary_miou"] == {"3px": 1, "5px": 1}


def test_a_class_that_does_not_count_competes_and_is_left_out_of_the_means() -> None:
    car = replace(CAR, counts=False)
    scored = ScoredClasses([ROAD, car], Truth(Path("labels"), [ROAD, car], []), None)
    true = step_at(10)
    labels = scores_of(scored, (step_at(14), true, truth_of(true)))["labels"]
    assert labels["not_in_mean"] == ["car"] and labels["field"]["iou"]["car"] == pytest.approx(6 / 10)
    assert labels["field"]["miou"] == labels["field"]["miou_static"] == pytest.approx(10 / 14)
    assert labels["field"]["boundary_miou"]["3px"] == pytest.approx(3 / 6)


def test_what_does_not_compete_has_boundaries_all_the_same() -> None:
    true = step_at(10).masked_fill(COLUMNS < 3, VOID)  # a pole, which does not count
    field = step_at(10).masked_fill(COLUMNS == 4, 1)
    assert scores_of(SCORED, (field, field, truth_of(true)))["labels"]["field"]["boundary_miou"]["3px"] == 1
    ids = step_at(10).masked_fill(COLUMNS < 3, 2)
    bands = scores_of(SCORED, (field, field, truth_of(true, ids)))["labels"]["field"]["boundary_miou"]
    # Beside the pole columns 3 to 5 count too, and column 4 is wrong.
    assert bands["3px"] == pytest.approx((5 / 6 + 3 / 4) / 2)


def test_energy_is_that_within_segments_of_the_truth_whatever_is_answered() -> None:
    true = step_at(10)
    labels = scores_of(SCORED, (step_at(14), step_at(10), truth_of(true)))["labels"]
    # A row of the field has one step of ‖right - up‖² = 2, inside the car, among 9 + 9 pairs; 3 x 20 pairs are upright.
    assert labels["field"]["gradient_energy"] == pytest.approx(HEIGHT * 2 / (HEIGHT * 18 + 3 * WIDTH))
    assert labels["teacher"]["gradient_energy"] == 0


def test_a_small_feature_map_is_enlarged_before_its_energy_is_measured() -> None:
    coarse = Prediction(torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]), step_at(10))
    scores = FeatureScores(SCORED)
    everywhere = torch.zeros(HEIGHT, WIDTH, dtype=torch.uint8)
    scores.add({"field": coarse, "teacher": predict(everywhere)}, truth_of(everywhere), NO_POINTS)
    smooth = scores.result()["labels"]["field"]["gradient_energy"]
    assert 0 < smooth < HEIGHT * 2 / (HEIGHT * 19 + 3 * WIDTH) / 2  # a ramp has less than a step


def test_agreement_speckles_and_consistency_need_no_truth() -> None:
    field = step_at(10)
    field[0, :3] = VOID
    pixels = torch.tensor([0, 1, 5, 19, -1])
    views = [(field, step_at(10), None, pixels), (step_at(10), step_at(4), None, pixels + (pixels >= 0))]
    result = scores_of(UNLABELLED, *views)
    assert set(result) == {"label_maps"} and result["label_maps"]["classes"] == ["road", "car"]
    maps = result["label_maps"]
    assert maps["agreement_with_teacher"] == pytest.approx(1 - (3 + 6 * HEIGHT) / (2 * HEIGHT * WIDTH))
    # All components but the car of the second teacher map are below 50 pixels.
    assert maps["field"]["speckle_share"] == 1
    assert maps["teacher"]["speckle_share"] == pytest.approx((HEIGHT * WIDTH + 4 * HEIGHT) / (2 * HEIGHT * WIDTH))
    # The points are visible in columns 0, 1, 5, 19, then 1, 2, 6 and, one row down, 0; the fifth is never visible.
    assert maps["num_points"] == 4
    assert maps["field"]["view_consistency"] == 1 / 4  # nothing -> road, twice; road -> road; car -> road
    assert maps["teacher"]["view_consistency"] == 2 / 4  # road -> road, twice; road -> car; car -> road


def test_views_without_labels_have_no_say_in_the_label_scores() -> None:
    labelled = (step_at(12), step_at(10), truth_of(step_at(10)))
    unlabelled = (step_at(0), step_at(20), None)
    one, both = scores_of(SCORED, labelled), scores_of(SCORED, labelled, unlabelled)
    assert one["labels"] == both["labels"] and both["labels"]["num_views"] == 1
    assert one["label_maps"]["agreement_with_teacher"] != both["label_maps"]["agreement_with_teacher"]


def test_what_nothing_was_found_for_is_none() -> None:
    void = torch.full((HEIGHT, WIDTH), VOID, dtype=torch.uint8)
    result = scores_of(SCORED, (void, void, truth_of(void)))
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["label_maps"]["agreement_with_teacher"] is None
    assert result["label_maps"]["field"] == {"speckle_share": 0, "view_consistency": None}
    assert result["labels"]["field"]["miou"] is None and result["labels"]["field"]["gradient_energy"] is None
    assert result["labels"]["field"]["boundary_miou"] == {"3px": None, "5px": None}


def test_enlarging_takes_what_is_under_each_pixels_centre_or_blends_it() -> None:
    small = torch.tensor([[[1.0], [2.0]], [[3.0], [9.0]]])
    # Centres of 5 columns on 2: .2 .6 | 1.0 1.4 1.8 -> the middle column lies on the border and goes right.
    nearest = enlarge(small, (4, 5), "nearest-exact")[..., 0]
    assert nearest.tolist() == [[1, 1, 2, 2, 2]] * 2 + [[3, 3, 9, 9, 9]] * 2
    # Centres of the small map are at .5 and 1.5: the weights of the right one are 0 .1 .5 .9 1.
    torch.testing.assert_close(enlarge(small[:1], (1, 5))[0, :, 0], torch.tensor([1.0, 1.1, 1.5, 1.9, 2.0]))
