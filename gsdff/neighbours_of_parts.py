"""Nearest neighbours among points of which every rank has some: each finds those of a slab of space.

Parts of a scene may lie anywhere in it, so that most neighbours would be other ranks' points. Slabs have borders only:
points near one are also searched for in the slabs beyond it, and of those only neighbours are copied.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from gsdff.neighbours import nearest_neighbours, nearest_to
from gsdff.ranks import this_job
from gsdff.routes import Route, Spread, find_halo, find_starts

SAMPLED = 100_000
"""Points of all ranks by which slabs are cut."""
STRAYS = 0.01
"""Share of these at either end that does not count as the scene's length."""


@dataclass(frozen=True)
class Neighbourhood:
    """Neighbours of points, and where these points are."""

    distances: Float[Tensor, "H k"]
    """Distances of the points that are at home here, nearest first."""
    ids: Int64[Tensor, "H k"]
    """Numbers of the neighbours among the points that are at home here, and after them the halo."""
    spread: Spread


@torch.no_grad()
def nearest_over_ranks(points: Float[Tensor, "P 3"], count: int) -> Neighbourhood:
    """Neighbours of all ranks' points, as `nearest_neighbours` finds them among all; of equally far ones any.

    k = min(count, number of all points - 1). All ranks of the job call it, each with its own points.
    """
    ranks, device = this_job(), points.device
    points = points.detach().cpu()
    homes, axis = cut_into_slabs(points)
    home = Route.by_homes(homes)
    own = home.give(points).double()
    starts = find_starts(len(own))
    start = starts[ranks.rank]
    distances, ids = nearest_neighbours(own, count)
    ids = ids + start  # not in place, as results may be remembered
    if lacking := min(count, starts[-1] - 1) - ids.shape[1]:  # a slab of few points
        distances, ids = F.pad(distances, (0, lacking), value=torch.inf), F.pad(ids, (0, lacking), value=-1)
    _search_beyond(own, axis, start, distances, ids)
    ids, halo = find_halo(ids, starts)
    return Neighbourhood(distances.to(points).to(device), ids.to(device), Spread(home, halo).to(device))


def cut_into_slabs(points: Float[Tensor, "P 3"]) -> tuple[Int64[Tensor, "P"], int]:
    """The rank at which each point is at home, and the axis across which slabs are cut: the longest of the scene."""
    ranks = this_job()
    every = max(1, ranks.sum(len(points)) // SAMPLED)
    sample = torch.cat(ranks.gather(points[::every].clone())).sort(dim=0).values
    strays = int(STRAYS * len(sample))
    axis = int((sample[len(sample) - 1 - strays] - sample[strays]).argmax())
    cuts = sample[[len(sample) * rank // ranks.world_size for rank in range(1, ranks.world_size)], axis]
    return torch.searchsorted(cuts, points[:, axis].contiguous(), right=True), axis


def _search_beyond(
    own: Float[Tensor, "H 3"],
    axis: int,
    start: int,
    distances: Float[Tensor, "H k"],
    ids: Int64[Tensor, "H k"],
) -> None:
    """Replaces neighbours found in a slab by nearer ones of other slabs, in place; `ids` count points of all ranks."""
    ranks, along = this_job(), own[:, axis]
    if not distances.shape[1]:
        return
    bounds = ranks.gather((float(along.min()), float(along.max())) if len(own) else (torch.inf, -torch.inf))
    near = [
        ((along - distances[:, -1] <= high) & (along + distances[:, -1] >= low) & (rank != ranks.rank)).nonzero()[:, 0]
        for rank, (low, high) in enumerate(bounds)
    ]
    counts = [len(rows) for rows in near]
    asked, num_asked = ranks.trade(own[torch.cat(near)], counts)
    answers = nearest_to(own, asked, distances.shape[1])
    came = [ranks.trade(answer, num_asked, counts)[0].split(counts) for answer in (answers[0], answers[1] + start)]
    for rows, other_distances, other_ids in zip(near, *came, strict=True):
        both = torch.cat([distances[rows], other_distances], dim=1)
        order = both.argsort(dim=1, stable=True)[:, : distances.shape[1]]
        distances[rows] = both.gather(1, order)
        ids[rows] = torch.cat([ids[rows], other_ids], dim=1).gather(1, order)
