"""Signed distance functions of simple shapes, from which the demo scene is modelled.

Points are [3, P], coordinate first, so that each coordinate is contiguous; results are [P], negative inside, in metres.
Formulas after I. Quilez, "Distance functions" (iquilezles.org/articles/distfunctions). Where a formula only
approximates the distance the caller shortens it, so that a marching ray never steps through a surface.
"""

import math
from functools import cache

import torch
from torch import Tensor


def length(p: Tensor) -> Tensor:
    """Length of every vector. `norm(dim=0)` takes a hundred times as long on [3, P] as this."""
    return (p * p).sum(0).sqrt()


def moved(p: Tensor, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Tensor:
    """The points as seen from a shape standing at (x, y, z)."""
    return torch.stack([p[0] - x, p[1] - y, p[2] - z])


def turned(p: Tensor, angle: float, axis: int = 2) -> Tensor:
    """The points as seen from a shape turned by `angle` radians about a coordinate axis."""
    cos, sin = math.cos(angle), math.sin(angle)
    u, v = (axis + 1) % 3, (axis + 2) % 3
    rows = list(p)
    rows[u], rows[v] = cos * p[u] + sin * p[v], cos * p[v] - sin * p[u]
    return torch.stack(rows)


def sphere(p: Tensor, radius: float) -> Tensor:
    """A ball about the origin."""
    return length(p) - radius


def ellipsoid(p: Tensor, rx: float, ry: float, rz: float) -> Tensor:
    """An ellipsoid about the origin; first-order distance, good near the surface."""
    radii = torch.tensor([[rx], [ry], [rz]])
    k0 = length(p / radii)
    k1 = length(p / radii**2).clamp_min(1e-6)
    return k0 * (k0 - 1) / k1


def box(p: Tensor, half: tuple[float, float, float], rounding: float = 0.0) -> Tensor:
    """A box of these half sides about the origin, its edges rounded inwards."""
    outside = p.abs() - (torch.tensor(half)[:, None] - rounding)
    return length(outside.clamp_min(0)) + outside.amax(0).clamp_max(0) - rounding


def _rectangle(a: Tensor, b: Tensor, half_a: float, half_b: float, rounding: float) -> Tensor:
    a, b = a.abs() - (half_a - rounding), b.abs() - (half_b - rounding)
    return torch.hypot(a.clamp_min(0), b.clamp_min(0)) + torch.maximum(a, b).clamp_max(0) - rounding


def cylinder(p: Tensor, radius: float, half_height: float, rounding: float = 0.0) -> Tensor:
    """An upright cylinder about the origin."""
    return _rectangle(torch.hypot(p[0], p[1]), p[2], radius, half_height, rounding)


def torus(p: Tensor, ring: float, tube: float) -> Tensor:
    """A torus lying in the xy plane."""
    return torch.hypot(torch.hypot(p[0], p[1]) - ring, p[2]) - tube


def torus_arc(p: Tensor, half_angle: float, ring: float, tube: float) -> Tensor:
    """The part of a torus within `half_angle` of +y, with round ends."""
    sin, cos = math.sin(half_angle), math.cos(half_angle)
    x = p[0].abs()
    along = torch.where(cos * x > sin * p[1], sin * x + cos * p[1], torch.hypot(x, p[1]))
    square = (p * p).sum(0) + ring * ring - 2 * ring * along
    return square.clamp_min(0).sqrt() - tube


def capsule(p: Tensor, start: tuple, end: tuple, radius: float, end_radius: float | None = None) -> Tensor:
    """The points within `radius` of a segment; the radius may change along it (then a close lower bound)."""
    a, b = torch.tensor(start)[:, None], torch.tensor(end)[:, None]
    along = (((p - a) * (b - a)).sum(0) / ((b - a) ** 2).sum()).clamp(0, 1)
    distance = length(p - a - (b - a) * along)
    if end_radius is None:
        return distance - radius
    slope = abs(end_radius - radius) / float((b - a).norm())
    return (distance - radius - (end_radius - radius) * along) / (1 + slope * slope) ** 0.5


def open_sphere(p: Tensor, radius: float, top: float, thickness: float) -> Tensor:
    """A hollow sphere about the origin, cut open above z = top: a bowl."""
    rim = (radius**2 - top**2) ** 0.5
    rho = torch.hypot(p[0], p[1])
    to_rim = torch.hypot(rho - rim, p[2] - top)
    to_shell = (torch.hypot(rho, p[2]) - radius).abs()
    return torch.where(top * rho < rim * p[2], to_rim, to_shell) - thickness


def lathe(p: Tensor, profile: tuple[tuple[float, float], ...]) -> Tensor:
    """Solid of revolution of a closed (radius, z) polygon about the z axis; exact.

    A side on the axis is not part of the surface, so it is left out.
    """
    rho, z = torch.hypot(p[0], p[1]), p[2]
    r0, z0, along_r, along_z, slope, low, high = _sides(profile)
    wr, wz = rho - r0, z - z0
    further_out = (z >= low) & (z < high) & (wr < wz * slope)  # an odd number of sides: the point is within
    along = (wr * along_r + wz * along_z).clamp(0, 1)
    square = along_r**2 + along_z**2
    nearest = (wr - along * (along_r / square)) ** 2 + (wz - along * (along_z / square)) ** 2
    distance = nearest.amin(0).sqrt()
    return torch.where(further_out.sum(0) % 2 == 1, -distance, distance)


@cache
def _sides(profile: tuple[tuple[float, float], ...]) -> tuple[Tensor, ...]:
    """Geometry of the sides, [S, 1] each: start, direction over squared length, dr/dz, and the heights they span."""
    start = torch.tensor(profile, dtype=torch.float64)
    end = start.roll(-1, 0)
    on_surface = (start[:, 0] > 0) | (end[:, 0] > 0)
    start, side = start[on_surface], (end - start)[on_surface]
    heights = torch.stack([start[:, 1], start[:, 1] + side[:, 1]], 1)
    slope = side[:, 0] / torch.where(side[:, 1] == 0, torch.inf, side[:, 1])
    side = side / (side**2).sum(1, keepdim=True)
    columns = [start[:, 0], start[:, 1], side[:, 0], side[:, 1], slope, heights.amin(1), heights.amax(1)]
    return tuple(column.float()[:, None] for column in columns)


def smooth_union(a: Tensor, b: Tensor, width: float) -> Tensor:
    """Both shapes, blended over `width` where they meet."""
    h = (width - (a - b).abs()).clamp_min(0) / width
    return torch.minimum(a, b) - h * h * width / 4


def around_axis(p: Tensor, count: int, phase: float = 0.0) -> tuple[Tensor, Tensor]:
    """Points folded into one of `count` sectors about z, its middle along +x; and which sector each came from."""
    sector = 2 * math.pi / count
    angle = torch.atan2(p[1], p[0]) - phase
    index = torch.round(angle / sector)
    angle = angle - index * sector
    rho = torch.hypot(p[0], p[1])
    return torch.stack([rho * torch.cos(angle), rho * torch.sin(angle), p[2]]), index
