"""Smoothing in 3D: features diffuse over a graph of neighbouring Gaussians, the alternative to filtering maps.

After LUDVIG (Marrie et al. 2024, "Learning-free Uplifting of 2D Visual features to Gaussian Splatting scenes", its
section on graph diffusion, and naver/ludvig's `diffusion/base.py`).
"""

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int32, Int64
from torch import Tensor
from torch.autograd.function import once_differentiable

from gsdff.gaussians import Gaussians
from gsdff.neighbours import nearest_neighbours
from gsdff.neighbours_of_parts import Neighbourhood, nearest_over_ranks
from gsdff.routes import WHOLE, Spread

_SMALLEST_WEIGHT = 1e-20  # smaller ones become 0, so that no sum of weights is too small to divide by


@dataclass(frozen=True)
class _Matrix:
    """Sparse matrix in rows: a diagonal, and for row i the entries offsets[i] <= e < offsets[i + 1]."""

    diagonal: Float64[Tensor, "N"]
    offsets: Int64[Tensor, "N+1"]
    columns: Int32[Tensor, "E"]
    values: Float64[Tensor, "E"]

    @cached_property
    def ranks(self) -> list[tuple[Int64[Tensor, "R"], Int64[Tensor, "R"]]]:
        """Rows that have an entry of rank 0, of rank 1 and so on, and these entries; the host waits for them once."""
        lengths = self.offsets.diff()
        rows = [(lengths > rank).nonzero()[:, 0] for rank in range(int(lengths.max()) if len(lengths) else 0)]
        return [(some, self.offsets[some] + rank) for rank, some in enumerate(rows)]


