"""Initial points: read from a PLY, or drawn where the cameras look."""

import os

import numpy as np
import pytest

from gsdff.data.points import read_points, viewing_distance
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


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_an_offset_is_added_in_float64(tmp_path, caplog, end):
    content = header("ascii") + b"1 2 3 0 255 128 0\n-4 .5 1e-3 0 1 2 3\n"
    stated = b"comment not yet end_header\ncomment offset 500000.0 4649776.25 -3.0"
    (tmp_path / "a.ply").write_bytes(content.replace(b"comment made by hand", stated).replace(b"\n", end))
    points, colors = read_points(tmp_path / "a.ply")
    assert points == pytest.approx(POSITIONS + np.array([500_000, 4_649_776.25, -3]), rel=1e-12)
    assert (colors == COLORS).all()
    assert "rounded" not in caplog.text


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
        binary_ply().replace(b"vertex 2", b"vertex -5"),
        binary_ply().replace(b"vertex 2", b"vertex 1e3"),
        binary_ply().replace(b"vertex 2", b"vertex 99999999999999999999"),
        header("ascii", count=10**30) + b"1 2 3 0 255 128 0\n",
        header("ascii") + b"1 2 3 0 255 128 0\n-4 .5 1e-3 0 1 2\n",
        header("ascii") + b"1 2 3 0 255 128 nan\n-4 .5 1e-3 0 1 2 3\n",
        header("ascii") + b"1 2 3 0 255 128 inf\n-4 .5 1e-3 0 1 2 3\n",
        binary_ply().replace(b"property float nx", b"property float x"),
        b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float u\nend_header\n1\n",
    ],
)
def test_what_is_no_point_cloud_is_named(tmp_path, content):
    (tmp_path / "a.ply").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.ply"):
        read_points(tmp_path / "a.ply")


def write_colored(path, kind, names, colors):
    """Writes a binary PLY of points with these colours."""
    dtype = np.dtype([(axis, "<f8") for axis in "xyz"] + [(name, "<" + kind) for name in names])
    table = np.zeros(len(colors), dtype)
    for i, name in enumerate(names):
        table[name] = np.array(colors)[:, i]
    types = {
        "u1": "uchar",
        "i1": "char",
        "u2": "ushort",
        "i2": "short",
        "u4": "uint",
        "i4": "int",
        "f4": "float",
        "f8": "double",
    }
    lines = [f"property {types[dtype[name].str[1:]]} {name}" for name in dtype.names]
    head = ["ply", "format binary_little_endian 1.0", f"element vertex {len(colors)}", *lines, "end_header", ""]
    path.write_bytes("\n".join(head).encode() + table.tobytes())
    return path


RGB = ("red", "green", "blue")
DIFFUSE = ("diffuse_red", "diffuse_green", "diffuse_blue")
BYTES = [(255, 128, 0), (1, 2, 3), (0, 0, 0)]


@pytest.mark.parametrize(
    ("kind", "names", "scale", "message"),
    [
        ("u1", RGB, 1, None),
        ("u1", DIFFUSE, 1, None),
        ("u1", ("r", "g", "b"), 1, None),
        ("i1", RGB, 1, None),
        ("u2", RGB, 257, "read as 16-bit ones"),
        ("u4", RGB, 257, "read as 16-bit ones"),
        ("f4", RGB, 257, "read as 16-bit ones"),
        ("u2", RGB, 1, None),
        ("i2", RGB, 1, None),
        ("i4", RGB, 1, None),
        ("f4", RGB, 1, "floats up to 255, they are read as 0 to 255"),
        ("f8", DIFFUSE, 1, "floats up to 255, they are read as 0 to 255"),
        ("f4", RGB, 1 / 255, None),
        ("f8", DIFFUSE, 1 / 255, None),
    ],
)
def test_colours_of_any_kind_are_the_same_bytes(tmp_path, caplog, kind, names, scale, message):
    colors = np.array(BYTES) * scale
    path = write_colored(
        tmp_path / "a.ply", kind, names, colors.astype(np.uint8).astype(np.int8) if kind == "i1" else colors
    )
    with caplog.at_level("INFO", "gsdff"):
        assert read_points(path)[1].tolist() == [list(color) for color in BYTES]
    assert message in caplog.text if message else not caplog.text


