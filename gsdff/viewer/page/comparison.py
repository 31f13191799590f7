"""Before | after of edits: Gaussians that both scenes share are kept once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Int64, UInt8

from gsdff.editing.edit import EditList
from gsdff.field.field import Field
from gsdff.gaussians import Gaussians

BEFORE, AFTER = 1, 2
"""Bits of the sides that a Gaussian is on."""
_SEED = 0
"""Seed of the factors of a hash."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """The Gaussians of a scene and, after them, those that only the edited scene has; in the working frame."""

    gaussians: Gaussians
    sides: UInt8[np.ndarray, "N"]
    """`BEFORE` and `AFTER` as bits."""
    sources: Int64[np.ndarray, "A"]
    """For every Gaussian after the first scene's: the one before the edits that it comes from, -1 if none is found."""
    titles: tuple[str, ...]
    background: tuple[float, ...] | None
    """Background of the edited scene, if it has its own."""

    @property
    def num_after(self) -> int:
        """Number of Gaussians of the edited scene."""
        return int((self.sides & AFTER > 0).sum())


def compare(field: Field, edits: EditList, scene: Gaussians) -> Comparison:
    """Makes the edits of a file, as `gsdff edit` does, and joins both scenes.

    `scene` are the field's Gaussians in the working frame, with or without features. Raises `UserError` as
    `Field.edit` does.
    """
    edited = field.edit(*edits.edits)
    before, after = field.gaussians, edited.gaussians
    found = match_rows(_rows(after), _rows(before))
    is_new = torch.from_numpy(found < 0)
    new = after.map(lambda tensor: tensor[is_new])
    sides = np.full(len(before) + len(new), AFTER, np.uint8)
    sides[: len(before)] = BEFORE
    sides[found[found >= 0]] |= AFTER
    added = new.to_working_frame(field.frame)
    if scene.features is None:
        added = replace(added, features=None)
    joined = {name: torch.cat([tensor, dict(added.items())[name]]) for name, tensor in scene.items()}
    texts = tuple(str(report) for report in edited.edits[len(field.edits) :])
    return Comparison(replace(scene, **joined), sides, _find_sources(before, new), texts, edits.background)


def match_rows(rows: UInt8[np.ndarray, "A B"], others: UInt8[np.ndarray, "N B"]) -> Int64[np.ndarray, "A"]:
    """Index of an equal row of the others for every row, each at most once; -1 where there is none."""
    if not len(rows) or not len(others):
        return np.full(len(rows), -1)
    keys, known = _hash(rows), _hash(others)
    order = known.argsort(kind="stable")
    known = known[order]
    own = keys.argsort(kind="stable")
    first = np.searchsorted(known, keys[own], side="left")
    count = np.searchsorted(known, keys[own], side="right") - first
    # the first of equal rows takes the first of equal others, and so on
    rank = np.arange(len(own)) - np.searchsorted(keys[own], keys[own], side="left")
    found = np.full(len(rows), -1)
    is_found = rank < count
    found[own[is_found]] = order[(first + rank)[is_found]]
    taken = np.flatnonzero(found >= 0)
    found[taken[(rows[taken] != others[found[taken]]).any(1)]] = -1  # equal hashes of different rows
    return found


def _rows(gaussians: Gaussians, names: Sequence[str] = ()) -> UInt8[np.ndarray, "N B"]:
    tensors = [tensor for name, tensor in gaussians.items() if not names or name in names]
    num = len(gaussians)
    parts = [
        tensor.detach().contiguous().numpy().reshape(num, -1).view(np.uint8).reshape(num, -1) for tensor in tensors
    ]
    return np.concatenate(parts, axis=1)


def _hash(rows: UInt8[np.ndarray, "N B"]) -> np.ndarray:
    """64 bits for every row; rows have whole float32 numbers."""
    words = np.ascontiguousarray(rows).view(np.uint32).astype(np.uint64)
    factors = np.random.default_rng(_SEED).integers(1, 2**63, words.shape[1], np.uint64) | np.uint64(1)
    with np.errstate(over="ignore"):
        return (words * factors).sum(1, dtype=np.uint64)


def _find_sources(before: Gaussians, new: Gaussians) -> Int64[np.ndarray, "A"]:
    """Sources of new Gaussians: what moves keeps its features, and what is painted its place."""
    found = np.full(len(new), -1)
    for name in ("means", "features"):
        if dict(before.items()).get(name) is None or not len(new):
            continue
        ours, theirs = _rows(new, [name]), _rows(before, [name])
        order = _hash(theirs).argsort(kind="stable")
        known = _hash(theirs)[order]
        keys = _hash(ours)
        at = np.searchsorted(known, keys).clip(max=len(known) - 1)
        is_equal = known[at] == keys
        found = np.where((found < 0) & is_equal, order[at], found)
    return found
