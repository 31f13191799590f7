"""Furniture of the demo room: paintings, a bookcase and a sofa."""

import torch
from torch import Tensor

from gsdff.data.demo import sdf
from gsdff.data.demo.room import HALF_X, HALF_Y
from gsdff.data.demo.solids import Placement, Solid
from gsdff.data.demo.textures import cells, checker, fractal, inside, mix, noise, rgb, step, stripes, wood


def painting(name: str, place: Placement, half_width: float, half_height: float, style: int) -> Solid:
    """A framed painting hanging on the wall behind it, facing +x of its frame."""

    def distance(p: Tensor) -> Tensor:
        frame = sdf.box(p, (0.02, half_width, half_height), 0.005)
        return torch.maximum(frame, -sdf.box(sdf.moved(p, 0.02), (0.012, half_width - 0.05, half_height - 0.05)))

    def paint(p: Tensor) -> Tensor:
        u, v = p[1] / (half_width - 0.05), p[2] / (half_height - 0.05)
        brush = fractal(u * 6, v * 6, float(style))
        if style == 0:  # mountains over a lake
            ridge = 0.25 + 0.5 * fractal(u * 2 + 3, u * 0, 1.7) - 0.25 * u.abs()
            near = -0.15 + 0.35 * fractal(u * 3, u * 0, 6.1)
            art = mix(rgb("#f3c98b"), rgb("#6fa3cf"), step(-0.2, 1.0, v))
            art = mix(art, mix(rgb("#5d6f99"), rgb("#e9eef5"), step(0.2, 0.5, v)), inside(v < ridge))
            art = mix(art, rgb("#2f5940"), inside(v < near))
            art = mix(art, mix(rgb("#3c6f93"), rgb("#8fb7c9"), stripes(v + 0.03 * brush, 0.13)), inside(v < -0.25))
        elif style == 1:  # a vase of flowers
            art = mix(rgb("#3d2f4f"), rgb("#6c5578"), brush)
            art = mix(art, rgb("#b98a4e"), inside(v < -0.55))
            art = mix(art, rgb("#d8d3e8"), inside((u / 0.26) ** 2 + ((v + 0.45) / 0.35) ** 2 < 1))
            for x, y, code in ((-0.4, 0.3, "#e2574c"), (0.05, 0.5, "#f2b632"), (0.42, 0.25, "#e88fb0"),
                               (-0.12, 0.08, "#f4ead0"), (0.25, -0.02, "#cf4638")):  # fmt: skip
                petals = 0.2 + 0.05 * torch.cos(6 * torch.atan2(v - y, u - x))
                art = mix(art, rgb(code), inside(torch.hypot(u - x, v - y) < petals))
                art = mix(art, rgb("#5b3a1a"), inside(torch.hypot(u - x, v - y) < 0.06))
        else:  # blocks of colour
            column, row = ((u + 1) * 1.999).floor(), ((v + 1) * 1.499).floor()
            warm, cold = cells(column, row, 1.0), cells(column, row, 6.0)
            art = mix(mix(rgb("#d9482f"), rgb("#f0b93a"), step(0.3, 0.7, warm)), rgb("#23528c"), step(0.5, 0.6, cold))
            joint = (((u + 1) * 2) % 1.0 < 0.06) | (((v + 1) * 1.5) % 1.0 < 0.05)
            art = mix(art, rgb("#1d1b1b"), inside(joint))
        art = art * (0.85 + 0.3 * brush)
        is_frame = (u.abs() > 1) | (v.abs() > 1)
        gilt = rgb("#8c6230") if style != 2 else rgb("#2e2622")
        return mix(art, gilt * (0.8 + 0.4 * noise(p[1] * 90, p[2] * 90)), inside(is_frame))

    low, high = (-0.02, -half_width, -half_height), (0.02, half_width, half_height)
    return Solid(name, "painting", low, high, distance, paint, **place.kwargs)


