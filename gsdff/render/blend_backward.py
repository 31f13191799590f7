"""Gradients of blending, by a second scan of the tile lists.

It runs front to back like the first: the colour behind a Gaussian is the finished pixel minus the colour blended so
far. Every (tile, Gaussian) pair writes its gradient to a row of its own and rows are summed per Gaussian in a fixed
order, so gradients are the same bits for any number of threads.
"""

import numpy as np

from gsdff.kernels import kernel
from gsdff.render.blend import (
    BLOCKS,
    HALF,
    MAX_ALPHA,
    ONE,
    PIXELS,
    ZERO,
    blend_step,
    ellipse_in_tile,
    offsets_from,
    open_tile,
    pixel_of,
    touched_blocks,
    visibility,
)  # fmt: skip
from gsdff.render.simd import LANES, at, load, lowest_bit, magnitude, splat, store, totals, where
from gsdff.render.tiles import CONIC_A, CONIC_B, CONIC_C, OPACITY, SPLAT, TILE

# Columns of a pair's gradient, before its D channels: moments of g = dL/dsigma about the Gaussian's centre, and the
# sums of |dL/dmean| that AbsGS needs. Everything geometric follows from them (`gather_pairs`).
M0, MX, MY, MXX, MXY, MYY, ABS_X, ABS_Y = range(8)
MOMENTS = 8


