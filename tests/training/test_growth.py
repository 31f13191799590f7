"""Halves of Gaussians: the picture that they leave, their places, and the moments they start with."""

import math

import pytest
import torch

from gsdff.cameras import Camera
from gsdff.gaussians import Gaussians
from gsdff.metrics import psnr
from gsdff.render import render_rgb
from gsdff.rotation import quats_to_matrices
from gsdff.training.growth import DISTANCE, MIN_OPACITY, halve, replace_by_halves

NAMES = {"log_scales": "scales", "logit_opacities": "opacities"}


def one(*, opacity=0.5, scales=(0.3, 0.1, 0.05), quat=(0.9, 0.1, 0.3, 0.2)):
    """One Gaussian in front of a camera, white."""
    return Gaussians(
        means=torch.tensor([[0.1, -0.05, 3.0]]),
        quats=torch.tensor([quat]),
        log_scales=torch.tensor([scales]).log(),
        logit_opacities=torch.tensor([opacity]).logit(),
        sh0=torch.full((1, 1, 3), 1.7),
        shN=torch.zeros(1, 3, 3),
    )


def grown(gaussians, rows=None):
    """The Gaussians with the halves of these rows, of all by default."""
    params = {NAMES.get(name, name): torch.nn.Parameter(tensor.clone()) for name, tensor in gaussians.items()}
    optimizers = {name: torch.optim.Adam([param], lr=0.0) for name, param in params.items()}
    for name, param in params.items():
        param.grad = torch.ones_like(param)
        optimizers[name].step()
        optimizers[name].zero_grad()
    replace_by_halves(params, optimizers, torch.arange(len(gaussians)) if rows is None else rows)
    back = {ours: theirs for ours, theirs in NAMES.items()}
    found = {name: params[back.get(name, name)].detach() for name, _ in gaussians.items()}
    return Gaussians(**found), params, optimizers


def draw(gaussians):
    K = torch.tensor([[120.0, 0, 48], [0, 120, 32], [0, 0, 1]])
    return render_rgb(gaussians, Camera(torch.eye(4), K, 96, 64)).image


@pytest.mark.parametrize("opacity", [0.2, 0.5, 0.9])
def test_halves_are_nearer_to_the_picture_of_the_whole_than_a_clone_in_place(opacity):
    whole = one(opacity=opacity)
    halves = draw(grown(whole)[0])
    cloned = draw(whole.map(lambda tensor: torch.cat([tensor, tensor])))  # as 3DGS does
    assert psnr(halves, draw(whole)) > psnr(cloned, draw(whole)) + 3


@pytest.mark.parametrize("opacity", [0.2, 0.5, 0.9, 0.99])
def test_halves_cover_as_much_as_the_whole(opacity):
    whole = one(opacity=opacity)
    torch.testing.assert_close(draw(grown(whole)[0]).sum(), draw(whole).sum(), rtol=0.03, atol=0)


def test_halves_have_the_mean_and_covariance_of_the_whole():
    def covariance(gaussians):
        matrices = quats_to_matrices(gaussians.quats.double()) * gaussians.scales.double()[:, None]
        return matrices @ matrices.transpose(1, 2)

    whole = one()
    halves = grown(whole)[0]
    torch.testing.assert_close(halves.means.mean(0), whole.means[0])
    offsets = (halves.means - whole.means).double()
    between = torch.einsum("ni,nj->nij", offsets, offsets)
    torch.testing.assert_close((covariance(halves) + between).mean(0), covariance(whole)[0], rtol=1e-5, atol=1e-8)


def test_halves_lie_on_the_longest_axis():
    whole = one(quat=(1.0, 0, 0, 0), scales=(0.1, 0.4, 0.2))
    offsets = grown(whole)[0].means - whole.means
    torch.testing.assert_close(offsets.abs(), torch.tensor([[0.0, DISTANCE * 0.4, 0.0]] * 2))
    shrunk = torch.tensor([0.1, 0.4 * math.sqrt(1 - DISTANCE**2), 0.2])
    torch.testing.assert_close(halve(whole.quats, whole.log_scales, whole.logit_opacities).log_scales.exp()[0], shrunk)


@pytest.mark.parametrize("logit", [-30.0, 30.0])
def test_invisible_and_opaque_gaussians_have_finite_halves(logit):
    halves = halve(torch.tensor([[1.0, 0, 0, 0]]), torch.zeros(1, 3), torch.tensor([logit]))
    assert halves.logit_opacities.isfinite().all() and halves.logit_opacities.sigmoid() >= MIN_OPACITY * 0.99


def test_other_gaussians_and_their_moments_stay_and_halves_start_without():
    gaussians = one().map(lambda tensor: tensor.repeat(3, *[1] * (tensor.dim() - 1)))
    found, params, optimizers = grown(gaussians, torch.tensor([1]))
    assert len(found) == 4
    for (name, after), (_, before) in zip(found.items(), gaussians.items(), strict=True):
        assert torch.equal(after[[0, 2]], before[[0, 2]]), name
    for name, param in params.items():
        (group,) = optimizers[name].param_groups
        state = optimizers[name].state[param]
        assert group["params"][0] is param and len(optimizers[name].state) == 1
        for moment in (state["exp_avg"], state["exp_avg_sq"]):
            assert moment.shape == param.shape and moment[[0, 2]].all() and not moment[[1, 3]].any()