def bookcase() -> Solid:
    """A bookcase at the wall y = HALF_Y, its shelves full of books."""
    half_width, depth, height, shelf, spacing = 0.75, 0.14, 1.62, 0.39, 0.043

    def books(p: Tensor, upright: Tensor, row: Tensor, column: Tensor) -> Tensor:
        tall = cells(column, row, 2.0)
        book = torch.stack([p[0] - (column + 0.5) * spacing, p[1] - 0.06 + 0.03 * tall, upright - 0.15])
        return torch.maximum(sdf.box(book, (0.0215, 0.08, 0.15)), upright - 0.22 - 0.09 * tall)

    def distance(p: Tensor) -> Tensor:
        body = sdf.box(sdf.moved(p, z=height / 2), (half_width, depth, height / 2), 0.006)
        row, column, upright = ((p[2] - 0.08) / shelf).floor(), (p[0] / spacing).floor(), (p[2] - 0.08) % shelf
        level = torch.stack([p[0], p[1] + depth, upright - shelf / 2])
        hollow = sdf.box(level, (half_width - 0.035, 0.2, shelf / 2 - 0.014))
        hollow = torch.maximum(hollow, p[2] - height + 0.05)
        beside = column + torch.where(p[0] / spacing - column < 0.5, -1.0, 1.0)  # the next book may stand out further
        spines = torch.minimum(books(p, upright, row, column), books(p, upright, row, beside))
        spines = torch.maximum(spines, torch.maximum(p[2] - 1.5, p[0].abs() - half_width + 0.05))
        return torch.minimum(torch.maximum(body, -hollow), spines) * 0.8

    def paint(p: Tensor) -> Tensor:
        row, column, upright = ((p[2] - 0.08) / shelf).floor(), (p[0] / spacing).floor(), (p[2] - 0.08) % shelf
        hue, tone = cells(column, row, 4.0), cells(column, row, 9.0)
        spine = mix(mix(rgb("#8f2f2a"), rgb("#2a4f78"), step(0.4, 0.5, hue)), rgb("#3a6b45"), step(0.55, 0.62, hue))
        spine = mix(spine, rgb("#d3b277"), step(0.6, 0.66, tone))
        bands = ((upright - 0.17).abs() < 0.012) | ((upright - 0.08).abs() < 0.006)
        spine = mix(spine, rgb("#ecd9a0"), inside(bands) * 0.8)
        across = (p[0] / spacing) % 1.0
        spine = spine * (0.55 + 0.45 * step(0.0, 0.15, torch.minimum(across, 1 - across)))
        is_book = (p[1] > -depth + 0.02) & (p[0].abs() < half_width - 0.036) & ((upright - 0.1945).abs() < 0.179)
        timber = wood(p[0] + p[2], p[2] * 0.3 + p[1], rgb("#5b3a20"), rgb("#85592f"))
        return mix(timber, spine, inside(is_book))

    low, high = (-half_width, -depth, 0), (half_width, depth, height)
    return Solid("bookcase", "bookcase", low, high, distance, paint, origin=(0.2, HALF_Y - 0.145, 0))


def sofa() -> list[Solid]:
    """A sofa at the wall x = HALF_X, facing -x, and two cushions on it."""
    half_y = 0.95

    def distance(p: Tensor) -> Tensor:
        base = sdf.box(sdf.moved(p, z=0.22), (0.4, half_y, 0.14), 0.03)
        back = sdf.box(sdf.turned(sdf.moved(p, 0.3, 0, 0.56), 0.14, axis=1), (0.1, half_y - 0.02, 0.3), 0.07)
        pair = torch.stack([p[0], p[1].abs(), p[2]])
        arm = sdf.box(sdf.moved(pair, 0, half_y - 0.09, 0.37), (0.4, 0.1, 0.25), 0.07)
        seat = sdf.box(sdf.moved(pair, -0.06, 0.4, 0.42), (0.35, 0.385, 0.075), 0.045)
        feet = sdf.box(sdf.moved(torch.stack([p[0].abs(), p[1].abs(), p[2]]), 0.34, half_y - 0.08, 0.04),
                       (0.03, 0.03, 0.06))  # fmt: skip
        return torch.minimum(torch.minimum(torch.minimum(base, back), torch.minimum(arm, seat)), feet)

    def paint(p: Tensor) -> Tensor:
        weave = 0.85 + 0.3 * checker(p[0] + p[2], p[1] + 0.3 * p[2], 0.045)
        cloth = mix(rgb("#3d5f7a"), rgb("#5580a0"), fractal(p[0] * 6, p[1] * 6, p[2] * 6)) * weave
        return mix(cloth, rgb("#3a2415"), inside(p[2] < 0.08))

    def cushion(name: str, y: float, degrees: float, light: str, dark: str, size: float) -> Solid:
        def distance(p: Tensor) -> Tensor:
            p = sdf.turned(p, 0.32, axis=1)
            thick = 0.045 + 0.03 * (1 - (p[1] / 0.21) ** 2).clamp(0, 1) * (1 - (p[2] / 0.21) ** 2).clamp(0, 1)
            return (sdf.box(torch.stack([p[0] / (thick / 0.075), p[1], p[2]]), (0.075, 0.21, 0.21), 0.06)) * 0.55

        def paint(p: Tensor) -> Tensor:
            pattern = checker(p[1] + p[2], p[1] - p[2], size) if size > 0.08 else stripes(p[2], size)
            return mix(rgb(light), rgb(dark), pattern) * (0.85 + 0.3 * noise(p[1] * 90, p[2] * 90))

        low, high = (-0.16, -0.215, -0.23), (0.16, 0.215, 0.23)
        at = Placement(HALF_X - 0.29, y, 0.68, degrees).kwargs
        return Solid(name, "cushion", low, high, distance, paint, **at)

    low, high = (-0.41, -half_y - 0.01, -0.03), (0.44, half_y + 0.01, 0.87)
    return [
        Solid("sofa", "sofa", low, high, distance, paint, origin=(HALF_X - 0.46, 0, 0)),
        cushion("cushion yellow", -0.5, 8, "#e3b23c", "#f3e6c0", 0.1),
        cushion("cushion red", 0.45, -12, "#b4483c", "#efe0c8", 0.06),
    ]


def furniture() -> list[Solid]:
    """The bookcase, the sofa and four paintings."""
    south, east = -HALF_Y + 0.02, HALF_X - 0.02
    return [
        bookcase(),
        *sofa(),
        painting("painting of mountains", Placement(-0.75, south, 1.22, 90), 0.5, 0.36, 0),
        painting("painting of flowers", Placement(0.6, south, 1.2, 90), 0.3, 0.4, 1),
        painting("painting of colours", Placement(east, 0.0, 1.38, 180), 0.55, 0.34, 2),
        painting("small painting", Placement(-1.35, HALF_Y - 0.02, 1.22, -90), 0.32, 0.4, 0),
    ]
