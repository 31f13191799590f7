"""Candidate masks become a partition."""

import pytest
import torch
from torch import Tensor

from gsdff.masks.partition import number_by_area, partition


def masks_of(*pictures: str) -> Tensor:
    """Masks drawn in characters, rows apart by spaces; `#` is inside."""
    return torch.tensor([[[pixel == "#" for pixel in row] for row in picture.split()] for picture in pictures])


def cut(masks: Tensor, scores: list[float] | None = None, **options: object) -> list[list[int]]:
    scores = [1.0] * len(masks) if scores is None else scores
    return partition(masks, torch.tensor(scores), **({"min_area": 1} | options)).tolist()


def test_where_masks_overlap_the_smaller_wins_and_ids_fall_with_area():
    masks = masks_of("##.. ##.. ....", "#### #### ####", "...# .... ....")
    assert cut(masks) == [[2, 2, 1, 3], [2, 2, 1, 1], [1, 1, 1, 1]]


def test_ids_follow_what_is_left_of_the_masks():
    masks = masks_of("#####...", "####....", ".....###")
    # the first is the largest, but one pixel is left of it
    assert cut(masks) == [[1, 1, 1, 1, 3, 2, 2, 2]]


def test_masks_under_the_least_area_are_dropped_and_leave_what_is_below():
    masks = masks_of("####", "##..", "#...")
    assert cut(masks, min_area=2) == [[2, 2, 1, 1]]
    assert cut(masks, min_area=3) == [[1, 1, 1, 1]]
    assert cut(masks, min_area=5) == [[0, 0, 0, 0]]


def test_of_two_masks_that_are_nearly_the_same_the_better_score_stays():
    masks = masks_of("####.", "###..")
    first, second = [[1, 1, 1, 1, 0]], [[1, 1, 1, 0, 0]]
    assert cut(masks, [0.9, 0.8], nms_iou=0.7) == first
    assert cut(masks, [0.8, 0.9], nms_iou=0.7) == second
    assert cut(masks, [0.8, 0.9], nms_iou=0.75) == [[1, 1, 1, 2, 0]]  # their IoU is 3/4, and not above it


def test_a_mask_that_is_suppressed_suppresses_nothing():
    masks = masks_of("####....", ".####...", "..####..")
    # neighbours have an IoU of 3/5, the outer two of 1/3
    assert cut(masks, [0.9, 0.8, 0.7], nms_iou=0.5) == [[1, 1, 1, 1, 2, 2, 0, 0]]
    assert cut(masks, [0.8, 0.9, 0.7], nms_iou=0.5) == [[0, 1, 1, 1, 1, 0, 0, 0]]


def test_of_masks_of_the_same_size_the_better_score_wins_whatever_their_order():
    masks, scores = masks_of("###..", "..###"), [0.9, 0.8]
    assert cut(masks, scores) == [[1, 1, 1, 2, 2]]
    assert cut(masks.flip(0), scores[::-1]) == [[1, 1, 1, 2, 2]]


def test_whole_drops_parts_and_keeps_what_sticks_out():
    thing, part, lid = "##########. ##########.", "##......... ##.........", "........### ........###"
    masks = masks_of(thing, part, lid)
    parts, wholes = (cut(masks, level=level) for level in ("part", "whole"))
    assert parts == [[3, 3, 1, 1, 1, 1, 1, 1, 2, 2, 2]] * 2
    assert wholes == [[1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2]] * 2


def test_whole_counts_nine_tenths_as_inside():
    outside_one = masks_of("############.", "...##########")
    assert cut(outside_one, level="whole") == [[1] * 12 + [0]]
    outside_two = masks_of("###########..", "...##########")
    assert cut(outside_two, level="whole") == [[2, 2, 2, *[1] * 10]]


def test_whole_judges_by_masks_that_stay():
    # the smallest is inside the middle one, which is inside the largest; with the largest suppressed the middle stays
    masks = masks_of("########", "####....", "##......")
    assert cut(masks, level="whole") == [[1] * 8]
    assert cut(masks[1:], level="whole") == [[1, 1, 1, 1, 0, 0, 0, 0]]


@pytest.mark.parametrize("num_masks", [0, 3])
def test_without_a_mask_that_counts_no_pixel_has_a_segment(num_masks: int):
    masks = torch.zeros(num_masks, 2, 3, dtype=torch.bool)
    assert cut(masks, min_area=0) == [[0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("level", ["part", "whole"])
@pytest.mark.parametrize("seed", range(5))
def test_every_segment_is_a_part_of_one_mask_and_nothing_else_is_covered(level: str, seed: int):
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(40, 4, generator=generator) * 30
    y, x = torch.meshgrid(torch.arange(24), torch.arange(30), indexing="ij")
    top, left, height, width = (column[:, None, None] for column in corners.unbind(1))
    masks = (y >= top) & (y < top + height / 2) & (x >= left) & (x < left + width / 2)
    labels = partition(masks, torch.rand(40, generator=generator), min_area=12, nms_iou=0.6, level=level)
    segments = [labels == number for number in range(1, int(labels.max()) + 1)]
    areas = [int(segment.sum()) for segment in segments]
    assert labels.dtype == torch.int32 and len(segments) > 3
    assert areas == sorted(areas, reverse=True) and areas[-1] > 0
    large = masks[masks.flatten(1).sum(1) >= 12]
    assert all((segment & ~large).flatten(1).any(1).logical_not().any() for segment in segments)
    assert not ((labels > 0) & ~large.any(0)).any()


def test_shared_pixels_are_counted_exactly_over_several_parts():
    masks = torch.zeros(2, 300, 400, dtype=torch.bool)
    masks[0, :, :250], masks[1, :, 50:] = True, True  # 200 columns of 400 are shared
    both = partition(masks, torch.tensor([1.0, 0.5]), nms_iou=0.5)
    one = partition(masks, torch.tensor([1.0, 0.5]), nms_iou=0.4999)
    assert (int(both.max()), int(one.max())) == (2, 1)


def test_numbering_by_area_keeps_the_segments_and_what_has_none():
    labels = torch.tensor([[7, 0, 0], [9, 9, 0], [9, 7, 4]])
    assert number_by_area(labels).tolist() == [[2, 0, 0], [1, 1, 0], [1, 2, 3]]
    assert number_by_area(torch.zeros(2, 2, dtype=torch.long)).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("level", ["part", "whole"])
def test_a_card_cuts_as_the_cpu_does_and_is_waited_for_as_often_for_many_masks_as_for_few(card, level):
    generator = torch.Generator().manual_seed(0)
    corners = torch.randint(0, 20, (12, 2), generator=generator)
    masks = torch.zeros(12, 40, 40, dtype=torch.bool)
    for mask, (y, x) in zip(masks, corners.tolist(), strict=True):
        mask[y : y + 8 + x // 2, x : x + 20] = True
    scores, waits = torch.rand(12, generator=generator), []
    for some in (masks, masks[:4]):
        expected = partition(some, scores[: len(some)], min_area=1, level=level)
        on_card = some.cuda()
        card.clear()
        labels = partition(on_card, scores[: len(some)], min_area=1, level=level)
        waits.append(card.num_waits)
        assert torch.equal(labels.cpu(), expected)
    assert waits[0] == waits[1]
