"""Front-to-back alpha blending of tile lists, and its gradients: 3DGS (Kerbl et al. 2023), eq. 3, gsplat's constants.

A tile is sixteen 4x4 blocks; a block is one vector of sixteen pixels. Threads take tiles; per tile the list is scanned
once, and each Gaussian visits only the blocks its ellipse meets. A pixel is finished once its transmittance would fall
to 1e-4; finished pixels carry a negative transmittance, and a tile ends when all its pixels are finished.

The backward pass scans front to back as well: what lies behind a Gaussian is the finished pixel minus what has been
blended so far. Every (tile, Gaussian) pair writes its gradient to a slot of its own and slots are summed per Gaussian
in a fixed order, so gradients are the same bits for any number of threads.
"""

import numpy as np
from numba import njit

from gsdff.render.simd import LANES, any_lane, at, exp_negative, load, magnitude, smaller, splat, store, totals, where
from gsdff.render.tiles import CONIC_A, CONIC_B, CONIC_C, MEAN_X, MEAN_Y, OPACITY, SPLAT, TILE, row_span

BLOCK = 4
BLOCKS = TILE // BLOCK
PIXELS = TILE * TILE
_LANE_X = np.tile(np.arange(BLOCK), BLOCK).astype(np.float32)
_LANE_Y = np.repeat(np.arange(BLOCK), BLOCK).astype(np.float32)
_ZERO, _HALF, _ONE = np.float32(0), np.float32(0.5), np.float32(1)
_MAX_ALPHA, _MIN_ALPHA, _MIN_TRANSMITTANCE = np.float32(0.999), np.float32(1 / 255), np.float32(1e-4)

# Columns of a pair's gradient, before its D channels: moments of g = dL/dsigma about the Gaussian's centre, and the
# sums of |dL/dmean| that AbsGS wants. Everything geometric follows from them (`gather_pairs`).
M0, MX, MY, MXX, MXY, MYY, ABS_X, ABS_Y = range(8)
MOMENTS = 8