def pair_columns(num_columns: int) -> int:
    """Length of a pair's row of gradients: whole vectors."""
    return -(-num_columns // LANES) * LANES


@kernel
def _read_tile(x0, y0, grad_renders, cotangent):
    """Copies dL/drenders [H, W, D] of a tile to blocks [D, 16, 4, 4], zero outside the image."""
    height, width, num_channels = grad_renders.shape
    cotangent[:] = 0
    for y in range(y0, min(y0 + TILE, height)):
        for x in range(x0, min(x0 + TILE, width)):
            pixel = pixel_of(x - x0, y - y0)
            for channel in range(num_channels):
                cotangent[channel * PIXELS + pixel] = grad_renders[y, x, channel]


@kernel
def _read_behind(x0, y0, renders, alphas, grad_renders, grad_alphas, behind):
    """Per pixel: sum of w_i <c_i, dL/drender> over all Gaussians, minus (1 - alpha) dL/dalpha."""
    height, width, num_channels = renders.shape
    behind[:] = 0
    for y in range(y0, min(y0 + TILE, height)):
        for x in range(x0, min(x0 + TILE, width)):
            value = -grad_alphas[y, x] * (ONE - alphas[y, x])
            for channel in range(num_channels):
                value += renders[y, x, channel] * grad_renders[y, x, channel]
            behind[pixel_of(x - x0, y - y0)] = value


@kernel
def backward_colors(tiles, offsets, gaussian_ids, splats, width, height, grad_renders, pair_grads):
    """Writes dL/dcolors = w dL/drenders of every pair to pair_grads [I, pair_columns(D)], without geometry."""
    num_channels, num_columns = grad_renders.shape[2], pair_grads.shape[1]
    flat_splats, flat_grads = splats.reshape(-1), pair_grads.reshape(-1)
    transmittance, weights = np.empty(PIXELS, np.float32), np.empty(PIXELS, np.float32)
    touched = np.empty(BLOCKS * BLOCKS, np.int64)
    cotangent = np.empty(num_channels * PIXELS, np.float32)
    sums = np.zeros(num_columns * LANES, np.float32)
    for tile in tiles:
        x0, y0, live = open_tile(tile, width, height, transmittance)
        _read_tile(x0, y0, grad_renders, cotangent)
        for pair in range(offsets[tile], offsets[tile + 1]):
            base = gaussian_ids[pair] * SPLAT
            bits = touched_blocks(flat_splats, base, x0, y0) & live
            ellipse = ellipse_in_tile(flat_splats, base, x0, y0)
            count = 0
            while bits:
                block = lowest_bit(bits)
                bits &= bits - 1
                dx, dy = offsets_from(ellipse, block)
                visible, sane = visibility(ellipse, dx, dy)
                _, weight, blended, ended = blend_step(transmittance, block, visible, sane)
                if blended:
                    touched[count] = block * LANES
                    store(weights, count * LANES, weight)
                    count += 1
                if ended:
                    live &= ~(1 << block)
            for channel in range(num_channels):
                summed = splat(ZERO)
                for entry in range(count):
                    summed += load(weights, entry * LANES) * load(cotangent, channel * PIXELS + touched[entry])
                store(sums, channel * LANES, summed)
            _write_pair(sums, flat_grads, pair * num_columns, num_columns)


@kernel(forceinline=True)
def _write_pair(sums, flat_grads, place, num_columns):
    """Adds up the lanes of each column's vector and writes the pair's row."""
    for column in range(0, num_columns, LANES):
        store(flat_grads, place + column, totals(sums, column * LANES))


@kernel
def backward_tiles(
    tiles, offsets, gaussian_ids, splats, colors, renders, alphas, grad_renders, grad_alphas, pair_grads, want_abs
):
    """Writes all gradients of every pair to pair_grads [I, pair_columns(MOMENTS + D)]."""
    height, width, num_channels = renders.shape
    num_columns = pair_grads.shape[1]
    flat_splats, flat_colors, flat_grads = splats.reshape(-1), colors.reshape(-1), pair_grads.reshape(-1)
    transmittance, behind = np.empty(PIXELS, np.float32), np.empty(PIXELS, np.float32)
    cotangent = np.empty(num_channels * PIXELS, np.float32)
    sums = np.empty(num_columns * LANES, np.float32)
    for tile in tiles:
        x0, y0, live = open_tile(tile, width, height, transmittance)
        _read_tile(x0, y0, grad_renders, cotangent)
        _read_behind(x0, y0, renders, alphas, grad_renders, grad_alphas, behind)
        for pair in range(offsets[tile], offsets[tile + 1]):
            gaussian = gaussian_ids[pair]
            bits = touched_blocks(flat_splats, gaussian * SPLAT, x0, y0) & live
            ellipse = ellipse_in_tile(flat_splats, gaussian * SPLAT, x0, y0)
            sums[:] = 0
            m0 = mx = my = mxx = mxy = myy = abs_x = abs_y = splat(ZERO)
            while bits:
                block = lowest_bit(bits)
                bits &= bits - 1
                dx, dy = offsets_from(ellipse, block)
                visible, sane = visibility(ellipse, dx, dy)
                alpha, weight, blended, ended = blend_step(transmittance, block, visible, sane)
                if ended:
                    live &= ~(1 << block)
                if not blended:
                    continue
                dot = splat(ZERO)
                for channel in range(num_channels):
                    grad = load(cotangent, channel * PIXELS + block * LANES)
                    dot += grad * at(flat_colors, gaussian * num_channels + channel)
                    place = (MOMENTS + channel) * LANES
                    store(sums, place, load(sums, place) + weight * grad)
                rest = load(behind, block * LANES) - weight * dot
                store(behind, block * LANES, rest)
                # dL/dsigma = -alpha dL/dalpha; a clamped alpha passes no gradient
                slope = rest * alpha / (ONE - alpha) - weight * dot
                slope = where(visible > MAX_ALPHA, splat(ZERO), slope)
                slope_x, slope_y = slope * dx, slope * dy
                m0, mx, my = m0 + slope, mx + slope_x, my + slope_y
                mxx, mxy, myy = mxx + slope_x * dx, mxy + slope_x * dy, myy + slope_y * dy
                if want_abs:
                    a, b, c = ellipse[2], ellipse[3] * HALF, ellipse[4]
                    abs_x += magnitude(slope_x * a + slope_y * b)
                    abs_y += magnitude(slope_x * b + slope_y * c)
            _store_moments(sums, m0, mx, my, mxx, mxy, myy, abs_x, abs_y)
            _write_pair(sums, flat_grads, pair * num_columns, num_columns)


@kernel(forceinline=True)
def _store_moments(sums, m0, mx, my, mxx, mxy, myy, abs_x, abs_y):
    store(sums, M0 * LANES, m0)
    store(sums, MX * LANES, mx)
    store(sums, MY * LANES, my)
    store(sums, MXX * LANES, mxx)
    store(sums, MXY * LANES, mxy)
    store(sums, MYY * LANES, myy)
    store(sums, ABS_X * LANES, abs_x)
    store(sums, ABS_Y * LANES, abs_y)


@kernel
def gather_pairs(begin, end, order, slot_offsets, slots, pair_grads, splats, first, grad_colors, grad_geometry):
    """Sums the gradients of each Gaussian's pairs, for order[begin:end], in the order of its tiles.

    grad_colors [N, D] gets the columns from `first` on. If first is MOMENTS, grad_geometry [N, 8] gets means2d (2),
    conics (3), opacity and absolute means2d (2). With d the offset from the centre,
    sigma = (a dx^2 + 2 b dx dy + c dy^2) / 2, whence dsigma/dmean = -(a dx + b dy, b dx + c dy).
    """
    num_columns, num_channels = pair_grads.shape[1], grad_colors.shape[1]
    flat_pairs, flat_colors, flat_splats = pair_grads.reshape(-1), grad_colors.reshape(-1), splats.reshape(-1)
    summed = np.empty(num_columns, np.float32)
    for rank in range(begin, end):
        for column in range(0, num_columns, LANES):
            row = splat(ZERO)
            for place in range(slot_offsets[rank], slot_offsets[rank + 1]):
                row += load(flat_pairs, slots[place] * num_columns + column)
            store(summed, column, row)
        gaussian = order[rank]
        for channel in range(num_channels):
            flat_colors[gaussian * num_channels + channel] = at(summed, first + channel)
        if first == MOMENTS:
            a, b = at(flat_splats, gaussian * SPLAT + CONIC_A), at(flat_splats, gaussian * SPLAT + CONIC_B)
            c, row_out = at(flat_splats, gaussian * SPLAT + CONIC_C), grad_geometry[gaussian]
            row_out[0] = -(a * summed[MX] + b * summed[MY])
            row_out[1] = -(b * summed[MX] + c * summed[MY])
            row_out[2], row_out[3], row_out[4] = (
                HALF * summed[MXX],
                summed[MXY],
                HALF * summed[MYY],
            )
            row_out[5] = -summed[M0] / at(flat_splats, gaussian * SPLAT + OPACITY)
            row_out[6], row_out[7] = summed[ABS_X], summed[ABS_Y]
