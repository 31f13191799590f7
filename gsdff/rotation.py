"""Rotations as matrices, quaternions wxyz, axis and angle, or Euler angles; rotation of spherical harmonics."""

from collections.abc import Sequence
from math import isqrt, pi, sqrt

import torch
from jaxtyping import Float
from torch import Tensor

_HIGHEST_BAND = 3
_NUM_DIRECTIONS = 32  # more than the 7 unknowns of band 3, and evenly spread: every band's system is well conditioned
_C1 = sqrt(3 / (4 * pi))
_C2A, _C2B, _C2C = sqrt(15 / (4 * pi)), sqrt(5 / (16 * pi)), sqrt(15 / (16 * pi))
_C3A, _C3B, _C3C = sqrt(35 / (32 * pi)), sqrt(105 / (4 * pi)), sqrt(21 / (32 * pi))
_C3D, _C3E = sqrt(7 / (16 * pi)), sqrt(105 / (16 * pi))


def multiply_quats(left: Float[Tensor, "*#B 4"], right: Float[Tensor, "*#B 4"]) -> Float[Tensor, "*#B 4"]:
    """Hamilton product of quaternions wxyz: the rotation `right` followed by `left`. Norms multiply."""
    a, b, c, d = left.unbind(-1)
    w, x, y, z = right.unbind(-1)
    product = (
        a * w - b * x - c * y - d * z,
        a * x + b * w + c * z - d * y,
        a * y - b * z + c * w + d * x,
        a * z + b * y - c * x + d * w,
    )
    return torch.stack(product, dim=-1)


def quats_to_matrices(quats: Float[Tensor, "*B 4"]) -> Float[Tensor, "*B 3 3"]:
    """Rotation matrices of quaternions wxyz of any norm but zero."""
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1).unbind(-1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def matrices_to_quats(matrices: Float[Tensor, "*B 3 3"]) -> Float[Tensor, "*B 4"]:
    """Unit quaternions wxyz, w >= 0, of rotation matrices; as exact near half turns as elsewhere.

    4 q qᵀ is linear in the matrix; its row with the largest diagonal entry, at least 1, is q up to its length.
    """
    m = matrices
    diagonal = (m[..., 0, 0], m[..., 1, 1], m[..., 2, 2])
    trace = diagonal[0] + diagonal[1] + diagonal[2]
    wx, wy, wz = (m[..., i, j] - m[..., j, i] for i, j in ((2, 1), (0, 2), (1, 0)))
    yz, xz, xy = (m[..., i, j] + m[..., j, i] for i, j in ((2, 1), (0, 2), (1, 0)))
    xx, yy, zz = (1 + 2 * entry - trace for entry in diagonal)
    rows = ((1 + trace, wx, wy, wz), (wx, xx, xy, xz), (wy, xy, yy, yz), (wz, xz, yz, zz))
    outer = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)  # [*B, 4, 4]
    largest = outer.diagonal(dim1=-2, dim2=-1).argmax(-1)[..., None, None].expand(*outer.shape[:-2], 1, 4)
    quats = torch.nn.functional.normalize(outer.gather(-2, largest)[..., 0, :], dim=-1)
    return torch.where(quats[..., :1] < 0, -quats, quats)


def axis_angle_to_matrix(axis: Sequence[float], degrees: float) -> Float[Tensor, "3 3"]:
    """Rotation about an axis of any length but zero, counter-clockwise when the axis points at the viewer; float64.

    Raises ValueError for an axis that is zero or not of three finite numbers, and for an angle that is not finite.
    """
    direction = torch.as_tensor(axis, dtype=torch.float64)
    if direction.shape != (3,) or not direction.isfinite().all() or not direction.any():
        raise ValueError(f"an axis must be three finite numbers, not all zero, got {axis}")
    half = torch.deg2rad(_checked_angle(degrees)) / 2
    direction = torch.nn.functional.normalize(direction, dim=0, eps=0)
    return quats_to_matrices(torch.cat([half.cos()[None], half.sin() * direction]))


def euler_to_matrix(degrees: Sequence[float]) -> Float[Tensor, "3 3"]:
    """Rotation about the world's x axis, then its y axis, then its z axis: R = Rz Ry Rx, as Blender's XYZ; float64.

    Raises ValueError for anything but three finite angles.
    """
    if len(degrees) != 3:
        raise ValueError(f"Euler angles must be three, about x, y and z, got {len(degrees)}")
    axes = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
    x, y, z = (axis_angle_to_matrix(axis, angle) for axis, angle in zip(axes, degrees, strict=True))
    return z @ y @ x


