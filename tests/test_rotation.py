"""Conversions of rotations, and rotated harmonics."""

import math

import numpy as np
import pytest
import torch

from gsdff.render.harmonics import evaluate
from gsdff.rotation import (
    axis_angle_to_matrix,
    band_rotations,
    check_rotation,
    euler_to_matrix,
    matrices_to_quats,
    multiply_quats,
    quats_to_matrices,
    rotate_sh,
)


def random_quats(count, generator):
    quats = torch.randn(count, 4, generator=generator, dtype=torch.float64)
    return quats / quats.norm(dim=-1, keepdim=True)


def random_directions(count, generator):
    return torch.nn.functional.normalize(torch.randn(count, 3, generator=generator, dtype=torch.float64), dim=-1)


def seen_from(directions, shN):
    """The rasteriser's colours of one Gaussian in these directions, in float64 and far from its clamp at 0."""
    count, num = len(directions), shN.shape[1] + 1
    sh = torch.cat([torch.full((1, 1, 3), 50.0, dtype=torch.float64), shN], dim=1).expand(count, -1, -1)
    colors = np.empty((count, 3))
    radii = np.ones((count, 2), dtype=np.int32)
    arrays = (directions.numpy(), np.zeros(3), sh.contiguous().numpy())
    evaluate(0, count, *arrays, math.isqrt(num) - 1, radii, colors)
    return torch.from_numpy(colors)


def test_quaternions_of_known_turns():
    half = math.sqrt(0.5)
    about_z = axis_angle_to_matrix((0, 0, 2), 90)
    torch.testing.assert_close(about_z @ torch.tensor([1.0, 0, 0]).double(), torch.tensor([0.0, 1, 0]).double())
    torch.testing.assert_close(matrices_to_quats(about_z), torch.tensor([half, 0, 0, half]).double())
    about_x = torch.tensor([half, half, 0, 0])
    torch.testing.assert_close(
        multiply_quats(about_x, torch.tensor([half, 0, 0, half])), torch.tensor([0.5, 0.5, -0.5, 0.5])
    )


def test_a_product_of_quaternions_is_the_product_of_their_matrices(generator):
    left, right = random_quats(50, generator), random_quats(50, generator)
    product = quats_to_matrices(multiply_quats(left, right))
    torch.testing.assert_close(product, quats_to_matrices(left) @ quats_to_matrices(right))
    norms = multiply_quats(3 * left, 2 * right).norm(dim=-1)
    torch.testing.assert_close(norms, torch.full((50,), 6.0, dtype=torch.float64))


def test_matrices_of_quaternions_do_not_depend_on_length_or_sign(generator):
    quats = random_quats(20, generator)
    torch.testing.assert_close(quats_to_matrices(-7 * quats), quats_to_matrices(quats))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_there_and_back_is_exact_even_at_half_turns(dtype, generator):
    quats = torch.cat([random_quats(100, generator), torch.eye(4, dtype=torch.float64)])
    nearly_half = torch.tensor([[1e-9, 1, 0, 0], [1e-9, 0.6, 0.8, 0], [1e-9, 0.6, 0, -0.8]], dtype=torch.float64)
    quats = torch.cat([quats, nearly_half]).to(dtype)
    matrices = quats_to_matrices(quats)
    back = matrices_to_quats(matrices)
    assert (back[:, 0] >= 0).all()
    tolerance = 1e-14 if dtype == torch.float64 else 1e-6
    torch.testing.assert_close(quats_to_matrices(back), matrices, atol=tolerance, rtol=0)
    torch.testing.assert_close((back * quats).sum(-1).abs(), torch.ones(len(quats), dtype=dtype))


def test_axis_and_angle_follow_rodrigues(generator):
    for axis, degrees in zip(random_directions(10, generator), range(-400, 400, 80), strict=True):
        cross = torch.linalg.cross(axis.expand(3, 3), torch.eye(3, dtype=torch.float64)).T
        angle = math.radians(degrees)
        expected = torch.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross
        torch.testing.assert_close(axis_angle_to_matrix((axis * 5).tolist(), degrees), expected)


def test_euler_angles_turn_about_x_first_and_z_last():
    R = euler_to_matrix((90, 0, 90))  # y to z about x, and z stays about z; z to -y, and -y to x
    expected = torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]], dtype=torch.float64)
    torch.testing.assert_close(R, expected)
    separate = [axis_angle_to_matrix(axis, angle) for axis, angle in zip(np.eye(3).tolist(), (10, 20, 30), strict=True)]
    torch.testing.assert_close(euler_to_matrix((10, 20, 30)), separate[2] @ separate[1] @ separate[0])


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_a_turned_gaussian_shows_the_turned_direction_what_it_showed_before(degree, generator):
    shN = torch.randn(1, (degree + 1) ** 2 - 1, 3, generator=generator, dtype=torch.float64)
    directions = random_directions(200, generator)
    for R in quats_to_matrices(random_quats(10, generator)):
        after = seen_from(directions @ R.T, rotate_sh(shN, R))
        torch.testing.assert_close(after, seen_from(directions, shN), atol=1e-12, rtol=0)


