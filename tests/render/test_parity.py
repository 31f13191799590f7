"""The rasteriser has the renders and the gradients of the slow float64 reference."""

import pytest
import torch
from closeness import assert_close, boundary_band
from parity import EVERYTHING, assert_parity
from random_splats import GEOMETRY, random_splats, render

from gsdff.render import rasterization, reference


@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
@pytest.mark.parametrize("channels", [1, 3, 8, 32, 65])
def test_any_number_of_channels(channels, rasterize_mode):
    assert_parity(random_splats(n_cameras=2, channels=channels), rasterize_mode=rasterize_mode, absgrad=True)


@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_spherical_harmonics_of_any_degree(degree, rasterize_mode):
    splats = random_splats(n_cameras=2, sh_degree=degree, seed=degree)
    assert_parity(splats, sh_degree=degree, rasterize_mode=rasterize_mode)


def test_bands_above_the_degree_asked_for_do_not_count():
    splats = random_splats(sh_degree=3)
    twin = assert_parity(splats, sh_degree=1)
    assert twin.gradients["colors"][:, 4:].abs().max() == 0
    assert twin.gradients["colors"][:, :4].abs().max() > 0


@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
@pytest.mark.parametrize("render_mode", ["RGB", "D", "ED", "RGB+D", "RGB+ED"])
def test_depths_and_colours_over_a_background(render_mode, rasterize_mode, generator):
    backgrounds = torch.rand(2, 3, generator=generator)
    splats = random_splats(n_cameras=2, seed=1)
    wanted = (*GEOMETRY, "viewmats") if render_mode in ("D", "ED") else EVERYTHING
    options = {"render_mode": render_mode, "rasterize_mode": rasterize_mode, "backgrounds": backgrounds}
    assert_parity(splats, wanted, **options)


def test_depths_beside_spherical_harmonics():
    assert_parity(random_splats(sh_degree=2, seed=4), sh_degree=2, render_mode="RGB+ED", absgrad=True)


def test_colours_of_their_own_in_every_camera():
    splats = random_splats(n_cameras=3)
    colors = torch.stack([splats.colors, splats.colors.flip(0), 0.5 * splats.colors])
    assert_parity(splats.replace(colors=colors))


@pytest.mark.parametrize(
    "options",
    [
        {"near_plane": 2.0},
        {"far_plane": 3.0},
        {"eps2d": 0.0},
        {"eps2d": 2.0, "rasterize_mode": "antialiased"},
        {"radius_clip": 4.0},
    ],
    ids=lambda options: next(iter(options)),
)
def test_planes_blur_and_radius_clip(options):
    everything = render(reference.rasterization, random_splats(seed=2)).renders
    twin = assert_parity(random_splats(seed=2), **options)
    assert not torch.allclose(twin.renders, everything, atol=1e-2)


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (16, 16), (17, 1), (1, 33), (64, 16), (100, 7)])
def test_images_of_any_size(size):
    assert_parity(random_splats(width=size[0], height=size[1], n=30, seed=6))


def test_a_dense_scene_of_many_tiles_and_long_lists():
    assert_parity(random_splats(n=700, width=83, height=70, scale=0.5, seed=8), render_mode="RGB+ED")


def test_flips_in_the_boundary_band_are_few_and_unbiased():
    splats = random_splats(n=1500, width=120, height=90, scale=0.4, seed=9)
    twin = render(reference.rasterization, splats)
    fast = render(rasterization, splats.map(torch.Tensor.float))
    band = boundary_band(twin.meta["margins"])
    assert 100 < band.sum() < 0.1 * band.numel()
    assert_close(fast.renders, twin.renders, band=band, max_flip_ratio=0.05)
    assert_close(fast.alphas, twin.alphas, band=band, max_flip_ratio=0.05)


def test_projection_in_meta_is_the_twins():
    splats = random_splats(n=400, n_cameras=3, seed=10)
    twin = render(reference.rasterization, splats, rasterize_mode="antialiased").meta
    fast = render(rasterization, splats.map(torch.Tensor.float), rasterize_mode="antialiased").meta
    visible = (twin["radii"] > 0).all(-1)
    assert torch.equal((fast["radii"] > 0).all(-1), visible)
    assert fast["radii"].dtype == torch.int32
    off = (fast["radii"] - twin["radii"]).abs()
    assert off.max() <= 1  # ceil of a number that is almost whole
    assert (off > 0).double().mean() < 0.01
    assert (fast["width"], fast["height"], fast["n_cameras"], fast["tile_size"]) == (53, 37, 3, 16)
    torch.testing.assert_close(fast["means2d"][visible].double(), twin["means2d"][visible], atol=1e-4, rtol=1e-6)
    for name in ("depths", "conics", "opacities"):
        expected = twin[name][visible]
        torch.testing.assert_close(fast[name][visible].double(), expected, atol=1e-5, rtol=1e-4, msg=name)