def pair_columns(num_columns: int) -> int:
    """Length of a pair's row of gradients: whole vectors."""
    return -(-num_columns // LANES) * LANES


@njit(nogil=True, cache=True, forceinline=True)
def _alive(transmittance, block):
    return any_lane(load(transmittance, block * LANES) > _ZERO)


@njit(nogil=True, cache=True, forceinline=True)
def _open_tile(tile, tiles_x, width, height, transmittance):
    """Sets up the tile's pixels (those outside the image are finished); returns its corner and live block count."""
    x0, y0 = (tile % tiles_x) * TILE, (tile // tiles_x) * TILE
    blocks = 0
    for block in range(BLOCKS * BLOCKS):
        bx, by = x0 + (block % BLOCKS) * BLOCK, y0 + (block // BLOCKS) * BLOCK
        inside_x = splat(np.float32(width - bx)) > load(_LANE_X, 0)
        inside_y = splat(np.float32(height - by)) > load(_LANE_Y, 0)
        store(transmittance, block * LANES, where(inside_x & inside_y, splat(_ONE), splat(-_ONE)))
        blocks += bx < width and by < height
    return x0, y0, blocks


@njit(nogil=True, cache=True, forceinline=True)
def _block_span(splats, gaussian, x0, y0, block_row):
    """First and last block of a block row that the Gaussian's ellipse may meet."""
    row = y0 + block_row * BLOCK
    left, right = row_span(splats[gaussian], row, row + BLOCK - 1)
    if left > right:
        return 1, 0
    return max((left - x0) // BLOCK, 0), min((right - x0) // BLOCK, BLOCKS - 1)


@njit(nogil=True, cache=True, forceinline=True)
def _offsets(flat_splats, base, x, y):
    """Vectors from the Gaussian's centre to the block's pixel centres."""
    dx = load(_LANE_X, 0) + (np.float32(x) + _HALF - at(flat_splats, base + MEAN_X))
    dy = load(_LANE_Y, 0) + (np.float32(y) + _HALF - at(flat_splats, base + MEAN_Y))
    return dx, dy


@njit(nogil=True, cache=True, forceinline=True)
def _visibility(flat_splats, base, dx, dy):
    """(opacity exp(-sigma), mask sigma >= 0): the mask drops needles whose conic lost its definiteness to rounding."""
    along = dx * at(flat_splats, base + CONIC_A) + dy * (at(flat_splats, base + CONIC_B) * np.float32(2))
    sigma = (dx * along + dy * dy * at(flat_splats, base + CONIC_C)) * _HALF
    return exp_negative(sigma) * at(flat_splats, base + OPACITY), sigma >= _ZERO


@njit(nogil=True, cache=True, forceinline=True)
def _blend_step(transmittance, block, visible, sane):
    """Advances a block by one Gaussian; returns (alpha, weights), both zero where it does not count, and two flags.

    The flags say whether any pixel was blended and whether any pixel was finished by this Gaussian.
    """
    before = load(transmittance, block * LANES)
    alpha = smaller(visible, _MAX_ALPHA)
    counts = (alpha >= _MIN_ALPHA) & (before > _ZERO) & sane
    after = before - before * alpha
    blended = counts & (after > _MIN_TRANSMITTANCE)
    finished = counts & (after <= _MIN_TRANSMITTANCE)
    store(transmittance, block * LANES, where(finished, splat(_ZERO) - before, where(blended, after, before)))
    alpha = where(blended, alpha, splat(_ZERO))
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
        x0, y0, blocks = _open_tile(tile, tiles_x, width, height, transmittance)
        canvas[:] = 0
        for pair in range(offsets[tile], offsets[tile + 1]):
            gaussian = gaussian_ids[pair]
            for block_row in range(BLOCKS):
                first, last = _block_span(splats, gaussian, x0, y0, block_row)
                for block_column in range(first, last + 1):
                    block = block_row * BLOCKS + block_column
                    dx, dy = _offsets(flat_splats, gaussian * SPLAT, x0 + block_column * BLOCK, y0 + block_row * BLOCK)
                    visible, sane = _visibility(flat_splats, gaussian * SPLAT, dx, dy)
                    _, weights, blended, finished = _blend_step(transmittance, block, visible, sane)
                    if blended:
                        for channel in range(num_channels):
                            place = channel * PIXELS + block * LANES
                            color = at(flat_colors, gaussian * num_channels + channel)
                            store(canvas, place, load(canvas, place) + weights * color)
                    if finished and not _alive(transmittance, block):
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
            pixel = _pixel(x - x0, y - y0)
            alphas[y, x] = _ONE - abs(transmittance[pixel])
            for channel in range(num_channels):
                renders[y, x, channel] = canvas[channel * PIXELS + pixel]


@njit(nogil=True, cache=True, forceinline=True)
def _pixel(x, y):
    """Where pixel (x, y) of a tile lies in block order."""
    return ((y // BLOCK) * BLOCKS + x // BLOCK) * LANES + (y % BLOCK) * BLOCK + x % BLOCK


@njit(nogil=True, cache=True)
def _read_tile(x0, y0, grad_renders, cotangent):
    """Copies dL/drenders [H, W, D] of a tile to blocks [D, 16, 4, 4], zero outside the image."""
    height, width, num_channels = grad_renders.shape
    cotangent[:] = 0
    for y in range(y0, min(y0 + TILE, height)):
        for x in range(x0, min(x0 + TILE, width)):
            pixel = _pixel(x - x0, y - y0)
            for channel in range(num_channels):
                cotangent[channel * PIXELS + pixel] = grad_renders[y, x, channel]


@njit(nogil=True, cache=True)
def _read_behind(x0, y0, renders, alphas, grad_renders, grad_alphas, behind):
    """Per pixel: sum of w_i <c_i, dL/drender> over all Gaussians, less what alpha's gradient takes from it."""
    height, width, num_channels = renders.shape
    behind[:] = 0
    for y in range(y0, min(y0 + TILE, height)):
        for x in range(x0, min(x0 + TILE, width)):
            value = -grad_alphas[y, x] * (_ONE - alphas[y, x])
            for channel in range(num_channels):
                value += renders[y, x, channel] * grad_renders[y, x, channel]
            behind[_pixel(x - x0, y - y0)] = value


@njit(nogil=True, cache=True)
def backward_colors(tiles, offsets, gaussian_ids, splats, width, height, grad_renders, pair_grads):
    """dL/dcolors of every pair, into pair_grads [I, pair_columns(D)]: the scatter of w dL/drenders, nothing else."""
    num_channels, num_columns = grad_renders.shape[2], pair_grads.shape[1]
    tiles_x = -(-width // TILE)
    flat_splats, flat_grads = splats.reshape(-1), pair_grads.reshape(-1)
    transmittance, weights = np.empty(PIXELS, np.float32), np.empty(PIXELS, np.float32)
    touched = np.empty(BLOCKS * BLOCKS, np.int64)
    cotangent = np.empty(num_channels * PIXELS, np.float32)
    sums = np.zeros(num_columns * LANES, np.float32)
    for tile in tiles:
        x0, y0, blocks = _open_tile(tile, tiles_x, width, height, transmittance)
        _read_tile(x0, y0, grad_renders, cotangent)
        for pair in range(offsets[tile], offsets[tile + 1]):
            gaussian = gaussian_ids[pair]
            count = 0
            for block_row in range(BLOCKS if blocks else 0):
                first, last = _block_span(splats, gaussian, x0, y0, block_row)
                for block_column in range(first, last + 1):
                    block = block_row * BLOCKS + block_column
                    dx, dy = _offsets(flat_splats, gaussian * SPLAT, x0 + block_column * BLOCK, y0 + block_row * BLOCK)
                    visible, sane = _visibility(flat_splats, gaussian * SPLAT, dx, dy)
                    _, weight, blended, finished = _blend_step(transmittance, block, visible, sane)
                    if blended:
                        touched[count] = block * LANES
                        store(weights, count * LANES, weight)
                        count += 1
                    if finished and not _alive(transmittance, block):
                        blocks -= 1
            for channel in range(num_channels):
                summed = splat(_ZERO)
                for entry in range(count):
                    summed += load(weights, entry * LANES) * load(cotangent, channel * PIXELS + touched[entry])
                store(sums, channel * LANES, summed)
            _write_pair(sums, flat_grads, pair * num_columns, num_columns)


@njit(nogil=True, cache=True, forceinline=True)
def _write_pair(sums, flat_grads, place, num_columns):
    """Adds up the lanes of each column's vector and writes the pair's row."""
    for column in range(0, num_columns, LANES):
        store(flat_grads, place + column, totals(sums, column * LANES))


@njit(nogil=True, cache=True)
def backward_tiles(
    tiles, offsets, gaussian_ids, splats, colors, renders, alphas, grad_renders, grad_alphas, pair_grads, want_abs
):
    """All gradients of every pair, into pair_grads [I, pair_columns(MOMENTS + D)]."""
    height, width, num_channels = renders.shape
    num_columns = pair_grads.shape[1]
    tiles_x = -(-width // TILE)
    flat_splats, flat_colors, flat_grads = splats.reshape(-1), colors.reshape(-1), pair_grads.reshape(-1)
    transmittance, behind = np.empty(PIXELS, np.float32), np.empty(PIXELS, np.float32)
    cotangent = np.empty(num_channels * PIXELS, np.float32)
    sums = np.empty(num_columns * LANES, np.float32)
    for tile in tiles:
        x0, y0, blocks = _open_tile(tile, tiles_x, width, height, transmittance)
        _read_tile(x0, y0, grad_renders, cotangent)
        _read_behind(x0, y0, renders, alphas, grad_renders, grad_alphas, behind)
        for pair in range(offsets[tile], offsets[tile + 1]):
            gaussian = gaussian_ids[pair]
            base = gaussian * SPLAT
            sums[:] = 0
            m0 = mx = my = mxx = mxy = myy = abs_x = abs_y = splat(_ZERO)
            for block_row in range(BLOCKS if blocks else 0):
                first, last = _block_span(splats, gaussian, x0, y0, block_row)
                for block_column in range(first, last + 1):
                    block = block_row * BLOCKS + block_column
                    dx, dy = _offsets(flat_splats, base, x0 + block_column * BLOCK, y0 + block_row * BLOCK)
                    visible, sane = _visibility(flat_splats, base, dx, dy)
                    alpha, weight, blended, finished = _blend_step(transmittance, block, visible, sane)
                    if finished and not _alive(transmittance, block):
                        blocks -= 1
                    if not blended:
                        continue
                    dot = splat(_ZERO)
                    for channel in range(num_channels):
                        grad = load(cotangent, channel * PIXELS + block * LANES)
                        dot += grad * at(flat_colors, gaussian * num_channels + channel)
                        place = (MOMENTS + channel) * LANES
                        store(sums, place, load(sums, place) + weight * grad)
                    rest = load(behind, block * LANES) - weight * dot
                    store(behind, block * LANES, rest)
                    # dL/dsigma = -alpha dL/dalpha; a clamped alpha passes no gradient
                    slope = rest * alpha / (_ONE - alpha) - weight * dot
                    slope = where(visible > _MAX_ALPHA, splat(_ZERO), slope)
                    slope_x, slope_y = slope * dx, slope * dy
                    m0, mx, my = m0 + slope, mx + slope_x, my + slope_y
                    mxx, mxy, myy = mxx + slope_x * dx, mxy + slope_x * dy, myy + slope_y * dy
                    if want_abs:
                        a, b = at(flat_splats, base + CONIC_A), at(flat_splats, base + CONIC_B)
                        abs_x += magnitude(slope_x * a + slope_y * b)
                        abs_y += magnitude(slope_x * b + slope_y * at(flat_splats, base + CONIC_C))
            _store_moments(sums, m0, mx, my, mxx, mxy, myy, abs_x, abs_y)
            _write_pair(sums, flat_grads, pair * num_columns, num_columns)


@njit(nogil=True, cache=True, forceinline=True)
def _store_moments(sums, m0, mx, my, mxx, mxy, myy, abs_x, abs_y):
    store(sums, M0 * LANES, m0)
    store(sums, MX * LANES, mx)
    store(sums, MY * LANES, my)
    store(sums, MXX * LANES, mxx)
    store(sums, MXY * LANES, mxy)
    store(sums, MYY * LANES, myy)
    store(sums, ABS_X * LANES, abs_x)
    store(sums, ABS_Y * LANES, abs_y)


@njit(nogil=True, cache=True)
def gather_pairs(begin, end, order, slot_offsets, slots, pair_grads, splats, first, grad_colors, grad_geometry):
    """Sums each Gaussian's slots, for order[begin:end], in the order of its tiles.

    grad_colors [N, D] gets the columns from `first` on. Where first is MOMENTS, grad_geometry [N, 8] gets means2d (2),
    conics (3), opacity and absolute means2d (2). With d the offset from the centre,
    sigma = (a dx^2 + 2 b dx dy + c dy^2) / 2, whence dsigma/dmean = -(a dx + b dy, b dx + c dy).
    """
    num_columns, num_channels = pair_grads.shape[1], grad_colors.shape[1]
    flat_pairs, flat_colors, flat_splats = pair_grads.reshape(-1), grad_colors.reshape(-1), splats.reshape(-1)
    summed = np.empty(num_columns, np.float32)
    for rank in range(begin, end):
        for column in range(0, num_columns, LANES):
            row = splat(_ZERO)
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
            row_out[2], row_out[3], row_out[4] = _HALF * summed[MXX], summed[MXY], _HALF * summed[MYY]
            row_out[5] = -summed[M0] / at(flat_splats, gaussian * SPLAT + OPACITY)
            row_out[6], row_out[7] = summed[ABS_X], summed[ABS_Y]
