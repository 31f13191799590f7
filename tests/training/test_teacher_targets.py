"""Targets at the size of the teacher's map and of the photo, their strips, and where they are kept."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tiny_field import make_camera, make_gaussians
from torch import Tensor

from gsdff.render import render_features
from gsdff.scene import View
from gsdff.training.lift import FeatureTarget
from gsdff.training.teacher_targets import FilteredMaps, TargetStrip, enlarge_target, make_target, take_strip
from gsdff.training.view_data import ViewData

SIZES = [(13, 9, 8, 8), (13, 9, 4, 4), (12, 8, 4, 4), (12, 12, 3, 5), (13, 9, 13, 9), (7, 9, 7, 4)]
"""Width and height of the photo, width and height of the map."""


def make_view(width: int, height: int) -> View:
    return View("v.png", make_camera(0.0, width, height), torch.zeros(height, width, 3, dtype=torch.uint8))


def random_target(sizes: tuple[int, int, int, int], generator: torch.Generator, channels: int = 3) -> FeatureTarget:
    width, height, w, h = sizes
    return make_target(torch.randn(h, w, channels, generator=generator), make_view(width, height))


def all_strips(target: FeatureTarget, parts: int) -> list[TargetStrip]:
    count = min(parts, len(target.weights))
    return [take_strip(target, 7, part, count) for part in range(count)]


def mean_by_hand(picture: Tensor, h: int, w: int) -> Tensor:
    """Averages a picture down to a map in float64, with a loop over pixels and their overlaps."""
    height, width, channels = picture.shape
    mean = torch.zeros(h, w, channels, dtype=torch.float64)
    for i in range(h):
        for j in range(w):
            for y in range(height):
                for x in range(width):
                    rows = min((i + 1) * height / h, y + 1) - max(i * height / h, y)
                    columns = min((j + 1) * width / w, x + 1) - max(j * width / w, x)
                    if rows > 0 and columns > 0:
                        mean[i, j] += rows * columns * picture[y, x].double()
    return mean * (h * w) / (height * width)


# --- targets


def test_a_target_is_of_the_photos_camera_and_of_the_maps_size() -> None:
    view = make_view(32, 16)
    target = make_target(torch.ones(8, 8, 2), view)
    assert target.latents.shape == (8, 8, 2) and target.weights.shape == (8, 8)
    assert (target.camera.width, target.camera.height) == (32, 16)
    assert torch.equal(target.camera.K, view.camera.K) and torch.equal(target.camera.viewmat, view.camera.viewmat)


def test_a_map_finer_than_the_photo_is_averaged_down_to_it() -> None:
    latents = torch.arange(1.0, 17.0).reshape(2, 8, 1)
    target = make_target(latents, make_view(4, 6))  # columns are too fine, rows are not
    torch.testing.assert_close(target.latents[..., 0], torch.tensor([[1.5, 3.5, 5.5, 7.5], [9.5, 11.5, 13.5, 15.5]]))
    assert target.weights.eq(1).all()


def test_a_pixel_without_an_answer_is_left_out_of_the_mean_of_its_neighbours() -> None:
    latents = torch.arange(4.0).reshape(1, 4, 1)
    target = make_target(latents, make_view(2, 1))
    assert target.weights.tolist() == [[0.5, 1.0]]
    assert target.latents[..., 0].tolist() == [[1.0, 2.5]]


def test_pixels_without_an_answer_have_no_weight() -> None:
    latents = torch.ones(2, 3, 2)
    latents[1, 2] = 0
    assert make_target(latents, make_view(13, 9)).weights.tolist() == [[1, 1, 1], [1, 1, 0]]


def test_a_target_at_the_photos_size_takes_the_answer_under_each_pixels_centre() -> None:
    latents = torch.tensor([[[1.0], [0.0]], [[3.0], [4.0]]])
    target = enlarge_target(make_target(latents, make_view(4, 5)))
    assert target.latents[..., 0].tolist() == [[1, 1, 0, 0]] * 2 + [[3, 3, 4, 4]] * 3
    assert target.weights.tolist() == [[1, 1, 0, 0]] * 2 + [[1, 1, 1, 1]] * 3
    assert (target.camera.width, target.camera.height) == (4, 5)


def test_bilinear_enlarging_is_torchs_where_every_pixel_is_answered(generator: torch.Generator) -> None:
    target = random_target((13, 9, 4, 5), generator)
    large = enlarge_target(target, "bilinear")
    expected = F.interpolate(target.latents.permute(2, 0, 1)[None], (9, 13), mode="bilinear")[0].permute(1, 2, 0)
    torch.testing.assert_close(large.latents, expected)
    torch.testing.assert_close(large.weights, torch.ones(9, 13))


def test_bilinear_enlarging_leaves_pixels_out_that_the_teacher_does_not_answer() -> None:
    """Two pixels become four: [5, no feature] is 5 at every pixel with any weight, and does not fade to 0."""
    latents = torch.tensor([[[5.0], [0.0]]])
    large = enlarge_target(make_target(latents, make_view(4, 1)), "bilinear")
    torch.testing.assert_close(large.weights, torch.tensor([[1.0, 0.75, 0.25, 0.0]]))
    torch.testing.assert_close(large.latents[..., 0], torch.tensor([[5.0, 5.0, 5.0, 0.0]]))


@pytest.mark.parametrize("mode", ["nearest-exact", "bilinear"])
def test_enlarging_weighs_answers_by_how_much_they_count(mode: str) -> None:
    target = make_target(torch.tensor([[[2.0], [6.0]]]), make_view(4, 1))
    target = replace(target, weights=torch.tensor([[1.0, 0.5]]))
    large = enlarge_target(target, mode)
    expected = {
        "nearest-exact": ([1, 1, 0.5, 0.5], [2, 2, 6, 6]),
        "bilinear": ([1, 0.875, 0.625, 0.5], [2, (0.75 * 2 + 0.125 * 6) / 0.875, (0.5 + 0.375 * 6) / 0.625, 6]),
    }[mode]
    torch.testing.assert_close(large.weights[0], torch.tensor(expected[0]))
    torch.testing.assert_close(large.latents[0, :, 0], torch.tensor(expected[1], dtype=torch.float32))


# --- strips


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("parts", [1, 2, 3, 4])
def test_strips_are_the_map_cut_up_and_cover_the_photo(
    generator: torch.Generator, sizes: tuple[int, int, int, int], parts: int
) -> None:
    target = random_target(sizes, generator)
    strips = all_strips(target, parts)
    assert len(strips) == min(parts, sizes[3])
    assert torch.equal(torch.cat([strip.latents for strip in strips]), target.latents)
    assert torch.equal(torch.cat([strip.weights for strip in strips]), target.weights)
    assert {y for strip in strips for y in range(*strip.rows.indices(sizes[1]))} == set(range(sizes[1]))
    for strip in strips:
        assert strip.view_id == 7


def test_a_strip_takes_along_the_photos_rows_that_it_shares_with_its_neighbours(generator: torch.Generator) -> None:
    strips = all_strips(random_target((13, 9, 4, 4), generator), 2)
    assert [strip.rows for strip in strips] == [slice(0, 5), slice(4, 9)]  # each has half of row 4
    assert strips[0].down[1].tolist() == pytest.approx([0, 0, 3 / 9, 4 / 9, 2 / 9])
    assert strips[1].down[0].tolist() == pytest.approx([2 / 9, 4 / 9, 3 / 9, 0, 0])


def test_where_there_are_fewer_rows_than_parts_every_strip_is_the_whole(generator: torch.Generator) -> None:
    target = random_target((13, 9, 4, 3), generator)
    for part in range(4):
        strip = take_strip(target, 0, part, 4)
        assert torch.equal(strip.latents, target.latents) and strip.rows == slice(0, 9)


@pytest.mark.parametrize("sizes", SIZES)
def test_the_camera_of_a_strip_sees_its_rows_and_nothing_else(
    generator: torch.Generator, sizes: tuple[int, int, int, int]
) -> None:
    gaussians, target = make_gaussians(20, generator, 2), random_target(sizes, generator)
    whole = render_features(gaussians, target.camera).image
    for strip in all_strips(target, 3):
        expected = whole[strip.rows]
        # Not to rounding: Gaussians centred outside 1.3 times the field of view are drawn as if at its edge.
        difference = (render_features(gaussians, strip.camera, rows=strip.rows).image - expected).norm()
        assert difference < 0.03 * expected.norm() and expected.norm() > 0.5


@pytest.mark.parametrize("sizes", SIZES)
def test_shrinking_is_the_mean_over_what_each_pixel_covers(
    generator: torch.Generator, sizes: tuple[int, int, int, int]
) -> None:
    width, height, w, h = sizes
    whole = take_strip(random_target(sizes, generator), 0, 0, 1)
    picture = torch.randn(height, width, 3, generator=generator)
    torch.testing.assert_close(whole.shrink(picture).double(), mean_by_hand(picture, h, w), atol=1e-6, rtol=0)
    if height % h == 0 and width % w == 0:
        expected = F.interpolate(picture.permute(2, 0, 1)[None], (h, w), mode="area")[0].permute(1, 2, 0)
        torch.testing.assert_close(whole.shrink(picture), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("parts", [2, 3, 4])
def test_shrinking_strips_gives_the_strips_of_the_shrunk_whole(
    generator: torch.Generator, sizes: tuple[int, int, int, int], parts: int
) -> None:
    target = random_target(sizes, generator)
    picture = torch.randn(sizes[1], sizes[0], 3, generator=generator)
    strips = all_strips(target, parts)
    together = torch.cat([strip.shrink(picture[strip.rows]) for strip in strips])
    torch.testing.assert_close(together, take_strip(target, 0, 0, 1).shrink(picture), atol=1e-6, rtol=0)


def test_a_map_of_the_photos_size_is_not_touched_by_shrinking(generator: torch.Generator) -> None:
    strip = take_strip(random_target((13, 9, 13, 9), generator), 0, 1, 3)
    picture = torch.randn(3, 13, 2, generator=generator)
    assert strip.shrink(picture) is picture


def test_the_gradient_of_shrinking_shares_a_pixels_out(generator: torch.Generator) -> None:
    """The gradient of a map's pixel is distributed over the pixels that it covers, without loss."""
    strip = take_strip(random_target((13, 9, 4, 4), generator), 0, 1, 2)
    picture = torch.randn(5, 13, 2, generator=generator, requires_grad=True)
    cotangent = torch.randn(2, 4, 2, generator=generator)
    strip.shrink(picture).backward(cotangent)
    torch.testing.assert_close(picture.grad.sum((0, 1)), cotangent.sum((0, 1)), atol=1e-5, rtol=0)
    expected = torch.einsum("ih,jw,ijd->hwd", strip.down, strip.across, cotangent)
    torch.testing.assert_close(picture.grad, expected, atol=1e-6, rtol=0)


# --- what lies on disk


def test_maps_come_back_from_disk_row_by_row_in_half_precision(tmp_path: Path, generator: torch.Generator) -> None:
    view, other = make_view(13, 9), replace(make_view(13, 9), name="other/w.jpg")
    target = enlarge_target(random_target((13, 9, 4, 4), generator))
    target = replace(target, weights=torch.rand(9, 13, generator=generator))
    maps = FilteredMaps(tmp_path / "filtered" / "sam", ViewData([], "cpu"))
    maps.save(view, target)
    maps.save(other, replace(target, latents=-target.latents))
    assert sorted(path.name for path in maps.folder.iterdir()) == ["v.npy", "w.npy"]
    for rows in (slice(None), slice(4, 9), slice(0, 1)):
        latents, weights = maps.load(view, rows)
        assert latents.dtype == weights.dtype == torch.float32
        assert torch.equal(latents, target.latents[rows].half().float())
        assert torch.equal(weights, target.weights[rows].half().float())
    assert torch.equal(maps.load(other, slice(2, 3))[0], -target.latents[2:3].half().float())
    maps.save(view, replace(target, latents=target.latents + 1))  # as after new masks
    assert torch.equal(maps.load(view, slice(None))[0], (target.latents + 1).half().float())
