"""Objects of china, glass and brass for the demo table. Each function models one, standing at z = 0 of its frame."""

import math

import torch
from torch import Tensor

from gsdff.data.demo import sdf
from gsdff.data.demo.solids import Placement, Solid
from gsdff.data.demo.textures import dots, fractal, inside, mix, noise, rgb, step, stripes


def bowl(name: str, place: Placement) -> Solid:
    """A wide bowl, blue bands outside, pale glaze inside."""

    def distance(p: Tensor) -> Tensor:
        shell = sdf.open_sphere(sdf.moved(p, z=0.212), 0.2, -0.115, 0.006)
        return torch.minimum(shell, sdf.cylinder(sdf.moved(p, z=0.008), 0.06, 0.008, 0.003))

    def paint(p: Tensor) -> Tensor:
        x, y, z = p
        angle = torch.atan2(y, x)
        outer = (p[0] ** 2 + p[1] ** 2 + (z - 0.212) ** 2).sqrt() > 0.2
        blue, white = rgb("#1f4f92"), rgb("#ece6d8")
        zigzag = (z - 0.05 - 0.016 * ((angle * 12 / math.pi) % 2 - 1).abs()).abs() < 0.0065
        bands = ((z - 0.088).abs() < 0.004) | (z < 0.022)
        outside = mix(white, blue, inside(zigzag | bands))
        rings = inside((torch.hypot(x, y) - 0.15).abs() < 0.004)
        return mix(mix(rgb("#bcd3dc"), blue, rings), outside, inside(outer))

    return Solid(name, "bowl", (-0.18, -0.18, 0), (0.18, 0.18, 0.105), distance, paint, **place.kwargs, gloss=0.05)


def cup(name: str, place: Placement, ground: str, band: str, *, is_dotted: bool = False) -> Solid:
    """A mug of coffee with a handle on its +x side."""

    def distance(p: Tensor) -> Tensor:
        wall = sdf.cylinder(sdf.moved(p, z=0.05), 0.043, 0.05, 0.005)
        hollow = sdf.cylinder(sdf.moved(p, z=0.12), 0.038, 0.035)
        handle = sdf.torus(sdf.turned(sdf.moved(p, 0.045, 0, 0.05), math.pi / 2, axis=0), 0.027, 0.0065)
        outside_hollow = torch.maximum(handle, 0.041 - torch.hypot(p[0], p[1]))
        return torch.minimum(torch.maximum(wall, -hollow), outside_hollow)

    def paint(p: Tensor) -> Tensor:
        x, y, z = p
        rho, angle = torch.hypot(x, y), torch.atan2(y, x)
        if is_dotted:
            pattern = dots(angle * 0.043, z - 0.012, 0.0193, 0.0062)
        else:
            pattern = inside(((z - 0.05).abs() < 0.02) & (((z - 0.05).abs() > 0.013) | ((z - 0.05).abs() < 0.006)))
        body = mix(rgb(ground), rgb(band), pattern * inside(rho < 0.0445))
        coffee = mix(rgb("#3a1f10"), rgb("#8a5a33"), step(0.5, 0.7, fractal(x * 60, y * 60)))
        inner = mix(rgb("#efe9dc"), coffee, inside(z < 0.0862))
        return mix(body, inner, inside((rho < 0.0395) & (z > 0.08)))

    return Solid(name, "cup", (-0.045, -0.045, 0), (0.082, 0.045, 0.1), distance, paint, **place.kwargs, gloss=0.05)


