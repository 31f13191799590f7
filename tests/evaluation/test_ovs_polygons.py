"""Polygons as masks, against pictures that OpenCV 4.5.5 made (`cv2.fillPoly(mask, [corners], 1)`)."""

import random
import zlib

import numpy as np
import pytest

from gsdff.evaluation.ovs.polygons import fill_polygon

TRIANGLE = """
    ................
    .####...........
    ..#########.....
    ..#############.
    ...###########..
    ...##########...
    ....#######.....
    .....#####......
    .....####.......
    ......#.........
    ................
"""
STAR = """
    .......#........
    .......#........
    ......###.......
    ###############.
    .#####...#####..
    ...###...###....
    ....##...##.....
    ....#######.....
    ....###.###.....
    ...###...###....
    ...#.......#....
"""
BEYOND = """
    #########.......
    ##########......
    ############....
    #############...
    .#############..
    ....###########.
    ......##########
    ........########
    ..........######
    ............####
    ..............##
"""
HOLE = """
    ................
    ................
    ..############..
    ..############..
    ..###.########..
    ..####..######..
    ..############..
    ..############..
    ..############..
    ................
    ................
"""


@pytest.mark.parametrize(
    ("corners", "picture"),
    [
        ([(1, 1), (14, 3), (6, 9)], TRIANGLE),
        ([(7, 0), (3, 10), (14, 3), (0, 3), (11, 10)], STAR),
        ([(-4, 2), (5, -3), (13, 4), (20, 12), (8, 7)], BEYOND),
        ([(2, 2), (13, 2), (13, 8), (2, 8), (2, 2), (7, 4), (9, 6), (6, 6)], HOLE),
    ],
    ids=["triangle", "star that crosses itself", "corners outside", "hole that touches a corner"],
)
def test_a_polygon_is_the_pixels_that_opencv_fills(corners, picture):
    expected = [[pixel == "#" for pixel in row] for row in picture.split()]
    assert fill_polygon(corners, 16, 11).tolist() == expected


def random_polygon(chance: random.Random, width: int, height: int, beyond: int) -> list[tuple[int, int]]:
    """Corners up to so far outside; a fifth of the polygons come back to their first corner."""
    number = chance.randint(3, 11)
    sides = ((chance.randint(-beyond, side - 1 + beyond) for side in (width, height)) for _ in range(number))
    corners = [(x, y) for x, y in sides]
    return corners + [corners[0]] * (chance.random() < 0.2)


@pytest.mark.parametrize(
    ("beyond", "area", "checksum"), [(0, 20960, 779297011), (1, 22082, 1412498040), (40, 31015, 1171634965)]
)
def test_a_hundred_random_polygons_are_the_pixels_that_opencv_fills(beyond, area, checksum):
    chance, found, total = random.Random(beyond), 0, 0
    for _ in range(100):
        width, height = chance.randint(1, 60), chance.randint(1, 60)
        mask = fill_polygon(random_polygon(chance, width, height, beyond), width, height)
        found, total = zlib.crc32(np.packbits(mask).tobytes(), found), total + int(mask.sum())
    assert (total, found) == (area, checksum)


@pytest.mark.parametrize("shift", [(0, 0), (3, 2), (-9, -6), (12, 9)])
def test_a_polygon_that_is_moved_shows_the_same_pixels_as_far_as_they_are_in_the_picture(shift):
    corners = [(4, 1), (11, 1), (11, 7), (4, 7)]
    moved = fill_polygon([(x + shift[0], y + shift[1]) for x, y in corners], 16, 11)
    large = np.zeros((41, 46), bool)
    large[1 + 15 + shift[1] : 8 + 15 + shift[1], 4 + 15 + shift[0] : 12 + 15 + shift[0]] = True
    assert np.array_equal(moved, large[15:26, 15:31])


def test_a_polygon_beside_the_picture_or_around_it_covers_nothing_or_all():
    beside = [(20, -5), (30, 5), (25, 20)]
    around = [(-50, -50), (90, -40), (80, 70), (-60, 60)]
    assert not fill_polygon(beside, 16, 11).any() and fill_polygon(around, 16, 11).all()
    assert fill_polygon([(3, 3), (3, 3), (3, 3)], 16, 11).sum() == 1
