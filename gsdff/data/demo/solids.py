"""Surfaces of the demo scene: solids given by a distance function, and the flat walls around them."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gsdff.data.demo import sdf

NORMAL_STEP = 1e-3
"""Step of the finite differences for normals; it also softens the facets of solids of revolution."""


@dataclass(frozen=True)
class Solid:
    """A body in its own frame, standing at `origin` and turned by `yaw` about z. Points are [3, P], metres."""

    name: str
    """Name of its object; solids with the same name are one instance."""
    category: str
    lower: tuple[float, float, float]
    """Least corner of a box in its own frame that holds the whole body."""
    upper: tuple[float, float, float]
    distance: Callable[[Tensor], Tensor]
    """A lower bound of the distance to the surface, tight near it: [3, P] to [P]."""
    paint: Callable[[Tensor], Tensor]
    """Linear albedo [3, P] of surface points [3, P], both in its own frame."""
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    yaw: float = 0.0
    gloss: float = 0.0
    """Share of light that is mirrored at normal incidence: 0.04 is glazed china."""
    glow: float = 0.0
    """Light given off, as a multiple of the albedo."""

    def to_local(self, points: Tensor) -> Tensor:
        """Converts world points to its own frame."""
        return sdf.turned(points - torch.tensor(self.origin)[:, None], self.yaw)

    def normals(self, points: Tensor) -> Tensor:
        """Unit normals in the world at world points on the surface."""
        local = self.to_local(points)
        corners = torch.tensor([[1.0, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]])
        slopes = (self.distance(local + NORMAL_STEP * c[:, None]) * c[:, None] for c in corners)
        gradient = sum(slopes, start=torch.zeros(()))
        return sdf.turned(gradient / sdf.length(gradient).clamp_min(1e-9), -self.yaw)

    @property
    def ball(self) -> tuple[Tensor, float]:
        """World centre [3] and radius of a ball that holds the whole body."""
        lower, upper = torch.tensor(self.lower), torch.tensor(self.upper)
        middle = sdf.turned(((lower + upper) / 2)[:, None], -self.yaw)[:, 0]
        return torch.tensor(self.origin) + middle, float((upper - lower).norm()) / 2


@dataclass(frozen=True)
class Wall:
    """The plane where one world coordinate is `offset`, seen from inside the room."""

    name: str
    category: str
    axis: int
    offset: float
    inward: float
    """+1 if the room lies on the larger side of the plane, -1 if on the smaller."""
    paint: Callable[[Tensor], Tensor]
    gloss: float = 0.0
    glow: float = 0.0

    def to_local(self, points: Tensor) -> Tensor:
        """Returns the world points: a wall has no frame of its own."""
        return points

    def normals(self, points: Tensor) -> Tensor:
        """The plane's unit normal, for every point."""
        normal = torch.zeros(3, 1)
        normal[self.axis] = self.inward
        return normal.expand_as(points)


@dataclass(frozen=True)
class Placement:
    """Position of an object in the room, metres, and its rotation about z."""

    x: float
    y: float
    z: float
    degrees: float = 0.0

    @property
    def kwargs(self) -> dict:
        """The arguments `origin` and `yaw` of `Solid`."""
        return {"origin": (self.x, self.y, self.z), "yaw": math.radians(self.degrees)}
