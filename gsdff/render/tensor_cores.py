"""The feature pass on CUDA: weights of a tile times features, on tensor cores, by the kernels of `triton_kernels`.

gsplat projects the Gaussians and lists them by tiles (`gsdff.render.cuda`); what is blended, and its gradient, follow
here. gsplat's own rasteriser takes 32 channels at a time and computes gradients of the geometry, which a feature pass
does not need; it remains the other choice, and the check. docs/tensor-cores.md has the figures.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int32
from torch import Tensor
from torch.autograd.function import once_differentiable

from gsdff.render import triton_kernels
from gsdff.render.splats import PIXELS, TILE, PixelQuery, Precision, ProjectedSplats, Scored

kernels: Any = triton_kernels  # its functions are launched as `kernel[grid](...)`, which has no type

METHODS = {"relevancy": kernels.RELEVANCY, "lerf": kernels.LERF, "cosine": kernels.COSINE}
CHUNK, COLUMNS = kernels.CHUNK.value, kernels.COLUMNS.value
LIST_BLOCK = 128
"""Gaussians that `list_ellipses` looks at at a time."""
MOST_SCORED: dict[Precision, int] = {"half": 128, "float32": 64}
"""Most channels that `score_pixels` takes: a pixel's features stay in registers."""


@dataclass(frozen=True)
class TileTable:
    """Gaussians of each tile as blending reads them, front to back (`triton_kernels.list_ellipses`)."""

    ids: Int32[Tensor, "L"]
    table: Float[Tensor, "columns L"]
    starts: Int32[Tensor, "tiles"]
    counts: Int32[Tensor, "tiles"]
    width: int
    height: int

    @property
    def arguments(self) -> tuple:
        """First arguments of the kernels."""
        return self.ids, self.table, self.table.shape[1], self.starts, self.counts