def test_band_one_turns_like_the_vector_it_is(generator):
    axes = torch.tensor([[0.0, -1, 0], [0, 0, 1], [-1, 0, 0]], dtype=torch.float64)  # Y ~ -y, z, -x
    R = quats_to_matrices(random_quats(1, generator))[0]
    torch.testing.assert_close(band_rotations(R, 1)[0], axes @ R @ axes.T)


def test_band_matrices_are_orthogonal_and_those_of_quadrature(generator):
    R = quats_to_matrices(random_quats(1, generator))[0]
    z, weights = (torch.from_numpy(values) for values in np.polynomial.legendre.leggauss(8))
    longitude = torch.arange(16, dtype=torch.float64) * math.pi / 8
    radius = (1 - z * z).sqrt()[:, None]
    grid = [radius * longitude.cos(), radius * longitude.sin(), z[:, None].expand(8, 16)]
    directions = torch.stack(grid, dim=-1).reshape(-1, 3)
    areas = (weights[:, None] * math.pi / 8).expand(8, 16).reshape(-1)
    for band, D in enumerate(band_rotations(R, 3), start=1):
        inside = slice(band**2 - 1, (band + 1) ** 2 - 1)
        one_each = torch.eye(15, dtype=torch.float64)[:, None, :, None].expand(15, 1, 15, 3)[inside]
        before, after = (
            torch.stack([seen_from(at, sh)[:, 0] for sh in one_each], dim=-1) for at in (directions, directions @ R.T)
        )
        # the constant band, 0.5 + 50 Y0, is orthogonal to the others, but not small
        constant = 0.5 + 50 / math.sqrt(4 * math.pi)
        integral = (after - constant).T @ (areas[:, None] * (before - constant))
        torch.testing.assert_close(D, integral, atol=1e-11, rtol=0)
        torch.testing.assert_close(D @ D.T, torch.eye(2 * band + 1, dtype=torch.float64), atol=1e-13, rtol=0)


def test_turns_of_harmonics_compose(generator):
    first, second = quats_to_matrices(random_quats(2, generator))
    shN = torch.randn(5, 15, 3, generator=generator)
    torch.testing.assert_close(rotate_sh(rotate_sh(shN, first), second), rotate_sh(shN, second @ first))


def test_no_turn_changes_nothing_and_four_quarter_turns_neither(generator):
    shN = torch.randn(30, 15, 3, generator=generator)
    given = shN.clone()
    torch.testing.assert_close(rotate_sh(shN, torch.eye(3)), shN, atol=1e-6, rtol=0)
    for axis in torch.eye(3).tolist():
        turned = shN
        for _ in range(4):
            turned = rotate_sh(turned, axis_angle_to_matrix(axis, 90))
        torch.testing.assert_close(turned, shN, atol=1e-6, rtol=0)
        assert not torch.allclose(rotate_sh(shN, axis_angle_to_matrix(axis, 90)), shN, atol=0.1)
    assert torch.equal(shN, given)


def test_nothing_to_turn_is_no_error():
    assert rotate_sh(torch.zeros(4, 0, 3), torch.eye(3)).shape == (4, 0, 3)
    assert rotate_sh(torch.zeros(0, 8, 3), torch.eye(3)).shape == (0, 8, 3)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: axis_angle_to_matrix((0, 0, 0), 30), "axis"),
        (lambda: axis_angle_to_matrix((0, 1), 30), "axis"),
        (lambda: axis_angle_to_matrix((0, 0, math.nan), 30), "axis"),
        (lambda: axis_angle_to_matrix((0, 0, 1), math.inf), "angle"),
        (lambda: euler_to_matrix((0, 1)), "three"),
        (lambda: check_rotation(torch.eye(4)), "shape"),
        (lambda: check_rotation(2 * torch.eye(3)), "orthonormal"),
        (lambda: check_rotation(torch.full((3, 3), math.nan)), "orthonormal"),
        (lambda: check_rotation(torch.diag(torch.tensor([1.0, 1, -1]))), "reflection"),
        (lambda: rotate_sh(torch.zeros(2, 3, 3), -torch.eye(3)), "reflection"),
        (lambda: rotate_sh(torch.zeros(2, 4, 3), torch.eye(3)), "got 4"),
        (lambda: rotate_sh(torch.zeros(2, 24, 3), torch.eye(3)), "got 24"),
    ],
)
def test_what_is_no_rotation_is_refused(call, complaint):
    with pytest.raises(ValueError, match=complaint):
        call()
