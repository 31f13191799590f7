"""Nearest neighbours in a point cloud, and connected components."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from tqdm import tqdm

QUERIES_AT_A_TIME = 1 << 16
"""Points between two moves of the progress bar."""


def nearest_neighbours(
    points: Float[Tensor, "P 3"], count: int, of: Bool[Tensor, "P"] | None = None
) -> tuple[Float[Tensor, "Q k"], Int64[Tensor, "Q k"]]:
    """Distances and ids of the `count` nearest other points of every point, nearest first.

    k = min(count, P - 1). With `of`, only for the Q points it selects, among all P. A point is never its own neighbour,
    but another one at the same place may be. Distances are computed in float64 and returned in the points' dtype and
    unit. Raises ValueError for points that are not finite and for a count below 1.
    """
    if points.ndim != 2 or points.shape[1] != 3 or not points.is_floating_point():
        raise ValueError(f"points must be floats of shape (P, 3), got {points.dtype} of shape {tuple(points.shape)}")
    if count < 1:
        raise ValueError(f"the number of neighbours must be at least 1, got {count}")
    if not points.isfinite().all():
        raise ValueError(f"{int((~points.isfinite()).any(dim=1).sum())} of {len(points)} points are not finite")
    from scipy.spatial import cKDTree  # pyright: ignore[reportAttributeAccessIssue]  (compiled)

    places = points.detach().cpu().double().numpy()
    num = len(places)
    queries = np.arange(num) if of is None else of.cpu().numpy().nonzero()[0]
    num_others = min(count, max(num - 1, 0))
    ranks = list(range(1, num_others + 2))  # given a list, scipy returns a table even for one column
    tree, found = cKDTree(places), []
    with tqdm(total=len(queries), desc="neighbours", unit="point", leave=False, delay=1) as bar:
        for start in range(0, max(len(queries), 1), QUERIES_AT_A_TIME):
            some = queries[start : start + QUERIES_AT_A_TIME]
            found.append(tree.query(places[some], k=ranks, workers=-1))
            bar.update(len(some))
    distances, ids = (np.concatenate(parts) for parts in zip(*found, strict=True))
    is_self = ids == queries[:, None]
    # among many points at one place a point may not find itself; all it found are equally near then
    is_self[~is_self.any(axis=1), -1] = True
    others, other_ids = (found[~is_self].reshape(len(queries), num_others) for found in (distances, ids))
    return torch.from_numpy(others).to(points), torch.from_numpy(other_ids).to(points.device, torch.int64)


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