def teapot(name: str, place: Placement) -> Solid:
    """A round teapot, spout towards +x, handle towards -x, flowers on its belly."""

    def distance(p: Tensor) -> Tensor:
        body = sdf.ellipsoid(sdf.moved(p, z=0.07), 0.088, 0.088, 0.066) * 0.85
        foot = sdf.cylinder(sdf.moved(p, z=0.008), 0.05, 0.008, 0.003)
        lower = sdf.capsule(p, (0.07, 0.0, 0.055), (0.125, 0.0, 0.095), 0.021, 0.0125)
        upper = sdf.capsule(p, (0.125, 0.0, 0.095), (0.15, 0.0, 0.135), 0.0125, 0.0105)
        spout = sdf.smooth_union(lower, upper, 0.015)
        handle = sdf.torus(sdf.turned(sdf.moved(p, -0.085, 0, 0.075), math.pi / 2, axis=0), 0.043, 0.0085)
        handle = torch.maximum(handle, p[0] + 0.06)
        lid = sdf.ellipsoid(sdf.moved(p, z=0.128), 0.045, 0.045, 0.016) * 0.8
        knob = sdf.sphere(sdf.moved(p, z=0.153), 0.0125)
        pot = sdf.smooth_union(sdf.smooth_union(body, spout, 0.025), foot, 0.01)
        return torch.minimum(torch.minimum(pot, handle), sdf.smooth_union(lid, knob, 0.008)) * 0.9

    def paint(p: Tensor) -> Tensor:
        x, y, z = p
        angle = torch.atan2(y, x)
        u, v = (angle * 5 / math.pi) % 1.0 - 0.5, (z - 0.066) / 0.052
        petals = 0.33 + 0.11 * torch.cos(5 * torch.atan2(v, u))
        radius = torch.hypot(u, v)
        on_belly = inside((torch.hypot(x, y) < 0.0895) & (z > 0.02) & (z < 0.115))
        teal, cream, rose = rgb("#2d8a87"), rgb("#f4ead0"), rgb("#d9586a")
        colour = mix(teal, cream, on_belly * inside(v.abs() < 0.62))
        colour = mix(colour, rose, on_belly * inside(radius < petals))
        colour = mix(colour, rgb("#f1c232"), on_belly * inside(radius < 0.13))
        gold = inside((z > 0.142) | ((z - 0.121).abs() < 0.003)) * inside(torch.hypot(x, y) < 0.06)
        return mix(colour, rgb("#d8a83a"), gold)

    low, high = (-0.14, -0.09, 0), (0.162, 0.09, 0.166)
    return Solid(name, "teapot", low, high, distance, paint, **place.kwargs, gloss=0.06)


_BOTTLE = (
    (0.0, 0.0), (0.034, 0.0), (0.038, 0.005), (0.038, 0.165), (0.036, 0.182), (0.03, 0.198), (0.021, 0.214),
    (0.0155, 0.23), (0.0135, 0.25), (0.013, 0.282), (0.0165, 0.284), (0.0165, 0.298), (0.0125, 0.3), (0.0115, 0.318),
    (0.0, 0.318),
)  # fmt: skip


def bottle(name: str, place: Placement) -> Solid:
    """A dark green bottle with a paper label facing +x and a cork."""

    def paint(p: Tensor) -> Tensor:
        x, y, z = p
        angle = torch.atan2(y, x)
        glass = mix(rgb("#12331f"), rgb("#1d5a33"), noise(angle * 2, z * 30))
        on_label = (angle.abs() < 2.2) & (z > 0.045) & (z < 0.15) & (torch.hypot(x, y) > 0.036)
        frame = (angle.abs() > 2.08) | (z < 0.052) | (z > 0.143)
        hills = z < 0.085 + 0.012 * torch.sin(angle * 3.0) + 0.006 * torch.sin(angle * 7 + 1)
        sun = (angle - 0.5) ** 2 * 0.0015 + (z - 0.12) ** 2 < 0.00016
        text = stripes(z - 0.098, 0.011, 0.45) * inside((z > 0.098) & (z < 0.13) & (angle < -0.2) & (angle > -1.6))
        label = mix(rgb("#f0e2bd"), rgb("#7c9a3c"), inside(hills))
        label = mix(mix(label, rgb("#e0662f"), inside(sun)), rgb("#4b3524"), text)
        label = mix(label, rgb("#8c2f22"), inside(frame))
        colour = mix(glass, label, inside(on_label))
        colour = mix(colour, rgb("#7d1f28"), inside((z > 0.262) & (z < 0.3)))
        return mix(colour, mix(rgb("#a8794a"), rgb("#c9a06c"), noise(x * 300, y * 300, z * 300)), inside(z > 0.3))

    def distance(p: Tensor) -> Tensor:
        return sdf.lathe(p, _BOTTLE)

    return Solid(
        name, "bottle", (-0.039, -0.039, 0), (0.039, 0.039, 0.319), distance, paint, **place.kwargs, gloss=0.06
    )


def plate(name: str, place: Placement) -> Solid:
    """A dessert plate with a coloured rim."""
    profile = ((0.0, 0.0), (0.05, 0.0), (0.092, 0.013), (0.091, 0.017), (0.06, 0.007), (0.0, 0.007))

    def paint(p: Tensor) -> Tensor:
        rho, angle = torch.hypot(p[0], p[1]), torch.atan2(p[1], p[0])
        rim = inside((rho > 0.069) & (rho < 0.085)) * inside((angle * 14 / math.pi) % 1.0 < 0.5)
        line = inside(((rho - 0.066).abs() < 0.0015) | (rho > 0.0885))
        return mix(mix(rgb("#f2efe6"), rgb("#4a7f5a"), rim), rgb("#c8963c"), line)

    def distance(p: Tensor) -> Tensor:
        return sdf.lathe(p, profile)

    return Solid(name, "plate", (-0.093, -0.093, 0), (0.093, 0.093, 0.018), distance, paint, **place.kwargs, gloss=0.05)