@dataclass(frozen=True)
class Plan:
    """Launch of a kernel: what `scripts/compile_kernels.py` compiles is what runs."""

    pixels: int
    """Pixels of a program: a whole tile, or a part of one."""
    channels: int
    """Channels of a program: a power of two."""
    num_warps: int

    def grid(self, tiles: TileTable, num_channels: int) -> tuple[int, int]:
        """Numbers of programs: parts of tiles, chunks of channels."""
        return len(tiles.starts) * (PIXELS // self.pixels), -(-num_channels // self.channels)


def plan_blend(num_channels: int, precision: Precision) -> Plan:
    """Channels beyond 64 are blended by further programs, which find the weights again.

    Fewer than 32 are blended as 32: for 16, the compiler chooses so few registers on sm_86 that it spills two.
    """
    return Plan(PIXELS, 32 if precision == "float32" else min(64, max(32, _padded(num_channels))), 4)


def plan_gradients(num_channels: int, precision: Precision) -> Plan:
    """As `plan_blend`; in float32 the pixels' cotangents fit into registers for half a tile only."""
    if precision == "half":
        return Plan(PIXELS, min(64, _padded(num_channels)), 4)
    return Plan(64, min(16, _padded(num_channels)), 4)


def plan_scores(num_channels: int, precision: Precision) -> Plan:
    """All channels in one program."""
    channels = _padded(num_channels)
    pixels = {16: 256, 32: 256, 64: 128, 128: 64}[channels]
    return Plan(pixels, channels, 4)


def _padded(num_channels: int) -> int:
    """The next power of two, at least the 16 of a matrix instruction."""
    return max(16, 1 << (num_channels - 1).bit_length())


OPTIONS = {"enable_fp_fusion": True}
"""Options of every launch besides the number of warps."""


def list_tiles(splats: ProjectedSplats) -> TileTable:
    """Lists of those Gaussians of each tile that count in it; nothing waits for the card."""
    tiles_x, tiles_y = -(-splats.width // TILE), -(-splats.height // TILE)
    num_tiles = tiles_x * tiles_y
    listed = torch.diff(splats.bounds)
    chunks = (listed + (CHUNK - 1)) // CHUNK
    starts = (chunks.cumsum(0) - chunks).to(torch.int32)
    # no tile wastes a whole chunk, so that the length is known without looking at the card's numbers
    length = CHUNK * (-(-len(splats.pair_ids) // CHUNK) + num_tiles)
    ids = splats.bounds.new_empty(length)
    table = splats.means2d.new_empty(COLUMNS, length)
    counts = splats.bounds.new_empty(num_tiles)
    inputs = (splats.means2d.contiguous(), splats.conics.contiguous(), splats.opacities.contiguous())
    with torch.cuda.device_of(table):
        kernels.list_ellipses[(num_tiles,)](
            splats.pair_ids, splats.bounds, *inputs, starts, counts, ids, table, length, tiles_x,
            BLOCK=LIST_BLOCK, num_warps=4, **OPTIONS,
        )  # fmt: skip
    return TileTable(ids, table, starts, counts, splats.width, splats.height)


class _BlendByProducts(torch.autograd.Function):
    @staticmethod
    def forward(ctx, features, tiles: TileTable, precision: Precision):
        values, scale = _in_precision(features, precision)
        num_channels = features.shape[1]
        renders = features.new_empty(tiles.height, tiles.width, num_channels)
        alphas = features.new_empty(tiles.height, tiles.width)
        plan = plan_blend(num_channels, precision)
        with torch.cuda.device_of(values):
            kernels.blend_features[plan.grid(tiles, num_channels)](
                *tiles.arguments, values, scale, tiles.width, tiles.height, renders, alphas,
                K=num_channels, P=plan.pixels, WIDE=plan.channels, PRECISION="tf32x3",
                num_warps=plan.num_warps, **OPTIONS,
            )  # fmt: skip
        ctx.tiles, ctx.precision, ctx.shape = tiles, precision, features.shape
        ctx.mark_non_differentiable(alphas)
        return renders, alphas

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_renders, _):
        tiles, num_channels = ctx.tiles, ctx.shape[1]
        cotangent = grad_renders.contiguous()
        gradients = cotangent.new_zeros(ctx.shape)
        half = ctx.precision == "half"
        scale = _scale(cotangent) if half else cotangent.new_ones(1)
        plan = plan_gradients(num_channels, ctx.precision)
        with torch.cuda.device_of(cotangent):
            kernels.gather_gradients[plan.grid(tiles, num_channels)](
                *tiles.arguments, cotangent, scale, tiles.width, tiles.height, gradients,
                K=num_channels, P=plan.pixels, WIDE=plan.channels, HALF=half, PRECISION="tf32x3",
                num_warps=plan.num_warps, **OPTIONS,
            )  # fmt: skip
        return gradients, None, None


def blend_features(
    tiles: TileTable, features: Float[Tensor, "N K"], precision: Precision = "half"
) -> tuple[Float[Tensor, "H W K"], Float[Tensor, "H W"]]:
    """Blended features, differentiable in them, and alphas. Gradients are summed in any order, as gsplat's are.

    In half precision features and cotangents are relative to the largest of their tensor: an error is at most a
    thousandth of that. A feature that is not finite spoils all pixels of the tiles that list it.
    """
    renders, alphas = _BlendByProducts.apply(features, tiles, precision)
    return renders, alphas


@torch.no_grad()
def score_pixels(
    tiles: TileTable, features: Float[Tensor, "N K"], query: PixelQuery, precision: Precision = "half"
) -> Scored:
    """Scores of blended features that are never written. K is at most `MOST_SCORED`."""
    num_channels = features.shape[1]
    assert num_channels <= MOST_SCORED[precision], f"{num_channels} channels do not fit into registers"
    values, scale = _in_precision(features, precision)
    scores, alphas = (features.new_empty(tiles.height, tiles.width) for _ in range(2))
    best = tiles.ids.new_empty(tiles.height, tiles.width)
    plan = plan_scores(num_channels, precision)
    with torch.cuda.device_of(values):
        kernels.score_features[plan.grid(tiles, num_channels)](
            *tiles.arguments, values, scale, tiles.width, tiles.height, query.vectors.float().contiguous(),
            query.num_positives, len(query.vectors), 1 / query.temperature, scores, best, alphas,
            K=num_channels, P=plan.pixels, WIDE=plan.channels, METHOD=METHODS[query.method], PRECISION="tf32x3",
            num_warps=plan.num_warps, **OPTIONS,
        )  # fmt: skip
    return Scored(scores, best, alphas)


def _in_precision(features: Tensor, precision: Precision) -> tuple[Tensor, Tensor]:
    """Features divided by their scale, in the precision of the products, and the scale [1]."""
    features = features.detach().contiguous()
    if precision == "float32":
        return features, features.new_ones(1)
    scale = _scale(features)
    return (features / scale).half(), scale


def _scale(values: Tensor) -> Tensor:
    """Largest size of any value [1]; 1 if there is none, or one is not finite."""
    if not values.numel():
        return values.new_ones(1)
    largest = torch.linalg.vector_norm(values.flatten(), ord=torch.inf)[None]
    return torch.where((largest > 0) & largest.isfinite(), largest, 1.0)
