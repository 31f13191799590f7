"""Edges of things that are cut by text, and the lead of the right text: by hand, and by their properties."""

import math

import pytest
import torch
from tiny_field import make_camera, make_gaussians

from gsdff.evaluation import cuts
from gsdff.evaluation.classes import GroundTruth
from gsdff.evaluation.cuts import CutScores, draw_labels, label_gaussians
from gsdff.evaluation.label_metrics import Mean, boundary_distance, margin_kept, text_margin
from gsdff.render import render_features
from gsdff.scene import VOID

HEIGHT, WIDTH = 4, 20
COLUMNS = torch.arange(WIDTH).expand(HEIGHT, WIDTH)
NAMES = ["road", "car", "pole"]


def step_at(column: int) -> torch.Tensor:
    """Labels with road left of a column, car from there on."""
    return (column <= COLUMNS).byte()


def truth_of(
    labels: torch.Tensor, segments: torch.Tensor | None = None, ids: torch.Tensor | None = None
) -> GroundTruth:
    ids = labels if ids is None else ids
    if segments is None:
        return GroundTruth(labels, ids, ids.int(), no_segment=VOID)
    return GroundTruth(labels, ids, segments, no_segment=0)


def scores_of(*views: tuple[torch.Tensor, GroundTruth], are_instances: bool = False) -> dict:
    scores = CutScores(["field"], [3, 5])
    for labels, truth in views:
        scores.add({"field": labels}, truth)
    return scores.result(NAMES, are_instances=are_instances)


def test_a_cut_is_scored_inside_and_outside_near_the_border() -> None:
    result = scores_of((step_at(14), truth_of(step_at(10))))
    # 3 px are columns 7 to 12: none of the car's three is cut, half of what is cut as road is road
    # 5 px are columns 5 to 14: one of the car's five is cut, and five of nine are rightly left
    near, far = (0 + 1 / 2) / 2, (1 / 5 + 5 / 9) / 2
    assert list(result["things"]) == ["road", "car"]
    for thing in result["things"].values():
        assert thing["field"] == pytest.approx({"3px": near, "5px": far})
    assert result["field"] == pytest.approx({"3px": near, "5px": far}) and result["num_things"] == 2
    assert scores_of((step_at(10), truth_of(step_at(10))))["field"] == {"3px": 1, "5px": 1}


def test_views_add_up_by_thing_and_things_count_alike() -> None:
    """The car is right in one view and one column off in the other; a pole of the second view is missed."""
    true = step_at(10).masked_fill(COLUMNS < 2, 2)
    result = scores_of((step_at(10), truth_of(step_at(10))), (step_at(11), truth_of(true)))
    car = ((3 + 2) / (3 + 3) + (3 + 3) / (3 + 4)) / 2
    pole = (0 + 3 / 5) / 2  # of columns 0 to 4, two are the pole's
    things = {name: scores["field"]["3px"] for name, scores in result["things"].items()}
    assert things["car"] == pytest.approx(car) and things["pole"] == pytest.approx(pole)
    assert result["field"]["3px"] == pytest.approx(sum(things.values()) / 3)


def test_other_things_of_the_class_are_no_part_of_a_thing_and_do_not_count() -> None:
    """Two cars side by side: a text cuts both out at once, which is right for each."""
    segments = torch.where(COLUMNS < 10, 0, torch.where(COLUMNS < 15, 7, 9))
    result = scores_of((step_at(10), truth_of(step_at(10), segments)), are_instances=True)
    assert list(result["things"]) == ["car 7", "car 9"]
    assert result["things"]["car 7"]["field"] == {"3px": 1, "5px": 1}
    assert result["things"]["car 9"]["field"] == {"3px": None, "5px": None}  # it borders on the other car only
    assert result["field"] == {"3px": 1, "5px": 1}


def test_what_does_not_compete_has_a_border_and_does_not_count_and_void_has_none() -> None:
    ids = step_at(10)
    fence = ids.masked_fill(COLUMNS < 10, 2)  # labelled, but competing with nothing
    labels = ids.masked_fill(COLUMNS < 10, VOID)
    missed = torch.zeros_like(ids)
    # the car's three columns are missed, and there is no outside that counts
    assert scores_of((missed, truth_of(labels, ids=fence)))["things"]["car"]["field"]["3px"] == 0
    assert scores_of((missed, truth_of(labels)))["things"]["car"]["field"]["3px"] is None


