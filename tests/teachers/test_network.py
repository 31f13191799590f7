"""Common parts of network teachers: order and batches of photos, sizes, windows."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gsdff.cameras import Camera
from gsdff.config.options import TeacherConfig
from gsdff.errors import UserError
from gsdff.scene import View
from gsdff.teachers.network import NetworkTeacher, fit, resize, slide


class Colours(NetworkTeacher):
    """Says what colour a pixel has, and notes how large its batches were."""

    name = "colours"

    def __init__(self, batch: int = 4):
        super().__init__(TeacherConfig(batch=batch))
        self.batches: list[int] = []

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        self.batches.append(len(images))
        return images


def make_view(height: int, width: int, generator: torch.Generator, name: str = "a.jpg") -> View:
    image = torch.randint(1, 256, (height, width, 3), generator=generator, dtype=torch.uint8)
    return View(name, Camera(torch.eye(4), torch.eye(3), width, height), image)


# --- photos


def test_maps_come_in_the_order_of_the_views_whatever_their_sizes(generator: torch.Generator) -> None:
    views = [make_view(*size, generator) for size in [(2, 3), (2, 3), (2, 3), (3, 2), (2, 3)]]
    teacher = Colours(batch=2)
    for view, features in zip(views, teacher.extract(views), strict=True):
        expected = torch.nn.functional.normalize(view.image.permute(2, 0, 1).float(), dim=0)
        torch.testing.assert_close(features, expected)
    assert teacher.batches == [2, 1, 1, 1]


def test_maps_have_unit_length_and_are_zero_where_the_network_says_nothing(generator: torch.Generator) -> None:
    view = make_view(2, 3, generator)
    view.image[1, 2] = 0
    (features,) = Colours().extract([view])
    lengths = torch.ones(2, 3)
    lengths[1, 2] = 0
    assert features.dtype == torch.float32
    torch.testing.assert_close(features.norm(dim=0), lengths)


def test_values_that_are_no_numbers_stop_with_the_photos_name(generator: torch.Generator) -> None:
    class Overflowing(Colours):
        def encode(self, images: torch.Tensor) -> torch.Tensor:
            return images / images.sum() * torch.inf

    with pytest.raises(UserError, match=r"teacher colours: .* gave NaN or infinity for a\.jpg"):
        next(Overflowing().extract([make_view(2, 3, generator)]))


def test_no_view_is_looked_at_before_its_map_is_asked_for(generator: torch.Generator) -> None:
    teacher = Colours(batch=1)
    maps = teacher.extract([make_view(2, 3, generator) for _ in range(3)])
    assert teacher.batches == []
    next(maps)
    assert teacher.batches == [1]


def test_a_photos_fingerprint_is_that_of_its_pixels_and_shape(generator: torch.Generator) -> None:
    teacher, view = Colours(), make_view(4, 6, generator)
    same = View("b.jpg", view.camera, view.image.clone())
    turned = View("a.jpg", view.camera, view.image.reshape(6, 4, 3))
    other = View("a.jpg", view.camera, view.image.clone())
    other.image[3, 5, 2] += 1
    assert teacher.fingerprint_of(same) == teacher.fingerprint_of(view)
    assert len({teacher.fingerprint_of(each) for each in (view, turned, other)}) == 3


def test_a_photo_cut_out_of_a_larger_array_has_the_fingerprint_of_its_copy(generator: torch.Generator) -> None:
    with_alpha = torch.randint(0, 256, (4, 6, 4), generator=generator, dtype=torch.uint8)
    camera = Camera(torch.eye(4), torch.eye(3), 6, 4)
    part, copy = View("a.png", camera, with_alpha[..., :3]), View("a.png", camera, with_alpha[..., :3].clone())
    assert Colours().fingerprint_of(part) == Colours().fingerprint_of(copy)


# --- sizes


@pytest.mark.parametrize(
    ("height", "width", "longer", "multiple", "expected"),
    [
        (360, 480, 448, 16, (336, 448)),
        (480, 360, 448, 16, (448, 336)),
        (360, 480, 518, 14, (392, 518)),
        (360, 480, 518, 16, (384, 512)),
        (10, 1000, 320, 32, (32, 320)),
    ],
)
def test_fit_by_hand(height: int, width: int, longer: int, multiple: int, expected: tuple[int, int]) -> None:
    assert fit(height, width, longer, multiple) == expected


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(16, 2000), st.sampled_from([8, 14, 16, 32]))
def test_fit_is_within_half_a_multiple_of_the_photos_shape(height: int, width: int, longer: int, multiple: int) -> None:
    fitted = fit(height, width, longer, multiple)
    for side, got in zip((height, width), fitted, strict=True):
        assert got % multiple == 0 and got >= multiple
        exact = side * longer / max(height, width)
        assert abs(got - exact) <= multiple / 2 + 1e-6 or got == multiple


def test_resize_to_the_same_size_changes_nothing(generator: torch.Generator) -> None:
    images = torch.rand(2, 3, 5, 7, generator=generator)
    torch.testing.assert_close(resize(images, 5, 7), images, atol=1e-6, rtol=0)


def test_resize_keeps_a_ramp_and_averages_what_it_shrinks() -> None:
    ramp = (torch.arange(16.0) + 0.5).expand(1, 1, 4, 16)
    torch.testing.assert_close(resize(ramp, 4, 8)[..., 1:-1], ramp[..., 2:-2].unflatten(3, (6, 2)).mean(4))
    stripes = torch.tensor([0.0, 1.0]).repeat(16).expand(1, 1, 4, 32)
    assert (resize(stripes, 4, 4) - 0.5).abs().max() < 0.05


# --- windows


@pytest.mark.parametrize(("height", "width"), [(8, 8), (8, 20), (14, 8), (16, 22)])
def test_slide_is_the_mean_of_all_windows_over_a_pixel(height: int, width: int, generator: torch.Generator) -> None:
    images = torch.rand(2, 3, height, width, generator=generator)
    seen: list[torch.Tensor] = []

    def network(part: torch.Tensor) -> torch.Tensor:
        """A mark of its own for every window, so that a mean of the wrong ones shows."""
        assert part.shape == (2, 3, 8, 8)
        seen.append(part)
        return part[:, :, ::2, ::2] + 10 * part.mean((2, 3), keepdim=True)

    got = slide(network, images, window=8, stride=4, cell=2)
    tops = sorted({*range(0, height - 8, 4), height - 8})
    lefts = sorted({*range(0, width - 8, 4), width - 8})
    assert len(seen) == len(tops) * len(lefts)
    for y in range(0, height, 2):
        for x in range(0, width, 2):
            over = [
                images[:, :, y, x] + 10 * images[:, :, top : top + 8, left : left + 8].mean((2, 3))
                for top in tops
                for left in lefts
                if top <= y < top + 8 and left <= x < left + 8
            ]
            torch.testing.assert_close(got[:, :, y // 2, x // 2], torch.stack(over).mean(0))


def test_slide_over_a_single_window_is_the_network(generator: torch.Generator) -> None:
    images = torch.rand(1, 3, 8, 8, generator=generator)
    assert torch.equal(slide(lambda part: part.square(), images, window=8, stride=4, cell=1), images.square())
