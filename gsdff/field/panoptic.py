"""Panoptic segmentation: the things of a field with a class each, and what every view shows of them."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int32, UInt8
from torch import Tensor

from gsdff.field.base import FieldBase
from gsdff.field.objects import draw_things, read_things, score_things
from gsdff.io.coco_panoptic import PanopticPhoto, encode_ids, find_segments, join_ids
from gsdff.scene import View
from gsdff.things import Things


@dataclass(frozen=True)
class SeenThings:
    """Things as a view shows them."""

    things: Int32[Tensor, "H W"]
    """The thing of every pixel, 0 for none."""
    picture: UInt8[Tensor, "H W 3"]
    """Ids of COCO's segments, as colours."""
    photo: PanopticPhoto


@dataclass(frozen=True)
class ClassedThings:
    """The things of a field, each with one of some classes."""

    field: FieldBase
    things: Things
    classes: list[int]
    """Index of the class of every thing, the nearest to its mean feature."""

    @staticmethod
    def of(field: FieldBase, texts: Float[Tensor, "Q T"]) -> "ClassedThings":
        """Classes by their vectors; raises `UserError` if the run has no things."""
        things = read_things(field)
        return ClassedThings(field, things, score_things(field, things, texts).argmax(1).tolist())

    @property
    def columns(self) -> dict[str, Int32[Tensor, "N"]]:
        """Columns of a PLY: the thing of every Gaussian, 0 for none, as `instance_id`."""
        return {"instance_id": self.things.instance_ids}

    @torch.no_grad()
    def look(self, view: View, labels: UInt8[Tensor, "H W"]) -> SeenThings:
        """Things and segments in a view; pixels of no thing are of the segment of their class, by `labels`."""
        things = draw_things(self.field, self.things, view).cpu()
        ids = join_ids(things, labels, len(self.things))
        height, width = ids.shape
        photo = PanopticPhoto(view.name, f"{view.key}.png", height, width, find_segments(ids, self.classes))
        return SeenThings(things, encode_ids(ids), photo)
