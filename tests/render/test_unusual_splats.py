"""Parity with the reference for unusual Gaussians, and their effect on others."""

import pytest
import torch
from parity import assert_parity
from random_splats import DIFFERENTIABLE, GEOMETRY, Splats, random_splats, render

from gsdff.gaussians import LEAST_LOG_SCALE, MOST_LOG_SCALE, MOST_LOGIT
from gsdff.render import rasterization, reference


def behind_the_camera(splats: Splats) -> Splats:
    return splats.replace(means=splats.means * torch.tensor([1.0, 1.0, -1.0]) - torch.tensor([0, 0, 0.6]))


def outside_the_image(splats: Splats) -> Splats:
    return splats.replace(means=splats.means + torch.tensor([30.0, 0.0, 1.0]), scales=splats.scales * 0.1)


def at_the_border(splats: Splats) -> Splats:
    depths = splats.means[:, 2:].abs() + 0.3
    sides = torch.sign(splats.means[:, :2])
    return splats.replace(means=torch.cat([sides * depths * torch.tensor([0.7, 0.45]), depths], dim=-1))


def larger_than_the_image(splats: Splats) -> Splats:
    return splats.replace(scales=splats.scales * 20 + 2)


def smaller_than_a_pixel(splats: Splats) -> Splats:
    return splats.replace(scales=splats.scales * 1e-3)


def touching_the_near_plane(splats: Splats) -> Splats:
    means = splats.means.clone()
    means[:, 2] = 0.01 + 0.02 * torch.linspace(0, 1, len(means)) ** 2 + 1e-4
    means[:, :2] *= 0.02
    return splats.replace(means=means, scales=splats.scales * 0.02)


def of_zero_opacity(splats: Splats) -> Splats:
    return splats.replace(opacities=torch.zeros_like(splats.opacities))


def of_opacities_about_the_cutoff(splats: Splats) -> Splats:
    return splats.replace(opacities=splats.opacities * 3 / 255)


def stacked_and_opaque(splats: Splats) -> Splats:
    # opacities that are not 0.999 exactly: at the clamp the gradient has two values
    return splats.replace(opacities=0.9 + 0.0985 * splats.opacities, scales=splats.scales + 0.5)


def stacked_and_of_opacity_one(splats: Splats) -> Splats:
    return splats.replace(opacities=torch.ones_like(splats.opacities))


def needles(splats: Splats) -> Splats:
    scales = splats.scales * torch.tensor([0.01, 0.01, 1]) + torch.tensor([0, 0, 0.2])
    return splats.replace(scales=scales)


def flat_discs(splats: Splats) -> Splats:
    return splats.replace(scales=splats.scales * torch.tensor([1.0, 1.0, 0.0]))


def points(splats: Splats) -> Splats:
    return splats.replace(scales=torch.zeros_like(splats.scales))


def all_at_one_depth(splats: Splats) -> Splats:
    means = splats.means.clone()
    means[:, 2] = 2.5
    return splats.replace(means=means)


def in_pairs_at_one_place(splats: Splats) -> Splats:
    half = torch.arange(len(splats.means)) // 2
    return splats.replace(means=splats.means[half])


def of_quaternions_of_any_length(splats: Splats) -> Splats:
    lengths = torch.logspace(-3, 3, len(splats.quats), dtype=torch.float64)
    return splats.replace(quats=(splats.quats * lengths[:, None]))


def none(splats: Splats) -> Splats:
    return splats.select(torch.arange(0))


def one(splats: Splats) -> Splats:
    return splats.select(torch.tensor([17]))


UNUSUAL = [
    behind_the_camera, outside_the_image, at_the_border, larger_than_the_image, smaller_than_a_pixel,
    touching_the_near_plane, of_zero_opacity, of_opacities_about_the_cutoff, stacked_and_opaque,
    stacked_and_of_opacity_one, needles, flat_discs, all_at_one_depth, in_pairs_at_one_place,
    of_quaternions_of_any_length, none, one,
]  # fmt: skip


@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
@pytest.mark.parametrize("change", UNUSUAL, ids=lambda change: change.__name__)
def test_gaussians_out_of_the_ordinary(change, rasterize_mode):
    backgrounds = torch.tensor([[0.2, 0.4, 0.6]])
    splats = change(random_splats(seed=7))
    twin = assert_parity(splats, rasterize_mode=rasterize_mode, backgrounds=backgrounds, absgrad=True)
    seen = float(twin.alphas.max())
    assert (seen == 0) == (change in (behind_the_camera, outside_the_image, of_zero_opacity, none)) or (
        change is smaller_than_a_pixel and rasterize_mode == "antialiased"
    )


