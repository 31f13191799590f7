"""Fruit, books, toys and a plant for the demo table. Every function models one object at its frame's origin."""

import torch
from torch import Tensor

from gsdff.data.demo import sdf
from gsdff.data.demo.solids import Placement, Solid
from gsdff.data.demo.textures import checker, dots, fractal, inside, mix, noise, rgb, step, stripes

ORANGE_RADIUS = 0.041
APPLE_HEIGHT = 0.031
"""Height of an apple's middle, the origin of its frame, over its lowest point."""


def apple(name: str, place: Placement, skin: str, blush: str) -> Solid:
    """An apple about its frame's origin, dimpled on top, with a stem."""

    def distance(p: Tensor) -> Tensor:
        x, y, z = p
        rho = torch.hypot(x, y) * (1 - 2.2 * z)
        flesh = (torch.hypot(rho - 0.0135, z) - 0.031) * 0.88
        return torch.minimum(flesh, sdf.capsule(p, (0.0, 0.0, 0.02), (0.005, 0.0, 0.044), 0.0022))

    def paint(p: Tensor) -> Tensor:
        x, y, z = p
        angle = torch.atan2(y, x)
        streaks = 0.6 * fractal(torch.cos(angle) * 3, torch.sin(angle) * 3, z * 30)
        streaks = streaks + 0.4 * noise(torch.cos(angle) * 16, torch.sin(angle) * 16, z * 12)
        side = 0.5 + 0.5 * torch.cos(angle - 0.8) + z * 9
        colour = mix(rgb(skin), rgb(blush), step(0.2, 1.0, 0.55 * side + 0.7 * (streaks - 0.35)))
        colour = mix(colour, rgb("#dcb45a"), 0.75 * step(0.62, 0.8, streaks) * step(0.9, 0.3, side))
        speckle = inside(noise(x * 260, y * 260, z * 260) > 0.86)
        colour = mix(colour, rgb("#f0d9a0"), 0.5 * speckle)
        rho = torch.hypot(x, y)
        colour = mix(rgb("#7d7a35"), colour, step(0.004, 0.012, rho))
        return mix(colour, rgb("#4a2d17"), inside((z > 0.024) & (rho < 0.0075)))

    low, high = (-0.052, -0.052, -0.0315), (0.052, 0.052, 0.0465)
    return Solid(name, "apple", low, high, distance, paint, **place.kwargs, gloss=0.045)


def orange(name: str, place: Placement) -> Solid:
    """An orange: an exact ball about its frame's origin."""

    def distance(p: Tensor) -> Tensor:
        return sdf.sphere(p, ORANGE_RADIUS)

    def paint(p: Tensor) -> Tensor:
        x, y, z = p
        pores = inside(noise(x * 330, y * 330, z * 330) > 0.72)
        peel = mix(rgb("#f28a14"), rgb("#e06a06"), fractal(x * 45, y * 45, z * 45))
        peel = mix(peel, rgb("#b94f04"), 0.6 * pores)
        return mix(rgb("#5c6b22"), peel, step(0.005, 0.0075, torch.hypot(x, torch.hypot(y, z - ORANGE_RADIUS))))

    r = ORANGE_RADIUS
    return Solid(name, "orange", (-r, -r, -r), (r, r, r), distance, paint, **place.kwargs, gloss=0.03)


def banana(name: str, place: Placement) -> Solid:
    """A banana lying in the xy plane, its bend towards +y."""

    def distance(p: Tensor) -> Tensor:
        bent = sdf.moved(p, 0, -0.11, 0.018)
        angle = torch.atan2(bent[0], bent[1]).abs()
        tube = 0.0185 - 0.012 * step(0.4, 1.0, angle)
        return sdf.torus_arc(bent, 0.82, 0.11, 0.0) * 0.9 - tube * 0.9

    def paint(p: Tensor) -> Tensor:
        x, y, z = p
        along = torch.atan2(x, y + 0.11)
        spots = inside(noise(x * 150, y * 150, z * 150) > 0.8)
        ridge = step(0.75, 1.0, torch.cos(3 * torch.atan2(z - 0.018, torch.hypot(x, y + 0.11) - 0.11)))
        peel = mix(mix(rgb("#f2c531"), rgb("#d9a21c"), ridge), rgb("#6b4318"), 0.75 * spots)
        peel = mix(peel, rgb("#8fa53a"), step(0.55, 0.78, along) * 0.7)
        return mix(peel, rgb("#3b2a18"), step(0.8, 0.86, along.abs()))

    low, high = (-0.1, -0.05, -0.001), (0.1, 0.02, 0.038)
    return Solid(name, "banana", low, high, distance, paint, **place.kwargs, gloss=0.02)


