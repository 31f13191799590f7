"""Felzenszwalb's segments."""

import pytest
import torch
from mask_views import make_view, random_image

from gsdff.config.smoothing import FelzenszwalbConfig, MaskConfig
from gsdff.errors import UserError
from gsdff.masks import felzenszwalb
from gsdff.masks.felzenszwalb import FelzenszwalbSegmenter


def open_felzenszwalb(**options: float) -> FelzenszwalbSegmenter:
    return FelzenszwalbSegmenter(MaskConfig(felzenszwalb=FelzenszwalbConfig(**options)))


def test_two_flat_colours_are_two_segments_exactly_and_the_larger_is_the_first():
    image = torch.full((20, 30, 3), 40, dtype=torch.uint8)
    image[5:15, 8:20] = torch.tensor([200, 30, 90], dtype=torch.uint8)
    labels = open_felzenszwalb(sigma=0, min_size=10).segment(make_view(image), image)
    expected = torch.ones(20, 30, dtype=torch.int32)
    expected[5:15, 8:20] = 2
    torch.testing.assert_close(labels, expected, rtol=0, atol=0)


def test_every_pixel_has_a_segment_of_the_least_size(generator: torch.Generator):
    image = random_image(generator)
    labels = open_felzenszwalb(scale=1, min_size=20).segment(make_view(image), image)
    counts = labels.flatten().bincount()
    assert counts[0] == 0 and counts[1:].min() >= 20 and len(counts) > 3
    assert counts[1:].tolist() == sorted(counts[1:].tolist(), reverse=True)


def test_a_larger_scale_makes_fewer_segments(generator: torch.Generator):
    image = random_image(generator)
    numbers = [
        int(open_felzenszwalb(scale=scale, min_size=1).segment(make_view(image), image).max()) for scale in (1, 1000)
    ]
    assert numbers[0] > numbers[1]


def test_the_fingerprint_follows_every_setting():
    settings = [{}, {"scale": 1}, {"sigma": 1}, {"min_size": 1}]
    prints = {open_felzenszwalb(**options).fingerprint for options in settings}
    assert len(prints) == 4 and open_felzenszwalb().fingerprint in prints


def test_more_segments_than_there_are_ids_are_refused_with_what_to_do(monkeypatch, generator: torch.Generator):
    monkeypatch.setattr(felzenszwalb, "MAX_SEGMENTS", 3)
    image = random_image(generator)
    with pytest.raises(
        UserError, match=r"photo street/a\.jpg has \d+ segments by felzenszwalb, expected at most 3; raise `masks\."
    ):
        open_felzenszwalb(scale=1, min_size=1).segment(make_view(image), image)
