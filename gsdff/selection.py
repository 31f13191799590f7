"""Selections of Gaussians: set operations, clean-up in space, and saving to a file.

Neighbours are the k nearest others by distance of the means, fewer if there are fewer (`gsdff.neighbours`). Methods
that take `means` raise ValueError if their number is not that of the selection's Gaussians, if they are not finite, and
for numbers of neighbours or steps that are out of range.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from gsdff.errors import UserError, shown
from gsdff.files.reading import read_safetensors
from gsdff.files.writing import save_tensors
from gsdff.neighbours import connected_parts, nearest_neighbours

FORMAT = "gsdff-selection-1"
MOST_STEPS = 1000
"""Most rounds of one clean-up."""
FAR = 10.0
"""Distances this many median absolute deviations above the median are far: 0.4 to 4 % of trained scenes' Gaussians."""
MIN_DEVIATION = 0.1
"""Least such deviation, as a share of the median: on a regular grid all but the border is at the median exactly."""


@dataclass(frozen=True, eq=False)
class Selection:
    """A subset of N Gaussians; `len` is the number of selected ones, so an empty selection is false."""

    mask: Bool[Tensor, "N"]

    def __post_init__(self) -> None:
        if self.mask.dtype != torch.bool or self.mask.ndim != 1:
            raise ValueError(f"expected booleans of shape (N,), got {self.mask.dtype} of {tuple(self.mask.shape)}")

    @staticmethod
    def of(count: int, device: torch.device | str = "cpu") -> Selection:
        """An empty selection of `count` Gaussians; `~Selection.of(count)` selects all of them."""
        return Selection(torch.zeros(count, dtype=torch.bool, device=device))

    @staticmethod
    def from_scores(scores: Float[Tensor, "N"], threshold: float) -> Selection:
        """Selects the Gaussians with a score of at least `threshold`; NaN is never selected."""
        return Selection(scores >= threshold)

    @property
    def total(self) -> int:
        """Number N of all Gaussians, selected or not."""
        return len(self.mask)

    def __len__(self) -> int:
        return int(self.mask.sum())

    def __and__(self, other: Selection) -> Selection:
        self._check_total(other.total, "another selection")
        return Selection(self.mask & other.mask)

    def __or__(self, other: Selection) -> Selection:
        self._check_total(other.total, "another selection")
        return Selection(self.mask | other.mask)

    def __sub__(self, other: Selection) -> Selection:
        return self & ~other

    def __invert__(self) -> Selection:
        return Selection(~self.mask)

    def grow(self, means: Float[Tensor, "N 3"], neighbours: int = 8, steps: int = 1) -> Selection:
        """Adds the Gaussians that have a selected one among their own k nearest, `steps` times.

        There is no limit to the distance: an isolated Gaussian joins whatever is nearest; `drop_floaters` removes it.
        """
        ids = self._nearest(means, neighbours, steps)
        mask = self.mask
        for _ in range(steps):
            grown = mask | mask[ids].any(1)
            if torch.equal(grown, mask):
                break
            mask = grown
        return Selection(mask)

    def with_rim(
        self, means: Float[Tensor, "N 3"], possible: Selection, neighbours: int = 32, quorum: int = 4
    ) -> Selection:
        """Adds the Gaussians of `possible` that have at least `quorum` selected ones among their own k nearest.

        Fills the border and the gaps that a threshold leaves in an object, without adding its surroundings: `grow` with
        two conditions, `possible` being those over a second, lower threshold, as in Canny's hysteresis (1986). A single
        stray adds nothing. `scripts/study_editing.py` measures the gain.
        """
        self._check_total(len(means), "means")
        candidates = (~self & possible).mask
        ids = nearest_neighbours(means, neighbours, candidates)[1]
        mask = self.mask.clone()
        mask[candidates] = self.mask[ids].sum(1) >= quorum
        return Selection(mask)

    def shrink(self, means: Float[Tensor, "N 3"], neighbours: int = 8, steps: int = 1) -> Selection:
        """Removes Gaussians that have an unselected one among their own k nearest, `steps` times: ~(~self).grow()."""
        return ~(~self).grow(means, neighbours, steps)

    def majority(self, means: Float[Tensor, "N 3"], neighbours: int = 16, steps: int = 1) -> Selection:
        """Sets every Gaussian, selected or not, to the majority of its k nearest; all at once, `steps` times.

        A Gaussian does not vote for itself, but stays as it is if the votes are equal.
        """
        ids = self._nearest(means, neighbours, steps)
        mask = self.mask
        for _ in range(steps):
            votes = 2 * mask[ids].sum(1)
            voted = torch.where(votes == ids.shape[1], mask, votes > ids.shape[1])
            if torch.equal(voted, mask):
                break
            mask = voted
        return Selection(mask)

    def keep_largest(
        self,
        means: Float[Tensor, "N 3"],
        parts: int = 1,
        neighbours: int = 8,
        *,
        weights: Float[Tensor, "N"] | None = None,
        factor: float = FAR,
    ) -> Selection:
        """Keeps the largest connected parts (`label_parts`), by number of Gaussians or by the sum of their `weights`.

        Among equal parts, the one with the first Gaussian is kept.
        """
        if parts < 1:
            raise ValueError(f"the number of parts to keep must be at least 1, got {shown(parts)}")
        if weights is None:
            weights = torch.ones_like(self.mask, dtype=torch.float64)
        self._check_total(len(weights), "weights")
        labels = self.label_parts(means, neighbours, factor=factor)
        sizes = torch.bincount(labels, weights.detach()[self.mask].double())
        return self._keep(torch.isin(labels, sizes.argsort(descending=True, stable=True)[: min(parts, len(sizes))]))

    def label_parts(
        self, means: Float[Tensor, "N 3"], neighbours: int = 8, *, factor: float = FAR
    ) -> Int64[Tensor, "S"]:
        """Number of the connected part of each selected Gaussian, from 0 in the order of their first ones.

        Two selected Gaussians are linked if one is among the k nearest selected of the other and their distance is at
        most the median of all such distances + `factor` x their deviation. Without that limit a stray, which always has
        k nearest somewhere, would be part of the object.
        """
        distances, ids = self._nearest_selected(means, neighbours)
        return connected_parts(ids, distances <= _far_limit(distances, factor))

    def drop_floaters(self, means: Float[Tensor, "N 3"], neighbours: int = 8, *, factor: float = FAR) -> Selection:
        """Removes Gaussians whose mean distance to their k nearest selected is above the median + `factor` x deviation.

        Median and deviation are those of all such mean distances; the deviation is the median absolute one, but at
        least a tenth of the median. More than k strays in one place are not floaters but a part (`keep_largest`).
        """
        spacing = self._nearest_selected(means, neighbours)[0].mean(1)
        return self._keep(~(spacing > _far_limit(spacing, factor)))  # NaN for a single Gaussian, which stays

    def save(self, path: Path, *, source: str) -> None:
        """Writes a .safetensors file of N / 8 bytes, with N and `source` as metadata; atomically.

        `source` is the Gaussians' origin, for people: a run, a PLY, a prompt. Only `load`'s error message uses it.
        """
        bits = torch.from_numpy(np.packbits(self.mask.cpu().numpy()))
        save_tensors(path, {"bits": bits}, {"format": FORMAT, "count": str(self.total), "source": source})

    @staticmethod
    def load(path: Path, *, expected: int | None = None) -> Selection:
        """Reads what `save` wrote, onto the CPU.

        Raises `UserError` if the file is missing, damaged, of another kind, or selects from another number of Gaussians
        than `expected`.
        """
        try:
            tensors, metadata = read_safetensors(path, "a selection", "select and save again")
        except FileNotFoundError:
            raise UserError(f"{path}: expected a saved selection, there is no such file") from None
        if metadata.get("format") != FORMAT:
            raise UserError(f"{path}: expected a {FORMAT} file, got {shown(metadata.get('format'))}")
        bits, written = tensors.get("bits"), metadata.get("count", "")
        if bits is None or not (written.isascii() and written.isdigit() and len(written) < 20):
            raise UserError(f"{path}: damaged, expected bits and their count, got {shown(written)}; save it again")
        count = int(written)
        if bits.dtype != torch.uint8 or bits.shape != (-(-count // 8),):
            got = f"{tuple(bits.shape)} of {bits.dtype}"
            raise UserError(f"{path}: damaged, expected {count} bits in bytes, got {got}; save it again")
        if expected not in (None, count):
            source = metadata.get("source", "")[:200] or "an unknown source"
            raise UserError(f"{path}: expected a selection of {expected} Gaussians, got one of {count}, from {source}")
        return Selection(torch.from_numpy(np.unpackbits(bits.numpy(), count=count).astype(bool)))

    def _check_total(self, count: int, what: str) -> None:
        if count != self.total:
            raise ValueError(f"a selection of {self.total} Gaussians does not go with {what} of {count}")

    def _nearest(self, means: Float[Tensor, "N 3"], neighbours: int, steps: int) -> Tensor:
        self._check_total(len(means), "means")
        if not 0 <= steps <= MOST_STEPS:
            raise ValueError(f"the number of steps must be 0 to {MOST_STEPS}, got {shown(steps)}")
        return nearest_neighbours(means, neighbours)[1]

    def _nearest_selected(self, means: Float[Tensor, "N 3"], neighbours: int) -> tuple[Tensor, Tensor]:
        """Distances and ids of each selected Gaussian's nearest selected ones; ids index the selected ones only."""
        self._check_total(len(means), "means")
        return nearest_neighbours(means[self.mask], neighbours)

    def _keep(self, keep: Bool[Tensor, "P"]) -> Selection:
        """The selected Gaussians for which `keep` is true."""
        mask = self.mask.clone()
        mask[self.mask] = keep
        return Selection(mask)


def _far_limit(distances: Float[Tensor, "*S"], factor: float) -> Float[Tensor, ""]:
    """Median + `factor` median absolute deviations, each at least `MIN_DEVIATION` of the median; NaN if empty."""
    median = distances.median()
    deviation = (distances - median).abs().median()
    return median + factor * torch.maximum(deviation, MIN_DEVIATION * median)
