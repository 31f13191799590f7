"""Things of a scene: memberships of the Gaussians, and the masks that show each thing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int32, Int64
from torch import Tensor

from gsdff.things.join import Joined
from gsdff.things.weights import Layer, MaskWeights

MOST = 4
"""Things that a Gaussian may be a member of."""
PURE = 0.6
"""Share of a mask that one thing must have for the mask to show it."""


@dataclass(frozen=True)
class Things:
    """Things 1 to T of a scene. Rows of Gaussians are sorted by falling share."""

    members: Int32[Tensor, "N m"]
    """Things of every Gaussian; 0 for none."""
    shares: Float[Tensor, "N m"]
    """Share of what the views show of the Gaussian that lies in masks of the thing, in [0, 1]."""
    parts: Int32[Tensor, "N"]
    """Part of its thing that the Gaussian belongs to, from 1 within each thing; 0 if it is in no thing."""
    sizes: Float[Tensor, "T"]
    """Pixels of all views that each thing covers."""
    owners: Sequence[Int32[Tensor, "_"]]
    """For every layer of the weights: the thing that each label shows, 0 for none."""

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def instance_ids(self) -> Int32[Tensor, "N"]:
        """The thing of every Gaussian, 0 for none."""
        return self.members[:, 0]

    @property
    def confidences(self) -> Float[Tensor, "N"]:
        """Lead of a Gaussian's thing over its next one, in [0, 1]."""
        return self.shares[:, 0] - self.shares[:, 1]


def assign_things(weights: MaskWeights, joined: Joined, min_views: int = 2) -> Things:
    """Memberships from the masks: every mask votes for the thing that has most of it, with its weights.

    A mask that several things share, such as one of two neighbours in one, votes for none. Things with masks in fewer
    than `min_views` views are left out. Things are numbered by falling size.
    """
    num, count = weights.num_gaussians, int(joined.things.max()) + 1 if len(joined.things) else 0
    owners = [_own(layer, joined.things, count) for layer in weights.layers]
    views = torch.zeros(count, dtype=torch.long)
    for owner in owners:
        views[owner[owner >= 0].unique()] += 1
    rows, things, values = _count_votes(weights, owners, count)
    votes = torch.zeros(count).index_add_(0, things, values)
    kept = (views >= min(min_views, weights.num_views)) & (votes > 0)
    order = votes.masked_fill(~kept, -1).argsort(descending=True, stable=True)[: int(kept.sum())]
    numbers = torch.zeros(count + 1, dtype=torch.long)  # the last is for none
    numbers[order] = torch.arange(1, len(order) + 1)
    things = numbers[things]
    members, shares = _rank(num, rows[things > 0], things[things > 0], _in_masks(weights, rows, values)[things > 0])
    parts = _number_parts(joined, numbers, members[:, 0])
    return Things(members, shares, parts, votes[order], [numbers[owner].int() for owner in owners])


def recount_members(weights: MaskWeights, before: Things, parents: Int64[Tensor, "M"]) -> Things:
    """Memberships of changed Gaussians in the same things, by their weights in the same masks.

    `parents` are the Gaussians of `before` that they come from, whose part they keep while they are in its thing.
    """
    owners = [owner.long() - 1 for owner in before.owners]
    rows, things, values = _count_votes(weights, owners, len(before))
    members, shares = _rank(weights.num_gaussians, rows, things + 1, _in_masks(weights, rows, values))
    first = members[:, 0]
    parts = torch.where(first == before.instance_ids[parents], before.parts[parents], (first > 0).int())
    return replace(before, members=members, shares=shares, parts=parts)


def _count_votes(
    weights: MaskWeights, owners: Sequence[Int64[Tensor, "_"]], count: int
) -> tuple[Int64[Tensor, "E"], Int64[Tensor, "E"], Float[Tensor, "E"]]:
    """Gaussians, things and weights in the masks of each; `owners` are the things of the masks, -1 for none."""
    count, sums = max(count, 1), _RunningSums()
    for layer, owner in zip(weights.layers, owners, strict=True):
        of = owner[layer.masks.long()]
        voted = of >= 0
        sums.add(layer.rows[voted].long() * count + of[voted], layer.weights[voted])
    keys, values = sums.total()
    return keys // count, keys % count, values


