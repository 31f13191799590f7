"""The slow reference against numbers worked out by hand, finite differences, and gsplat's own torch reference."""

from math import ceil, exp, log, pi, sqrt

import pytest
import torch
from gsplat.cuda._torch_impl import (
    _fully_fused_projection,
    _isect_tiles,
    _quat_scale_to_covar_preci,
    _spherical_harmonics,
)
from random_splats import DIFFERENTIABLE, GEOMETRY, Splats, random_splats, render

from gsdff.render.reference import ALPHA_CUTOFF, evaluate_sh, rasterization
from gsdff.rotation import quats_to_matrices


def on_the_axis(depths: list[float], opacities: list[float], colors: list[list[float]], scale: float = 0.1) -> Splats:
    """Round Gaussians on the optical axis of a 9x9 camera whose centre pixel's centre is the principal point."""
    n = len(depths)
    means = torch.tensor([[0.0, 0.0, z] for z in depths], dtype=torch.float64).reshape(n, 3)
    K = torch.tensor([[20.0, 0, 4.5], [0, 20.0, 4.5], [0, 0, 1]], dtype=torch.float64)
    return Splats(
        means=means,
        quats=torch.tensor([[1.0, 0, 0, 0]], dtype=torch.float64).repeat(n, 1),
        scales=torch.full((n, 3), scale, dtype=torch.float64),
        opacities=torch.tensor(opacities, dtype=torch.float64),
        colors=torch.tensor(colors, dtype=torch.float64).reshape(n, -1),
        viewmats=torch.eye(4, dtype=torch.float64)[None],
        Ks=K[None],
        width=9,
        height=9,
    )


def test_one_gaussian_on_the_axis_has_the_values_worked_out_by_hand():
    result = render(rasterization, on_the_axis([2.0], [0.8], [[1.0, 0.5, 0.0]]))
    variance = (20 * 0.1 / 2) ** 2 + 0.3  # (focal * scale / depth)^2 + eps2d
    assert result.alphas[0, 4, 4, 0].item() == pytest.approx(0.8)
    assert result.renders[0, 4, 4].tolist() == pytest.approx([0.8, 0.4, 0.0])
    assert result.alphas[0, 4, 6, 0].item() == pytest.approx(0.8 * exp(-0.5 * 4 / variance))
    assert result.alphas[0, 5, 3, 0].item() == pytest.approx(0.8 * exp(-0.5 * 2 / variance))
    assert result.alphas[0, 4, 8, 0].item() == 0.0  # 0.8 exp(-16 / 2.6) is below 1/255
    assert result.meta["means2d"][0, 0].tolist() == [4.5, 4.5]
    assert result.meta["radii"][0, 0].tolist() == [ceil(sqrt(2 * log(0.8 * 255) * variance))] * 2
    assert result.meta["conics"][0, 0].tolist() == pytest.approx([1 / variance, 0, 1 / variance])


def test_two_gaussians_blend_front_to_back_whatever_their_order():
    splats = on_the_axis([3.0, 2.0], [0.5, 0.6], [[0.0, 1.0], [1.0, 0.0]])
    backgrounds = torch.tensor([[0.25, 0.25]], dtype=torch.float64)
    result = render(rasterization, splats, backgrounds=backgrounds)
    left = 0.4 * 0.5
    assert result.renders[0, 4, 4].tolist() == pytest.approx([0.6 + left / 4, 0.4 * 0.5 + left / 4])
    assert result.alphas[0, 4, 4, 0].item() == pytest.approx(1 - left)


def test_gaussians_at_one_depth_blend_in_the_order_of_their_indices():
    result = render(rasterization, on_the_axis([2.0, 2.0], [0.5, 0.5], [[1.0], [0.0]]))
    assert result.renders[0, 4, 4, 0].item() == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("D", [0.6 * 2 + 0.2 * 3]), ("ED", [1.8 / 0.8]), ("RGB+D", [0.6, 1.8]), ("RGB+ED", [0.6, 1.8 / 0.8])],
)
def test_depth_modes_put_the_depth_last_and_the_background_at_depth_zero(mode, expected):
    splats = on_the_axis([3.0, 2.0], [0.5, 0.6], [[0.0], [1.0]])
    backgrounds = torch.zeros(1, 1, dtype=torch.float64)
    result = render(rasterization, splats, render_mode=mode, backgrounds=backgrounds)
    assert result.renders[0, 4, 4].tolist() == pytest.approx(expected)


