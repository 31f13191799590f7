"""The complete demo scene: its classes, its objects and its viewpoints."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gsdff.data.demo.furniture import furniture
from gsdff.data.demo.light import Lighting
from gsdff.data.demo.photo import LitRoom, Viewpoint
from gsdff.data.demo.room import TABLE_TOP, rug, table, walls, window
from gsdff.data.demo.still_life import still_life

FOCAL = 1.08
"""Focal length over image width."""
_RINGS = ((1.2, 1.37), (1.5, 1.29), (1.36, 1.33))
"""Height above the floor and distance from the table's middle of the rings of cameras, metres."""


@dataclass(frozen=True)
class Category:
    """A class of the label images."""

    name: str
    text_query: str
    color: tuple[int, int, int]


CATEGORIES = (
    Category("wall", "wall", (142, 168, 150)),
    Category("floor", "floor", (120, 78, 46)),
    Category("rug", "rug", (150, 70, 64)),
    Category("table", "table", (196, 148, 92)),
    Category("window", "window", (170, 214, 240)),
    Category("curtain", "curtain", (222, 138, 62)),
    Category("painting", "painting", (86, 62, 130)),
    Category("bookcase", "bookcase", (92, 48, 30)),
    Category("sofa", "sofa", (52, 98, 140)),
    Category("cushion", "cushion", (236, 206, 120)),
    Category("bowl", "bowl", (228, 230, 240)),
    Category("apple", "apple", (190, 22, 34)),
    Category("orange", "orange", (250, 130, 0)),
    Category("banana", "banana", (250, 224, 40)),
    Category("cup", "cup", (70, 130, 210)),
    Category("teapot", "teapot", (20, 160, 150)),
    Category("bottle", "bottle", (16, 92, 48)),
    Category("book", "book", (150, 90, 160)),
    Category("plate", "plate", (200, 200, 180)),
    Category("donut", "donut", (236, 130, 176)),
    Category("clock", "clock", (220, 60, 90)),
    Category("lamp", "lamp", (255, 240, 180)),
    Category("potted plant", "potted plant", (60, 150, 50)),
    Category("toy block", "toy", (120, 40, 220)),
)
"""All classes, in the order of label ids."""


@dataclass(frozen=True)
class DemoWorld:
    """The demo scene, with the object and the class of each of its surfaces."""

    room: LitRoom
    instance_names: tuple[str, ...]
    """Names of the objects in the order of instance ids, which start at 1."""
    instance_ids: Tensor
    """Instance id of every surface, [S] int64."""
    category_ids: Tensor
    """Class id of every surface, [S] uint8."""

    def category_of(self, instance_id: int) -> str:
        """Name of an object's class."""
        surface = (self.instance_ids == instance_id).nonzero()[0, 0]
        return CATEGORIES[self.category_ids[surface]].name


def build_world() -> DemoWorld:
    """Models the scene and bakes its light."""
    on_table = [*table(), *still_life(TABLE_TOP)]
    around = [rug(), *window(), *furniture()]
    room = LitRoom(walls(), [*on_table, *around], Lighting.of(on_table, around, TABLE_TOP))
    names = tuple(dict.fromkeys(surface.name for surface in room.surfaces))
    categories = [category.name for category in CATEGORIES]
    return DemoWorld(
        room,
        names,
        torch.tensor([names.index(surface.name) + 1 for surface in room.surfaces]),
        torch.tensor([categories.index(surface.category) for surface in room.surfaces], dtype=torch.uint8),
    )


def viewpoints(views: int, width: int, height: int, generator: torch.Generator) -> list[Viewpoint]:
    """Cameras once around the table, alternating between three heights, each slightly displaced at random."""
    places = []
    for index in range(views):
        stand, distance = _RINGS[index % len(_RINGS)]
        sway, back, up, *aim = (2 * torch.rand(6, generator=generator) - 1).tolist()
        angle = 2 * math.pi * (index + 0.3 * sway) / views - 1.0
        distance *= 1 + 0.05 * back
        centre = torch.tensor([distance * math.cos(angle), distance * math.sin(angle), stand + 0.04 * up])
        target = torch.tensor([0.0, 0.0, TABLE_TOP + 0.07]) + 0.04 * torch.tensor(aim)
        places.append(Viewpoint(_looking(centre, target), centre, FOCAL * width, width, height))
    return places


def _looking(centre: Tensor, target: Tensor) -> Tensor:
    """Camera-to-world rotation with x right, y down and z towards the target, the horizon level."""
    forward = torch.nn.functional.normalize((target - centre).double(), dim=0)
    right = torch.linalg.cross(forward, torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
    right = right / right.norm()
    return torch.stack([right, torch.linalg.cross(forward, right), forward], dim=1).float()
