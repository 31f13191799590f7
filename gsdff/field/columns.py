"""Columns beside the Gaussians in a file for other programs: class, thing and scores, and what their numbers mean."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor

import gsdff
from gsdff.errors import UserError
from gsdff.field.base import FieldBase
from gsdff.field.objects import list_objects, read_things
from gsdff.field.query import Query
from gsdff.field.search import find, prepare
from gsdff.files.places import make_folder
from gsdff.files.writing import together, whole_file, write_text
from gsdff.gaussians import Gaussians
from gsdff.io.glb import add_feature_ids
from gsdff.io.ply import write_compressed_ply, write_ply, write_splat
from gsdff.io.sidecar import Sidecar, write_sidecar
from gsdff.io.splat_transform import ENDINGS, convert
from gsdff.scene import VOID
from gsdff.words import fold

CLASS, INSTANCE, SCORE = "class_id", "instance_id", "score_"
WITH_IDS, WITH_SCORES = ("ply", "glb"), "ply"
"""Formats that have a place for numbers of things and classes, and the one for scores."""
NONE = -1
"""Class of a Gaussian without a feature."""


@dataclass(frozen=True)
class ColumnChoice:
    """Columns to write beside the Gaussians."""

    classes: Sequence[str] = ()
    """Classes of `class_id`, the best for every Gaussian; things are named by them too."""
    scores: Sequence[str] = ()
    """Words of a `score_<word>` each, the relevancy of every Gaussian."""
    instances: bool = False
    """Whether to write the thing of every Gaussian as `instance_id`."""

    def __bool__(self) -> bool:
        return bool(self.classes or self.scores or self.instances)

    def check(self, format: str) -> None:
        """Raises `UserError` if a format has no place for a column that is chosen."""
        if (self.classes or self.instances) and format not in WITH_IDS:
            raise UserError(f"`classes`, `instances`: expected `format` {' or '.join(WITH_IDS)}, got {format}")
        if self.scores and format != WITH_SCORES:
            raise UserError(f"`scores`: expected `format` {WITH_SCORES}, got {format}")


@dataclass(frozen=True, eq=False)
class Columns:
    """Integers and floats of four bytes by their names, with a row per Gaussian; and the dictionary to write beside."""

    values: dict[str, Shaped[Tensor, "N"]]
    dictionary: dict[str, Any]

    @property
    def feature_ids(self) -> dict[str, Shaped[Tensor, "N"]]:
        """Those that are numbers of something, from 1, and 0 for nothing: things before classes."""
        first = {INSTANCE: 0, CLASS: NONE}
        return {name: self.values[name] - nothing for name, nothing in first.items() if name in self.values}


def make_columns(field: FieldBase, choice: ColumnChoice) -> Columns:
    """The columns; `class_id` is -1 and `instance_id` 0 for nothing.

    Raises `UserError` for words that the field does not know, and for things of a run that has none.
    """
    values: dict[str, Tensor] = {}
    dictionary: dict[str, Any] = {"made_by": f"gsdff {gsdff.__version__}", "source": str(field.source)}
    if choice.instances:
        values[INSTANCE] = read_things(field).instance_ids.int()
        things = list_objects(field, choice.classes)
        dictionary[INSTANCE] = {str(thing.id): thing.name for thing in things}
    if choice.classes:
        labels = find(field, prepare(field, Query(classes=choice.classes))).labels
        assert labels is not None, "a query by classes has labels"
        labels = labels.cpu().int()
        values[CLASS] = torch.where(labels == VOID, NONE, labels)
        dictionary[CLASS] = list(choice.classes)
    for word in choice.scores:
        name = SCORE + re.sub(r"\W+", "_", fold(word))
        if name in values:
            raise UserError(f"`scores`: {word!r} would be a second {name}; leave one of the two out")
        hit = find(field, prepare(field, Query(word)))
        values[name] = hit.scores.cpu().float()
        dictionary[name] = {"word": fold(word), "threshold": hit.threshold}
    return Columns(values, dictionary)


def write_gaussians(
    path: Path, gaussians: Gaussians, format: str, columns: Columns | None, sidecar: Sidecar | None
) -> None:
    """Writes Gaussians in a format with the files that belong to them, all or none.

    The dictionary of the columns is `<stem>.columns.json`.
    """
    converted = b""
    if f".{format}" in ENDINGS:
        drawable, ids = gaussians.is_drawable, {} if columns is None else columns.feature_ids
        numbers = {name: values[drawable].numpy() for name, values in ids.items()}
        dictionary = {} if columns is None else columns.dictionary
        finish = (lambda made: add_feature_ids(made, numbers, dictionary)) if numbers else (lambda made: None)
        converted = convert(gaussians, f".{format}", finish)
    make_folder(path.parent)
    with together(path):
        if format == "ply":
            write_ply(path, gaussians, labels=None if columns is None else columns.values)
        elif format in ("splat", "compressed"):
            {"splat": write_splat, "compressed": write_compressed_ply}[format](path, gaussians)
        else:
            with whole_file(path) as partial:
                partial.write_bytes(converted)
        if sidecar is not None:
            write_sidecar(path, sidecar, gaussians.origin)
        if columns is not None:
            write_text(path.with_suffix(".columns.json"), json.dumps(columns.dictionary, indent=1) + "\n")
