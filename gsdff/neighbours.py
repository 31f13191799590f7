"""Nearest neighbours in a point cloud, and connected components."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor
from tqdm import tqdm

from gsdff.errors import shown

QUERIES_AT_A_TIME = 1 << 16
"""Points between two moves of the progress bar."""
FEW = 4096
"""Points for which starting threads takes longer than the search."""
MOST_NEIGHBOURS = 1000
"""Most neighbours of a point that are searched for."""
REMEMBERED = 4
"""Results that `neighbours_remembered` keeps; one of a million points and 8 neighbours takes 100 MB."""


@dataclass(frozen=True, eq=False)
class _Result:
    """A search and what it found."""

    points: Float[Tensor, "P 3"]
    count: int
    of: Bool[Tensor, "P"] | None
    found: tuple[Float[Tensor, "Q k"], Int64[Tensor, "Q k"]]

    def is_of(self, points: Float[Tensor, "P 3"], count: int, of: Bool[Tensor, "P"] | None) -> bool:
        """Whether this was found among the same points, for the same ones."""
        if count != self.count or points.device != self.points.device or points.dtype != self.points.dtype:
            return False
        if of is None or self.of is None:
            return of is self.of and torch.equal(points, self.points)
        return torch.equal(of, self.of) and torch.equal(points, self.points)


_last_tree: Any = None
"""Tree of the points searched last, 100 bytes a point: selections and graphs of one scene search among the same."""
_remembered: ContextVar[list[_Result] | None] = ContextVar("remembered", default=None)
"""The last results within `neighbours_remembered`; None outside of it."""


@contextmanager
def neighbours_remembered() -> Iterator[None]:
    """Within the block, neighbours that have been found among the same points are not searched for again."""
    token = _remembered.set([])
    try:
        yield
    finally:
        _remembered.reset(token)


def nearest_neighbours(
    points: Float[Tensor, "P 3"], count: int, of: Bool[Tensor, "P"] | None = None
) -> tuple[Float[Tensor, "Q k"], Int64[Tensor, "Q k"]]:
    """Distances and ids of the `count` nearest other points of every point, nearest first.

    k = min(count, P - 1). With `of`, only for the Q points it selects, among all P. A point is never its own neighbour,
    but another one at the same place may be. Distances are computed in float64 and returned in the points' dtype and
    unit. Raises ValueError for points that are not finite and for a count below 1 or above `MOST_NEIGHBOURS`.
    """
    if points.ndim != 2 or points.shape[1] != 3 or not points.is_floating_point():
        raise ValueError(f"points must be floats of shape (P, 3), got {points.dtype} of shape {tuple(points.shape)}")
    if not 1 <= count <= MOST_NEIGHBOURS:
        raise ValueError(f"the number of neighbours must be 1 to {MOST_NEIGHBOURS}, got {shown(count)}")
    results = _remembered.get()
    for result in results or ():
        if result.is_of(points, count, of):
            return result.found
    if not points.isfinite().all():
        raise ValueError(f"{int((~points.isfinite()).any(dim=1).sum())} of {len(points)} points are not finite")
    found = _search(points, count, of)
    if results is not None:
        results[:] = [*results[1 - REMEMBERED :], _Result(points, count, of, found)]
    return found


def _search(
    points: Float[Tensor, "P 3"], count: int, of: Bool[Tensor, "P"] | None
) -> tuple[Float[Tensor, "Q k"], Int64[Tensor, "Q k"]]:
    places = points.detach().cpu().double().numpy()
    num = len(places)
    tree = _tree_of(places)
    # in the order of the tree's leaves, in which the next point is among what the cache still holds
    queries = tree.indices if of is None else tree.indices[of.cpu().numpy()[tree.indices]]
    num_others = min(count, max(num - 1, 0))
    distances, ids = _query(tree, places, queries, num_others + 1)
    is_self = ids == queries[:, None]
    # among many points at one place a point may not find itself; all it found are equally near then
    is_self[~is_self.any(axis=1), -1] = True
    order = queries.argsort()
    others, other_ids = (found[~is_self].reshape(len(queries), num_others)[order] for found in (distances, ids))
    return torch.from_numpy(others).to(points), torch.from_numpy(other_ids).to(points.device, torch.int64)


def nearest_to(
    points: Float[Tensor, "P 3"], places: Float[Tensor, "Q 3"], count: int
) -> tuple[Float64[Tensor, "Q k"], Int64[Tensor, "Q k"]]:
    """Distances and ids of the `count` points nearest to places that are none of them, on the CPU.

    Beyond the number of points distances are infinite.
    """
    queries = places.detach().cpu().double().numpy()
    tree = _tree_of(points.detach().cpu().double().numpy())
    distances, ids = _query(tree, queries, np.arange(len(queries)), count)
    return torch.from_numpy(distances), torch.from_numpy(ids).to(torch.int64)


def _query(
    tree: Any, places: Float64[np.ndarray, "P 3"], queries: Int64[np.ndarray, "Q"], count: int
) -> tuple[Float64[np.ndarray, "Q k"], Int64[np.ndarray, "Q k"]]:
    """The tree's points nearest to some of the places."""
    found, ranks = [], list(range(1, count + 1))  # given a list, scipy returns a table even for one column
    with tqdm(total=len(queries), desc="neighbours", unit="point", leave=False, delay=1) as bar:
        for start in range(0, max(len(queries), 1), QUERIES_AT_A_TIME):
            some = queries[start : start + QUERIES_AT_A_TIME]
            workers = -1 if len(some) > FEW else 1
            found.append(tree.query(places[some], k=ranks, workers=workers))
            bar.update(len(some))
    distances, ids = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return distances, ids


def _tree_of(places: Float64[np.ndarray, "P 3"]) -> Any:
    """The tree in which neighbours are found; the last one if it is of the same points."""
    global _last_tree
    from scipy.spatial import cKDTree  # pyright: ignore[reportAttributeAccessIssue]  (compiled)

    tree = _last_tree  # another thread may replace it
    if tree is None or not np.array_equal(tree.data, places):
        _last_tree = tree = cKDTree(places)
    return tree


def connected_parts(ids: Int64[Tensor, "P k"], is_link: Bool[Tensor, "P k"]) -> Int64[Tensor, "P"]:
    """Connected component of every point, numbered in the order of their first points.

    Points i and ids[i, j] are linked, in both directions, if is_link[i, j].
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    num = len(ids)
    rows, columns = is_link.nonzero(as_tuple=True)
    ends = (rows.cpu().numpy(), ids[rows, columns].cpu().numpy())
    _, labels = connected_components(coo_array((np.ones(len(rows), bool), ends), shape=(num, num)), directed=False)
    _, firsts, parts = np.unique(labels, return_index=True, return_inverse=True)
    return torch.from_numpy(firsts.argsort().argsort()[parts]).to(ids.device)
