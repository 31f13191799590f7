"""Which Gaussians are meant: sets of them, combined, cleaned in space, and kept in a file.

Neighbours are the k nearest others by distance of the means, fewer where there are fewer (`gsdff.neighbours`). Whatever
takes `means` raises ValueError for another number of them than the selection is of, and for means that are not finite.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from safetensors import SafetensorError, safe_open
from torch import Tensor

from gsdff.errors import UserError
from gsdff.files import save_tensors
from gsdff.neighbours import connected_parts, nearest_neighbours

FORMAT = "gsdff-selection-1"
FAR = 10.0
"""Beyond the median by so many median absolute deviations is far: 0.4 to 4 % of the Gaussians of trained scenes."""
MIN_DEVIATION = 0.1
"""Least such deviation, as a share of the median: on a regular grid all but the border is at the median exactly."""


@dataclass(frozen=True, eq=False)
class Selection:
    """Some of N Gaussians; `len` is how many are selected, so that an empty one is false."""

    mask: Bool[Tensor, "N"]

    def __post_init__(self) -> None:
        if self.mask.dtype != torch.bool or self.mask.ndim != 1:
            raise ValueError(f"expected booleans of shape (N,), got {self.mask.dtype} of {tuple(self.mask.shape)}")

    @staticmethod
    def of(count: int, device: torch.device | str = "cpu") -> Selection:
        """Nothing selected of `count` Gaussians; `~Selection.of(count)` is all of them."""
        return Selection(torch.zeros(count, dtype=torch.bool, device=device))

    @staticmethod
    def from_scores(scores: Float[Tensor, "N"], threshold: float) -> Selection:
        """Those of a score of at least `threshold`; NaN is never selected."""
        return Selection(scores >= threshold)

    @property
    def total(self) -> int:
        """N, the selected and the others."""
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
        """With those that have a selected one among their own k nearest, `steps` times over.

        There is no limit to the distance: what is alone joins what it is alone beside. `drop_floaters` takes it out.
        """
        ids = self._nearest(means, neighbours)
        mask = self.mask
        for _ in range(steps):
            mask = mask | mask[ids].any(1)
        return Selection(mask)

    def with_rim(
        self, means: Float[Tensor, "N 3"], possible: Selection, neighbours: int = 32, quorum: int = 4
    ) -> Selection:
        """With those of `possible` that have at least `quorum` selected ones among their own k nearest.

        What a threshold leaves at the border and in gaps of a thing, without what lies beside it: `grow` with two
        conditions, `possible` being those over a second, lower threshold, as Canny's hysteresis has it (1986). A stray
        brings nothing along. `scripts/study_editing.py` measures what it gains.
        """
        self._check_total(len(means), "means")
        candidates = (~self & possible).mask
        ids = nearest_neighbours(means, neighbours, candidates)[1]
        mask = self.mask.clone()
        mask[candidates] = self.mask[ids].sum(1) >= quorum
        return Selection(mask)

    def shrink(self, means: Float[Tensor, "N 3"], neighbours: int = 8, steps: int = 1) -> Selection:
        """Without those that have one not selected among their own k nearest, `steps` times over: ~(~self).grow()."""
        return ~(~self).grow(means, neighbours, steps)

    def majority(self, means: Float[Tensor, "N 3"], neighbours: int = 16, steps: int = 1) -> Selection:
        """Every Gaussian, selected or not, becomes what most of its k nearest are, `steps` times over, all at once.

        It has no vote of its own, but where theirs are equal it stays as it is.
        """
        ids = self._nearest(means, neighbours)
        mask = self.mask
        for _ in range(steps):
            votes = 2 * mask[ids].sum(1)
            mask = torch.where(votes == ids.shape[1], mask, votes > ids.shape[1])
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
        """The `parts` largest connected parts: by number of Gaussians, or by the sum of their `weights`.

        Two selected Gaussians are linked where one is among the k nearest selected of the other, and not far off:
        at most the median of all such distances + `factor` x their deviation. Without that a stray, whose k nearest
        are somewhere in any case, would be part of the thing. Among equals the part that holds the first Gaussian.
        """
        if parts < 1:
            raise ValueError(f"the number of parts to keep must be at least 1, got {parts}")
        if weights is None:
            weights = torch.ones_like(self.mask, dtype=torch.float64)
        self._check_total(len(weights), "weights")
        distances, ids = self._nearest_selected(means, neighbours)
        labels = connected_parts(ids, distances <= _far_limit(distances, factor))
        sizes = torch.bincount(labels, weights.detach()[self.mask].double())
        return self._keep(torch.isin(labels, sizes.argsort(descending=True, stable=True)[:parts]))

    def drop_floaters(self, means: Float[Tensor, "N 3"], neighbours: int = 8, *, factor: float = FAR) -> Selection:
        """Without those whose mean distance to their k nearest selected is over the median of these + `factor` x their
        deviation.

        The deviation is the median absolute one, but at least a tenth of the median. Strays that lie together in more
        than k are no floaters but a part (`keep_largest`).
        """
        spacing = self._nearest_selected(means, neighbours)[0].mean(1)
        return self._keep(~(spacing > _far_limit(spacing, factor)))  # of one alone it is NaN, and it stays

    def save(self, path: Path, *, source: str) -> None:
        """Writes a .safetensors file of N / 8 bytes with, as metadata, N and what the Gaussians came from; atomically.

        `source` is for people: a run, a PLY, a prompt. Nothing but `load`'s complaint reads it.
        """
        bits = torch.from_numpy(np.packbits(self.mask.cpu().numpy()))
        save_tensors(path, {"bits": bits}, {"format": FORMAT, "count": str(self.total), "source": source})

    @staticmethod
    def load(path: Path, *, expected: int | None = None) -> Selection:
        """Reads what `save` wrote, onto the CPU; `UserError` where the file is missing, damaged, of another kind, or
        selects from another number of Gaussians than `expected`.
        """
        if not path.is_file():
            raise UserError(f"{path}: expected a saved selection, there is no such file")
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != FORMAT:
                    raise UserError(f"{path}: expected a {FORMAT} file, got {metadata.get('format')}")
                bits = file.get_tensor("bits")
            count = int(metadata["count"])
        except (SafetensorError, KeyError, ValueError) as error:
            raise UserError(f"{path}: not a readable selection ({error}); select and save again") from error
        if count < 0 or bits.dtype != torch.uint8 or bits.shape != (-(-count // 8),):
            raise UserError(f"{path}: damaged, its {tuple(bits.shape)} bytes are not {count} bits; save it again")
        if expected not in (None, count):
            source = metadata.get("source") or "an unknown source"
            raise UserError(f"{path}: expected a selection of {expected} Gaussians, got one of {count}, from {source}")
        return Selection(torch.from_numpy(np.unpackbits(bits.numpy(), count=count).astype(bool)))

    def _check_total(self, count: int, what: str) -> None:
        if count != self.total:
            raise ValueError(f"a selection of {self.total} Gaussians does not go with {what} of {count}")

    def _nearest(self, means: Float[Tensor, "N 3"], neighbours: int) -> Tensor:
        self._check_total(len(means), "means")
        return nearest_neighbours(means, neighbours)[1]

    def _nearest_selected(self, means: Float[Tensor, "N 3"], neighbours: int) -> tuple[Tensor, Tensor]:
        """Distances and ids of each selected one's nearest among the selected; ids count these alone."""
        self._check_total(len(means), "means")
        return nearest_neighbours(means[self.mask], neighbours)

    def _keep(self, keep: Bool[Tensor, "P"]) -> Selection:
        """Those of the selected ones that `keep` says."""
        mask = self.mask.clone()
        mask[self.mask] = keep
        return Selection(mask)


def _far_limit(distances: Float[Tensor, "*S"], factor: float) -> Float[Tensor, ""]:
    """The median + `factor` median absolute deviations, each at least `MIN_DEVIATION` of the median; NaN of nothing."""
    median = distances.median()
    deviation = (distances - median).abs().median()
    return median + factor * torch.maximum(deviation, MIN_DEVIATION * median)
