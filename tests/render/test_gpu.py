"""The CPU rasteriser against gsplat's CUDA kernels, forward and backward."""

import pytest
import torch
from closeness import assert_close, assert_gradients_close, boundary_band
from random_splats import DIFFERENTIABLE, Splats, cotangents, random_splats, render
from tiny_field import make_camera, make_gaussians

from gsdff.render import PixelQuery, rasterization, reference, render_features, render_scores
from gsdff.render.feature_pass import VARIABLE, choose_feature_pass

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


@pytest.mark.parametrize("way", ["half", "float32", "gsplat"])
@pytest.mark.parametrize("channels", [1, 32, 33, 130])
def test_features_blended_in_each_way_are_those_of_the_cpu(way, channels, monkeypatch, generator):
    monkeypatch.setenv(VARIABLE, way)
    if choose_feature_pass() != way:
        pytest.skip("needs Triton, which does not run here: the log has the reason")
    gaussians, camera = make_gaussians(300, generator, dim=channels), make_camera(width=203, height=151)
    splats = Splats(gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.features,
                    camera.viewmat[None], camera.K[None], camera.width, camera.height)  # fmt: skip
    margins = render(reference.rasterization, splats.map(torch.Tensor.double)).meta["margins"]
    band = boundary_band(margins, BAND)
    cotangent = cotangents(render(rasterization, splats), band)[0][0].float()
    results = []
    for device in ("cpu", "cuda"):
        features = gaussians.features.to(device).requires_grad_()
        rendered = render_features(gaussians.to(device), camera.to(device), features=features)
        (gradient,) = torch.autograd.grad(rendered.image, features, cotangent.to(device))
        results.append([tensor.detach().cpu() for tensor in (rendered.image, rendered.alpha, gradient)])
    (image, alpha, gradient), (on_card, alpha_on_card, gradient_on_card) = results
    assert_close(on_card, image, band=band[0], atol=1e-3 if way == "half" else 1e-4)
    assert_close(alpha_on_card, alpha, band=band[0])
    assert_gradients_close(gradient_on_card, gradient, "features", rtol=RTOL)


@pytest.mark.parametrize("method", ["relevancy", "lerf", "cosine"])
@pytest.mark.parametrize("channels", [5, 32, 64, 128])
def test_scores_found_in_one_pass_are_those_of_features_rendered_by_gsplat(channels, method, monkeypatch, generator):
    gaussians, camera = make_gaussians(300, generator, dim=channels).to("cuda"), make_camera(width=203, height=151)
    camera, vectors = camera.to("cuda"), torch.nn.functional.normalize(torch.randn(7, channels, generator=generator))
    query = PixelQuery(vectors.cuda(), 2, method, 1.0 if method == "cosine" else 0.1)
    if choose_feature_pass() == "gsplat":
        pytest.skip("needs Triton, which does not run here: the log has the reason")
    scored = render_scores(gaussians, camera, query)
    monkeypatch.setenv(VARIABLE, "gsplat")
    latents = render_features(gaussians, camera).image
    cosines = torch.nn.functional.normalize(latents, dim=-1, eps=1e-8) @ query.vectors.T / query.temperature
    ours, theirs = cosines[..., :2], cosines[..., 2:]
    expected = {
        "relevancy": (ours.logsumexp(-1) - theirs.logsumexp(-1)).sigmoid(),
        "lerf": (ours.amax(-1) - theirs.amax(-1)).sigmoid(),
        "cosine": ours.amax(-1),
    }[method]
    is_there = latents.norm(dim=-1) >= 1e-8
    assert scored is not None and ((scored.best >= 0) == is_there).double().mean() > 0.999
    differences = torch.where(is_there, expected, 0) - scored.scores
    assert (differences.abs() < 5e-3).double().mean() > 0.99
