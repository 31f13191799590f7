"""Training's own way through the rasteriser gives the picture and the gradients of the general one."""

import pytest
import torch

from gsdff.cameras import Camera
from gsdff.gaussians import Gaussians
from gsdff.render import render_rgb

CAMERA = Camera(torch.eye(4), torch.tensor([[60.0, 0, 32], [0, 60, 24], [0, 0, 1]]), 64, 48)


def make_gaussians(num=400):
    """Parameters, most of them in view of the camera."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(num, *shape, generator=generator)

    gaussians = Gaussians(
        means=normal(3) + torch.tensor([0.0, 0.0, 3.0]),
        quats=normal(4),
        log_scales=0.5 * normal(3) - 2.5,
        logit_opacities=normal(),
        sh0=normal(1, 3),
        shN=0.3 * normal(15, 3),
    )
    return gaussians.map(torch.nn.Parameter)


def backward(gaussians, *, adds_gradients, cotangent_seed=1, **options):
    options = {"background": torch.tensor([0.1, 0.2, 0.3]), "absgrad": True} | options
    rendered = render_rgb(gaussians, CAMERA, adds_gradients=adds_gradients, **options)
    rendered.meta["means2d"].retain_grad()
    generator = torch.Generator().manual_seed(cotangent_seed)
    (rendered.image * torch.randn(rendered.image.shape, generator=generator)).sum().backward()
    return rendered


@pytest.mark.parametrize("mode", ["classic", "antialiased"])
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_picture_and_gradients_are_those_of_the_general_way(mode, degree):
    pairs = []
    for adds_gradients in (False, True):
        gaussians = make_gaussians()
        gaussians.rasterize_mode = mode
        rendered = backward(gaussians, adds_gradients=adds_gradients, sh_degree=degree)
        pairs.append((gaussians, rendered))
    (expected, general), (found, own) = pairs
    torch.testing.assert_close(own.image, general.image, rtol=0, atol=1e-6)
    assert torch.equal(own.meta["radii"], general.meta["radii"])
    for name in ("grad", "absgrad"):
        torch.testing.assert_close(getattr(own.meta["means2d"], name), getattr(general.meta["means2d"], name))
    for (name, here), (_, there) in zip(found.items(), expected.items(), strict=True):
        assert here.grad is not None and there.grad is not None
        scale = float(there.grad.abs().max())
        torch.testing.assert_close(here.grad, there.grad, rtol=1e-4, atol=1e-5 * scale, msg=name)


def test_gradients_add_up_over_two_pictures():
    together, apart = make_gaussians(), [make_gaussians(), make_gaussians()]
    for seed in (1, 2):
        backward(together, adds_gradients=True, cotangent_seed=seed)
        backward(apart[seed - 1], adds_gradients=True, cotangent_seed=seed)
    for (name, tensor), (_, first), (_, second) in zip(*(g.items() for g in (together, *apart)), strict=True):
        torch.testing.assert_close(tensor.grad, first.grad + second.grad, rtol=1e-4, atol=1e-4, msg=name)


def test_gaussians_out_of_view_and_bands_not_in_use_get_no_gradient():
    gaussians = make_gaussians()
    rendered = backward(gaussians, adds_gradients=True, sh_degree=1)
    hidden = (rendered.meta["radii"][0] == 0).any(-1)
    assert 0 < int(hidden.sum()) < len(gaussians)
    assert not any(tensor.grad[hidden].any() for _, tensor in gaussians.items())
    assert gaussians.shN.grad[:, :3].any() and not gaussians.shN.grad[:, 3:].any()


def test_attributes_that_are_no_parameters_take_the_general_way():
    leaf = make_gaussians()
    doubled = leaf.map(lambda tensor: 1.0 * tensor)
    backward(doubled, adds_gradients=True)
    assert leaf.means.grad is not None and leaf.means.grad.any()