def donut(name: str, place: Placement, icing: str) -> Solid:
    """A doughnut lying flat, iced and sprinkled."""

    def distance(p: Tensor) -> Tensor:
        return sdf.torus(sdf.moved(p, z=0.021), 0.034, 0.021)

    def paint(p: Tensor) -> Tensor:
        x, y, z = p
        angle = torch.atan2(y, x)
        edge = 0.0225 + 0.005 * torch.sin(angle * 7) + 0.003 * torch.sin(angle * 11 + 2)
        dough = mix(rgb("#c8843c"), rgb("#e0ab63"), fractal(x * 60, y * 60, z * 60))
        sprinkled = inside(noise(x * 200, y * 200, 3.0) > 0.7)
        hue = noise(x * 95 + 40, y * 95, 9.0)
        sprinkle = mix(rgb("#ffd84a"), rgb("#3f8fd0"), inside(hue > 0.45))
        sprinkle = mix(sprinkle, rgb("#ffffff"), inside(hue > 0.62))
        return mix(dough, mix(rgb(icing), sprinkle, sprinkled), inside(z > edge))

    low, high = (-0.056, -0.056, 0), (0.056, 0.056, 0.043)
    return Solid(name, "donut", low, high, distance, paint, **place.kwargs, gloss=0.035)


def book(name: str, place: Placement, size: tuple[float, float, float], cloth: str, ink: str, style: int) -> Solid:
    """A book lying flat, spine towards -x; `size` is its half width, half length and thickness."""
    half_x, half_y, height = size
    cover = 0.0035

    def distance(p: Tensor) -> Tensor:
        p = sdf.moved(p, z=height / 2)
        block = sdf.box(sdf.moved(p, 0.001), (half_x - 0.006, half_y - 0.006, height / 2 - cover / 2))
        boards = sdf.box(torch.stack([p[0], p[1], p[2].abs() - (height / 2 - cover / 2)]),
                         (half_x, half_y, cover / 2), 0.0012)  # fmt: skip
        spine = sdf.box(sdf.moved(p, -half_x + 0.003), (0.003, half_y, height / 2), 0.0012)
        return torch.minimum(block, torch.minimum(boards, spine))

    def paint(p: Tensor) -> Tensor:
        x, y, z = p
        is_cover = (z < cover + 2e-4) | (z > height - cover - 2e-4) | (x < -half_x + 0.0062)
        leaves = mix(rgb("#efe6cf"), rgb("#bfae8a"), noise(x * 3, y * 3, z * 900))
        u, v = x / half_x, y / half_y
        border = inside((torch.maximum(u.abs(), v.abs()) > 0.86) & (torch.maximum(u.abs(), v.abs()) < 0.92))
        if style == 0:  # a title over a picture
            figure = inside((u * 0.75) ** 2 + (v + 0.25) ** 2 < 0.12) + border
            figure = figure + stripes(v - 0.5, 0.16, 0.55) * inside((v > 0.48) & (v < 0.8) & (u.abs() < 0.62))
        elif style == 1:  # slanting stripes
            figure = stripes(u * half_x + v * half_y, 0.036, 0.45) * inside(v < 0.4) + inside((v - 0.45).abs() < 0.04)
        else:  # diamonds
            figure = checker(u * half_x + v * half_y, u * half_x - v * half_y, 0.034) * inside(v.abs() < 0.8) + border
        lettering = stripes(y - 0.01, 0.022, 0.6) * inside((y.abs() < half_y * 0.55) & (x < -half_x + 0.002))
        cloth_colour = rgb(cloth) * (0.85 + 0.3 * fractal(x * 90, y * 90, z * 90))
        boards = mix(cloth_colour, rgb(ink), torch.maximum(figure.clamp(0, 1) * inside(z > cover), lettering))
        return mix(leaves, boards, inside(is_cover))

    low, high = (-half_x, -half_y, 0), (half_x, half_y, height)
    return Solid(name, "book", low, high, distance, paint, **place.kwargs, gloss=0.02)