def test_points_without_extent_are_drawn_as_the_blur_alone():
    splats = points(random_splats(seed=7))
    assert_parity(splats, ("means", "opacities", "colors"))
    for options in ({"rasterize_mode": "antialiased"}, {"eps2d": 0.0}, {"rasterize_mode": "antialiased", "eps2d": 0.0}):
        assert render(rasterization, splats.map(torch.Tensor.float), **options).alphas.max() == 0


def test_no_gaussians_render_the_background():
    backgrounds = torch.tensor([[0.1, 0.2, 0.3]])
    result = render(rasterization, random_splats(n=0).map(torch.Tensor.float), backgrounds=backgrounds)
    assert torch.equal(result.renders, backgrounds.expand(1, 37, 53, 3))
    assert result.alphas.max() == 0


@pytest.mark.parametrize(
    "hide", [behind_the_camera, outside_the_image, of_zero_opacity], ids=lambda function: function.__name__
)
def test_hidden_gaussians_change_nothing(hide):
    seen = random_splats(seed=14)
    hidden = hide(random_splats(seed=15))
    both = {name: torch.cat([getattr(hidden, name), getattr(seen, name)]) for name in DIFFERENTIABLE}
    with_hidden = render(rasterization, seen.replace(**both).map(torch.Tensor.float))
    assert torch.equal(with_hidden.renders, render(rasterization, seen.map(torch.Tensor.float)).renders)


def make_wall() -> tuple[Splats, Splats]:
    """Three layers that close every pixel, alone and with Gaussians behind them."""
    splats = random_splats(seed=16)
    wall = splats.select(torch.arange(3)).replace(
        means=torch.tensor([[0.0, 0.0, 1.0], [0, 0, 1.1], [0, 0, 1.2]], dtype=torch.float64),
        scales=torch.full((3, 3), 100.0, dtype=torch.float64),
        opacities=torch.full((3,), 0.98, dtype=torch.float64),
    )
    behind = splats.replace(means=splats.means * torch.tensor([1.0, 1.0, 0.5]) + torch.tensor([0, 0, 4.0]))
    both = wall.replace(**{k: torch.cat([getattr(wall, k), getattr(behind, k)]) for k in DIFFERENTIABLE})
    return wall, both


def test_what_is_behind_a_closed_pixel_changes_nothing_and_gets_no_gradient():
    wall, both = make_wall()
    ones = torch.ones(1, 37, 53, 3)
    result = render(rasterization, both.map(torch.Tensor.float), DIFFERENTIABLE, (ones, ones[..., :1]))
    # the third layer would leave 8e-6: two layers are blended and the pixel is closed
    assert torch.equal(result.renders, render(rasterization, wall.map(torch.Tensor.float)).renders)
    for name in DIFFERENTIABLE:
        assert result.gradients[name][2:].abs().max() == 0
        assert name == "quats" or result.gradients[name][:2].abs().max() > 0


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, sign * float("inf")) for name in ("means", "quats", "scales") for sign in (1, -1)]
    + [(name, float("nan")) for name in GEOMETRY]
    + [("quats", 0.0)],
)
def test_a_gaussian_that_is_not_finite_or_not_turned_is_not_drawn_and_spoils_no_other(name, value):
    splats = random_splats(seed=20).map(torch.Tensor.float)
    spoilt = splats.map(torch.clone)
    getattr(spoilt, name)[5] = value
    others = torch.cat([torch.arange(5), torch.arange(6, 60)])
    expected = render(rasterization, splats.select(others)).renders
    ones = torch.ones(1, 37, 53, 3)
    result = render(rasterization, spoilt, DIFFERENTIABLE, (ones, ones[..., :1]))
    assert torch.equal(result.renders, expected)
    assert all(gradient.isfinite().all() for gradient in result.gradients.values())


@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
@pytest.mark.parametrize(
    ("rasterizer", "dtype"), [(rasterization, torch.float32), (reference.rasterization, torch.float64)]
)
@pytest.mark.parametrize("log_scales", [[LEAST_LOG_SCALE] * 3, [-1, -1, LEAST_LOG_SCALE], [-1, -1, MOST_LOG_SCALE]])
def test_gaussians_at_the_limits_are_drawn_with_finite_gradients(rasterizer, dtype, log_scales, rasterize_mode):
    splats = random_splats(seed=21).map(torch.Tensor.float)
    limits = splats.replace(
        scales=torch.tensor([log_scales] * 60).exp(), opacities=torch.full((60,), MOST_LOGIT).sigmoid()
    )
    ones = torch.ones(1, 37, 53, 3)
    limits = limits.map(lambda tensor: tensor.to(dtype))
    result = render(rasterizer, limits, DIFFERENTIABLE, (ones, ones[..., :1]), rasterize_mode=rasterize_mode)
    assert result.renders.isfinite().all() and result.alphas.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in result.gradients.values())
    if log_scales == [-1, -1, LEAST_LOG_SCALE]:
        assert result.alphas.max() > 0.9
