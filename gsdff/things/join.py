"""Joins the masks of all views into things by the Gaussians that they share.

Two points belong to one thing if the views that see both put them into one mask. That needs no ids that agree between
views, and what single views get wrong is outvoted: a thing that is cut in some views, missed, or merged with its
neighbour. Points are small groups of Gaussians (`_group`), which are merged by average linkage: the two groups that
are together most often first, with the evidence of all views added up after every merge.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor

from gsdff.neighbours import connected_parts, nearest_neighbours
from gsdff.things.weights import MaskWeights


@dataclass(frozen=True)
class JoinOptions:
    """Settings of `join_masks`."""

    whole: float = 0.4
    """Share of the views, of those that see both, that must show two groups in one mask for them to be one thing."""
    part: float = 0.8
    """The same share for one part of a thing."""
    neighbours: int = 8
    """Neighbours of a Gaussian with which it may form a group."""
    alike: float = 0.75
    """The same share for two neighbouring Gaussians to be in one group."""
    groups: int = 3000
    """Number of groups that is aimed at; time and memory of merging grow with its square."""
    doubt: float = 0.5
    """Views added to those that show two groups apart, so that what one view sees does not decide."""
    min_area: float = 3.0
    """Least number of pixels of a group in a view; smaller ones are not merged, and join a thing by its masks."""


@dataclass(frozen=True)
class Joined:
    """Result of joining: the thing and the part of every Gaussian of a group."""

    things: Int64[Tensor, "N"]
    """Number from 0, -1 for Gaussians of no group."""
    parts: Int64[Tensor, "N"]
    """Number from 0, -1 for Gaussians of no group; a part belongs to one thing."""


def join_masks(weights: MaskWeights, means: Float[Tensor, "N 3"], options: JoinOptions) -> Joined:
    """Joins the masks; time is linear in the number of views, and memory beyond the weights does not grow with it."""
    areas, is_alike, ids = _compare(weights, means, options)
    groups = _group(is_alike, ids, areas, means, options)
    together, seen = _count_pairs(weights, areas, groups)
    is_grouped = groups >= 0
    sizes = groups[is_grouped].bincount(areas[is_grouped].double()).numpy().astype(np.float32)
    levels = _merge(together, seen, sizes, options)
    return Joined(*(torch.where(is_grouped, torch.from_numpy(level)[groups.clamp_min(0)], -1) for level in levels))


def _compare(
    weights: MaskWeights, means: Float[Tensor, "N 3"], options: JoinOptions
) -> tuple[Float[Tensor, "N"], Bool[Tensor, "N k"], Int64[Tensor, "N k"]]:
    """Pixels of every Gaussian in a view on average; whether nearly all views put it and each neighbour into one mask.

    Third, the neighbours.
    """
    num = weights.num_gaussians
    ids = nearest_neighbours(means, options.neighbours)[1].cpu()
    areas, num_seen = torch.zeros(num), torch.zeros(num)
    same, both = torch.zeros(ids.shape), torch.zeros(ids.shape)
    for layer in weights.layers:
        totals = layer.totals(num)
        areas += totals
        num_seen += totals > 0
        of = layer.dominant(totals)
        rows = of.nonzero()[:, 0]  # a view sees a part of the scene
        own, there = of[rows, None], of[ids[rows]]
        both[rows] += there != 0
        same[rows] += (own > 0) & (there == own)
    is_alike = same >= options.alike * (both + 1)  # one more, so that what few views see is no bridge
    return areas / num_seen.clamp_min(1), is_alike, ids


def _group(
    is_alike: Bool[Tensor, "N k"],
    ids: Int64[Tensor, "N k"],
    areas: Float[Tensor, "N"],
    means: Float[Tensor, "N 3"],
    options: JoinOptions,
) -> Int64[Tensor, "N"]:
    """Groups of neighbouring Gaussians that nearly all views put into one mask, and that lie in one cell of a grid.

    -1 for Gaussians of groups that are too small.
    """
    cells = _grid(means.cpu(), options.groups)
    groups = connected_parts(ids, is_alike & (cells[ids] == cells[:, None]))
    sizes = groups.bincount(areas.double())
    order = torch.full((len(sizes),), -1)
    largest = sizes.argsort(descending=True, stable=True)[: 2 * options.groups]
    kept = largest[sizes[largest] >= options.min_area].sort().values
    order[kept] = torch.arange(len(kept))
    return order[groups]


def _grid(means: Float[Tensor, "N 3"], count: int) -> Int64[Tensor, "N"]:
    """Cells of a grid of cubes, so fine that about `count` of them hold Gaussians; strays far away change little."""
    points = means.double()
    low = points.amin(0)
    finest, coarsest = 1e-6, 1.0
    extent = float((points.amax(0) - low).max().clamp_min(1e-12))
    cells = torch.zeros(len(means), dtype=torch.long)
    for _ in range(24):
        share = (finest * coarsest) ** 0.5
        places = ((points - low) / (share * extent)).long()
        codes = (places[:, 0] * 2097152 + places[:, 1]) * 2097152 + places[:, 2]
        occupied, cells = codes.unique(return_inverse=True)
        if abs(len(occupied) - count) <= 0.02 * count:
            break
        finest, coarsest = (share, coarsest) if len(occupied) > count else (finest, share)
    return cells


def _count_pairs(
    weights: MaskWeights, areas: Float[Tensor, "N"], groups: Int64[Tensor, "N"]
) -> tuple[Float32[np.ndarray, "G G"], Float32[np.ndarray, "G G"]]:
    """How many pairs of pixels of each two groups are in one mask, and in any two masks, over all views.

    A Gaussian has as many pixels as the views that see it show of it on average.
    """
    num = int(groups.max()) + 1
    together, seen = np.zeros((num, num), np.float32), np.zeros((num, num), np.float32)
    for layer in weights.layers:
        of = layer.dominant(layer.totals(weights.num_gaussians))
        counted = (of > 0) & (groups >= 0)
        masks, columns = of[counted].unique(return_inverse=True)
        rows, row_ids = groups[counted].unique(return_inverse=True)
        counts = torch.zeros(len(rows), len(masks))
        counts.index_put_((row_ids, columns), areas[counted], accumulate=True)
        place = np.ix_(rows.numpy(), rows.numpy())
        together[place] += (counts @ counts.T).numpy()
        totals = counts.sum(1)
        seen[place] += torch.outer(totals, totals).numpy()
    return together, seen


def _merge(
    together: Float32[np.ndarray, "G G"],
    seen: Float32[np.ndarray, "G G"],
    sizes: Float32[np.ndarray, "G"],
    options: JoinOptions,
) -> tuple[np.ndarray, np.ndarray]:
    """Average linkage from the groups up: numbers of the thing and of the part of every group.

    The arrays are changed. The share of two clusters is that of all pairs of their Gaussians in all views, which adds
    up when clusters merge. Pairs that no view sees together, as many as the smaller cluster has with itself, are
    added to those apart: a few stray Gaussians that are seen once join nothing.
    """
    num = len(together)
    parents = np.arange(num)
    shares = together / (seen + options.doubt * np.minimum(sizes[:, None], sizes) ** 2)
    np.fill_diagonal(shares, -1)
    best = shares.argmax(1) if num else np.zeros(0, int)
    values = shares[np.arange(num), best]
    parts: np.ndarray | None = None
    while num > 1:
        one = int(values.argmax())
        share, other = values[one], int(best[one])
        if share < options.part and parts is None:
            parts = _roots(parents)
        if share < options.whole:
            break
        parents[other] = one
        together[one] += together[other]
        together[:, one] += together[:, other]
        seen[one] += seen[other]
        seen[:, one] += seen[:, other]
        sizes[one] += sizes[other]
        shares[other], shares[:, other], values[other] = -1, -1, -1
        row = together[one] / (seen[one] + options.doubt * np.minimum(sizes, sizes[one]) ** 2)
        row[parents != np.arange(num)] = -1
        row[one] = -1
        shares[one], shares[:, one] = row, row
        for stale in np.flatnonzero((best == one) | (best == other)):
            best[stale] = shares[stale].argmax()
            values[stale] = shares[stale, best[stale]]
        better = row > values
        best[better], values[better] = one, row[better]
        best[one] = row.argmax()
        values[one] = row[best[one]]
    roots = _roots(parents)
    parts = roots if parts is None else parts
    numbers = [np.unique(level, return_inverse=True)[1] for level in (roots, parts)]
    return numbers[0], numbers[1]


def _roots(parents: np.ndarray) -> np.ndarray:
    """The cluster that every group has ended up in."""
    roots = parents.copy()
    while not np.array_equal(roots, roots[roots]):
        roots = roots[roots]
    return roots
