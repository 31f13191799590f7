"""Lists of the Gaussians that touch each 16x16 tile, front to back.

A tile lists a Gaussian only if the ellipse {alpha >= 1/255} meets the tile's pixel centres, which is tighter than
gsplat's bounding squares and blends the same. Gaussians are sorted by depth once; dealing them to the tiles in that
order leaves every tile's list sorted, so intersections are never sorted themselves.
"""

from dataclasses import dataclass

import numpy as np

from gsdff.kernels import kernel, run_parts, split_range

TILE = 16

# Columns of a splat: everything about a projected Gaussian that tiles and blending need, in one cache line.
MEAN_X, MEAN_Y, CONIC_A, CONIC_B, CONIC_C, OPACITY = range(6)
# The ellipse {alpha >= 1/255} as spans of rows: at height dy it covers SHEAR dy +- sqrt(REACH - SQUASH dy^2).
SHEAR, REACH, SQUASH, RIGHTMOST_Y, TOP_Y = range(6, 11)
SPLAT = 12


@dataclass(frozen=True)
class TileLists:
    """Intersections: I (tile, Gaussian) pairs, in the order of tiles and, within a tile, of depth."""

    offsets: np.ndarray
    """[tiles + 1] int32: where each tile's list starts."""
    gaussian_ids: np.ndarray
    """[I] int32: the Gaussian of each pair."""
    order: np.ndarray
    """[V] int32: visible Gaussians, front to back."""
    slot_offsets: np.ndarray
    """[V + 1] int32: where the intersections of each Gaussian in `order` start in `slots`."""
    slots: np.ndarray
    """[I] int32: positions in `gaussian_ids`, Gaussian by Gaussian."""


@kernel(forceinline=True)
def row_span(splat, y0, y1):
    """First and last column whose pixel centres the ellipse may meet in rows y0..y1 inclusive; none if first > last."""
    top = splat[TOP_Y]
    low = max(np.float32(y0) + np.float32(0.5) - splat[MEAN_Y], -top)
    high = min(np.float32(y1) + np.float32(0.5) - splat[MEAN_Y], top)
    if low > high:
        return 1, 0
    right_y = min(max(splat[RIGHTMOST_Y], low), high)
    left_y = min(max(-splat[RIGHTMOST_Y], low), high)
    right = splat[SHEAR] * right_y + np.sqrt(max(splat[REACH] - splat[SQUASH] * right_y * right_y, np.float32(0)))
    left = splat[SHEAR] * left_y - np.sqrt(max(splat[REACH] - splat[SQUASH] * left_y * left_y, np.float32(0)))
    centre = splat[MEAN_X] - np.float32(0.5)
    # clamped before they become integers: a Gaussian near the camera reaches beyond what 32 bits hold
    return (
        np.int32(np.ceil(max(centre + left, np.float32(-1e6)))),
        np.int32(np.floor(min(centre + right, np.float32(1e6)))),
    )


