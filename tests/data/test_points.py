"""Initial points: read from a PLY, or drawn where the cameras look."""

import numpy as np
import pytest

from gsdff.data.points import random_in_cube, random_in_view, read_points, viewing_distance
from gsdff.errors import UserError

POSITIONS = np.array([[1.0, 2.0, 3.0], [-4.0, 0.5, 1e-3]])
COLORS = np.array([[255, 128, 0], [1, 2, 3]], np.uint8)


def header(encoding, coordinate="float", color="uchar", count=2):
    lines = ["ply", f"format {encoding} 1.0", "comment made by hand", f"element vertex {count}"]
    lines += [f"property {coordinate} {axis}" for axis in "xyz"] + [f"property {coordinate} nx"]
    lines += [f"property {color} {name}" for name in ("red", "green", "blue")] if color else []
    return "\n".join([*lines, "element face 0", "property list uchar int vertex_index", "end_header", ""]).encode()


def binary_ply(order="<", coordinate="f4", color="u1", colors=COLORS):
    dtype = [("p", order + coordinate, 4), ("c", order + color, 3)]
    table = np.array([((*p, 0.0), c) for p, c in zip(POSITIONS, colors, strict=True)], dtype)
    names = {"f4": "float", "f8": "double", "u1": "uchar"}
    encoding = "binary_little_endian" if order == "<" else "binary_big_endian"
    return header(encoding, names[coordinate], names[color]) + table.tobytes()


@pytest.mark.parametrize(
    "content",
    [
        binary_ply(),
        binary_ply(">"),
        binary_ply("<", "f8"),
        binary_ply("<", "f4", "f4", COLORS / 255),
        header("ascii") + b"1 2 3 0 255 128 0\n-4 .5 1e-3 0 1 2 3\n",
        (header("ascii") + b"1 2 3 0 255 128 0\n-4 .5 1e-3 0 1 2 3").replace(b"\n", b"\r\n"),
    ],
    ids=["little", "big", "double", "float colours", "ascii", "ascii of Windows"],
)
def test_positions_and_colours_are_read_in_every_encoding(tmp_path, content):
    (tmp_path / "a.ply").write_bytes(content)
    points, colors = read_points(tmp_path / "a.ply")
    assert np.allclose(points, POSITIONS, rtol=1e-6) and (colors == COLORS).all()


def test_points_without_colours_are_grey(tmp_path):
    (tmp_path / "a.ply").write_bytes(header("ascii", color=None) + b"1 2 3 0\n-4 .5 1e-3 0\n")
    points, colors = read_points(tmp_path / "a.ply")
    assert len(points) == 2 and (colors == 128).all()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a ply",
        b"\xff\xfe\x00" * 20,
        b"ply\nformat ascii 1.0\n",
        binary_ply()[:-1],
        header("ascii") + b"1 2 3 0 255 128 0\n",
        header("ascii") + b"1 2 3 0 255 128 0\na b c d e f g\n",
        header("ascii", count=2).replace(b"vertex 2", b"face 2"),
        header("klingon"),
        b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float u\nend_header\n1\n",
    ],
)
def test_what_is_no_point_cloud_is_named(tmp_path, content):
    (tmp_path / "a.ply").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.ply"):
        read_points(tmp_path / "a.ply")


def look_at(positions, target):
    """World-to-camera matrices of upright cameras at `positions` that look at `target`."""
    viewmats = np.tile(np.eye(4), (len(positions), 1, 1))
    for viewmat, position in zip(viewmats, positions, strict=True):
        z = (target - position) / np.linalg.norm(target - position)
        x = np.cross(z, [0.0, 0.0, 1.0])
        x /= np.linalg.norm(x)
        viewmat[:3, :3] = [x, np.cross(z, x), z]
        viewmat[:3, 3] = -viewmat[:3, :3] @ position
    return viewmats


def ring(centre, radius=3.0, num=12):
    angles = np.arange(num) * 2 * np.pi / num
    offsets = np.stack([np.cos(angles), np.sin(angles), np.full(num, 0.2)], axis=1)
    return look_at(np.asarray(centre) + radius * offsets, np.asarray(centre))


def test_cameras_around_an_object_look_as_far_as_it_is():
    assert np.isclose(viewing_distance(ring([5.0, -2.0, 1.0])), 3 * np.sqrt(1.04))


def test_cameras_that_look_outwards_or_ahead_look_beyond_their_own_spread():
    outwards = ring([0.0, 0.0, 0.0])
    outwards[:, [0, 2]] *= -1  # each turned around on the spot
    ahead = np.tile(np.eye(4), (5, 1, 1))
    ahead[:, 2, 3] = -np.arange(5.0)
    assert np.isclose(viewing_distance(outwards), 2 * 3)
    assert np.isclose(viewing_distance(ahead), 4)
    assert viewing_distance(np.eye(4)[None]) == 1


def test_every_random_point_is_in_view_of_a_camera():
    viewmats = ring([5.0, -2.0, 1.0])
    Ks = np.tile(np.array([[50.0, 0, 40], [0, 60, 20], [0, 0, 1]]), (len(viewmats), 1, 1))
    points = random_in_view(500, viewmats, Ks, np.tile([80, 60], (len(viewmats), 1)))
    in_camera = np.einsum("cij,pj->cpi", viewmats[:, :3, :3], points) + viewmats[:, None, :3, 3]
    pixels = np.einsum("cij,cpj->cpi", Ks, in_camera)
    pixels = pixels[..., :2] / pixels[..., 2:]
    seen = (in_camera[..., 2] > 0) & (pixels > -1e-6).all(-1) & (pixels < np.array([80, 60]) + 1e-6).all(-1)
    assert seen.any(0).all()
    assert np.linalg.norm(np.median(points, 0) - [5, -2, 1]) < 0.5


def test_random_points_are_the_same_every_time_and_fill_the_cube():
    points = random_in_cube(2000, 1.3)
    assert (points == random_in_cube(2000, 1.3)).all() and not (points == random_in_cube(2000, 1.3, seed=1)).any()
    assert np.abs(points).max() <= 1.3 and (points.max(0) > 1.28).all() and (points.min(0) < -1.28).all()