def test_alpha_is_clamped_and_the_gaussian_that_would_close_the_pixel_is_left_out():
    splats = on_the_axis([2.0, 3.0, 4.0, 5.0], [1.0, 0.8, 0.9, 0.01], [[0.1], [0.2], [0.4], [0.8]], scale=10.0)
    result = render(rasterization, splats)
    # 1e-3, then 2e-4 is left; 0.9 of it would leave 2e-5 < 1e-4, so neither it nor the faint one behind it count
    assert result.alphas[0, 4, 4, 0].item() == pytest.approx(1 - 2e-4)
    assert result.renders[0, 4, 4, 0].item() == pytest.approx(0.999 * 0.1 + 0.001 * 0.8 * 0.2)


def test_no_gradient_passes_the_clamp():
    splats = on_the_axis([2.0], [0.9995], [[1.0]], scale=1000.0)
    ones = torch.ones(1, 9, 9, 1, dtype=torch.float64)
    result = render(rasterization, splats, DIFFERENTIABLE, (ones, ones))
    assert result.gradients["opacities"].item() == 0
    assert result.gradients["colors"].item() == pytest.approx(81 * 0.999)


def test_antialiasing_keeps_the_energy_of_a_gaussian_smaller_than_a_pixel():
    splats = on_the_axis([2.0], [0.8], [[1.0]], scale=0.01)
    result = render(rasterization, splats, rasterize_mode="antialiased")
    sharp = (20 * 0.01 / 2) ** 2
    assert result.alphas[0, 4, 4, 0].item() == pytest.approx(0.8 * sharp / (sharp + 0.3))
    assert render(rasterization, splats, rasterize_mode="antialiased", eps2d=0.0).alphas[0, 4, 4, 0] == 0.8


def test_what_is_outside_the_planes_or_too_small_is_not_drawn():
    splats = on_the_axis([2.0, -2.0, 0.0, 9.0], [0.5, 0.5, 0.5, 0.5], [[1.0], [1.0], [1.0], [1.0]])
    only_first = render(rasterization, splats, far_plane=5.0)
    assert torch.equal(only_first.renders, render(rasterization, splats.select(torch.tensor([0]))).renders)
    assert only_first.meta["radii"][0].tolist() == [[4, 4], [0, 0], [0, 0], [0, 0]]
    assert render(rasterization, splats, near_plane=2.5, far_plane=5.0).alphas.max() == 0
    assert render(rasterization, splats, far_plane=5.0, radius_clip=4.0).alphas.max() == 0
    assert render(rasterization, splats, far_plane=5.0, radius_clip=3.9).alphas.max() > 0


def test_no_gaussians_render_the_background():
    backgrounds = torch.tensor([[0.1, 0.2, 0.3]], dtype=torch.float64)
    splats = random_splats(n=0)
    ones = torch.ones(1, splats.height, splats.width, 3, dtype=torch.float64)
    result = render(rasterization, splats, DIFFERENTIABLE, (ones, ones[..., :1]), backgrounds=backgrounds)
    assert torch.equal(result.renders, backgrounds.expand(1, splats.height, splats.width, 3))
    assert result.alphas.max() == 0
    assert result.gradients["means"].shape == (0, 3)


