"""Headers of PLYs: what others write is read, and one that contradicts itself or its file is refused or said."""

import struct
from pathlib import Path

import numpy as np
import pytest
from plyfile import PlyData, PlyElement
from random_gaussians import assert_same_bits, make_gaussians

from gsdff.errors import UserError
from gsdff.io.ply import read_ply, write_ply
from gsdff.io.ply_file import read_elements

NAMES = ["x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"]
NAMES += ["scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]
GAUSSIANS = make_gaussians(4, 0)


@pytest.fixture(params=["binary", "text"])
def ply(request, tmp_path) -> Path:
    """Four Gaussians."""
    write_ply(tmp_path / "scene.ply", GAUSSIANS)
    ply = PlyData.read(str(tmp_path / "scene.ply"), mmap=False)
    PlyData(ply.elements, text=request.param == "text").write(str(tmp_path / "scene.ply"))
    return tmp_path / "scene.ply"


def change(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"element vertex 4", b"element vertex -5", "its header has the line 'element vertex -5'"),
        (b"element vertex 4", b"element vertex 4.0", "its header has the line 'element vertex 4.0'"),
        (b"element vertex 4", b"element vertex", "its header has the line 'element vertex'"),
        (b"element vertex 4", b"element vertex 5", "early end|declares 5 of vertex"),
        (
            b"element vertex 4",
            b"element vertex 999999999999",
            "its header declares 999,999,999,999 of vertex",
        ),
        (b"element vertex 4", b"element vertex " + b"9" * 400, "its header has the line 'element vertex 9999"),
        (b"element vertex 4", b"element vertex 4\nelement vertex 4", "two elements are named vertex"),
        (b"property float y", b"property float x", "two properties of vertex are named x"),
        (b"property float y", b"property number y", "its header has the line 'property number y'"),
        (b"property float y", b"property float", "its header has the line 'property float'"),
        (b"property float y", b"propperty float y", "its header has the line 'propperty float y'"),
        (b"element vertex 4\n", b"", "its header has the line 'property float x'"),
        (b" 1.0\n", b" 2.0\n", "its header has the line 'format "),
        (b"format", b"comment", "no line with the format, or several"),
        (b"end_header\n", b"end_heading\n", "its header has no end"),
        (b"ply\n", b"poly\n", "it does not begin with the line ply"),
    ],
)
def test_a_header_that_lies_is_refused(ply, old, new, message):
    change(ply, old, new)
    with pytest.raises(UserError, match=rf"scene\.ply: cannot be read as a 3DGS PLY \((.*)({message}).*copy or export"):
        read_ply(ply)


def test_a_list_property_is_refused_where_a_number_belongs(ply):
    change(ply, b"property float opacity", b"property list uchar float opacity")
    with pytest.raises(UserError, match=r"scene\.ply: "):
        read_ply(ply)


def test_fewer_rows_than_the_file_holds_are_said(ply, caplog):
    change(ply, b"element vertex 4", b"element vertex 3")
    assert len(read_ply(ply)) == 3
    assert "scene.ply: its header declares less than the file holds: " in caplog.text


@pytest.mark.parametrize("line_end", [b"\r\n", b"\r", b"\n"])
def test_any_line_ends_and_comments_in_any_letters_are_read(ply, line_end, caplog):
    header, body = ply.read_bytes().split(b"end_header\n")
    lines = header.splitlines()
    lines[1:1] = ["comment für Stühle, vertex 7".encode("latin-1"), b"obj_info num_cols 3"]
    lines[4:4] = ["comment 椅子".encode(), b"", b"comment end_header is below"]
    lines.append(b"obj_info last")
    is_text = b"ascii" in header
    body = body.replace(b"\n", line_end) if is_text else body
    ply.write_bytes(line_end.join([*lines, b"end_header", b""]) + body)
    assert_same_bits(read_ply(ply), GAUSSIANS)
    assert not caplog.records


def test_comments_are_kept(ply):
    change(ply, b"element vertex", b"comment offset 1 2 3\r\nelement vertex")
    ply.write_bytes(ply.read_bytes().replace(b"\r\n", b"\n"))
    assert read_elements(ply, "a PLY", "copy it again").comments == ["offset 1 2 3"]


def test_a_binary_row_that_looks_like_the_end_of_the_header_is_data(tmp_path):
    values = np.frombuffer(b"\nend_header\n".ljust(56, b"\n"), "<f4").copy()
    header = ["ply", "format binary_little_endian 1.0", "element vertex 1", *(f"property float {n}" for n in NAMES)]
    path = tmp_path / "scene.ply"
    path.write_bytes("\n".join([*header, "end_header", ""]).encode() + values.tobytes())
    (row,) = read_elements(path, "a PLY", "copy it again").elements["vertex"]
    assert list(row) == values.tolist()


@pytest.mark.parametrize("text", [False, True])
def test_faces_before_and_after_the_vertices_are_passed_over(tmp_path, text, caplog):
    write_ply(tmp_path / "scene.ply", GAUSSIANS)
    vertex = PlyData.read(str(tmp_path / "scene.ply"), mmap=False)["vertex"]
    faces = np.empty(2, dtype=[("vertex_indices", "O")])
    faces["vertex_indices"] = [np.array([0, 1, 2], "i4"), np.array([1, 2], "i4")]
    elements = [
        PlyElement.describe(faces, "face", val_types={"vertex_indices": "i4"}),
        vertex,
        PlyElement.describe(faces, "more", val_types={"vertex_indices": "i4"}),
    ]
    PlyData(elements, text=text).write(str(tmp_path / "scene.ply"))
    assert_same_bits(read_ply(tmp_path / "scene.ply"), GAUSSIANS)
    assert not caplog.records


def test_lists_of_terabytes_are_refused(tmp_path):
    header = ["ply", "format binary_little_endian 1.0", "element face 1", "property list uint double vertex_indices"]
    header += ["element vertex 0", "property float x", "end_header", ""]
    path = tmp_path / "scene.ply"
    path.write_bytes("\n".join(header).encode() + struct.pack("<I", 0xFFFFFFFF) + bytes(64))
    with pytest.raises(UserError, match=r"scene\.ply: cannot be read as a 3DGS PLY"):
        read_ply(path)
