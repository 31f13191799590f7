"""The tiles' lists against gsplat's: tighter, in the same order, and nothing that counts is missing."""

import pytest
import torch
from gsplat.cuda._torch_impl import _isect_tiles
from random_splats import Splats, random_splats, render

from gsdff.render import rasterization, reference

TILE = 16


def our_pairs(meta: dict) -> list[tuple[int, int]]:
    """(tile over all cameras, Gaussian over all cameras) in the order of the lists."""
    offsets = [*meta["isect_offsets"].flatten().tolist(), len(meta["flatten_ids"])]
    ids = meta["flatten_ids"].tolist()
    return [(tile, ids[i]) for tile in range(len(offsets) - 1) for i in range(offsets[tile], offsets[tile + 1])]


def gsplat_pairs(meta: dict) -> list[tuple[int, int]]:
    """The same from gsplat's bounding boxes; ties by index, as its kernels leave them."""
    n_x, n_y = -(-meta["width"] // TILE), -(-meta["height"] // TILE)
    inputs = (meta[name].detach() for name in ("means2d", "radii", "depths"))
    _, isect_ids, flatten_ids = _isect_tiles(*inputs, TILE, n_x, n_y)
    tile_bits = (n_x * n_y).bit_length()
    isect_ids, flatten_ids = zip(*sorted(zip(isect_ids.tolist(), flatten_ids.tolist(), strict=True)), strict=True)
    cameras_and_tiles = ((key >> (32 + tile_bits), (key >> 32) & ((1 << tile_bits) - 1)) for key in isect_ids)
    return [(c * n_x * n_y + tile, g) for (c, tile), g in zip(cameras_and_tiles, flatten_ids, strict=True)]


def with_needles(splats: Splats) -> Splats:
    return splats.replace(scales=splats.scales * torch.tensor([0.05, 0.05, 1]) + torch.tensor([0, 0, 0.2]))


def with_large(splats: Splats) -> Splats:
    return splats.replace(scales=splats.scales * torch.tensor([8.0, 1.0, 8.0]))


def with_faint(splats: Splats) -> Splats:
    return splats.replace(opacities=splats.opacities * 4 / 255)


def with_ties(splats: Splats) -> Splats:
    means = splats.means.clone()
    means[:, 2] = means[:, 2].abs().ceil()
    return splats.replace(means=means)


@pytest.mark.parametrize("size", [(100, 70), (48, 32), (7, 5)])
@pytest.mark.parametrize("change", [None, with_needles, with_large, with_faint, with_ties])
def test_lists_drop_from_gsplats_only_what_counts_nowhere_in_the_tile(change, size):
    splats = random_splats(n=120, n_cameras=2, width=size[0], height=size[1], seed=21)
    splats = change(splats) if change else splats
    meta = render(rasterization, splats.map(torch.Tensor.float)).meta
    ours, theirs = our_pairs(meta), gsplat_pairs(meta)
    assert len(set(ours)) == len(ours)
    assert set(ours) <= set(theirs)

    kept = set(ours)
    assert [pair for pair in theirs if pair in kept] == ours  # by tile, then depth, then index

    twin = render(reference.rasterization, splats).meta
    n_x, n_y = -(-size[0] // TILE), -(-size[1] // TILE)
    conics, means2d, opacities = (twin[name].flatten(0, 1) for name in ("conics", "means2d", "opacities"))
    for tile, splat in set(theirs) - kept:
        row, column = divmod(tile % (n_x * n_y), n_x)
        ys = torch.arange(row * TILE, min((row + 1) * TILE, size[1]), dtype=torch.float64) + 0.5
        xs = torch.arange(column * TILE, min((column + 1) * TILE, size[0]), dtype=torch.float64) + 0.5
        dy, dx = torch.meshgrid(ys - means2d[splat, 1], xs - means2d[splat, 0], indexing="ij")
        a, b, c = conics[splat]
        alphas = opacities[splat] * torch.exp(-0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy)
        assert alphas.max() < reference.ALPHA_CUTOFF * (1 + 1e-4)


def test_lists_are_much_shorter_than_gsplats_for_slanted_needles():
    splats = random_splats(n=120, width=160, height=160, seed=22)
    splats = with_needles(splats.replace(means=splats.means * torch.tensor([0.5, 0.5, 1.0])))
    meta = render(rasterization, splats.map(torch.Tensor.float)).meta
    assert len(our_pairs(meta)) < 0.7 * len(gsplat_pairs(meta))


def test_offsets_have_gsplats_shape_and_type_even_with_nothing_to_draw():
    meta = render(rasterization, random_splats(n=0, n_cameras=2, width=100, height=70).map(torch.Tensor.float)).meta
    assert meta["isect_offsets"].shape == (2, 5, 7)
    assert meta["isect_offsets"].dtype == meta["flatten_ids"].dtype == torch.int32
    assert meta["isect_offsets"].max() == len(meta["flatten_ids"]) == 0
