"""The CPU rasteriser against gsplat's CUDA kernels, forward and backward."""

import pytest
import torch
from closeness import assert_close, assert_gradients_close, boundary_band
from random_splats import DIFFERENTIABLE, cotangents, random_splats, render

from gsdff.render import rasterization, reference

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA card: gsplat's kernels run nowhere else"),
]

# Both sides are float32 here, the kernels' exponential is the fast one and their transmittance is found by division.
BAND = (1e-3, 1e-3, 1e-2)
RTOL = 3e-3


def on_cuda(*args: object, **kwargs: object) -> tuple:
    """`rasterization` with every tensor on the card."""
    moved = {name: value.cuda() if isinstance(value, torch.Tensor) else value for name, value in kwargs.items()}
    return rasterization(*args, **moved)


def assert_parity(splats, wanted=DIFFERENTIABLE, **options):
    margins = render(reference.rasterization, splats, **options).meta["margins"]
    band = boundary_band(margins, BAND)
    assert band.double().mean() < 0.5, "hardly a pixel is compared tightly"
    splats = splats.map(torch.Tensor.float)
    cotangent = cotangents(render(rasterization, splats, **options), band)
    cpu = render(rasterization, splats, wanted, cotangent, **options)
    cuda = render(on_cuda, splats, wanted, cotangent, **options)
    assert cuda.renders.is_cuda
    assert_close(cuda.renders, cpu.renders, band=band)
    assert_close(cuda.alphas, cpu.alphas, band=band)
    for name, gradient in cpu.gradients.items():
        assert_gradients_close(cuda.gradients[name], gradient, name, rtol=RTOL)


@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
@pytest.mark.parametrize("channels", [1, 3, 8, 32, 65])
def test_any_number_of_channels(channels, rasterize_mode):
    splats = random_splats(n=150, n_cameras=2, channels=channels)
    # gsplat renders 32 channels at a time and its absgrad is that of the last of these chunks
    assert_parity(splats, rasterize_mode=rasterize_mode, absgrad=channels <= 32)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_spherical_harmonics_and_poses(degree):
    splats = random_splats(n=150, n_cameras=2, sh_degree=degree)
    assert_parity(splats, (*DIFFERENTIABLE, "viewmats"), sh_degree=degree)


@pytest.mark.parametrize("render_mode", ["D", "ED", "RGB+D", "RGB+ED"])
def test_depths(render_mode):
    wanted = ("means", "quats", "scales", "opacities")
    backgrounds = torch.full((2, 3), 0.5)
    assert_parity(random_splats(n=150, n_cameras=2), wanted, render_mode=render_mode, backgrounds=backgrounds)


@pytest.mark.parametrize(
    "options", [{"near_plane": 2.0}, {"far_plane": 3.0}, {"eps2d": 1.0}, {"radius_clip": 4.0}], ids=str
)
def test_planes_blur_and_radius_clip(options):
    assert_parity(random_splats(n=150), **options)


def test_a_dense_scene():
    assert_parity(random_splats(n=2000, width=203, height=151, scale=0.4))


def test_no_gaussians():
    backgrounds = torch.full((1, 3), 0.5)
    splats = random_splats(n=0).map(torch.Tensor.float)
    assert torch.equal(render(on_cuda, splats, backgrounds=backgrounds).renders.cpu(), backgrounds.expand(1, 37, 53, 3))


def test_colours_alone_have_the_gradient_they_have_among_all():
    splats = random_splats(n=150, channels=16)
    margins = render(reference.rasterization, splats).meta["margins"]
    splats = splats.map(torch.Tensor.float)
    cotangent = cotangents(render(rasterization, splats), boundary_band(margins, BAND))
    cpu = render(rasterization, splats, ("colors",), cotangent)
    cuda = render(on_cuda, splats, ("colors",), cotangent)
    assert_gradients_close(cuda.gradients["colors"], cpu.gradients["colors"], "colors", rtol=RTOL)


def test_projection_in_meta_is_gsplats():
    splats = random_splats(n=400, n_cameras=3, seed=10).map(torch.Tensor.float)
    cpu, cuda = render(rasterization, splats).meta, render(on_cuda, splats).meta
    visible = (cpu["radii"] > 0).all(-1)
    agree = visible == (cuda["radii"].cpu() > 0).all(-1)
    assert agree.double().mean() > 0.995
    assert ((cpu["radii"] - cuda["radii"].cpu())[agree].abs() <= 1).all()
    for name in ("means2d", "depths", "conics", "opacities"):
        ours, theirs = cpu[name][visible & agree], cuda[name].cpu()[visible & agree]
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)