def toy_block(name: str, place: Placement, colour: str, symbol: int) -> Solid:
    """A wooden cube with coloured borders and a sign on its faces."""
    half = 0.029

    def distance(p: Tensor) -> Tensor:
        return sdf.box(sdf.moved(p, z=half), (half, half, half), 0.004)

    def paint(p: Tensor) -> Tensor:
        centred = sdf.moved(p, z=half) / half
        face = centred.abs().argmax(0)
        u = torch.where(face == 0, centred[1], centred[0])
        v = torch.where(face == 2, centred[1], centred[2])
        if symbol == 0:
            sign = inside((u * u + v * v < 0.36) & (u * u + v * v > 0.12))
        elif symbol == 1:
            sign = inside((torch.minimum(u.abs(), v.abs()) < 0.16) & (torch.maximum(u.abs(), v.abs()) < 0.58))
        else:
            sign = inside((v > -0.5) & (v < 0.6 - 2.0 * u.abs() + 0.0))
        frame = inside(torch.maximum(u.abs(), v.abs()) > 0.74)
        plain = mix(rgb("#d9b27c"), rgb("#c2925a"), noise(p[0] * 40, p[1] * 260, p[2] * 260))
        return mix(plain, rgb(colour), torch.maximum(sign, frame))

    low, high = (-half, -half, 0), (half, half, 2 * half)
    return Solid(name, "toy block", low, high, distance, paint, **place.kwargs, gloss=0.025)


_LEAF_RINGS = ((6, 0.0, 0.075, 0.19, 0.35), (6, 0.5, 0.062, 0.235, 0.75), (5, 0.2, 0.034, 0.275, 1.15))
"""Leaves, turn, distance from the axis, height and steepness of each ring of the plant, metres and radians."""


def potted_plant(name: str, place: Placement) -> list[Solid]:
    """A broad-leaved plant in a clay pot."""
    profile = ((0.0, 0.0), (0.046, 0.0), (0.06, 0.088), (0.067, 0.088), (0.067, 0.112), (0.058, 0.112),
               (0.057, 0.1), (0.0, 0.1))  # fmt: skip

    def pot(p: Tensor) -> Tensor:
        return sdf.lathe(p, profile)

    def paint_pot(p: Tensor) -> Tensor:
        x, y, z = p
        angle = torch.atan2(y, x)
        clay = mix(rgb("#b5562e"), rgb("#d0784a"), fractal(x * 40, y * 40, z * 40))
        wave = inside((z - 0.05 - 0.008 * torch.sin(angle * 8)).abs() < 0.006)
        clay = mix(clay, rgb("#f0dcb8"), torch.maximum(wave, dots(angle * 0.06, z - 0.093, 0.0189, 0.0045) *
                                                      inside(z > 0.09)))  # fmt: skip
        earth = mix(rgb("#2a1b10"), rgb("#55391f"), noise(x * 180, y * 180))
        return mix(clay, earth, inside((z < 0.106) & (z > 0.095) & (torch.hypot(x, y) < 0.0575)))

    def leaf_frame(p: Tensor, ring: tuple) -> tuple[Tensor, Tensor]:
        count, phase, rho, z, steep = ring
        folded, index = sdf.around_axis(p, count, phase)
        return sdf.turned(sdf.moved(folded, rho, 0, z), -steep, axis=1), index

    def leaf(q: Tensor) -> Tensor:
        bent = torch.stack([q[0], q[1], q[2] + 3.5 * q[0] ** 2 + 2.0 * q[1] ** 2 - 2.5 * q[1].abs() * 0.1])
        narrow = bent[1] / (1 - 5.5 * q[0].clamp(-0.08, 0.08))
        return sdf.ellipsoid(torch.stack([bent[0], narrow, bent[2]]), 0.073, 0.033, 0.0042) * 0.55

    def foliage(p: Tensor) -> Tensor:
        stems = sdf.capsule(p, (0.0, 0.0, 0.096), (0.0, 0.0, 0.25), 0.005)
        for ring in _LEAF_RINGS:
            stems = torch.minimum(stems, leaf(leaf_frame(p, ring)[0]))
        return stems

    def paint_foliage(p: Tensor) -> Tensor:
        colour, nearest = rgb("#4d6b2c").expand_as(p), torch.full_like(p[0], 0.004)
        for salt, ring in enumerate(_LEAF_RINGS):
            q, index = leaf_frame(p, ring)
            gap = leaf(q)
            tone = noise(index * 3.7 + 0.5, torch.full_like(gap, 2.3 * salt))
            green = mix(rgb("#1f5c24"), rgb("#5f9a34"), tone)
            veins = inside(((q[0] - q[1].abs() * 0.9) / 0.014) % 1.0 < 0.22)
            green = mix(green, rgb("#a7c765"), torch.maximum(inside(q[1].abs() < 0.0022), 0.45 * veins))
            colour, nearest = torch.where(gap < nearest, green, colour), torch.minimum(gap, nearest)
        return colour

    return [
        Solid(name, "potted plant", (-0.068, -0.068, 0), (0.068, 0.068, 0.113), pot, paint_pot, **place.kwargs),
        Solid(
            name, "potted plant", (-0.17, -0.17, 0.09), (0.17, 0.17, 0.38), foliage, paint_foliage, **place.kwargs,
            gloss=0.02,
        ),
    ]  # fmt: skip
