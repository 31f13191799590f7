"""Planes beside a hole, fitted to what the training views see around it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.editing.hole import widen
from gsdff.gaussians import Gaussians
from gsdff.render import render_depth

RING = 0.03
"""Width of the ring around the hole that planes are fitted to, as a share of the longer side of a picture."""
FLAT = 0.03
"""Largest distance of a plane's points from it, as a share of the thing's size."""
ALIKE = 0.85
"""Least cosine between a plane's normal and that of a point on it: others lie where it cuts through a surface."""
STEP = 2
"""Pixels to either side from which the normal of a pixel is found."""
TRIALS = 1_500
"""Planes through three points that are tried for each that is found (RANSAC, Fischler & Bolles 1981)."""
MOST_PLANES = 3
LEAST_SHARE = 0.1
"""Least share of the points around the hole that makes a plane of them."""
LEAST_POINTS, MOST_POINTS = 30, 10_000
SUNK = 0.15
"""Depth of the thing's middle below a plane up to which it still stands on it, as a share of its size. The depth of
what hangs on a wall can be that wrong; a plane that is deeper inside cuts through the thing."""
TOUCHES = 0.2
"""Height of the lowest tenth of the thing above a plane up to which it stands on it, as a share of its size."""


@dataclass(frozen=True, eq=False)
class ThingBox:
    """Box around the means of a thing, with sides along the axes, without the outermost ones."""

    low: Float[Tensor, "3"]
    high: Float[Tensor, "3"]

    @staticmethod
    def around(means: Float[Tensor, "P 3"], outside: float = 0.02) -> "ThingBox":
        """The box that holds all means but this share at either end of every axis."""
        rank = int(outside * len(means))
        ordered = means.sort(dim=0).values
        return ThingBox(ordered[rank], ordered[len(means) - 1 - rank])

    @property
    def diagonal(self) -> float:
        """Distance between opposite corners."""
        return float((self.high - self.low).norm())

    def distances(self, points: Float[Tensor, "P 3"]) -> Float[Tensor, "P"]:
        """Distances to the box, 0 inside."""
        return torch.maximum(self.low - points, points - self.high).clamp_min(0).norm(dim=-1)


@dataclass(frozen=True, eq=False)
class HoleView:
    """One training view of the scene without the thing."""

    camera: Camera
    hole: Bool[Tensor, "H W"]
    depth: Float[Tensor, "H W"]
    """Depth along the optical axis, infinite where nothing is."""

    @staticmethod
    @torch.no_grad()
    def of(gaussians: Gaussians, camera: Camera, hole: Bool[Tensor, "H W"]) -> "HoleView":
        """The view of these Gaussians."""
        rendered = render_depth(gaussians, camera)
        depth = torch.where(rendered.alpha > 0.5, rendered.image, torch.inf)[..., 0]
        return HoleView(camera, hole, depth)

    def rays(self, pixels: Bool[Tensor, "H W"]) -> Float[Tensor, "P 3"]:
        """Directions in the world through the centres of pixels, as long as one unit of depth."""
        return self.camera.rays()[pixels]

    def points(self, pixels: Bool[Tensor, "H W"]) -> Float[Tensor, "P 3"]:
        """Points of the scene that these pixels show."""
        return self.camera.position + self.rays(pixels) * self.depth[pixels][:, None]

    def normals(self, pixels: Bool[Tensor, "H W"]) -> Float[Tensor, "P 3"]:
        """Unit normals, towards the camera, of the surfaces that these pixels show; not finite beside the sky."""
        everywhere = torch.ones_like(pixels)
        points = (self.rays(everywhere) * self.depth.flatten()[:, None]).reshape(*pixels.shape, 3)
        rows, columns = pixels.nonzero(as_tuple=True)
        last_row, last_column = (size - 1 for size in pixels.shape)
        down = points[(rows + STEP).clamp_max(last_row), columns] - points[(rows - STEP).clamp_min(0), columns]
        right = points[rows, (columns + STEP).clamp_max(last_column)] - points[rows, (columns - STEP).clamp_min(0)]
        return F.normalize(torch.linalg.cross(down, right), dim=-1)  # x is right, y down, z away from the camera