@kernel(forceinline=True)
def _tile_rows(splat, tiles_y):
    """First and last tile row the ellipse may meet."""
    top = max(splat[MEAN_Y] - splat[TOP_Y] - np.float32(0.5), np.float32(-1e6))
    bottom = min(splat[MEAN_Y] + splat[TOP_Y] - np.float32(0.5), np.float32(1e6))
    return max(np.int32(np.floor(top)) // TILE, 0), min(np.int32(np.ceil(bottom)) // TILE, tiles_y - 1)


@kernel
def _count(begin, end, order, splats, tiles_x, tiles_y, counts, touched):
    """Counts the pairs of each tile (`counts` [tiles]) and each Gaussian (`touched` [V]) in order[begin:end]."""
    for rank in range(begin, end):
        splat = splats[order[rank]]
        first_row, last_row = _tile_rows(splat, tiles_y)
        found = 0
        for row in range(first_row, last_row + 1):
            left, right = row_span(splat, row * TILE, row * TILE + TILE - 1)
            for column in range(max(left // TILE, 0), min(right // TILE, tiles_x - 1) + 1 if left <= right else 0):
                counts[row * tiles_x + column] += 1
                found += 1
        touched[rank] = found


@kernel
def _deal(begin, end, order, splats, tiles_x, tiles_y, cursors, slot_offsets, gaussian_ids, slots):
    """Writes the pairs that `_count` counted; `cursors` [tiles] is where this part's pairs start in each tile."""
    for rank in range(begin, end):
        splat = splats[order[rank]]
        first_row, last_row = _tile_rows(splat, tiles_y)
        place = slot_offsets[rank]
        for row in range(first_row, last_row + 1):
            left, right = row_span(splat, row * TILE, row * TILE + TILE - 1)
            for column in range(max(left // TILE, 0), min(right // TILE, tiles_x - 1) + 1 if left <= right else 0):
                tile = row * tiles_x + column
                slot = cursors[tile]
                cursors[tile] = slot + 1
                gaussian_ids[slot] = order[rank]
                slots[place] = slot
                place += 1


@kernel
def _sort_by_depth(depths, radii):
    """Ids of the visible Gaussians by depth, equal depths by id: radix sort of the bits (depths are positive)."""
    visible = 0
    for index in range(len(depths)):
        visible += radii[index, 0] > 0 and radii[index, 1] > 0
    ids, spare_ids = np.empty(visible, np.int32), np.empty(visible, np.int32)
    keys, spare_keys = np.empty(visible, np.uint32), np.empty(visible, np.uint32)
    bits = depths.view(np.uint32)
    place = 0
    for index in range(len(depths)):
        if radii[index, 0] > 0 and radii[index, 1] > 0:
            ids[place], keys[place] = index, bits[index]
            place += 1
    for shift in (0, 11, 22):
        starts = np.zeros(2049, np.int64)
        for index in range(visible):
            starts[((keys[index] >> np.uint32(shift)) & np.uint32(2047)) + 1] += 1
        for digit in range(2048):
            starts[digit + 1] += starts[digit]
        for index in range(visible):
            digit = (keys[index] >> np.uint32(shift)) & np.uint32(2047)
            spare_ids[starts[digit]], spare_keys[starts[digit]] = ids[index], keys[index]
            starts[digit] += 1
        ids, spare_ids, keys, spare_keys = spare_ids, ids, spare_keys, keys
    return ids


def list_tiles(splats: np.ndarray, depths: np.ndarray, radii: np.ndarray, width: int, height: int) -> TileLists:
    """Tile lists of one camera from splats [N, SPLAT], depths [N] and radii [N, 2] (zero: not visible)."""
    tiles_x, tiles_y = -(-width // TILE), -(-height // TILE)
    order = _sort_by_depth(depths, radii)
    parts = split_range(len(order))
    counts = np.zeros((len(parts), tiles_x * tiles_y), np.int32)
    touched = np.empty(len(order), np.int32)
    run_parts(_count, [(*part, order, splats, tiles_x, tiles_y, counts[i], touched) for i, part in enumerate(parts)])
    offsets = np.zeros(tiles_x * tiles_y + 1, np.int32)
    np.cumsum(counts.sum(0), out=offsets[1:])
    slot_offsets = np.zeros(len(order) + 1, np.int32)
    np.cumsum(touched, out=slot_offsets[1:])
    gaussian_ids, slots = np.empty(offsets[-1], np.int32), np.empty(offsets[-1], np.int32)
    cursors = offsets[:-1] + np.cumsum(counts, axis=0, dtype=np.int32) - counts
    run_parts(
        _deal,
        [
            (*part, order, splats, tiles_x, tiles_y, cursors[i], slot_offsets, gaussian_ids, slots)
            for i, part in enumerate(parts)
        ],
    )
    return TileLists(offsets, gaussian_ids, order, slot_offsets, slots)


@kernel
def _fill_splats(begin, end, means2d, conics, opacities, radii, splats):
    for n in range(begin, end):
        if radii[n, 0] == 0 or radii[n, 1] == 0:
            continue
        splat = splats[n]
        a, b, c, opacity = float(conics[n, 0]), float(conics[n, 1]), float(conics[n, 2]), float(opacities[n])
        # the ellipse of the float32 conic that will be blended; a conic that lost its definiteness to rounding gets a
        # very large one, and the test of each pixel's alpha decides
        determinant = max(a * c - b * b, 1e-9 * a * c)
        # a little wider than the cut-off, so that rounding can only add pixels to look at
        reach = 2 * np.log(max(255 * opacity, 1.0)) + 2e-3
        splat[MEAN_X], splat[MEAN_Y], splat[OPACITY] = means2d[n, 0], means2d[n, 1], opacity
        splat[CONIC_A], splat[CONIC_B], splat[CONIC_C] = a, b, c
        splat[SHEAR], splat[REACH], splat[SQUASH] = -b / a, reach / a, determinant / (a * a)
        splat[RIGHTMOST_Y] = -b * np.sqrt(reach / (c * determinant))
        splat[TOP_Y] = np.sqrt(reach * a / determinant)


def make_splats(means2d: np.ndarray, conics: np.ndarray, opacities: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Packs projected Gaussians [N, 2], [N, 3], [N] into splats [N, SPLAT] float32; invisible ones are not set."""
    splats = np.empty((len(means2d), SPLAT), np.float32)
    run_parts(_fill_splats, [(*part, means2d, conics, opacities, radii, splats) for part in split_range(len(splats))])
    return splats