@dataclass(frozen=True)
class NeighbourGraph:
    """Neighbours of every Gaussian and their weights. Does not follow the scene: rebuild it if Gaussians change.

    If ranks hold a part of the scene each, this is the graph of the N Gaussians that are at home on this rank, and what
    it diffuses goes there and back.
    """

    ids: Int32[Tensor, "N k"]
    """Neighbours of each Gaussian, nearest first; numbers from N on are those of the halo."""
    weights: Float[Tensor, "N k"]
    """Weights w_ij, float32. As built, w_ij = w_ji if two Gaussians that were seen list each other."""
    self_weights: Float[Tensor, "N"]
    """Weights w_ii; w_ii + Σ_j w_ij is never 0."""
    spread: Spread = WHOLE
    """Where the Gaussians are at home, and the halo of their neighbours on other ranks."""

    def __len__(self) -> int:
        """Number of Gaussians that this rank holds."""
        return len(self.ids) if self.spread.home is None else self.spread.home.num_rows

    def to(self, device: torch.device) -> "NeighbourGraph":
        """The graph of Gaussians on a device."""
        tensors = (self.ids.to(device), self.weights.to(device), self.self_weights.to(device))
        return NeighbourGraph(*tensors, self.spread.to(device))

    @cached_property
    def mean(self) -> _Matrix:
        """Averaging matrix D⁻¹ W with D = diag(W 1): row i holds the weights of i and its neighbours in i's mean."""
        num, count = self.ids.shape
        weights, self_weights = self.weights.double(), self.self_weights.double()
        norms = self_weights + weights.sum(dim=1)
        offsets = torch.arange(num + 1, device=self.ids.device) * count
        return _Matrix(self_weights / norms, offsets, self.ids.flatten(), (weights / norms[:, None]).flatten())

    @cached_property
    def transposed_mean(self) -> _Matrix:
        """Its transpose Wᵀ D⁻¹: row j holds j's weights in the means, so that a gradient gathers and never scatters."""
        (num, count), halo = self.ids.shape, self.spread.halo
        num_beyond = 0 if halo is None else sum(halo.num_came)
        listed, entries = self.ids.flatten().sort(stable=True)
        rows = torch.arange(num + num_beyond + 1, device=listed.device, dtype=listed.dtype)
        diagonal = F.pad(self.mean.diagonal, (0, num_beyond))
        offsets = torch.searchsorted(listed, rows)
        return _Matrix(diagonal, offsets, (entries // max(count, 1)).int(), self.mean.values[entries])

    def weighed(self, weights: Float[Tensor, "N"]) -> "NeighbourGraph":
        """The graph in which Gaussian j counts w_j times as much in all means; a mean of nothing stays as it is."""
        weights = self.spread.extend(self.spread.bring(weights))
        own, others = self.self_weights * weights[: len(self.ids)], self.weights * weights[self.ids.long()]
        own = torch.where(own + others.sum(dim=1) < _SMALLEST_WEIGHT, 1.0, own)
        return NeighbourGraph(self.ids, others, own, self.spread)


@torch.no_grad()
def build_graph(
    gaussians: Gaussians,
    *,
    neighbours: int = 16,
    sigma_space: float,
    sigma_color: float,
    sigma_feature: float,
    features: Float[Tensor, "N F"] | None = None,
) -> NeighbourGraph:
    """Graph of the k = min(neighbours, N - 1) Gaussians with the nearest centres, weighted by similarity:

        w_ij = s_j √(o_i o_j) exp(-‖x_i - x_j‖² / (2 σ_space² r_i r_j)) exp(-‖c_i - c_j‖² / (2 σ_color²))
               exp(-‖f_i/‖f_i‖ - f_j/‖f_j‖‖² / (2 σ_feature²)),          w_ii = s_i o_i

    o is the opacity, x the centre, r_i the mean distance from i to its neighbours (so σ_space has no unit), c the
    constant band's colour in [0, 1], f the row of `features` (of any width; without them that factor is 1), and s_j = 0
    if f_j = 0, else 1: a Gaussian that no view has seen gives its neighbours nothing and receives from them. Its
    feature factor is 1. If all its weights vanish (Σ w < 1e-20), w_ii = 1: it stays as it is. σ = inf switches a factor
    off.

    LUDVIG (its code) weights an edge by the features alone, exp(-‖f_i - f_j‖² / (b · median²)), optionally times how
    well both ends match the user's query; geometry only chooses the neighbours, i itself among them with weight 1. It
    uses A + Aᵀ as the graph and scales every channel of the field to norm 1 before each step. Here the lists are not
    symmetrised and every row is a mean (see `diffuse`), so that constants stay constant; we add the factors of
    distance, colour and opacity.

    Raises ValueError for sigmas that are not positive, `neighbours` < 1, features of the wrong shape or not finite.
    """
    for name, sigma in (("sigma_space", sigma_space), ("sigma_color", sigma_color), ("sigma_feature", sigma_feature)):
        if not sigma > 0:
            raise ValueError(f"{name} must be positive, got {sigma}")
    num = len(gaussians)
    if features is not None:
        if features.ndim != 2 or len(features) != num or not features.is_floating_point():
            raise ValueError(
                f"features must be floats of shape ({num}, F), got {features.dtype} of shape {tuple(features.shape)}"
            )
        if not features.isfinite().all():
            raise ValueError("features must be finite")
    near = _find_neighbours(gaussians, neighbours)
    distances, ids, spread = near.distances, near.ids, near.spread

    def collect(values: Tensor) -> Tensor:
        """Values of the Gaussians at home and of the halo."""
        return spread.extend(spread.bring(values))

    reach = spread.extend(distances.mean(dim=1))
    # neighbours that all lie at one place have a unit of 0; their distances are 0 then as well
    unit = (reach[: len(ids), None] * reach[ids]).clamp_min(torch.finfo(reach.dtype).tiny)
    powers = distances.square() / unit / sigma_space**2
    powers += _squared_distances(collect(gaussians.base_colors.clamp(0, 1)), ids) / sigma_color**2
    opacities = collect(gaussians.opacities)
    seen = torch.ones_like(opacities, dtype=torch.bool)
    if features is not None:
        features = collect(features)
        norms = features.norm(dim=1, keepdim=True)
        seen = norms[:, 0] > 0
        apart = _squared_distances(features / norms.where(seen[:, None], 1), ids)
        powers += apart.where(seen[: len(ids), None], 0) / sigma_feature**2
    root_opacity = opacities.sqrt()
    weights = root_opacity[: len(ids), None] * root_opacity[ids] * torch.exp(-powers / 2) * seen[ids]
    self_weights = (opacities * seen)[: len(ids)]
    weights, self_weights = (w.float().where(w > _SMALLEST_WEIGHT, 0) for w in (weights, self_weights))
    self_weights[self_weights + weights.sum(dim=1) == 0] = 1
    return NeighbourGraph(ids.int(), weights, self_weights, spread)


def _find_neighbours(gaussians: Gaussians, count: int) -> Neighbourhood:
    """Nearest Gaussians of each, of all ranks' if these are a part of a scene."""
    if gaussians.is_part:
        return nearest_over_ranks(gaussians.means, count)
    return Neighbourhood(*nearest_neighbours(gaussians.means, count), WHOLE)


def _squared_distances(values: Float[Tensor, "M F"], ids: Int64[Tensor, "N k"]) -> Float[Tensor, "N k"]:
    """Squared distances between the first rows and their neighbours, one column at a time: never N x k x F at once."""
    own = values[: len(ids)]
    columns = [(own - values[column]).square().sum(dim=1) for column in ids.unbind(dim=1)]
    return torch.stack(columns, dim=1) if columns else values.new_zeros(ids.shape)


def diffuse(features: Float[Tensor, "N K"], graph: NeighbourGraph, steps: int) -> Float[Tensor, "N K"]:
    """z_i <- (w_ii z_i + Σ_j w_ij z_j) / (w_ii + Σ_j w_ij), `steps` times. Differentiable in `features`.

    The weights are fixed, so an unseen Gaussian still gives nothing once it is filled in: a hole closes by one
    neighbourhood. The gradient of a loss ‖z - diffuse(z)‖² acts on both ends of an edge, so an unseen Gaussian's
    residual reaches its neighbours; leave such rows out of the loss if that is not wanted. float32 on the CPU takes a
    compiled kernel, everything else torch; memory grows with N (k + K), and results do not depend on the number of
    threads. If ranks hold a part of the scene each, all of them call it, each with the features of its own.
    """
    if features.ndim != 2 or len(features) != len(graph) or not features.is_floating_point():
        raise ValueError(
            f"features must be floats of shape ({len(graph)}, K), one row a Gaussian of the graph, "
            f"got {features.dtype} of shape {tuple(features.shape)}"
        )
    if features.device != graph.ids.device:
        raise ValueError(f"the features are on {features.device}, the graph on {graph.ids.device}: move the Gaussians")
    if steps < 0:
        raise ValueError(f"steps must be at least 0, got {steps}")
    features = graph.spread.bring(features)
    for _step in range(steps):
        features = _Step.apply(graph.spread.extend(features), graph)
    return graph.spread.take(features)


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx, features: Tensor, graph: NeighbourGraph) -> Tensor:
        ctx.graph = graph
        return _multiply(graph.mean, features)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        matrix = ctx.graph.transposed_mean
        return _multiply(matrix, F.pad(grad, (0, 0, 0, len(matrix.diagonal) - len(grad)))), None


def _multiply(matrix: _Matrix, z: Float[Tensor, "M K"]) -> Float[Tensor, "N K"]:
    diagonal, columns, values = matrix.diagonal, matrix.columns, matrix.values
    if z.device.type == "cpu" and z.dtype == torch.float32:
        from gsdff.smoothing.graph_cpu import multiply  # loads numba

        return multiply(diagonal, matrix.offsets, columns, values, z)
    sums = diagonal[:, None].to(z.dtype) * z[: len(diagonal)]
    # every row's first entry, then every row's second: no row is written twice at once, so no atomics and one result
    for rows, entries in matrix.ranks:
        sums[rows] += values[entries, None].to(z.dtype) * z[columns[entries]]
    return sums
