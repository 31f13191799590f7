"""Ways of rows between ranks: which of its rows each gives to which, many times over. Gradients go the other way."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from gsdff.ranks import this_job


@dataclass(frozen=True, eq=False)
class Route:
    """Rows that this rank gives to each, of tensors that have as many rows on every way."""

    num_rows: int
    """Number of rows of such a tensor on this rank."""
    sent: Int64[Tensor, "S"]
    """Rows that are given, by the rank that gets them; several may get the same row."""
    counts: Sequence[int]
    """Number of rows that each rank gets."""
    num_came: Sequence[int]
    """Number of rows that come from each rank."""

    @staticmethod
    def by_homes(homes: Int64[Tensor, "N"]) -> "Route":
        """The way of every row to one rank, its home."""
        counts = homes.bincount(minlength=this_job().world_size).tolist()
        num_came = [row[this_job().rank] for row in this_job().gather(counts)]
        return Route(len(homes), homes.argsort(stable=True), counts, num_came)

    @staticmethod
    def of_wanted(ids: Int64[Tensor, "W"], starts: Sequence[int]) -> "Route":
        """The way of some rows to this rank, from the ranks that have them.

        `ids` rise, and count the rows of all ranks in their order; `starts` are the first of each rank, and their end.
        """
        rank = this_job().rank
        counts = torch.searchsorted(ids, torch.tensor(starts)).diff().tolist()
        asked, num_asked = this_job().trade(ids, counts)
        return Route(starts[rank + 1] - starts[rank], asked - starts[rank], num_asked, counts)

    def to(self, device: torch.device) -> "Route":
        """The same way for tensors on a device."""
        return replace(self, sent=self.sent.to(device))

    def give(self, rows: Tensor) -> Tensor:
        """The rows that come to this rank, by the rank that they come from."""
        return _Trade.apply(rows, self, False)

    def give_back(self, came: Tensor) -> Tensor:
        """The sums, for every row, of what those have that got it."""
        return _Trade.apply(came, self, True)


class _Trade(torch.autograd.Function):
    """Rows on a way, or back; a gradient goes in the other direction."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, route: Route, is_back: bool) -> Tensor:
        ctx.route, ctx.is_back = route, is_back
        return _trade(rows, route, is_back)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return _trade(grads[0], ctx.route, not ctx.is_back), None, None


def _trade(rows: Tensor, route: Route, is_back: bool) -> Tensor:
    if not is_back:
        return this_job().trade(rows[route.sent], route.counts, route.num_came)[0]
    back, _ = this_job().trade(rows, route.num_came, route.counts)
    return back.new_zeros(route.num_rows, *back.shape[1:]).index_add_(0, route.sent, back)


def find_starts(num_rows: int) -> list[int]:
    """Number of the first row of every rank, if the rows of all are counted in the ranks' order, and of their end."""
    starts = [0]
    for size in this_job().gather(num_rows):
        starts.append(starts[-1] + size)
    return starts


def find_halo(ids: Int64[Tensor, "N k"], starts: Sequence[int]) -> tuple[Int64[Tensor, "N k"], Route]:
    """Numbers among this rank's rows and those of the halo after them, and the way of the halo to this rank.

    `ids` count the rows of all ranks, of which `starts` are the first of each rank, and their end.
    """
    start, stop = starts[this_job().rank : this_job().rank + 2]
    is_beyond = (ids < start) | (ids >= stop)
    beyond, places = ids[is_beyond].unique(return_inverse=True)
    numbers = ids - start
    numbers[is_beyond] = stop - start + places
    return numbers, Route.of_wanted(beyond, starts)


@dataclass(frozen=True)
class Spread:
    """Where the rows of a graph are: on this rank as they come, or on the ranks at which they are at home.

    There each rank has its rows, and beside them the halo: copies of other ranks' rows that are neighbours of its own.
    """

    home: Route | None = None
    halo: Route | None = None

    def bring(self, rows: Tensor) -> Tensor:
        """Rows of this rank to their homes: the rows that are at home here."""
        return rows if self.home is None else self.home.give(rows)

    def extend(self, rows: Tensor) -> Tensor:
        """Rows that are at home here, and after them those of the halo."""
        return rows if self.halo is None else torch.cat([rows, self.halo.give(rows)])

    def take(self, rows: Tensor) -> Tensor:
        """Rows from their homes: those of this rank, in their order."""
        return rows if self.home is None else self.home.give_back(rows)

    def to(self, device: torch.device) -> "Spread":
        """The same for tensors on a device."""
        return Spread(*(way if way is None else way.to(device) for way in (self.home, self.halo)))


WHOLE = Spread()
"""Rows that are on this rank as they come, of a scene that every rank holds."""
