"""From relevancy maps to peaks and masks: each step by hand."""

import math
from dataclasses import replace

import pytest
import torch

from gsdff.errors import UserError
from gsdff.evaluation.ovs.options import OvsOptions
from gsdff.evaluation.ovs.scores import (
    choose_level,
    count_pixels,
    is_hit,
    majority,
    mean_filter,
    predict_category,
    stretch,
)

PLAIN = OvsOptions(filter_size=1, majority_size=1)


def test_the_mean_filter_is_opencvs(generator):
    """Even squares reach one pixel further left and up; beyond the edge pixel the picture is mirrored."""
    values = torch.rand(7, 9, generator=generator)
    size, (height, width) = 4, values.shape

    def mirrored(i: int, length: int) -> int:
        return -i if i < 0 else 2 * (length - 1) - i if i >= length else i

    for y in range(height):
        for x in range(width):
            rows = [mirrored(y + d, height) for d in range(-2, 2)]
            columns = [mirrored(x + d, width) for d in range(-2, 2)]
            mean = values[rows][:, columns].mean()
            assert mean_filter(values, size)[y, x] == pytest.approx(float(mean), abs=1e-6)
    assert torch.equal(mean_filter(values, 1), values)
    assert mean_filter(torch.full((5, 5), 0.3), 7).allclose(torch.tensor(0.3))


def test_a_filter_as_wide_as_the_picture_is_refused():
    with pytest.raises(UserError, match="a mean filter of 30 pixels needs a picture of more than 15 pixels a side"):
        mean_filter(torch.zeros(15, 40), 30)


def test_stretching_takes_the_lower_half_of_the_range_away():
    assert stretch(torch.tensor([2.0, 4.0, 5.0, 6.0])).tolist() == pytest.approx([0, 0, 0.5, 1])
    assert stretch(torch.full((3,), 0.7)).tolist() == [0, 0, 0]


def test_the_majority_of_what_lies_in_the_picture_decides_and_a_tie_is_no():
    mask = torch.tensor([[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 1]]).bool()
    # the corner's 2 x 2 has three of four; the middle ones of the first row have three of six
    assert majority(mask, 3).int().tolist() == [[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert torch.equal(majority(mask, 1), mask)


def test_iou_by_hand():
    mask, truth = torch.tensor([1, 1, 0, 0]).bool(), torch.tensor([0, 1, 1, 0]).bool()
    counts = count_pixels(mask, truth)
    assert (counts.mask, counts.truth, counts.common) == (2, 2, 1) and counts.iou == pytest.approx(1 / 3)
    assert count_pixels(mask, mask).iou == 1 and count_pixels(mask, ~mask).iou == 0
    nothing = count_pixels(mask & ~mask, mask & ~mask)
    assert math.isnan(nothing.iou) and nothing.iou_or_zero == 0


def test_a_peak_on_the_border_of_a_box_is_a_hit_and_one_pixel_off_a_miss():
    peak = torch.tensor([[5, 3]])
    assert is_hit(peak, [(5, 0, 9, 3)]) and is_hit(peak, [(0, 0, 1, 1), (0, 3, 5, 3)])
    assert not is_hit(peak, [(6, 0, 9, 3)]) and not is_hit(peak, [(5, 4, 5, 9)])
    assert is_hit(torch.tensor([[0, 0], [5, 3]]), [(5, 3, 5, 3)])  # any of equal peaks


def test_without_windows_the_mask_is_the_upper_three_tenths_of_the_range():
    relevancy = torch.linspace(0.2, 0.8, 13)[None].repeat(3, 1)  # stretched, 0.4 lies at 0.62
    found = predict_category(relevancy, PLAIN)
    assert found.mask[0].tolist() == [False] * 9 + [True] * 4
    assert predict_category(relevancy, replace(PLAIN, threshold=0.7)).mask[0].sum() == 2  # at 0.71
    assert torch.equal(found.relevancy, relevancy)
    assert found.peaks.tolist() == [[12, 0], [12, 1], [12, 2]]


def test_the_place_is_of_the_filtered_map_and_the_mask_of_the_mean_of_both():
    relevancy = torch.zeros(11, 13)
    relevancy[2, 2] = 1.0  # a single bright pixel
    relevancy[5:10, 6:11] = 0.8  # a thing of five by five
    found = predict_category(relevancy, OvsOptions(filter_size=5, majority_size=1))
    assert found.peaks.tolist() == [[8, 7]]
    assert float(found.relevancy[7, 8]) == pytest.approx(0.8)
    assert float(found.relevancy[2, 2]) == pytest.approx((1 + 1 / 25) / 2)
    assert bool(found.mask[7, 8]) and not found.mask[2, 2]


def test_of_several_levels_the_one_with_the_highest_relevancy_answers():
    """The second has the larger range, so that a comparison of stretched maps would be a draw."""
    low, high = torch.full((4, 4), 0.5), torch.full((4, 4), 0.1)
    low[1, 1], high[2, 2] = 0.8, 0.7
    maps = [predict_category(relevancy, PLAIN) for relevancy in (high, low)]
    chosen = choose_level(maps)
    assert chosen.level == 1 and torch.equal(chosen.mask, maps[1].mask) and chosen.peaks.tolist() == [[1, 1]]
    assert choose_level(maps[:1]).level == 0


def test_the_place_is_of_the_level_whose_filtered_map_is_highest():
    """A bright pixel has the highest relevancy, a thing that is nearly as bright the highest mean around a place."""
    pixel, thing = torch.zeros(9, 9), torch.zeros(9, 9)
    pixel[2, 2], thing[4:7, 4:7] = 1.0, 0.5
    chosen = choose_level([predict_category(map, OvsOptions(filter_size=3, majority_size=1)) for map in (thing, pixel)])
    assert chosen.level == 1 and chosen.peaks.tolist() == [[5, 5]] and chosen.peak_relevancy == pytest.approx(0.5)


def test_windows_are_pixels_of_the_labelled_picture(generator):
    relevancy = torch.rand(20, 24, generator=generator)
    half, whole = (OvsOptions(filter_size=size, majority_size=vote) for size, vote in ((10, 5), (5, 3)))
    assert torch.equal(predict_category(relevancy, half, 0.5).relevancy, predict_category(relevancy, whole).relevancy)
    assert torch.equal(predict_category(relevancy, half, 0.5).mask, predict_category(relevancy, whole).mask)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.0}, r"`ovs\.threshold`: expected a number from 0 to below 1"),
        ({"threshold": float("nan")}, r"`ovs\.threshold`"),
        ({"alpha": -0.1}, r"`ovs\.alpha`"),
        ({"filter_size": 0}, r"`ovs\.filter_size`: expected 1 pixel or more, at most 1000, got 0"),
        ({"majority_size": 4}, r"`ovs\.majority_size`: expected an odd number of pixels, got 4"),
        ({"prompt": "a photo"}, r"`ovs\.prompt`: expected one {} for the text, as in 'a photo of a {}', or nothing"),
        ({"prompt": "{} and {}"}, r"`ovs\.prompt`: expected one {}"),
        ({"temperature": 0.0}, r"`ovs\.temperature`: expected a positive number"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        OvsOptions(**options)
