"""Things of a run as the page lists them, and the thing of every Gaussian."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Integer

from gsdff.field.field import Field
from gsdff.field.objects import read_things
from gsdff.io.pictures import label_palette
from gsdff.run_folder import RunFolder
from gsdff.viewer.page.comparison import Comparison

DIGITS = 4
"""Significant digits of lengths and scores."""


def has_things(field: Field) -> bool:
    """Whether a field's run has things, and they are those of its Gaussians."""
    return field.run is not None and not field.edits and RunFolder(field.run.folder).things.is_file()


def describe_things(field: Field, names: Sequence[str]) -> list[dict[str, Any]]:
    """A row for every thing: its number, best name, score, number of Gaussians, box and colour."""
    objects = field.objects(names)
    palette = (label_palette(max((thing.id for thing in objects), default=0)) / 255).tolist()
    return [
        {
            "id": thing.id,
            "name": thing.name,
            "score": None if math.isnan(thing.score) else float(f"{thing.score:.{DIGITS}g}"),
            "count": thing.num_gaussians,
            "size": [float(f"{side:.{DIGITS}g}") for side in thing.size],
            "color": palette[thing.id - 1],
        }
        for thing in objects
    ]


def number_gaussians(field: Field, comparison: Comparison | None) -> Integer[np.ndarray, "N 1"]:
    """The thing of every Gaussian of the page, 0 for none; one byte each for up to 255 things."""
    ids = read_things(field).instance_ids.numpy()
    if comparison is not None:
        sources = comparison.sources
        ids = np.concatenate([ids, np.where(sources < 0, 0, ids[sources])])
    return ids.astype(np.uint8 if ids.max(initial=0) < 256 else np.uint16)[:, None]