def clock(name: str, place: Placement) -> Solid:
    """An alarm clock, dial towards +x, with two bells."""

    def distance(p: Tensor) -> Tensor:
        dial = sdf.moved(p, z=0.076)
        body = sdf.cylinder(sdf.turned(dial, math.pi / 2, axis=1), 0.062, 0.022, 0.006)
        glass_rim = sdf.cylinder(sdf.turned(sdf.moved(dial, 0.02), math.pi / 2, axis=1), 0.054, 0.012)
        body = torch.maximum(body, -glass_rim)
        mirrored = torch.stack([p[0], p[1].abs(), p[2]])
        bell = torch.maximum(sdf.sphere(sdf.moved(mirrored, 0, 0.036, 0.137), 0.024), (0.132 - p[2]) * 0.7)
        foot = sdf.capsule(mirrored, (0.0, 0.03, 0.03), (0.0, 0.048, 0.006), 0.006)
        hammer = sdf.capsule(p, (0.0, 0.0, 0.13), (0.0, 0.0, 0.155), 0.005)
        return torch.minimum(torch.minimum(body, bell), torch.minimum(foot, hammer))

    def paint(p: Tensor) -> Tensor:
        y, z = p[1], p[2] - 0.076
        rho, angle = torch.hypot(y, z), torch.atan2(y, z)
        tick = ((angle * 6 / math.pi + 0.5) % 1.0 - 0.5).abs() * rho < 0.0045
        ticks = inside(tick & (rho > 0.04) & (rho < 0.05))
        minute = inside(((y - z * 0.55).abs() < 0.0026) & (z > -0.002) & (rho < 0.042))
        hour = inside(((z + y * 0.35).abs() < 0.0036) & (y < 0.002) & (rho < 0.028))
        face = mix(rgb("#f6f1e1"), rgb("#2b2b33"), torch.maximum(torch.maximum(ticks, minute), hour))
        face = mix(face, rgb("#c0392b"), inside(rho < 0.005))
        brass = inside((p[2] > 0.1315) & (rho > 0.05)) + inside(p[2] < 0.02)
        body = mix(rgb("#b23a30"), rgb("#d9ae4a"), brass.clamp(0, 1))
        return mix(body, face, inside((rho < 0.054) & (p[0] > 0.006)))

    low, high = (-0.026, -0.065, 0), (0.026, 0.065, 0.163)
    return Solid(name, "clock", low, high, distance, paint, **place.kwargs, gloss=0.05)


def lamp(name: str, place: Placement) -> list[Solid]:
    """A table lamp: a turned brass foot and a cloth shade."""
    foot = (
        (0.0, 0.0), (0.07, 0.0), (0.07, 0.012), (0.03, 0.022), (0.016, 0.04), (0.024, 0.075), (0.032, 0.105),
        (0.024, 0.135), (0.011, 0.155), (0.008, 0.2), (0.008, 0.36), (0.0, 0.36),
    )  # fmt: skip
    shade = ((0.082, 0.24), (0.086, 0.24), (0.056, 0.38), (0.052, 0.38))

    foot_box = (-0.07, -0.07, 0), (0.07, 0.07, 0.361)
    shade_box = (-0.087, -0.087, 0.239), (0.087, 0.087, 0.381)

    def paint_foot(p: Tensor) -> Tensor:
        angle = torch.atan2(p[1], p[0])
        rings = stripes(p[2] - 0.02, 0.028, 0.16)
        china = mix(rgb("#2f5d8c"), rgb("#e9e2cf"), dots(angle * 0.03, p[2], 0.0157, 0.0045))
        china = mix(china, rgb("#d6a544"), rings)
        return mix(rgb("#c8963c"), china, inside((p[2] > 0.04) & (p[2] < 0.15)))

    def paint_shade(p: Tensor) -> Tensor:
        angle = torch.atan2(p[1], p[0])
        weave = 0.9 + 0.1 * noise(angle * 60, p[2] * 400)
        stripe = mix(rgb("#f3e3b8"), rgb("#e0a458"), stripes(angle, math.pi / 8, 0.42))
        trim = inside((p[2] < 0.25) | (p[2] > 0.371))
        return mix(stripe, rgb("#a5482f"), trim) * weave

    def distance_foot(p: Tensor) -> Tensor:
        return sdf.lathe(p, foot)

    def distance_shade(p: Tensor) -> Tensor:
        return sdf.lathe(p, shade)

    return [
        Solid(name, "lamp", *foot_box, distance_foot, paint_foot, **place.kwargs, gloss=0.05),
        Solid(name, "lamp", *shade_box, distance_shade, paint_shade, **place.kwargs, glow=0.25),
    ]
