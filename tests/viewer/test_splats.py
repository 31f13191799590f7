"""Splats for the browser, and which of their data is sent again."""

import math

import numpy as np
import pytest
import torch
from fake_client import FakeClient
from tiny_run import make_gaussians

from gsdff.gaussians import Gaussians
from gsdff.rotation import matrices_to_quats
from gsdff.viewer.splats import LARGEST, SPLAT_SCALE, Splats, to_splats


def one(quat: list[float], scales: list[float]) -> Gaussians:
    """One Gaussian at (1, 2, 3) with opacity 0.25."""
    return Gaussians(
        means=torch.tensor([[1.0, 2.0, 3.0]]),
        quats=torch.tensor([quat]),
        log_scales=torch.tensor([scales]).log(),
        logit_opacities=torch.tensor([-math.log(3)]),
        sh0=torch.zeros(1, 1, 3),
        shN=torch.zeros(1, 0, 3),
    )


@pytest.mark.parametrize(
    ("quat", "covariance"),
    [
        ([1.0, 0, 0, 0], np.diag([0.01, 0.04, 0.09])),
        ([2.0, 0, 0, 2.0], np.diag([0.04, 0.01, 0.09])),  # a quarter turn about z, of any norm
        (
            [math.cos(math.pi / 8), 0, 0, math.sin(math.pi / 8)],  # an eighth about z
            np.array([[0.025, -0.015, 0], [-0.015, 0.025, 0], [0, 0, 0.09]]),
        ),
    ],
)
def test_a_covariance_is_the_axes_turned_and_scaled(quat, covariance):
    centers, covariances, opacities = to_splats(one(quat, [0.1, 0.2, 0.3]))
    assert np.allclose(centers, SPLAT_SCALE * np.array([[1, 2, 3]]))
    assert np.allclose(covariances[0], SPLAT_SCALE**2 * covariance, rtol=1e-5, atol=1e-3)
    assert opacities.shape == (1, 1) and np.allclose(opacities, 0.25)


def test_made_small_again_splats_are_the_gaussians(generator):
    gaussians = make_gaussians(generator)
    centers, covariances, opacities = (torch.from_numpy(array).double() for array in to_splats(gaussians))
    assert torch.allclose(centers / SPLAT_SCALE, gaussians.means.double())
    assert torch.allclose(opacities[:, 0], gaussians.opacities.double())
    variances, axes = torch.linalg.eigh(covariances / SPLAT_SCALE**2)
    assert torch.allclose(variances.sqrt(), gaussians.scales.double().sort().values, rtol=1e-4)
    axes[:, :, 0] *= torch.linalg.det(axes)[:, None]  # no reflection
    quats = matrices_to_quats(axes)
    again = Gaussians(
        gaussians.means, quats.float(), 0.5 * variances.log().float(), gaussians.logit_opacities, gaussians.sh0,
        gaussians.shN,
    )  # fmt: skip
    assert np.allclose(to_splats(again)[1], to_splats(gaussians)[1], rtol=1e-3, atol=1e-2)


def test_small_and_huge_gaussians_survive_half_precision():
    for scale in (2e-4, 1e-3, 1.0, LARGEST, 1e4):
        _, covariances, _ = to_splats(one([1.0, 0, 0, 0], [scale] * 3))
        sent = covariances.astype(np.float16).astype(np.float64)
        assert np.isfinite(sent).all()
        assert np.allclose(np.sqrt(sent[0, 0, 0]) / SPLAT_SCALE, min(scale, LARGEST), rtol=0.02)


def test_colours_alone_are_sent_where_the_gaussians_are_the_same(generator):
    client = FakeClient()
    splats = Splats(client.scene)
    gaussians, colors = make_gaussians(generator), torch.rand(60, 3, generator=generator)
    splats.show(gaussians, colors)
    handle = client.scene["/splats"]
    assert np.array_equal(handle.rgbs, colors.numpy()) and handle.scale == 1 / SPLAT_SCALE
    splats.show(gaussians, 1 - colors)
    assert np.array_equal(handle.rgbs, 1 - colors.numpy()) and "gaussians" not in handle.changes
    fewer = gaussians.map(lambda tensor: tensor[:10])
    splats.show(fewer, colors[:10])
    assert handle.changes.count("gaussians") == 1 and handle.centers.shape == (10, 3)
    assert client.scene.of_kind("gaussian_splats") == [handle]


def test_hidden_splats_are_taken_away_and_come_back(generator):
    client = FakeClient()
    splats = Splats(client.scene)
    splats.hide()  # before there are any
    gaussians, colors = make_gaussians(generator), torch.rand(60, 3, generator=generator)
    splats.show(gaussians, colors)
    splats.hide()
    assert not client.scene.of_kind("gaussian_splats")
    splats.hide()
    splats.show(gaussians, colors)
    assert np.array_equal(client.scene["/splats"].centers, to_splats(gaussians)[0])
    splats.forget()
    assert vars(splats)["_sent"] is None