@dataclass(frozen=True, eq=False)
class Plane:
    """The points x with normal . x = offset; the thing is above, where that is larger."""

    normal: Float[Tensor, "3"]
    offset: float

    def heights(self, points: Float[Tensor, "P 3"]) -> Float[Tensor, "P"]:
        """Signed distances."""
        return points @ self.normal - self.offset


def find_planes(
    views: Sequence[HoleView], thing: Float[Tensor, "P 3"], box: ThingBox, reach: float, generator: torch.Generator
) -> list[Plane]:
    """Planes of the surroundings that the thing stands on or before, those of most points first.

    `thing` are places on it; the surroundings are what the views see beside the hole, at most `reach` away from the
    box.
    """
    left, flat = _find_surroundings(views, box, reach), FLAT * box.diagonal
    least, planes = max(LEAST_POINTS, LEAST_SHARE * len(left)), []
    while len(planes) < MOST_PLANES and len(left) >= least:
        chosen = torch.randint(len(left), (TRIALS, 3), generator=generator).to(left.points.device)
        first, second, third = left.points[chosen].unbind(1)
        normals = F.normalize(torch.linalg.cross(second - first, third - first), dim=-1)
        is_behind = (normals * left.normals[chosen[:, 0]]).sum(-1) < 0
        normals = torch.where(is_behind[:, None], -normals, normals)
        offsets = (normals * first).sum(-1)
        heights = (thing @ normals.T - offsets).sort(dim=0).values / box.diagonal
        lowest, middle = heights[len(thing) // 10], heights[len(thing) // 2]
        on_plane = left.lie_on(normals, offsets, flat)
        counts = on_plane.sum(0).where((middle > -SUNK) & (lowest < TOUCHES), 0)
        best = int(counts.argmax())
        if counts[best] < least:
            break
        near = left.points[on_plane[:, best]]
        centre = near.mean(0)
        normal = torch.linalg.svd(near - centre, full_matrices=False).Vh[-1]
        normal = torch.where(normal @ normals[best] < 0, -normal, normal)
        plane = Plane(normal, float(normal @ centre))
        planes.append(plane)
        # what is farther away and faces elsewhere belongs to another one
        distances, faces_there = plane.heights(left.points).abs(), left.normals @ plane.normal > ALIKE
        left = left.chosen(distances >= torch.where(faces_there, 2 * flat, flat))
    return planes


@dataclass(frozen=True, eq=False)
class Surroundings:
    """Points of surfaces that the views see."""

    points: Float[Tensor, "P 3"]
    normals: Float[Tensor, "P 3"]
    """Towards the cameras that see them."""

    def __len__(self) -> int:
        return len(self.points)

    def chosen(self, which: Bool[Tensor, "P"] | slice) -> "Surroundings":
        """Some of them."""
        return Surroundings(self.points[which], self.normals[which])

    def lie_on(self, normals: Float[Tensor, "T 3"], offsets: Float[Tensor, "T"], flat: float) -> Bool[Tensor, "P T"]:
        """Whether the points are in planes and face where the planes do."""
        return ((self.points @ normals.T - offsets).abs() < flat) & (self.normals @ normals.T > ALIKE)


def _find_surroundings(views: Sequence[HoleView], box: ThingBox, reach: float) -> Surroundings:
    """What the views see beside the hole, near the box: at most `MOST_POINTS`, evenly over the views."""
    points, normals = [], []
    for view in views:
        width = max(4, round(RING * max(view.camera.width, view.camera.height)))
        ring = widen(view.hole, width) & ~view.hole & view.depth.isfinite()
        seen, facing = view.points(ring), view.normals(ring)
        is_near = (box.distances(seen) < reach) & facing.isfinite().all(-1)
        points.append(seen[is_near])
        normals.append(facing[is_near])
    found = Surroundings(torch.cat(points), torch.cat(normals))
    return found.chosen(slice(None, None, max(1, math.ceil(len(found) / MOST_POINTS))))
