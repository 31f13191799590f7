"""Text vectors by name: those of a `text_features.npz`, or those of the classes of labelled scenes."""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gsdff.errors import UserError
from gsdff.labels import LabelClass
from gsdff.words import fold

TEXT_FILE = "text_features.npz"
_LISTED = 30
"""As many known names an error spells out."""


@dataclass(frozen=True)
class TextVectors:
    """Unit vectors by name; case and outer spaces of a name do not matter."""

    source: str
    """Where they come from, for errors."""
    vectors: dict[str, Float[Tensor, "T"]]
    """By `fold`ed name."""

    def knows(self, name: str) -> bool:
        """Whether there is a vector of this name."""
        return fold(name) in self.vectors

    def look_up(self, names: Sequence[str]) -> Float[Tensor, "Q T"]:
        """The vectors of these names; `UserError` with the known ones where there is none."""
        for name in names:
            if not self.knows(name):
                raise UserError(f"{self.source}: knows no {name!r} {self._known(fold(name))}")
        return torch.stack([self.vectors[fold(name)] for name in names])

    def _known(self, name: str) -> str:
        near = ", ".join(get_close_matches(name, self.vectors, n=3))
        if len(self.vectors) <= _LISTED:
            return f"but {', '.join(self.vectors)}" + (f"; closest: {near}" if near else "")
        some = ", ".join(islice(self.vectors, _LISTED))
        return f"among its {len(self.vectors)} names; closest: {near or 'nothing like it'}; it knows {some}, ..."


def name_classes(classes: Sequence[LabelClass], vectors: Float[Tensor, "Q T"]) -> dict[str, Float[Tensor, "T"]]:
    """The class vectors by text query and by name; a query wins over a name, the lower id among equals."""
    asked = [(row.query, vector) for row, vector in zip(classes, vectors, strict=True) if row.query is not None]
    named = [(row.name, vector) for row, vector in zip(classes, vectors, strict=True)]
    texts: dict[str, Tensor] = {}
    for name, vector in asked + named:
        texts.setdefault(fold(name), vector)
    return texts


def read_texts(path: Path) -> dict[str, Float[Tensor, "T"]]:
    """Unit vectors by folded name of an .npz with names [n], vectors [n, T]; empty where there is no such file.

    The first of equal names counts. `UserError` where the file is something else.
    """
    if not path.is_file():
        return {}
    try:
        with np.load(path, allow_pickle=False) as data:
            names, vectors = data["names"], data["vectors"]
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: expected an .npz with arrays `names` [n] and `vectors` [n, T]: {error}") from error
    if vectors.ndim != 2 or names.shape != vectors.shape[:1] or vectors.dtype.kind != "f" or vectors.size == 0:
        raise UserError(
            f"{path}: expected names [n] and float vectors [n, T], got names {list(names.shape)} and "
            f"{vectors.dtype} vectors {list(vectors.shape)}"
        )
    unit = F.normalize(torch.from_numpy(vectors.astype(np.float32)), dim=1, eps=1e-8)
    if not unit.isfinite().all() or (unit.norm(dim=1) < 0.5).any():
        raise UserError(f"{path}: a text vector is zero, NaN or infinite")
    texts: dict[str, Tensor] = {}
    for name, vector in zip(names, unit, strict=True):
        texts.setdefault(fold(str(name)), vector)
    return texts
