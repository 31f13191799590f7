"""Renders the photos of the demo scene: rays, surfaces, light, tone mapping."""

from dataclasses import dataclass

import torch
from torch import Tensor

from gsdff.data.demo.light import Lighting, tone_map
from gsdff.data.demo.solids import Solid, Wall
from gsdff.data.demo.tracing import Hits, trace

_SAMPLES = ((0.0, 0.0), (-0.125, -0.375), (0.375, -0.125), (0.125, 0.375), (-0.375, 0.125))
"""Offsets of a pixel's rays from its centre: the centre, which alone decides label and depth, and a rotated grid."""
_RAYS = 250_000
"""Rays traced at a time: enough that small objects get many, few enough for memory whatever the photo's size."""
_PARALLEL = 0.97
"""Samples of a pixel share their light if the cosine between their normals is above this."""


@dataclass(frozen=True)
class Viewpoint:
    """A pinhole camera of the demo: camera-to-world rotation [3, 3], centre [3], focal length in pixels."""

    rotation: Tensor
    centre: Tensor
    focal: float
    width: int
    height: int

    def directions(self, rows: range, offset: tuple[float, float] = (0.0, 0.0)) -> Tensor:
        """Unit world directions [3, P] through the pixels of these rows, row by row; (0, 0) is a pixel's centre."""
        v, u = torch.meshgrid(
            torch.arange(rows.start, rows.stop) + 0.5 + offset[1], torch.arange(self.width) + 0.5 + offset[0],
            indexing="ij",
        )  # fmt: skip
        x, y = (u.flatten() - self.width / 2) / self.focal, (v.flatten() - self.height / 2) / self.focal
        rays = self.rotation @ torch.stack([x, y, torch.ones_like(x)])
        return rays / (rays * rays).sum(0).sqrt()


@dataclass(frozen=True)
class TracedPhoto:
    """A rendered photo, and the surface at each pixel's centre."""

    image: Tensor
    """sRGB colours, [H, W, 3] uint8."""
    surface_ids: Tensor
    """Indices into the room's surfaces, [H, W]."""
    points: Tensor
    """World points where the centres' rays hit the surfaces, [H, W, 3]."""


@dataclass(frozen=True)
class LitRoom:
    """All surfaces of the demo scene, walls first, and the light on them."""

    walls: list[Wall]
    solids: list[Solid]
    lighting: Lighting

    @property
    def surfaces(self) -> list[Wall | Solid]:
        """All surfaces, in the order of surface ids."""
        return [*self.walls, *self.solids]

    def photograph(self, viewpoint: Viewpoint) -> TracedPhoto:
        """Renders one anti-aliased photo."""
        images, ids, points = [], [], []
        num_rows = max(1, _RAYS // (len(_SAMPLES) * viewpoint.width))
        for top in range(0, viewpoint.height, num_rows):
            rows = range(top, min(top + num_rows, viewpoint.height))
            directions = torch.cat([viewpoint.directions(rows, offset) for offset in _SAMPLES], dim=1)
            hits = trace(viewpoint.centre, directions, self.walls, self.solids)
            where = viewpoint.centre[:, None] + directions * hits.distances
            colors = tone_map(self._radiance(where, directions, hits))
            centres = len(rows) * viewpoint.width
            images.append(colors.reshape(3, len(_SAMPLES), centres).mean(1).T)
            ids.append(hits.surface_ids[:centres])
            points.append(where[:, :centres].T)
        shape = (viewpoint.height, viewpoint.width)
        image = (torch.cat(images) * 255 + 0.5).clamp(0, 255).byte()
        return TracedPhoto(
            image.reshape(*shape, 3), torch.cat(ids).reshape(shape), torch.cat(points).reshape(*shape, 3)
        )

    def _radiance(self, points: Tensor, directions: Tensor, hits: Hits) -> Tensor:
        """Linear radiance [3, P] of the surfaces that are hit."""
        normals, albedo = torch.zeros_like(points), torch.zeros_like(points)
        gloss, glow = torch.zeros_like(points[0]), torch.zeros_like(points[0])
        for index in hits.surface_ids.unique().tolist():
            surface = self.surfaces[index]
            ids = (hits.surface_ids == index).nonzero()[:, 0]
            there = points[:, ids]
            normals[:, ids] = surface.normals(there)
            albedo[:, ids] = surface.paint(surface.to_local(there))
            gloss[ids], glow[ids] = surface.gloss, surface.glow
        light, opened = self._light(points, normals, hits.surface_ids)
        mirrored = self.lighting.mirrored(points, normals, directions, gloss, opened)
        return albedo * (light + glow) + mirrored

    def _light(self, points: Tensor, normals: Tensor, surface_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Light [3, P] and openness [P], computed once per pixel, at its centre, for all samples on the same surface.

        Unlike paint, light changes slowly along a surface, and it is expensive.
        """
        ids = surface_ids.reshape(len(_SAMPLES), -1)
        number = torch.arange(ids.numel()).reshape(ids.shape)
        facing = normals.reshape(3, *ids.shape)
        is_same = (ids == ids[0]) & ((facing * facing[:, :1]).sum(0) > _PARALLEL)
        source = torch.where(is_same, number[0], number).flatten()
        needed, copies = source.unique(return_inverse=True)
        is_solid = surface_ids[needed] >= len(self.walls)
        light, opened = self.lighting.irradiance(points[:, needed], normals[:, needed], is_solid)
        return light[:, copies], opened[copies]
