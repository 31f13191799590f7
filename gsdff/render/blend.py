"""Front-to-back alpha blending of tile lists: 3DGS (Kerbl et al. 2023), eq. 3, with gsplat's constants.

A tile is sixteen 4x4 blocks; a block is one vector of sixteen pixels. Threads take tiles; per tile the list is scanned
once, and each Gaussian visits only the blocks its ellipse meets. A pixel is finished once its transmittance would fall
to 1e-4; finished pixels carry a negative transmittance, finished blocks lose their bit in `live`, and a tile ends with
its last block.
"""

import numpy as np

from gsdff.kernels import kernel
from gsdff.render.simd import (
    LANES,
    any_lane,
    at,
    exp_negative,
    lane_bits,
    larger,
    load,
    lowest_bit,
    root,
    smaller,
    splat,
    store,
    where,
)  # fmt: skip
from gsdff.render.tiles import (
    CONIC_A,
    CONIC_B,
    CONIC_C,
    MEAN_X,
    MEAN_Y,
    OPACITY,
    REACH,
    RIGHTMOST_Y,
    SHEAR,
    SPLAT,
    SQUASH,
    TILE,
    TOP_Y,
)  # fmt: skip

BLOCK = 4
BLOCKS = TILE // BLOCK
PIXELS = TILE * TILE
_corner = np.arange(0, TILE, BLOCK, dtype=np.float32)
_BLOCK_X, _BLOCK_Y = np.tile(_corner, BLOCKS), np.repeat(_corner, BLOCKS)
_within = np.arange(BLOCK, dtype=np.float32)
_PIXEL_X = np.add.outer(_BLOCK_X, np.tile(_within, BLOCK)).ravel()
_PIXEL_Y = np.add.outer(_BLOCK_Y, np.repeat(_within, BLOCK)).ravel()
"""Offsets of a tile's pixels from its corner, in block order."""
ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)
MAX_ALPHA, _MIN_ALPHA, _MIN_TRANSMITTANCE = np.float32(0.999), np.float32(1 / 255), np.float32(1e-4)


