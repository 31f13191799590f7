"""Front-to-back alpha blending of tile lists, and its gradients: 3DGS (Kerbl et al. 2023), eq. 3, gsplat's constants.

A tile is sixteen 4x4 blocks; a block is one vector of sixteen pixels. Threads take tiles; per tile the list is scanned
once, and each Gaussian visits only the blocks its ellipse meets. A pixel is finished once its transmittance would fall
to 1e-4; finished pixels carry a negative transmittance, and a tile ends when all its pixels are finished.
"""

import numpy as np
from numba import njit

from gsdff.render.simd import LANES, any_lane, at, exp_negative, load, smaller, splat, store, where
from gsdff.render.tiles import CONIC_A, CONIC_B, CONIC_C, MEAN_X, MEAN_Y, OPACITY, SPLAT, TILE, row_span

BLOCK = 4
BLOCKS = TILE // BLOCK
PIXELS = TILE * TILE
_LANE_X = np.tile(np.arange(BLOCK), BLOCK).astype(np.float32)
_LANE_Y = np.repeat(np.arange(BLOCK), BLOCK).astype(np.float32)
ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)
MAX_ALPHA, _MIN_ALPHA, _MIN_TRANSMITTANCE = np.float32(0.999), np.float32(1 / 255), np.float32(1e-4)


@njit(nogil=True, cache=True, forceinline=True)
def alive(transmittance, block):
    return any_lane(load(transmittance, block * LANES) > ZERO)


@njit(nogil=True, cache=True, forceinline=True)
def open_tile(tile, tiles_x, width, height, transmittance):
    """Sets up the tile's pixels (those outside the image are finished); returns its corner and live block count."""
    x0, y0 = (tile % tiles_x) * TILE, (tile // tiles_x) * TILE
    blocks = 0
    for block in range(BLOCKS * BLOCKS):
        bx, by = x0 + (block % BLOCKS) * BLOCK, y0 + (block // BLOCKS) * BLOCK
        inside_x = splat(np.float32(width - bx)) > load(_LANE_X, 0)
        inside_y = splat(np.float32(height - by)) > load(_LANE_Y, 0)
        store(transmittance, block * LANES, where(inside_x & inside_y, splat(ONE), splat(-ONE)))
        blocks += bx < width and by < height
    return x0, y0, blocks


@njit(nogil=True, cache=True, forceinline=True)
def block_span(splats, gaussian, x0, y0, block_row):
    """First and last block of a block row that the Gaussian's ellipse may meet."""
    row = y0 + block_row * BLOCK
    left, right = row_span(splats[gaussian], row, row + BLOCK - 1)
    if left > right:
        return 1, 0
    return max((left - x0) // BLOCK, 0), min((right - x0) // BLOCK, BLOCKS - 1)


@njit(nogil=True, cache=True, forceinline=True)
def offsets_to(flat_splats, base, x0, y0, block):
    """Vectors from the Gaussian's centre to the pixel centres of a block in the tile at (x0, y0)."""
    x, y = x0 + (block % BLOCKS) * BLOCK, y0 + (block // BLOCKS) * BLOCK
    dx = load(_LANE_X, 0) + (np.float32(x) + HALF - at(flat_splats, base + MEAN_X))
    dy = load(_LANE_Y, 0) + (np.float32(y) + HALF - at(flat_splats, base + MEAN_Y))
    return dx, dy


@njit(nogil=True, cache=True, forceinline=True)
def visibility(flat_splats, base, dx, dy):
    """(opacity exp(-sigma), mask sigma >= 0): the mask drops needles whose conic lost its definiteness to rounding."""
    along = dx * at(flat_splats, base + CONIC_A) + dy * (at(flat_splats, base + CONIC_B) * np.float32(2))
    sigma = (dx * along + dy * dy * at(flat_splats, base + CONIC_C)) * HALF
    return exp_negative(sigma) * at(flat_splats, base + OPACITY), sigma >= ZERO


@njit(nogil=True, cache=True, forceinline=True)
def blend_step(transmittance, block, visible, sane):
    """Advances a block by one Gaussian; returns (alpha, weights), both zero where it does not count, and two flags.

    The flags say whether any pixel was blended and whether any pixel was finished by this Gaussian.
    """
    before = load(transmittance, block * LANES)
    alpha = smaller(visible, MAX_ALPHA)
    counts = (alpha >= _MIN_ALPHA) & (before > ZERO) & sane
    after = before - before * alpha
    blended = counts & (after > _MIN_TRANSMITTANCE)
    finished = counts & (after <= _MIN_TRANSMITTANCE)
    store(transmittance, block * LANES, where(finished, splat(ZERO) - before, where(blended, after, before)))
    alpha = where(blended, alpha, splat(ZERO))
    return alpha, alpha * before, any_lane(blended), any_lane(finished)


@njit(nogil=True, cache=True)
def blend_tiles(tiles, offsets, gaussian_ids, splats, colors, width, height, renders, alphas):
    """Renders `tiles`: splats [N, SPLAT], colors [N, D] -> renders [H, W, D], alphas [H, W] (written in place)."""
    num_channels = colors.shape[1]
    tiles_x = -(-width // TILE)
    flat_splats, flat_colors = splats.reshape(-1), colors.reshape(-1)
    transmittance = np.empty(PIXELS, np.float32)
    canvas = np.empty(num_channels * PIXELS, np.float32)
    for tile in tiles:
        x0, y0, blocks = open_tile(tile, tiles_x, width, height, transmittance)
        canvas[:] = 0
        for pair in range(offsets[tile], offsets[tile + 1]):
            gaussian = gaussian_ids[pair]
            for block_row in range(BLOCKS):
                first, last = block_span(splats, gaussian, x0, y0, block_row)
                for block_column in range(first, last + 1):
                    block = block_row * BLOCKS + block_column
                    dx, dy = offsets_to(flat_splats, gaussian * SPLAT, x0, y0, block)
                    visible, sane = visibility(flat_splats, gaussian * SPLAT, dx, dy)
                    _, weights, blended, finished = blend_step(transmittance, block, visible, sane)
                    if blended:
                        for channel in range(num_channels):
                            place = channel * PIXELS + block * LANES
                            color = at(flat_colors, gaussian * num_channels + channel)
                            store(canvas, place, load(canvas, place) + weights * color)
                    if finished and not alive(transmittance, block):
                        blocks -= 1
            if blocks == 0:
                break
        _write_tile(x0, y0, transmittance, canvas, renders, alphas)


@njit(nogil=True, cache=True)
def _write_tile(x0, y0, transmittance, canvas, renders, alphas):
    """Copies a tile's pixels from blocks [D, 16, 4, 4] to rows."""
    height, width, num_channels = renders.shape
    for y in range(y0, min(y0 + TILE, height)):
        for x in range(x0, min(x0 + TILE, width)):
            pixel = pixel_of(x - x0, y - y0)
            alphas[y, x] = ONE - abs(transmittance[pixel])
            for channel in range(num_channels):
                renders[y, x, channel] = canvas[channel * PIXELS + pixel]


@njit(nogil=True, cache=True, forceinline=True)
def pixel_of(x, y):
    """Where pixel (x, y) of a tile lies in block order."""
    return ((y // BLOCK) * BLOCKS + x // BLOCK) * LANES + (y % BLOCK) * BLOCK + x % BLOCK
