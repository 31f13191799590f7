"""The room of the demo scene: walls, floor, rug, window, and the table in the middle. Metres, z up, floor at 0."""

import torch
from torch import Tensor

from gsdff.data.demo import sdf
from gsdff.data.demo.solids import Solid, Wall
from gsdff.data.demo.textures import (
    cells,
    checker,
    dots,
    fractal,
    inside,
    mix,
    noise,
    planks,
    rgb,
    step,
    stripes,
    wood,
)  # fmt: skip

HALF_X, HALF_Y, CEILING = 2.4, 2.1, 2.6
TABLE_TOP = 0.74
WINDOW = (-0.95, 0.95, 0.8, 2.3)
"""Extent of the pane in the wall x = -HALF_X: least and largest y, least and largest z."""
DADO = 0.66
"""Height of the panelling."""


def walls() -> list[Wall]:
    """Floor, ceiling and four walls."""
    return [
        Wall("floor", "floor", 2, 0.0, 1.0, _paint_floor, gloss=0.01),
        Wall("ceiling", "wall", 2, CEILING, -1.0, lambda p: rgb("#e8e4da").expand_as(p)),
        Wall("wall at the window", "wall", 0, -HALF_X, 1.0, lambda p: _paint_wall(p[1], p[2])),
        Wall("wall at the sofa", "wall", 0, HALF_X, -1.0, lambda p: _paint_wall(p[1], p[2])),
        Wall("wall with pictures", "wall", 1, -HALF_Y, 1.0, lambda p: _paint_wall(p[0], p[2])),
        Wall("wall at the bookcase", "wall", 1, HALF_Y, -1.0, lambda p: _paint_wall(p[0], p[2])),
    ]


def _paint_floor(p: Tensor) -> Tensor:
    board, joint = planks(p[0], p[1], 0.14, 1.1)
    base = wood(p[0], p[1], rgb("#6e4526"), rgb("#b07a48"), board * 3)
    return mix(base * (0.7 + 0.55 * board), rgb("#2b1a0e"), joint * 0.8)


def _paint_wall(u: Tensor, z: Tensor) -> Tensor:
    """Panelling below, papered above; `u` runs along the wall."""
    paper = mix(rgb("#9fb8a6"), rgb("#b4c9b6"), stripes(u, 0.3))
    v = (z - DADO) / 0.3
    column = (u / 0.15).floor()
    a, b = (u / 0.15) % 1.0 - 0.5, (v + 0.5 * (column % 2)) % 1.0 - 0.5
    leaf = (a.abs() * 2.4 + 0.5 * b.abs() < 0.36) | ((a * a * 2 + (b - 0.27) ** 2) < 0.012)
    paper = mix(paper, rgb("#5f8270"), inside(leaf) * 0.8)
    paper = mix(paper, rgb("#d8b46a"), inside(a * a + b * b * 4 < 0.006))
    panel_u, panel_z = ((u / 0.45) % 1.0 - 0.5).abs() * 0.45, (z - 0.37).abs()
    groove = torch.maximum(panel_u - 0.16, panel_z - 0.17)
    wooden = rgb("#ddd6c4") * (0.93 + 0.14 * fractal(u * 3, z * 1.2, 4.0))
    wooden = mix(wooden, rgb("#a89f8a"), inside(groove.abs() < 0.008))
    rail = inside((z - DADO).abs() < 0.03) + inside(z < 0.11)
    wooden = mix(wooden, rgb("#c9bfa8"), rail.clamp(0, 1))
    wooden = mix(wooden, rgb("#7d745f"), inside(((z - DADO + 0.03).abs() < 0.006) | ((z - 0.11).abs() < 0.006)))
    return mix(wooden, paper, inside(z > DADO + 0.03))


def table() -> list[Solid]:
    """A plank table: top, apron and four legs."""
    half_x, half_y = 0.58, 0.42

    def paint_top(p: Tensor) -> Tensor:
        across = (p[1] + half_y).clamp(1e-3, 2 * half_y - 1e-3)  # the long edges belong to one plank
        row = (across / 0.14).floor()
        joint = inside((across / 0.14) % 1.0 < 0.018)
        plank = cells(row, 2.0)
        base = wood(p[0], p[1], rgb("#70482a"), rgb("#b58656"), plank * 3 + 1) * (0.82 + 0.36 * plank)
        return mix(base, rgb("#3a2210"), joint * 0.75)

    def paint_leg(p: Tensor) -> Tensor:
        return wood(p[2], p[0] + p[1], rgb("#643b1a"), rgb("#94642f"))

    def top(p: Tensor) -> Tensor:
        return sdf.box(p, (half_x, half_y, 0.019), 0.006)

    def apron(p: Tensor) -> Tensor:
        frame = sdf.box(p, (half_x - 0.07, half_y - 0.07, 0.045), 0.002)
        return torch.maximum(frame, -sdf.box(p, (half_x - 0.1, half_y - 0.1, 0.1)))

    def leg(p: Tensor) -> Tensor:
        taper = 0.036 - 0.014 * (0.66 - p[2]).clamp(0, 0.66) / 0.66
        flat = torch.maximum(p[0].abs(), p[1].abs()) - taper
        return torch.maximum(flat, (p[2] - 0.35).abs() - 0.35) * 0.98

    solids = [
        Solid("table", "table", (-half_x, -half_y, -0.019), (half_x, half_y, 0.019), top, paint_top,
              origin=(0, 0, TABLE_TOP - 0.019), gloss=0.015),
        Solid("table", "table", (0.07 - half_x, 0.07 - half_y, -0.045), (half_x - 0.07, half_y - 0.07, 0.045), apron,
              lambda p: wood(p[0] + p[1], p[2], rgb("#643b1a"), rgb("#94642f")), origin=(0, 0, TABLE_TOP - 0.08)),
    ]  # fmt: skip
    for x in (0.09 - half_x, half_x - 0.09):
        for y in (0.09 - half_y, half_y - 0.09):
            low, high = (-0.037, -0.037, 0), (0.037, 0.037, 0.7)
            solids.append(Solid("table", "table", low, high, leg, paint_leg, origin=(x, y, 0)))
    return solids


