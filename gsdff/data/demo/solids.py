"""What the demo scene is made of: solids given by a distance function, and the flat walls around them."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gsdff.data.demo import sdf

NORMAL_STEP = 1e-3
"""Reach of the finite differences behind normals; it also softens the facets of turned profiles."""


@dataclass(frozen=True)
class Solid:
    """A body in its own frame, standing at `origin` and turned by `yaw` about z. Points are [3, P], metres."""

    name: str
    """The object it belongs to; solids that share a name are one instance."""
    category: str
    lower: tuple[float, float, float]
    """Least corner of a box in the own frame that holds the whole body."""
    upper: tuple[float, float, float]
    distance: Callable[[Tensor], Tensor]
    """A lower bound of the distance to the surface, tight near it: [3, P] to [P]."""
    paint: Callable[[Tensor], Tensor]
    """Linear albedo [3, P] of surface points [3, P], both in the own frame."""
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    yaw: float = 0.0
    gloss: float = 0.0
    """How much of a mirror the surface is at a steep angle: 0.04 is glazed china."""
    glow: float = 0.0
    """Light given off, as a multiple of the albedo."""

    def to_local(self, points: Tensor) -> Tensor:
        """World points in the own frame."""
        return sdf.turned(points - torch.tensor(self.origin)[:, None], self.yaw)

    def normals(self, points: Tensor) -> Tensor:
        """Unit normals in the world at world points on the surface."""
        local = self.to_local(points)
        corners = torch.tensor([[1.0, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]])
        gradient = sum(self.distance(local + NORMAL_STEP * c[:, None]) * c[:, None] for c in corners)
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
    """+1 where the room lies on the larger side of the plane, -1 where it lies on the smaller."""
    paint: Callable[[Tensor], Tensor]
    gloss: float = 0.0
    glow: float = 0.0

    def to_local(self, points: Tensor) -> Tensor:
        """World points: a wall has no frame of its own."""
        return points

    def normals(self, points: Tensor) -> Tensor:
        """The plane's unit normal, for every point."""
        normal = torch.zeros(3, 1)
        normal[self.axis] = self.inward
        return normal.expand_as(points)


@dataclass(frozen=True)
class Placement:
    """Where a modelling function puts its object: on the table at (x, y), or `z` above the floor."""

    x: float
    y: float
    z: float
    degrees: float = 0.0

    @property
    def kwargs(self) -> dict:
        """The two arguments of `Solid` it stands for."""
        return {"origin": (self.x, self.y, self.z), "yaw": math.radians(self.degrees)}