@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
@pytest.mark.parametrize("render_mode", ["RGB", "RGB+ED"])
def test_gradients_match_finite_differences(rasterize_mode, render_mode):
    splats = random_splats(n=6, n_cameras=2, sh_degree=3, width=7, height=5, scale=2.0, seed=3)
    # Finite differences must not step over a jump: lift every alpha well above the cut-off.
    splats = splats.replace(scales=splats.scales + 1.5, means=splats.means.abs() * torch.tensor([0.2, 0.2, 1.0]) + 0.5)
    splats = splats.replace(opacities=splats.opacities * 0.3 + 0.4)
    names = (*DIFFERENTIABLE, "viewmats")
    backgrounds = torch.full((2, 3), 0.3, dtype=torch.float64, requires_grad=True)
    margins = render(rasterization, splats, sh_degree=3, rasterize_mode=rasterize_mode).meta["margins"]
    assert margins.min() > 1e-3

    def function(backgrounds, *tensors):
        changed = splats.replace(**dict(zip(names, tensors, strict=True)))
        result = render(
            rasterization,
            changed,
            sh_degree=3,
            backgrounds=backgrounds,
            render_mode=render_mode,
            rasterize_mode=rasterize_mode,
        )
        return result.renders, result.alphas

    leaves = [getattr(splats, name).clone().requires_grad_() for name in names]
    assert torch.autograd.gradcheck(function, [backgrounds, *leaves], eps=1e-6, atol=1e-6, fast_mode=True)


def test_absgrad_sums_the_sizes_of_what_the_gradient_of_means2d_sums():
    splats = on_the_axis([2.0], [0.5], [[1.0]])
    ones = torch.ones(1, 9, 9, 1, dtype=torch.float64)
    result = render(rasterization, splats, GEOMETRY, (ones, 0 * ones), absgrad=True)
    assert result.gradients["means2d"].abs().max() < 1e-12  # left and right cancel
    variance = 1.3
    steps = [(x, y) for x in range(-4, 5) for y in range(-4, 5) if 0.5 * exp(-(x * x + y * y) / 2.6) >= ALPHA_CUTOFF]
    by_hand = sum(0.5 * exp(-(x * x + y * y) / 2 / variance) * abs(x) / variance for x, y in steps)
    assert result.gradients["absgrad"][0, 0].tolist() == pytest.approx([by_hand, by_hand])


def test_nothing_that_is_culled_has_a_gradient_that_is_not_finite():
    splats = on_the_axis([0.0, 2.0, 2.0, 2.0], [0.5, 0.5, 0.0, 0.5], [[1.0]] * 4)
    splats.means[3] = 0  # at the camera's centre
    splats.scales[1] = 0  # no area: its antialiased opacity is 0
    ones = torch.ones(1, 9, 9, 1, dtype=torch.float64)
    for eps2d in (0.3, 0.0):
        options = {"rasterize_mode": "antialiased", "eps2d": eps2d}
        result = render(rasterization, splats, (*DIFFERENTIABLE, "viewmats"), (ones, ones), **options)
        assert all(gradient.isfinite().all() for gradient in result.gradients.values())
        assert result.alphas.max() == 0


def test_covariances_agree_with_gsplat(generator):
    quats = torch.randn(50, 4, generator=generator, dtype=torch.float64)
    scales = torch.rand(50, 3, generator=generator, dtype=torch.float64)
    expected, _ = _quat_scale_to_covar_preci(quats, scales, True, False)
    root = quats_to_matrices(quats) * scales[:, None]
    torch.testing.assert_close(root @ root.mT, expected)


def test_projection_agrees_with_gsplat():
    splats = random_splats(n=200, n_cameras=3)
    meta = render(rasterization, splats, rasterize_mode="antialiased").meta
    covars, _ = _quat_scale_to_covar_preci(splats.quats, splats.scales, True, False)
    radii, means2d, depths, conics, compensations = _fully_fused_projection(
        splats.means, covars, splats.viewmats, splats.Ks, splats.width, splats.height, calc_compensations=True
    )
    visible = (meta["radii"] > 0).all(-1)
    assert 0.2 < visible.double().mean() < 0.9
    torch.testing.assert_close(meta["means2d"][visible], means2d[visible])
    torch.testing.assert_close(meta["depths"][visible], depths[visible])
    torch.testing.assert_close(meta["conics"][visible], conics[visible])
    torch.testing.assert_close(meta["opacities"][visible], (splats.opacities * compensations)[visible])
    # gsplat's torch reference takes 3.33 sigma for every opacity; the kernels' boxes, and ours, are smaller
    assert (meta["radii"] <= radii).all()


