"""Text vectors by name, from a `text_features.npz` or from the classes of a labelled scene."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gsdff.errors import UserError
from gsdff.files.reading import read_arrays
from gsdff.labels import LabelClass
from gsdff.words import describe_unknown, fold, is_text

TEXT_FILE = "text_features.npz"
REMEDY = "make the file again"
TINY, HUGE = 1e-4, 1e15
"""Range of the largest value outside of which its squares would be lost in float32."""


@dataclass(frozen=True)
class TextVectors:
    """Unit vectors by name, without regard to case or surrounding spaces."""

    source: str
    """Origin of the vectors, for error messages."""
    vectors: dict[str, Float[Tensor, "T"]]
    """The vectors by `fold`ed name."""

    def knows(self, name: str) -> bool:
        """Whether there is a vector for this name."""
        return fold(name) in self.vectors

    def look_up(self, names: Sequence[str]) -> Float[Tensor, "Q T"]:
        """Vectors of these names. Raises `UserError`, with known names, for an unknown one."""
        for name in names:
            if not self.knows(name):
                raise UserError(f"{self.source}: {describe_unknown(name, [*self.vectors])}")
        return torch.stack([self.vectors[fold(name)] for name in names])


def name_classes(classes: Sequence[LabelClass], vectors: Float[Tensor, "Q T"]) -> dict[str, Float[Tensor, "T"]]:
    """Class vectors by text query and by name; a query wins over a name, and the lower id among equal ones."""
    queries = [(row.query, vector) for row, vector in zip(classes, vectors, strict=True) if row.query is not None]
    names = [(row.name, vector) for row, vector in zip(classes, vectors, strict=True)]
    texts: dict[str, Tensor] = {}
    for name, vector in queries + names:
        texts.setdefault(fold(name), vector)
    return texts


def read_texts(path: Path) -> dict[str, Float[Tensor, "T"]]:
    """Unit vectors by folded name, from an .npz with names [n] and vectors [n, T]; empty if the file does not exist.

    The first of equal names counts. Raises `UserError` if the file has another content.
    """
    if not os.path.lexists(path):
        return {}
    arrays = read_arrays(path, "an .npz with arrays `names` [n] and `vectors` [n, T]", REMEDY)
    if missing := {"names", "vectors"} - arrays.keys():
        raise UserError(f"{path}: expected arrays `names` and `vectors`, got no {' and no '.join(sorted(missing))}")
    names, vectors = arrays["names"], arrays["vectors"]
    if vectors.ndim != 2 or names.shape != vectors.shape[:1] or vectors.dtype.kind != "f" or vectors.size == 0:
        raise UserError(
            f"{path}: expected names [n] and float vectors [n, T], got names {list(names.shape)} and "
            f"{vectors.dtype} vectors {list(vectors.shape)}; {REMEDY}"
        )
    if wrong := [name for name in names.tolist() if not is_text(name)]:
        raise UserError(f"{path}: expected texts as names, got {wrong[0]!r}; {REMEDY}")
    largest = float(np.abs(vectors).max())
    if math.isfinite(largest) and largest > 0 and not TINY < largest < HUGE:
        vectors = vectors / largest
    unit = F.normalize(torch.from_numpy(vectors.astype(np.float32)), dim=1, eps=1e-8)
    if not unit.isfinite().all() or (unit.norm(dim=1) < 0.5).any():
        raise UserError(f"{path}: expected finite text vectors of any length but 0; {REMEDY}")
    texts: dict[str, Tensor] = {}
    for name, vector in zip(names, unit, strict=True):
        texts.setdefault(fold(str(name)), vector)
    return texts