def check_rotation(matrix: Float[Tensor, "3 3"]) -> None:
    """Raises ValueError for a matrix that is not a rotation: not orthonormal to 1e-4, or a reflection."""
    if tuple(matrix.shape) != (3, 3):
        raise ValueError(f"a rotation must be a matrix of shape (3, 3), got {tuple(matrix.shape)}")
    R = matrix.detach().cpu().double()
    if not torch.allclose(R @ R.T, torch.eye(3, dtype=R.dtype), rtol=0, atol=1e-4):
        raise ValueError("a rotation's rows must be orthonormal; give scale and rotation separately")
    if torch.linalg.det(R) < 0:
        raise ValueError("a rotation must have determinant 1, got a reflection")


def rotate_sh(shN: Float[Tensor, "N B 3"], R: Float[Tensor, "3 3"]) -> Float[Tensor, "N B 3"]:
    """Rotates the coefficients of bands 1 and up: their colour in direction R d becomes that of `shN` in direction d.

    A rotation mixes the coefficients of a band only with one another: c' = D c, with the D of `band_rotations`.
    Computed in float64, returned in shN's dtype. Raises ValueError for any degree but 0 to 3 and if R is not a
    rotation.
    """
    degree = isqrt(shN.shape[1] + 1) - 1
    if (degree + 1) ** 2 - 1 != shN.shape[1] or degree > _HIGHEST_BAND:
        raise ValueError(f"expected 0, 3, 8 or 15 coefficients (SH degree 0 to 3), got {shN.shape[1]}")
    rotated = torch.empty_like(shN)
    for band, D in enumerate(band_rotations(R, degree), start=1):
        mine = slice(band**2 - 1, (band + 1) ** 2 - 1)  # shN starts after the constant band
        rotated[:, mine] = torch.einsum("ij,njc->nic", D.to(shN.device), shN[:, mine].double()).to(shN.dtype)
    return rotated


def band_rotations(R: Float[Tensor, "3 3"], degree: int) -> list[Float[Tensor, "M M"]]:
    """For each band l = 1..degree the orthogonal matrix D, M = 2l + 1, with Y(R d) = D Y(d) for all d; float64, CPU.

    Since Y(R d)ᵀ c' = Y(d)ᵀ c has to hold for all d, and D is orthogonal, it also takes the coefficients c to c'.
    Solved for on a fixed set of directions; exact, since rotated harmonics of a band are sums of its harmonics.
    Raises ValueError if R is not a rotation.
    """
    check_rotation(R)
    directions = _spread_directions()
    before, after = sh_basis(directions), sh_basis(directions @ R.detach().cpu().double().T)  # [P, 16]
    bands = [slice(band**2, (band + 1) ** 2) for band in range(1, degree + 1)]
    return [torch.linalg.lstsq(before[:, mine], after[:, mine]).solution.T for mine in bands]


def sh_basis(directions: Float[Tensor, "*B 3"]) -> Float[Tensor, "*B 16"]:
    """Real spherical harmonics of bands 0 to 3 in unit directions, in 3DGS's order and signs, of norm 1 on the sphere.

    The same polynomials as the rasteriser's (`gsdff.render.harmonics`).
    """
    x, y, z = directions.unbind(-1)
    values = (
        torch.full_like(x, 1 / sqrt(4 * pi)),
        -_C1 * y,
        _C1 * z,
        -_C1 * x,
        _C2A * x * y,
        -_C2A * y * z,
        _C2B * (3 * z * z - 1),
        -_C2A * x * z,
        _C2C * (x * x - y * y),
        -_C3A * y * (3 * x * x - y * y),
        _C3B * x * y * z,
        -_C3C * y * (5 * z * z - 1),
        _C3D * z * (5 * z * z - 3),
        -_C3C * x * (5 * z * z - 1),
        _C3E * z * (x * x - y * y),
        -_C3A * x * (x * x - 3 * y * y),
    )
    return torch.stack(values, dim=-1)


def _spread_directions() -> Float[Tensor, "P 3"]:
    """Unit vectors spread evenly over the sphere (Fibonacci lattice)."""
    index = torch.arange(_NUM_DIRECTIONS, dtype=torch.float64)
    z = (2 * index + 1) / _NUM_DIRECTIONS - 1
    longitude = index * pi * (3 - sqrt(5))
    radius = (1 - z * z).sqrt()
    return torch.stack([radius * longitude.cos(), radius * longitude.sin(), z], dim=-1)


def _checked_angle(degrees: float) -> Float[Tensor, ""]:
    angle = torch.as_tensor(degrees, dtype=torch.float64)
    if angle.ndim or not angle.isfinite():
        raise ValueError(f"an angle must be a finite number of degrees, got {degrees}")
    return angle