def test_radii_of_opaque_gaussians_agree_with_gsplat():
    splats = random_splats(n=200)
    splats = splats.replace(opacities=torch.ones_like(splats.opacities))
    meta = render(rasterization, splats).meta
    covars, _ = _quat_scale_to_covar_preci(splats.quats, splats.scales, True, False)
    radii, *_ = _fully_fused_projection(splats.means, covars, splats.viewmats, splats.Ks, splats.width, splats.height)
    assert (meta["radii"] > 0).sum() > 50
    assert (radii - meta["radii"] <= 1 + 3e-4 * radii).all()  # 3.3291 sigma instead of 3.33
    assert (radii >= meta["radii"]).all()


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_spherical_harmonics_agree_with_gsplat(degree, generator):
    directions = torch.randn(50, 3, generator=generator, dtype=torch.float64)
    coefficients = torch.randn(50, 16, 3, generator=generator, dtype=torch.float64)
    expected = _spherical_harmonics(degree, directions, coefficients)
    torch.testing.assert_close(evaluate_sh(degree, directions, coefficients), expected)


def test_spherical_harmonics_are_orthonormal():
    n = 20_000  # points of a spherical Fibonacci lattice integrate low degrees almost exactly
    i = torch.arange(n, dtype=torch.float64)
    z = 1 - (2 * i + 1) / n
    angle = i * pi * (1 + sqrt(5))
    radius = (1 - z * z).sqrt()
    directions = torch.stack([radius * angle.cos(), radius * angle.sin(), z], dim=-1)
    basis = evaluate_sh(3, directions, torch.eye(16, dtype=torch.float64))  # a "colour" for every band
    gram = basis.T @ basis * 4 * pi / n
    torch.testing.assert_close(gram, torch.eye(16, dtype=torch.float64), atol=1e-4, rtol=0)


def test_sh_colours_are_offset_by_half_and_never_negative():
    splats = on_the_axis([2.0], [0.8], [[0.0, 0.0, 0.0]]).replace(
        colors=torch.tensor([[[1.0, -1.0, -9.0]]], dtype=torch.float64)
    )
    result = render(rasterization, splats, sh_degree=0)
    y0 = 0.28209479177387814
    assert result.renders[0, 4, 4].tolist() == pytest.approx([0.8 * (0.5 + y0), 0.8 * (0.5 - y0), 0])


def test_tiles_cannot_be_seen_because_no_pixel_outside_a_bounding_box_counts():
    splats = random_splats(n=80, width=96, height=80, seed=5)
    splats = splats.replace(opacities=torch.where(torch.arange(80) % 3 == 0, 1.0, splats.opacities))
    meta = render(rasterization, splats).meta
    means2d, conics, opacities = meta["means2d"][0], meta["conics"][0], meta["opacities"][0]
    _, isect_ids, flatten_ids = _isect_tiles(means2d[None], meta["radii"], meta["depths"], 16, 6, 5)
    touched = torch.zeros(80, 5, 6, dtype=torch.bool)
    tile_ids = (isect_ids >> 32) & 31
    touched[flatten_ids.long(), tile_ids // 6, tile_ids % 6] = True
    in_touched_tile = touched.repeat_interleave(16, 1).repeat_interleave(16, 2)  # [N, H, W]
    y, x = torch.meshgrid(torch.arange(80) + 0.5, torch.arange(96) + 0.5, indexing="ij")
    dx, dy = means2d[:, 0, None, None] - x, means2d[:, 1, None, None] - y
    a, b, c = conics.T[..., None, None]
    alphas = opacities[:, None, None] * torch.exp(-0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy)
    counts = (alphas >= ALPHA_CUTOFF) & (meta["depths"][0] > 0.01)[:, None, None]
    assert counts.any(-1).any(-1).sum() > 40
    assert not (counts & ~in_touched_tile).any()
