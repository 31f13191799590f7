"""Colours and procedural patterns. Colours are linear RGB [3, P] or [3, 1]; masks are [P] in [0, 1]."""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

_LATTICE = 32
"""Noise repeats after this many cells."""


def rgb(code: str) -> Tensor:
    """The linear colour [3, 1] of an sRGB code "#rrggbb"."""
    encoded = torch.tensor([int(code[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return torch.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)[:, None]


def mix(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """Linear blend: `a` at weight 0, `b` at weight 1."""
    return a + (b - a) * weight


def step(edge0: float, edge1: float, x: Tensor) -> Tensor:
    """Hermite step from 0 at `edge0` to 1 at `edge1`."""
    t = ((x - edge0) / (edge1 - edge0)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def inside(condition: Tensor) -> Tensor:
    """Converts a condition to a mask."""
    return condition.float()


@cache
def _lattice() -> Tensor:
    values = torch.rand(_LATTICE, _LATTICE, _LATTICE, generator=torch.Generator().manual_seed(20))
    return F.pad(values[None, None], (0, 1) * 3, mode="circular")


def noise(x: Tensor, y: Tensor, z: Tensor | float = 0.0) -> Tensor:
    """Value noise in [0, 1], one cell per unit."""
    cell = torch.stack([x, y, torch.as_tensor(z).expand_as(x)])
    floor = cell.floor()
    fade = cell - floor
    position = (floor % _LATTICE + fade * fade * (3 - 2 * fade)) * (2 / _LATTICE) - 1
    grid = position.T[None, None, None]
    return F.grid_sample(_lattice(), grid, align_corners=True).flatten()


def fractal(x: Tensor, y: Tensor, z: Tensor | float = 0.0) -> Tensor:
    """Three octaves of noise, in [0, 1]."""
    return (4 * noise(x, y, z) + 2 * noise(2 * x + 7.3, 2 * y, 2 * z) + noise(4 * x, 4 * y + 3.1, 4 * z)) / 7


def cells(index_x: Tensor, index_y: Tensor | float, salt: float = 0.0) -> Tensor:
    """One random number in [0, 1] per integer cell."""
    x = index_x * 7 + salt * 3 + 5
    y = torch.as_tensor(index_y).expand_as(index_x) * 11 + salt
    return noise(x.round(), y.round(), x.round() * 3)


def stripes(x: Tensor, period: float, share: float = 0.5) -> Tensor:
    """Stripes: ones over this share of every period."""
    return inside((x / period) % 1.0 < share)


def checker(x: Tensor, y: Tensor, size: float) -> Tensor:
    """A chessboard of zeros and ones."""
    return ((x / size).floor() + (y / size).floor()) % 2


def dots(x: Tensor, y: Tensor, period: float, radius: float) -> Tensor:
    """Discs in staggered rows."""
    row = (y / period).floor()
    u = (x / period + 0.5 * (row % 2)) % 1.0 - 0.5
    v = (y / period) % 1.0 - 0.5
    return inside(u * u + v * v < (radius / period) ** 2)


def wood(along: Tensor, across: Tensor, dark: Tensor, light: Tensor, salt: Tensor | float = 0.0) -> Tensor:
    """Grain running along the first coordinate; `salt` tells planks apart."""
    salt = torch.as_tensor(salt).expand_as(along)
    warp = fractal(along * 1.3 + salt * 9, across * 7, salt * 5)
    rings = 0.5 + 0.5 * torch.sin(across * 95 + warp * 26 + salt * 20)
    fibre = noise(along * 9 + salt * 31, across * 110, salt * 7)
    tone = 0.68 * rings + 0.32 * fibre
    return mix(dark, light, tone) * (0.86 + 0.28 * fractal(along * 3, across * 4, salt * 17))


def planks(x: Tensor, y: Tensor, width: float, length: float) -> tuple[Tensor, Tensor]:
    """Floor boards along x: a random number per board, and a mask of the joints between them."""
    row = (y / width).floor()
    shifted = x + cells(row, 3.0) * length
    board = cells((shifted / length).floor(), row)
    u, v = (shifted / length) % 1.0, (y / width) % 1.0
    joint = inside((v * width < 0.005) | (u * length < 0.005))
    return board, joint