def rug() -> Solid:
    """A patterned rug under the table."""
    half_x, half_y = 1.5, 1.15

    def distance(p: Tensor) -> Tensor:
        return sdf.box(sdf.moved(p, z=0.005), (half_x, half_y, 0.005))

    def paint(p: Tensor) -> Tensor:
        x, y = p[0], p[1]
        margin = torch.minimum(half_x - x.abs(), half_y - y.abs())
        u, v = (x / 0.3) % 1.0 - 0.5, (y / 0.3) % 1.0 - 0.5
        lozenge = u.abs() + v.abs()
        field = mix(rgb("#9a6254"), rgb("#62708a"), inside(lozenge < 0.34))
        field = mix(field, rgb("#c4a986"), inside((lozenge - 0.34).abs() < 0.035))
        field = mix(field, rgb("#bb8258"), inside(lozenge < 0.12))
        border = mix(rgb("#4d5b75"), rgb("#bfa27c"), checker(x + y, x - y, 0.075))
        colour = mix(field, border, inside(margin < 0.2))
        colour = mix(colour, rgb("#c9b490"), inside(((margin - 0.2).abs() < 0.018) | (margin < 0.03)))
        return colour * (0.88 + 0.24 * noise(x * 35, y * 35))

    low, high = (-half_x, -half_y, 0), (half_x, half_y, 0.01)
    return Solid("rug", "rug", low, high, distance, paint, yaw=0.0)


def window() -> list[Solid]:
    """The pane with the garden behind it, its frame and sill, and a curtain on either side."""
    y0, y1, z0, z1 = WINDOW
    middle_y, middle_z, half_y, half_z = (y0 + y1) / 2, (z0 + z1) / 2, (y1 - y0) / 2, (z1 - z0) / 2

    def pane(p: Tensor) -> Tensor:
        return sdf.box(p, (0.005, half_y, half_z))

    def frame(p: Tensor) -> Tensor:
        rim = torch.maximum(sdf.box(p, (0.03, half_y + 0.06, half_z + 0.06), 0.005), -sdf.box(p, (1, half_y, half_z)))
        bars = torch.minimum(sdf.box(p, (0.02, 0.022, half_z)), sdf.box(sdf.moved(p, z=0.2), (0.02, half_y, 0.022)))
        sill = sdf.box(sdf.moved(p, 0.07, 0, -half_z - 0.06), (0.12, half_y + 0.1, 0.018), 0.006)
        return torch.minimum(torch.minimum(rim, bars), sill)

    def paint_garden(p: Tensor) -> Tensor:
        y, z = p[1], p[2] + middle_z
        sky = mix(rgb("#e4eefc"), rgb("#8fbdf0"), step(1.2, 2.3, z)[None])
        clouds = step(0.52, 0.75, fractal(y * 2.2, z * 4.5))
        sky = mix(sky, rgb("#ffffff"), clouds)
        crowns = 1.32 + 0.16 * fractal(y * 3.5, z * 0 + 1.5) + 0.1 * noise(y * 9, z * 9)
        trees = mix(rgb("#33612c"), rgb("#7da552"), fractal(y * 12, z * 12))
        lawn = mix(rgb("#7fb04e"), rgb("#a5c76a"), noise(y * 20, z * 60))
        return mix(mix(sky, trees, inside(z < crowns)), lawn, inside(z < 1.06))

    def white(p: Tensor) -> Tensor:
        return rgb("#efebe0") * (0.94 + 0.1 * noise(p[0] * 9, p[1] * 9, p[2] * 9))

    at = (-HALF_X, middle_y, middle_z)
    solids = [
        Solid("window", "window", (-0.005, -half_y, -half_z), (0.005, half_y, half_z), pane, paint_garden,
              origin=at, glow=1.5),
        Solid("window", "window", (-0.05, -half_y - 0.1, -half_z - 0.08), (0.2, half_y + 0.1, half_z + 0.06), frame,
              white, origin=at, gloss=0.03),
    ]  # fmt: skip
    return [*solids, _curtain("left curtain", y1 + 0.16), _curtain("right curtain", y0 - 0.16)]


def _curtain(name: str, y: float) -> Solid:
    def distance(p: Tensor) -> Tensor:
        fold = 0.028 * torch.sin(p[1] * 52 + 1.5 * torch.sin(p[2] * 1.7)) * (0.7 + 0.3 * torch.cos(p[2] * 2.0))
        sheet = sdf.box(torch.stack([p[0] - fold, p[1], p[2] - 1.25]), (0.018, 0.23, 1.2), 0.01)
        return sheet * 0.52

    def paint(p: Tensor) -> Tensor:
        cloth = mix(rgb("#c9803f"), rgb("#dba45e"), stripes(p[1], 0.0766, 0.5))
        blossom = dots(p[1], p[2], 0.115, 0.03)
        cloth = mix(cloth, rgb("#f3e2b6"), blossom)
        return cloth * (0.85 + 0.3 * noise(p[1] * 40, p[2] * 200))

    low, high = (-0.05, -0.235, 0.04), (0.05, 0.235, 2.46)
    return Solid(name, "curtain", low, high, distance, paint, origin=(-HALF_X + 0.11, y, 0))