def test_a_3dgs_scene_gives_the_colours_of_its_gaussians(tmp_path, caplog):
    harmonics = (np.array(BYTES) / 255 - 0.5) / 0.28209479177387814
    path = write_colored(tmp_path / "a.ply", "f4", ("f_dc_0", "f_dc_1", "f_dc_2"), [*harmonics, (99.0, -99.0, 0.0)])
    with caplog.at_level("INFO", "gsdff"):
        assert read_points(path)[1].tolist() == [*map(list, BYTES), [255, 0, 128]]
    assert "colours of its Gaussians" in caplog.text


@pytest.mark.parametrize(
    ("color", "kind", "message"),
    [
        ((np.nan, 0.5, 0.5), "f4", "1 of 3 points have a colour that is negative, not finite or above 65535"),
        ((-0.5, 0.5, 0.5), "f4", "1 of 3 points have a colour"),
        ((1.7e308, 0.5, 0.5), "f8", "1 of 3 points have a colour"),
        ((np.inf, 0.5, 0.5), "f4", "1 of 3 points have a colour"),
        ((-1, 5, 5), "i4", "1 of 3 points have a colour"),
        ((70000, 5, 5), "u4", "1 of 3 points have a colour"),
    ],
)
def test_what_is_no_colour_is_grey_and_said(tmp_path, caplog, color, kind, message):
    others = [(1.0, 0.0, 1.0), (0.0, 0.0, 1.0)] if kind[0] == "f" else [(255, 0, 255), (0, 0, 255)]
    colors = read_points(write_colored(tmp_path / "a.ply", kind, RGB, [color, *others]))[1]
    assert colors.tolist() == [[128, 128, 128], [255, 0, 255], [0, 0, 255]] and message in caplog.text


def test_overexposed_colours_are_cut_off_and_said(tmp_path, caplog):
    colors = read_points(write_colored(tmp_path / "a.ply", "f4", RGB, [(1.25, 0.5, 0.0), (1.0, 0.2, 0.0)]))[1]
    assert colors.tolist() == [[255, 128, 0], [255, 51, 0]] and "they are read as 0 to 1 and cut off" in caplog.text


def test_no_colours_are_said(tmp_path, caplog):
    colors = read_points(write_colored(tmp_path / "a.ply", "u1", ("quality",), [(7,), (8,)]))[1]
    assert (colors == 128).all() and "has no colours" in caplog.text


def test_no_points_are_no_points(tmp_path):
    for path in (write_colored(tmp_path / "a.ply", "f4", RGB, np.zeros((0, 3))), tmp_path / "b.ply"):
        if path.name == "b.ply":
            path.write_bytes(header("ascii", count=0))
        points, colors = read_points(path)
        assert points.shape == colors.shape == (0, 3)


@pytest.mark.parametrize(("kind", "said"), [("f4", True), ("f8", False)])
def test_georeferenced_points_of_few_digits_are_said(tmp_path, caplog, kind, said):
    points = np.random.default_rng(0).uniform(0, 100, (50, 3)) + np.array([500_000, 4_649_776, 100])
    table = np.array([tuple(point) for point in points], [(axis, "<" + kind) for axis in "xyz"])
    properties = "".join(f"property {'float' if kind == 'f4' else 'double'} {axis}\n" for axis in "xyz")
    head = f"ply\nformat binary_little_endian 1.0\nelement vertex 50\n{properties}end_header\n".encode()
    (tmp_path / "a.ply").write_bytes(head + table.tobytes())
    read, _ = read_points(tmp_path / "a.ply")
    assert ("stored as float32, so they are rounded to 0.5" in caplog.text) == said
    assert said or (read == points).all()


def test_a_pipe_is_no_point_cloud(tmp_path):
    os.mkfifo(tmp_path / "a.ply")
    with pytest.raises(UserError, match=r"a\.ply: expected a point cloud, it is a pipe"):
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
