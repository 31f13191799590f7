"""Converts instance and label maps to COCO's panoptic format (cocodataset.org/#format-data, panoptic segmentation).

A picture of ids, R + 256 G + 256² B per pixel and 0 for none, has a segment for every id; the JSON describes them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from gsdff.scene import VOID


@dataclass(frozen=True)
class Segment:
    """The pixels of one id in a photo."""

    id: int
    label: int
    """Index of the class."""
    area: int
    """Number of pixels."""
    bbox: tuple[int, int, int, int]
    """Bounding box x, y, width, height; x and y are the first column and row, from 0."""
    is_thing: bool
    """Whether it is one thing; otherwise all that no thing covers of a class."""


@dataclass(frozen=True)
class PanopticPhoto:
    """A photo and its segments, by rising id."""

    file_name: str
    picture: str
    """Name of the picture of ids."""
    height: int
    width: int
    segments: Sequence[Segment]


def join_ids(things: Int[Tensor, "H W"], labels: UInt8[Tensor, "H W"], num_things: int) -> Int[Tensor, "H W"]:
    """Ids of segments: the number of a thing; `num_things` + 1 + the class where none is; 0 without a class either."""
    rest = torch.where(labels == VOID, 0, num_things + 1 + labels.long())
    return torch.where(things > 0, things.long(), rest)


def find_segments(ids: Int[Tensor, "H W"], classes_of_things: Sequence[int]) -> list[Segment]:
    """The segments of ids as `join_ids` makes them; thing i has the class `classes_of_things[i - 1]`."""
    height, width = ids.shape
    found, index, areas = ids.unique(return_inverse=True, return_counts=True)
    rows, columns = (
        axis.expand(height, width).flatten() for axis in (torch.arange(height)[:, None], torch.arange(width))
    )
    bounds = [
        torch.zeros(len(found), dtype=torch.long).scatter_reduce_(
            0, index.flatten(), places, reduce=reduce, include_self=False
        )
        for places in (columns, rows) for reduce in ("amin", "amax")
    ]  # fmt: skip
    num_things, segments = len(classes_of_things), []
    for number, area, left, right, top, bottom in zip(
        found.tolist(), areas.tolist(), *map(Tensor.tolist, bounds), strict=True
    ):
        if number == 0:
            continue
        is_thing = number <= num_things
        label = classes_of_things[number - 1] if is_thing else number - num_things - 1
        segments.append(Segment(number, label, area, (left, top, right - left + 1, bottom - top + 1), is_thing))
    return segments


def encode_ids(ids: Int[Tensor, "H W"]) -> UInt8[Tensor, "H W 3"]:
    """Ids as colours: id = R + 256 G + 256² B."""
    return torch.stack([ids & 255, (ids >> 8) & 255, (ids >> 16) & 255], dim=-1).byte()


def to_panoptic(
    classes: Sequence[str],
    colors: Sequence[tuple[int, int, int]],
    photos: Sequence[PanopticPhoto],
    *,
    description: str = "",
) -> dict[str, Any]:
    """Builds the COCO dict; class i is category i + 1. A class with things `isthing`.

    What no thing covers of such a class is a crowd (`iscrowd` 1): COCO's word for things that are not told apart,
    which do not count as an error of an evaluation.
    """
    countable = {segment.label for photo in photos for segment in photo.segments if segment.is_thing}
    images, annotations = [], []
    for image_id, photo in enumerate(photos, 1):
        size = {"height": photo.height, "width": photo.width}
        images.append({"id": image_id, "file_name": photo.file_name, **size})
        rows = [
            {
                "id": segment.id,
                "category_id": segment.label + 1,
                "area": segment.area,
                "bbox": list(segment.bbox),
                "iscrowd": int(not segment.is_thing and segment.label in countable),
            }
            for segment in photo.segments
        ]
        annotations.append({"image_id": image_id, "file_name": photo.picture, "segments_info": rows})
    categories = [
        {"id": i + 1, "name": name, "supercategory": name, "isthing": int(i in countable), "color": list(color)}
        for i, (name, color) in enumerate(zip(classes, colors, strict=True))
    ]
    return {
        "info": {"description": description},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": categories,
    }