@kernel(forceinline=True)
def open_tile(tile, width, height, transmittance):
    """Resets a tile's pixels, those outside the image as finished; returns its corner and the bits of live blocks."""
    tiles_x = -(-width // TILE)
    x0, y0 = (tile % tiles_x) * TILE, (tile // tiles_x) * TILE
    live = 0
    for block in range(BLOCKS * BLOCKS):
        place = block * LANES
        inside = (load(_PIXEL_X, place) < np.float32(width - x0)) & (load(_PIXEL_Y, place) < np.float32(height - y0))
        store(transmittance, place, where(inside, splat(ONE), splat(-ONE)))
        live |= int(any_lane(inside)) << block
    return x0, y0, live


@kernel(forceinline=True)
def touched_blocks(flat_splats, base, x0, y0):
    """Bits of the tile's blocks that the Gaussian's ellipse meets: `tiles.row_span` for all blocks at once."""
    top, rightmost = splat(at(flat_splats, base + TOP_Y)), splat(at(flat_splats, base + RIGHTMOST_Y))
    shear, reach = at(flat_splats, base + SHEAR), at(flat_splats, base + REACH)
    squash = at(flat_splats, base + SQUASH)
    first_x = load(_BLOCK_X, 0) + (np.float32(x0) + HALF - at(flat_splats, base + MEAN_X))
    first_y = load(_BLOCK_Y, 0) + (np.float32(y0) + HALF - at(flat_splats, base + MEAN_Y))
    low = larger(first_y, splat(ZERO) - top)
    high = smaller(first_y + np.float32(BLOCK - 1), top)
    right_y, left_y = smaller(larger(rightmost, low), high), smaller(larger(splat(ZERO) - rightmost, low), high)
    right = right_y * shear + root(larger(reach - right_y * right_y * squash, splat(ZERO)))
    left = left_y * shear - root(larger(reach - left_y * left_y * squash, splat(ZERO)))
    return lane_bits((low <= high) & (first_x <= right) & (first_x + np.float32(BLOCK - 1) >= left))


@kernel(forceinline=True)
def ellipse_in_tile(flat_splats, base, x0, y0):
    """(x, y, a, 2b, c, opacity): the centre relative to the tile's first pixel centre, conic and opacity."""
    return (
        at(flat_splats, base + MEAN_X) - HALF - np.float32(x0),
        at(flat_splats, base + MEAN_Y) - HALF - np.float32(y0),
        at(flat_splats, base + CONIC_A),
        at(flat_splats, base + CONIC_B) * np.float32(2),
        at(flat_splats, base + CONIC_C),
        at(flat_splats, base + OPACITY),
    )


@kernel(forceinline=True)
def offsets_from(ellipse, block):
    """Vectors from the Gaussian's centre to the block's pixel centres."""
    return load(_PIXEL_X, block * LANES) - ellipse[0], load(_PIXEL_Y, block * LANES) - ellipse[1]


@kernel(forceinline=True)
def visibility(ellipse, dx, dy):
    """(opacity exp(-sigma), mask sigma >= 0): the mask drops needles whose conic lost its definiteness to rounding."""
    sigma = (dx * (dx * ellipse[2] + dy * ellipse[3]) + dy * dy * ellipse[4]) * HALF
    return exp_negative(sigma) * ellipse[5], sigma >= ZERO


@kernel(forceinline=True)
def blend_step(transmittance, block, visible, sane):
    """Advances a block by one Gaussian; returns (alpha, weights), zero where it does not count, and two flags.

    The flags say whether any pixel was blended, and whether this Gaussian finished the block's last live pixel.
    """
    before = load(transmittance, block * LANES)
    alpha = smaller(visible, splat(MAX_ALPHA))
    counts = (alpha >= _MIN_ALPHA) & (before > ZERO) & sane
    after = before - before * alpha
    blended = counts & (after > _MIN_TRANSMITTANCE)
    finished = counts & (after <= _MIN_TRANSMITTANCE)
    left = where(finished, splat(ZERO) - before, where(blended, after, before))
    store(transmittance, block * LANES, left)
    alpha = where(blended, alpha, splat(ZERO))
    return alpha, alpha * before, any_lane(blended), any_lane(finished) and not any_lane(left > ZERO)


@kernel
def blend_tiles(tiles, offsets, gaussian_ids, splats, colors, width, height, renders, alphas):
    """Renders `tiles`: splats [N, SPLAT], colors [N, D] -> renders [H, W, D], alphas [H, W] (written in place)."""
    num_channels = colors.shape[1]
    flat_splats, flat_colors = splats.reshape(-1), colors.reshape(-1)
    transmittance = np.empty(PIXELS, np.float32)
    canvas = np.empty(num_channels * PIXELS, np.float32)
    for tile in tiles:
        x0, y0, live = open_tile(tile, width, height, transmittance)
        canvas[:] = 0
        for pair in range(offsets[tile], offsets[tile + 1]):
            gaussian = gaussian_ids[pair]
            bits = touched_blocks(flat_splats, gaussian * SPLAT, x0, y0) & live
            ellipse = ellipse_in_tile(flat_splats, gaussian * SPLAT, x0, y0)
            while bits:
                block = lowest_bit(bits)
                bits &= bits - 1
                dx, dy = offsets_from(ellipse, block)
                visible, sane = visibility(ellipse, dx, dy)
                _, weights, blended, ended = blend_step(transmittance, block, visible, sane)
                if blended:
                    for channel in range(num_channels):
                        place = channel * PIXELS + block * LANES
                        color = at(flat_colors, gaussian * num_channels + channel)
                        store(canvas, place, load(canvas, place) + weights * color)
                if ended:
                    live &= ~(1 << block)
            if not live:
                break
        _write_tile(x0, y0, transmittance, canvas, renders, alphas)


@kernel
def _write_tile(x0, y0, transmittance, canvas, renders, alphas):
    """Copies a tile's pixels from blocks [D, 16, 4, 4] to rows."""
    height, width, num_channels = renders.shape
    for y in range(y0, min(y0 + TILE, height)):
        for x in range(x0, min(x0 + TILE, width)):
            pixel = pixel_of(x - x0, y - y0)
            alphas[y, x] = ONE - abs(transmittance[pixel])
            for channel in range(num_channels):
                renders[y, x, channel] = canvas[channel * PIXELS + pixel]


@kernel(forceinline=True)
def pixel_of(x, y):
    """Index of a tile's pixel (x, y) in block order."""
    return ((y // BLOCK) * BLOCKS + x // BLOCK) * LANES + (y % BLOCK) * BLOCK + x % BLOCK