def _in_masks(weights: MaskWeights, rows: Int64[Tensor, "E"], values: Float[Tensor, "E"]) -> Float[Tensor, "E"]:
    """The weights as shares of what all masks show of the Gaussian."""
    totals = torch.zeros(weights.num_gaussians)
    for layer in weights.layers:
        totals.index_add_(0, layer.rows.long(), layer.weights * (layer.masks > 0))
    return values / totals[rows].clamp_min(1e-12)


def _own(layer: Layer, things: Int64[Tensor, "N"], count: int) -> Int64[Tensor, "labels"]:
    """The thing that has at least `PURE` of each mask of a layer, -1 for none."""
    of = things[layer.rows.long()]
    counted = (of >= 0) & (layer.masks > 0)
    keys, sums = _sum_entries(layer.masks[counted].long() * max(count, 1) + of[counted], layer.weights[counted])
    masks, owners = keys // max(count, 1), keys % max(count, 1)
    totals = torch.zeros(layer.num_labels).index_add_(0, masks, sums)
    is_pure = sums >= PURE * totals[masks]
    owner = torch.full((layer.num_labels,), -1)
    owner[masks[is_pure]] = owners[is_pure]
    return owner


def _sum_entries(keys: Int64[Tensor, "E"], values: Float[Tensor, "E"]) -> tuple[Tensor, Tensor]:
    """The sum of the values of every key."""
    unique, inverse = keys.unique(return_inverse=True)
    return unique, torch.zeros(len(unique), dtype=values.dtype).index_add_(0, inverse, values)


class _RunningSums:
    """Sums of values by key over many additions, in memory of the size of the sums."""

    def __init__(self) -> None:
        self.keys, self.values = [torch.zeros(0, dtype=torch.long)], [torch.zeros(0)]
        self.num_new = 0

    def add(self, keys: Int64[Tensor, "E"], values: Float[Tensor, "E"]) -> None:
        """Adds values."""
        self.keys.append(keys)
        self.values.append(values)
        self.num_new += len(keys)
        if self.num_new > 4 * len(self.keys[0]):  # so that sorting costs a few times what is added
            self.total()

    def total(self) -> tuple[Int64[Tensor, "S"], Float[Tensor, "S"]]:
        """The keys, rising, and their sums."""
        if self.num_new:
            keys, values = _sum_entries(torch.cat(self.keys), torch.cat(self.values))
            self.keys, self.values, self.num_new = [keys], [values], 0
        return self.keys[0], self.values[0]


def _rank(num: int, rows: Tensor, things: Tensor, values: Tensor) -> tuple[Int32[Tensor, "N m"], Float[Tensor, "N m"]]:
    """The `MOST` largest memberships of each Gaussian."""
    members, shares = torch.zeros(num, MOST, dtype=torch.int32), torch.zeros(num, MOST)
    order = values.argsort(descending=True, stable=True)
    order = order[rows[order].argsort(stable=True)]
    rows, things, values = rows[order], things[order], values[order]
    counts = rows.bincount(minlength=num)
    ranks = torch.arange(len(rows)) - (counts.cumsum(0) - counts)[rows]
    kept = ranks < MOST
    members[rows[kept], ranks[kept]] = things[kept].int()
    shares[rows[kept], ranks[kept]] = values[kept]
    return members, shares


def _number_parts(joined: Joined, numbers: Int64[Tensor, "things"], members: Int32[Tensor, "N"]) -> Int32[Tensor, "N"]:
    """Parts numbered by falling size within each thing; a Gaussian that votes moved elsewhere is of the first."""
    parts = torch.zeros(len(members), dtype=torch.int32)
    is_own = (joined.parts >= 0) & (members > 0) & (numbers[joined.things] == members)
    parts[members > 0] = 1
    if not is_own.any():
        return parts
    of, thing = joined.parts[is_own], members[is_own].long()
    sizes = of.bincount()
    owner = torch.zeros(len(sizes), dtype=torch.long)
    owner[of] = thing
    order = sizes.argsort(descending=True, stable=True)
    order = order[owner[order].argsort(stable=True)]
    counts = owner.bincount()
    ranks = torch.zeros_like(sizes)
    ranks[order] = torch.arange(len(order)) - (counts.cumsum(0) - counts)[owner[order]]
    parts[is_own] = (1 + ranks[of]).int()
    return parts
