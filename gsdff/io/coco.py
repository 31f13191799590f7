"""Converts label maps to COCO (cocodataset.org/#format-data): a dict of plain values, for `json.dump`.

COCO's own instances are polygons, its crowds are run lengths. Here all are run lengths, which are exact to the pixel,
and none is a crowd (`iscrowd` 0): trainers leave crowds out, and pycocotools' evaluation does not count them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from gsdff.neighbours import connected_parts
from gsdff.scene import VOID


@dataclass(frozen=True)
class Part:
    """A connected region of one class."""

    label: int
    """Index of the class."""
    area: int
    """Number of pixels."""
    bbox: tuple[int, int, int, int]
    """Bounding box x, y, width, height; x and y are the first column and row, from 0."""
    counts: list[int]
    """Lengths of the alternating runs outside and inside, column by column of the whole photo; outside first."""


@dataclass(frozen=True)
class LabelledPhoto:
    """A photo and its labelled regions."""

    file_name: str
    height: int
    width: int
    parts: Sequence[Part]


def find_parts(labels: UInt8[Tensor, "H W"], *, min_area: int = 1) -> list[Part]:
    """Finds the 4-connected parts of at least `min_area` pixels, none of `VOID`, ordered by their first columns."""
    height, width = labels.shape
    column_major = labels.cpu().T.flatten()
    # pixel p has p + 1 below it and p + height to its right
    pixels = torch.arange(height * width)
    below, right = (torch.zeros(height * width, dtype=torch.bool) for _ in range(2))
    below[:-1] = column_major[:-1] == column_major[1:]
    below[height - 1 :: height] = False
    right[:-height] = column_major[:-height] == column_major[height:]
    part_ids = connected_parts(pixels[:, None] + torch.tensor([1, height]), torch.stack([below, right], dim=1))
    return [
        _describe(int(column_major[members[0]]), members.numpy(), height, width)
        for members in _members(part_ids)
        if len(members) >= min_area and column_major[members[0]] != VOID
    ]


def to_coco(classes: Sequence[str], photos: Sequence[LabelledPhoto], *, description: str = "") -> dict[str, Any]:
    """Builds the COCO dict; class i is category i + 1, as COCO leaves 0 unused. Photo and annotation ids start at 1."""
    images, annotations = [], []
    for image_id, photo in enumerate(photos, 1):
        size = {"height": photo.height, "width": photo.width}
        images.append({"id": image_id, "file_name": photo.file_name, **size})
        for part in photo.parts:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": part.label + 1,
                    "segmentation": {"size": [photo.height, photo.width], "counts": part.counts},
                    "area": part.area,
                    "bbox": list(part.bbox),
                    "iscrowd": 0,
                }
            )
    return {
        "info": {"description": description},
        "licenses": [],
        "images": images,
        "categories": [{"id": i, "name": name, "supercategory": name} for i, name in enumerate(classes, 1)],
        "annotations": annotations,
    }


def _members(part_ids: Int64[Tensor, "P"]) -> Iterator[Int64[Tensor, "M"]]:
    """Yields the pixels of every part, in rising order."""
    yield from part_ids.argsort(stable=True).split(part_ids.bincount().tolist())


def _describe(label: int, members: np.ndarray, height: int, width: int) -> Part:
    columns, rows = members // height, members % height
    x, y = int(columns[0]), int(rows.min())
    is_gap = np.diff(members) > 1
    starts, ends = members[np.append(True, is_gap)], members[np.append(is_gap, True)] + 1
    bounds = np.stack([starts, ends], axis=1).ravel()
    counts = np.diff(bounds, prepend=0, append=height * width)
    # a last run outside is left out if it is empty
    counts = counts if counts[-1] else counts[:-1]
    return Part(label, len(members), (x, y, int(columns[-1]) - x + 1, int(rows.max()) - y + 1), counts.tolist())
