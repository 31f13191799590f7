"""A plain twin of gsplat's tile lists (`isect_tiles`, `isect_offset_encode`), and what our feature pass makes of it."""

from collections.abc import Callable

import torch
from random_splats import Splats, render
from torch import Tensor

from gsdff.render.splats import TILE, ProjectedSplats


def list_pairs(means2d: Tensor, radii: Tensor, depths: Tensor, width: int, height: int) -> tuple[Tensor, Tensor]:
    """Bounds [tiles + 1] and Gaussians [I] of all tiles: those whose box touches the tile, by depth, ties by index.

    gsplat's radix sort is stable, too; its `_isect_tiles` in torch is not.
    """
    tiles_x, tiles_y = -(-width // TILE), -(-height // TILE)
    seen = (radii > 0).all(-1).nonzero()[:, 0]
    order = seen[depths[seen].argsort(stable=True)]
    largest = torch.tensor([tiles_x, tiles_y])
    low = ((means2d[order] - radii[order]) / TILE).floor().clamp_min(0).minimum(largest).long()
    high = ((means2d[order] + radii[order]) / TILE).ceil().clamp_min(0).minimum(largest).long()
    x, y = torch.arange(tiles_x), torch.arange(tiles_y)
    in_x = (x >= low[:, :1]) & (x < high[:, :1])  # [V, tiles_x]
    in_y = (y >= low[:, 1:]) & (y < high[:, 1:])
    touches = (in_y[:, :, None] & in_x[:, None, :]).flatten(1).T  # [tiles, V]
    counts = touches.sum(1)
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)]).int(), order[touches.nonzero()[:, 1]].int()


def project_splats(rasterizer: Callable, splats: Splats, **options: object) -> ProjectedSplats:
    """What gsplat would hand to our feature pass, by the projection of a rasteriser with gsplat's radii, in float32."""
    return take_projection(render(rasterizer, splats, **options).meta)


def take_projection(meta: dict) -> ProjectedSplats:
    """`project_splats` of what a rasteriser has returned."""
    width, height = meta["width"], meta["height"]
    means2d, depths, radii = (meta[name][0].detach() for name in ("means2d", "depths", "radii"))
    bounds, pair_ids = list_pairs(means2d, radii, depths, width, height)
    seen = [tensor.detach().float() for tensor in (means2d, meta["conics"][0], meta["opacities"][0])]
    return ProjectedSplats(*seen, bounds, pair_ids, width, height)
