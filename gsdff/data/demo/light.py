"""Light of the demo scene: hazy sun and sky light through the window, and light reflected by the room.

Shadows and occlusion come from distances sampled once on a grid, so that they are smooth and the same from every
camera, as a reconstruction needs them. Units are arbitrary; `tone_map` turns radiance into the photo's sRGB.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gsdff.data.demo import sdf
from gsdff.data.demo.room import HALF_X, HALF_Y, WINDOW
from gsdff.data.demo.solids import Solid
from gsdff.data.demo.textures import mix, rgb, step

_TO_SUN = torch.nn.functional.normalize(torch.tensor([[-1.0], [-0.12], [0.48]]), dim=0)
_SUN = 7.5 * rgb("#ffe9c8")
_SKY = 2.6 * rgb("#dfeaff")
_ROOM = 0.62 * rgb("#fff8ee")
_EXPOSURE = 0.62


CHUNK = 16_384
"""Points processed at a time: their temporaries stay in the cache."""


@dataclass(frozen=True)
class DistanceGrid:
    """Distances to the nearest of some solids, sampled over a box and interpolated trilinearly."""

    values: Tensor
    """Sampled distances, [1, 1, Z, Y, X]."""
    lower: Tensor
    upper: Tensor

    @staticmethod
    def of(solids: list[Solid], lower: tuple, upper: tuple, cell: float) -> "DistanceGrid":
        """Samples the solids that reach into the box every `cell` metres."""
        low, high = torch.tensor(lower), torch.tensor(upper)
        sizes = ((high - low) / cell).ceil().int() + 1
        axes = [torch.linspace(low[i], high[i], int(sizes[i])) for i in range(3)]
        z, y, x = torch.meshgrid(axes[2], axes[1], axes[0], indexing="ij")
        points = torch.stack([x.flatten(), y.flatten(), z.flatten()])
        reaching = [s for s in solids if _reaches(s, low, high)]
        nearest = torch.cat([_nearest(reaching, part) for part in points.split(CHUNK, dim=1)])
        return DistanceGrid(nearest.reshape(z.shape)[None, None], low[:, None], high[:, None])

    def at(self, points: Tensor) -> Tensor:
        """Distances [P] at world points [3, P]; outside the box they grow with the distance to it."""
        unit = (points - self.lower) * (2 / (self.upper - self.lower)) - 1
        sampled = F.grid_sample(self.values, unit.T[None, None, None], padding_mode="border", align_corners=True)
        outside = torch.maximum(self.lower - points, points - self.upper).clamp_min(0).amax(0)
        return sampled.flatten() + outside


def _reaches(solid: Solid, low: Tensor, high: Tensor) -> bool:
    centre, radius = solid.ball
    return bool((centre + radius > low).all() and (centre - radius < high).all())


def _nearest(solids: list[Solid], points: Tensor) -> Tensor:
    """Distance to the nearest of the solids; far from one, the distance to its box is the better bound."""
    nearest = torch.full_like(points[0], 10.0)
    for solid in solids:
        local = solid.to_local(points)
        lower, upper = torch.tensor(solid.lower)[:, None], torch.tensor(solid.upper)[:, None]
        to_box = sdf.length(torch.maximum(lower - local, local - upper).clamp_min(0))
        near = (to_box < nearest).nonzero()[:, 0]
        if len(near):
            gap, floor = solid.distance(local[:, near]), to_box[near]
            gap = torch.where(floor > 0, torch.maximum(gap, floor), gap)
            nearest[near] = torch.minimum(nearest[near], gap)
    return nearest


def visibility(grid: DistanceGrid, points: Tensor, towards: Tensor, sharpness: float, start: float) -> Tensor:
    """Visible share of a round light from each point, its radius 1 / sharpness radians (Aaltonen's soft shadows)."""
    seen = torch.ones_like(points[0])
    active, towards = torch.arange(len(seen)), towards.expand_as(points)
    t, so_far = torch.full_like(seen, start), seen
    for _ in range(0, 25, 5):
        for _ in range(5):
            there = points + towards * t
            gap = grid.at(there)
            so_far = torch.minimum(so_far, sharpness * gap / t)
            t = t + torch.maximum(gap.clamp_max(0.25), 0.4 * start + 0.03 * t)
        seen[active] = so_far
        going = (so_far > -1) & ((there > grid.lower) & (there < grid.upper)).all(0)
        active, t, so_far, points, towards = active[going], t[going], so_far[going], points[:, going], towards[:, going]
    seen = seen.clamp_min(-1)
    return 0.25 * (1 + seen) ** 2 * (2 - seen)


def openness(grid: DistanceGrid, points: Tensor, normals: Tensor, scale: float) -> Tensor:
    """Ambient occlusion from five steps along the normal: 1 in the open, towards 0 in corners."""
    closed = torch.zeros_like(points[0])
    for reach, weight in ((0.01, 0.22), (0.022, 0.22), (0.05, 0.22), (0.1, 0.18), (0.19, 0.14)):
        closed += weight * (1 - grid.at(points + normals * (reach * scale)) / (reach * scale)).clamp(0, 1)
    return (1 - 0.92 * closed).clamp_min(0)


def window_seen(points: Tensor, towards: Tensor, blur: float) -> Tensor:
    """Share of a beam from each point in a direction that passes the panes; `blur` is its widening per metre."""
    y0, y1, z0, z1 = WINDOW
    length = (-HALF_X - points[0]) / towards[0].clamp_max(-1e-4)
    y, z = points[1] + towards[1] * length, points[2] + towards[2] * length
    soft = 0.012 + blur * length
    across = step(-1, 1, (y - y0) / soft) * step(-1, 1, (y1 - y) / soft)
    upright = step(-1, 1, (z - z0) / soft) * step(-1, 1, (z1 - z) / soft)
    middle_y, bar_z = (y0 + y1) / 2, (z0 + z1) / 2 + 0.2
    bars = _bar((y - middle_y).abs(), soft) * _bar((z - bar_z).abs(), soft)
    return across * upright * bars * (towards[0] < 0)


def _bar(offset: Tensor, soft: Tensor) -> Tensor:
    """Share of light that passes a glazing bar 44 mm wide."""
    half = 0.022
    return 1 - (half / torch.maximum(soft, torch.full_like(soft, half))) * (1 - step(0, 1, offset / (soft + half)))


def _corner(points: Tensor) -> Tensor:
    """Darkening of the room's surfaces where they meet."""
    x, y = HALF_X - points[0].abs(), HALF_Y - points[1].abs()
    gaps = torch.stack([x, y, points[2]]).clamp_min(0)
    closed = 0.5 * torch.exp(-gaps / 0.22) * (gaps > 1e-3)
    return (1 - closed).prod(0)


@dataclass(frozen=True)
class Lighting:
    """Two grids of distances, for shadows and occlusion."""

    fine: DistanceGrid
    """Around the table top, for the table and what stands on it."""
    coarse: DistanceGrid
    """The whole room, for everything else."""

    @staticmethod
    def of(table_things: list[Solid], furniture: list[Solid], table_top: float) -> "Lighting":
        """Samples both grids."""
        fine = DistanceGrid.of(table_things, (-0.78, -0.58, table_top - 0.2), (0.78, 0.58, table_top + 0.46), 0.007)
        flat = ("rug", "curtain", "painting", "window")
        casting = [s for s in table_things + furniture if s.category not in flat]
        coarse = DistanceGrid.of(casting, (-2.4, -2.1, 0.0), (2.4, 2.1, 1.8), 0.04)
        return Lighting(fine, coarse)

    def irradiance(self, points: Tensor, normals: Tensor, is_solid: Tensor) -> tuple[Tensor, Tensor]:
        """Light [3, P] that arrives at surface points, and their openness [P]. Walls are not in the fine grid."""
        is_near = is_solid & ((points > self.fine.lower + 0.06) & (points < self.fine.upper - 0.06)).all(0)
        light, opened = torch.zeros_like(points), torch.zeros_like(points[0])
        for grid, chosen, scale in ((self.fine, is_near, 1.0), (self.coarse, ~is_near, 3.0)):
            ids = chosen.nonzero()[:, 0]
            p, n = points[:, ids], normals[:, ids]
            opened[ids] = openness(grid, p, n, scale) * _corner(p)
            light[:, ids] = self._direct(grid, p, n, scale)
        upward = 0.5 + 0.5 * normals[2]
        warm = mix(rgb("#cbab8c"), rgb("#fbfaf6"), upward)
        return light + _ROOM * warm * opened, opened

    def _direct(self, grid: DistanceGrid, points: Tensor, normals: Tensor, scale: float) -> Tensor:
        lifted = points + normals * (0.006 * scale)
        facing = ((normals * _TO_SUN).sum(0) - 0.04).clamp_min(0)
        sun = facing * window_seen(points, _TO_SUN, 0.02)
        lit = (sun > 1e-3).nonzero()[:, 0]
        sun[lit] *= visibility(grid, lifted[:, lit], _TO_SUN, 24.0, 0.01 * scale)

        y0, y1, z0, z1 = WINDOW
        to_window = torch.tensor([[-HALF_X], [(y0 + y1) / 2], [(z0 + z1) / 2]]) - points
        distance = sdf.length(to_window).clamp_min(0.3)
        to_window = to_window / distance
        facing = (((normals * to_window).sum(0) + 0.25) / 1.25).clamp_min(0)
        area = (y1 - y0) * (z1 - z0)
        sky = facing * (-to_window[0]).clamp_min(0) * area / (distance**2 + 0.5 * area)
        lit = (sky > 1e-3).nonzero()[:, 0]
        sky[lit] *= visibility(grid, lifted[:, lit], to_window[:, lit], 2.4, 0.012 * scale)
        return _SUN * sun + _SKY * sky

    def mirrored(self, points: Tensor, normals: Tensor, views: Tensor, gloss: Tensor, opened: Tensor) -> Tensor:
        """Light [3, P] reflected towards the camera by glossy surfaces: window, sun and a vague room."""
        cosine = -(normals * views).sum(0).clamp(-1, 0)
        bounced = views + 2 * cosine * normals
        fresnel = gloss * (1 + 5 * (1 - cosine) ** 5)
        pane = window_seen(points, bounced, 0.035)
        glint = (bounced * _TO_SUN).sum(0).clamp_min(0) ** 350 * window_seen(points, _TO_SUN, 0.02)
        room = 0.35 * rgb("#e8dccb")
        return fresnel * opened * (room + 5.0 * rgb("#f2f6ff") * pane + 40.0 * _SUN / 7.5 * glint)


def tone_map(radiance: Tensor) -> Tensor:
    """Converts linear radiance to sRGB in [0, 1]: the same exposure and filmic curve (Narkowicz's ACES fit) for all."""
    x = radiance * _EXPOSURE
    x = mix((x * torch.tensor([[0.2126], [0.7152], [0.0722]])).sum(0), x, torch.tensor(0.86))
    linear = ((x * (2.51 * x + 0.03)) / (x * (2.43 * x + 0.59) + 0.14)).clamp(0, 1)
    return torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp_min(1e-6) ** (1 / 2.4) - 0.055)