def test_windows_around_things_change_no_score(generator: torch.Generator) -> None:
    blocks = torch.randint(0, 4, (6, 8), generator=generator).repeat_interleave(4, 0).repeat_interleave(5, 1)
    labels = torch.where(blocks == 3, VOID, blocks).byte()
    segments = torch.randint(0, 3, (3, 4), generator=generator).repeat_interleave(8, 0).repeat_interleave(10, 1)
    predicted = torch.randint(0, 3, labels.shape, generator=generator).byte()
    result = scores_of((predicted, truth_of(labels, segments)), are_instances=True)
    for name, scores in result["things"].items():
        index, segment = NAMES.index(name.split()[0]), int(name.split()[1])
        inside = (labels == index) & (segments == segment)
        aside = (labels == VOID) | ((labels == index) & ~inside)
        near = (boundary_distance(inside.byte().masked_fill(aside, VOID)) <= 3) & ~aside
        cut = predicted == index
        ious = [float((a & b & near).sum() / ((a | b) & near).sum()) for a, b in ((inside, cut), (~inside, ~cut))]
        expected = [iou for iou in ious if not math.isnan(iou)]
        value = scores["field"]["3px"]
        assert value is None if not expected else value == pytest.approx(sum(expected) / len(expected))
    assert len(result["things"]) >= 4


def test_labels_of_gaussians_are_drawn_where_they_are_most_of_what_a_pixel_shows(generator: torch.Generator) -> None:
    gaussians, camera = make_gaussians(40, generator), make_camera(width=26, height=18)
    labels = torch.arange(40).remainder(5).byte().masked_fill(torch.arange(40) > 35, VOID)
    drawn = draw_labels(gaussians, labels, [0, 2, 3], camera)
    rendered = render_features(gaussians, camera, features=torch.stack([(labels == i).float() for i in range(5)], 1))
    alpha = rendered.alpha[..., 0]
    for index in range(5):
        is_most = (rendered.image[..., index] >= 0.5 * alpha) & (alpha > 0)
        assert torch.equal(drawn == index, is_most if index in (0, 2, 3) else torch.zeros_like(is_most))
    assert (drawn == VOID).any() and (drawn != VOID).sum() > 20


def test_memory_is_bounded_by_parts_that_change_nothing(
    generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    gaussians, camera = make_gaussians(40, generator), make_camera(width=26, height=18)
    gaussians.features, text = torch.randn(40, 4, generator=generator), torch.randn(6, 5, generator=generator)
    gaussians.features[3] = 0
    B = torch.eye(5)[:, :4]
    labels = label_gaussians(gaussians, text, B)
    assert labels[3] == VOID and len(labels[labels != VOID].unique()) > 2
    whole = draw_labels(gaussians, labels, range(6), camera)
    monkeypatch.setattr(cuts, "PART", 7)
    monkeypatch.setattr(cuts, "CHANNELS", 1)
    assert torch.equal(label_gaussians(gaussians, text, B), labels)
    assert torch.equal(draw_labels(gaussians, labels, range(6), camera), whole)


def test_the_margin_is_the_lead_over_the_best_other_text() -> None:
    cosines = torch.tensor([[[0.75, 0.25, 0.5], [0.75, 0.25, 0.5], [0.75, 0.25, 0.5], [0.5, 0.5, 0.25]]])
    margin = text_margin(cosines, torch.tensor([[0, 2, VOID, 1]], dtype=torch.uint8))
    assert margin[0, [0, 1, 3]].tolist() == [0.25, -0.25, 0] and margin[0, 2].isnan()


def test_a_margin_is_kept_if_half_of_the_teachers_is_left() -> None:
    teacher = torch.tensor([0.5, 0.5, 0.5, 0.5, -0.5, 0.0, math.nan])
    field = torch.tensor([0.25, 0.24, 0.9, -0.1, 0.9, 0.9, math.nan])
    assert margin_kept(field, teacher) == Mean(2, 4)  # where the teacher is wrong or there is no truth, nothing counts
    assert margin_kept(field, teacher, share=0.0) == Mean(3, 4)
