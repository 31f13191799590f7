"""Scenes in other programs' formats: bytes made by hand, round trips, and what is none of them."""

import gzip
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from plyfile import PlyData, PlyElement
from random_gaussians import make_gaussians

from gsdff.errors import UserError
from gsdff.field.load import load
from gsdff.gaussians import MOST_LOGIT, Gaussians
from gsdff.io.ply import write_compressed_ply, write_ply, write_splat
from gsdff.io.splats import read_splats

HALF = 1 / (2**0.5)


def nearest(read: Gaussians, given: Gaussians) -> Gaussians:
    """The Gaussians read, in the order in which they were given: writers sort them."""
    order = torch.cdist(given.means, read.means).argmin(dim=1)
    assert len(order.unique()) == len(given)
    return read.map(lambda tensor: tensor[order])


def scene(num: int, degree: int) -> Gaussians:
    """Gaussians with colours in [0, 1] and harmonics within those that a byte holds."""
    gaussians = make_gaussians(num, degree)
    quats = gaussians.quats / gaussians.quats.norm(dim=-1, keepdim=True)
    return replace(gaussians, sh0=gaussians.sh0.clamp(-1.7, 1.7), shN=gaussians.shN.clamp(-3.9, 3.9), quats=quats)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_a_compressed_ply_of_ours_comes_back_within_its_steps(tmp_path, degree):
    given = scene(600, degree)
    write_compressed_ply(tmp_path / "scene.anything", given)
    read = nearest(read_splats(tmp_path / "scene.anything"), given)
    spans = given.means.amax(0) - given.means.amin(0)
    assert ((read.means - given.means).abs() <= spans / 2046).all()
    assert (read.log_scales - given.log_scales).abs().max() < 8 / 2046
    assert (read.opacities - given.opacities).abs().max() <= 0.51 / 255
    assert (read.base_colors - given.base_colors).abs().max() <= 0.51 / 255
    assert (read.quats * given.quats).sum(-1).abs().min() > 1 - 4e-6
    assert read.sh_degree == degree
    if degree:
        assert (read.shN - given.shN).abs().max() <= 4 / 256 + 1e-6


def test_a_compressed_ply_states_its_offset(tmp_path):
    origin = (500007.0, 4649781.0, 103.25)
    given = replace(scene(600, 1), origin=origin)
    write_compressed_ply(tmp_path / "a.ply", given)
    read = read_splats(tmp_path / "a.ply")
    assert read.origin == origin
    assert (nearest(read, given).positions - given.positions).abs().max() < 0.01
    write_compressed_ply(tmp_path / "again.ply", read)
    assert read_splats(tmp_path / "again.ply").origin == origin


@pytest.mark.parametrize("wrong", [b"1 2", b"1 2 nan", b"1 2 3 4", b"a b c"])
def test_an_offset_of_a_compressed_ply_that_is_none_is_refused(tmp_path, wrong):
    write_compressed_ply(tmp_path / "a.ply", replace(scene(10, 0), origin=(1.0, 2.0, 3.0)))
    content = (tmp_path / "a.ply").read_bytes()
    (tmp_path / "a.ply").write_bytes(content.replace(b"offset 1.0 2.0 3.0", b"offset " + wrong))
    with pytest.raises(UserError, match=r"a\.ply: its comment .*offset .* is no offset; expected three numbers"):
        read_splats(tmp_path / "a.ply")


def test_a_splat_of_ours_comes_back_within_its_steps(tmp_path):
    given = scene(600, 2)
    write_splat(tmp_path / "scene.anything", given)
    read = nearest(read_splats(tmp_path / "scene.anything"), given)
    assert torch.equal(read.means, given.means) and read.sh_degree == 0 and read.features is None
    torch.testing.assert_close(read.log_scales, given.log_scales, atol=1e-6, rtol=0)
    assert (given.opacities - read.opacities).abs().max() <= 1.01 / 255
    assert (given.base_colors - read.base_colors).abs().max() <= 1.01 / 255
    assert ((read.quats / read.quats.norm(dim=-1, keepdim=True)) * given.quats).sum(-1).abs().min() > 1 - 1e-3


def test_a_splat_by_hand(tmp_path):
    path = tmp_path / "one.bin"
    path.write_bytes(struct.pack("<6f8B", 1, -2, 3.5, 0.5, 0, 2, 255, 0, 51, 204, 255, 128, 128, 128) * 2)
    read = read_splats(path)
    assert read.means.tolist() == [[1, -2, 3.5]] * 2
    assert read.scales[0].tolist() == pytest.approx([0.5, 0, 2], abs=1e-6)
    assert read.base_colors[0].tolist() == pytest.approx([1, 0, 0.2], abs=1e-6)
    assert float(read.opacities[0]) == pytest.approx(0.8)
    assert read.quats[0].tolist() == [127 / 128, 0, 0, 0]
    assert all(tensor.isfinite().all() for _, tensor in read.items())


CHUNK_NAMES = [f"{end}_{name}" for end in ("min", "max") for name in ("x", "y", "z")]
CHUNK_NAMES += [f"{end}_scale_{name}" for end in ("min", "max") for name in ("x", "y", "z")]
COLOR_NAMES = [f"{end}_{name}" for end in ("min", "max") for name in ("r", "g", "b")]


def write_packed(
    path: Path,
    packed: list[tuple[int, int, int, int]],
    bounds: list[list[float]],
    *,
    sh: np.ndarray | None = None,
    kind: str = "u4",
) -> None:
    """A compressed PLY of these words and bounds, of 12 (without colours) or 18 numbers."""
    names = [*CHUNK_NAMES, *COLOR_NAMES][: len(bounds[0])]
    chunks = np.array([tuple(row) for row in bounds], dtype=[(name, "f4") for name in names])
    words = np.array(packed, dtype=[(f"packed_{name}", kind) for name in ("position", "rotation", "scale", "color")])
    elements = [PlyElement.describe(chunks, "chunk"), PlyElement.describe(words, "vertex")]
    if sh is not None:
        rows = np.array([tuple(row) for row in sh], dtype=[(f"f_rest_{i}", sh.dtype) for i in range(sh.shape[1])])
        elements.append(PlyElement.describe(rows, "sh"))
    PlyData(elements, byte_order="<").write(str(path))


BOUNDS = [0, 0, 0, 2047, 1023, -2047, -8, -8, -8, 0, 0, 0]


def test_a_compressed_ply_by_hand(tmp_path):
    position = 5 << 21 | 6 << 11 | 7
    # of wxyz the y is the largest (index 2); w = -sqrt(2) / 2, x about 0, z = 0
    rotation = 2 << 30 | 0 << 20 | 511 << 10 | 512
    scale = 2047 << 21 | 0 << 11 | 2047
    color = 255 << 24 | 0 << 16 | 51 << 8 | 255
    sh = np.array([[0, 255, 128, *range(6)]], np.uint8)
    write_packed(tmp_path / "a.ply", [(position, rotation, scale, color)], [BOUNDS], sh=sh)
    read = read_splats(tmp_path / "a.ply")
    assert read.means.tolist() == [[5, 6, -7]]
    assert read.quats[0].tolist() == pytest.approx([-HALF, 0, HALF, 0], abs=1e-3)
    assert read.log_scales.tolist() == [[0, -8, 0]]
    assert read.base_colors[0].tolist() == pytest.approx([1, 0, 0.2], abs=1e-6)  # without bounds of colours
    assert read.logit_opacities.tolist() == [MOST_LOGIT] and read.opacities.tolist() == [1]
    assert read.shN.shape == (1, 3, 3)
    assert read.shN[0, :, 0].tolist() == [-4, 4, 0.5 / 32]  # the bands of red
    assert read.shN[0, 0].tolist() == [-4, -4, 3.5 / 32 - 4]


def test_colours_have_the_bounds_of_their_chunk(tmp_path):
    bounds = [[*BOUNDS, -1, 0, 0, 1, 1, 3], [*BOUNDS, 0.5, 0, 0, 0.5, 1, 1]]
    write_packed(tmp_path / "a.ply", [(0, 0, 0, 0xFF00FFFF)] * 257, bounds)
    read = read_splats(tmp_path / "a.ply")
    assert read.base_colors[255].tolist() == pytest.approx([1, 0, 3], abs=1e-6)
    assert read.base_colors[256].tolist() == pytest.approx([0.5, 0, 1], abs=1e-6)


def test_each_place_of_the_largest_component(tmp_path):
    words = [which << 30 | 1023 << 20 | 511 << 10 | 511 for which in range(4)]
    write_packed(tmp_path / "a.ply", [(0, word, 0, 0) for word in words], [BOUNDS])
    quats = read_splats(tmp_path / "a.ply").quats
    assert (quats.abs() > 0.7).tolist() == [
        [True, True, False, False],
        [True, True, False, False],
        [True, False, True, False],
        [True, False, False, True],
    ]


def test_bounds_that_are_not_finite_cost_their_chunk_alone(tmp_path, caplog):
    bounds = [[float("nan"), *BOUNDS[1:]], BOUNDS]
    write_packed(tmp_path / "a.ply", [(0, 0, 0, 0)] * 300, bounds)
    assert len(read_splats(tmp_path / "a.ply")) == 44
    assert "left out 256 of 300 Gaussians" in caplog.text


@pytest.mark.parametrize(
    ("bounds", "options", "message"),
    [
        ([BOUNDS], {}, "with 2 rows in the element chunk, got 1"),
        ([BOUNDS] * 3, {}, "with 2 rows in the element chunk, got 3"),
        ([BOUNDS[:11]] * 2, {}, "it lacks max_scale_z as 32 bits"),
        ([BOUNDS] * 2, {"kind": "f4"}, "it lacks packed_position, .* as 32 bits"),
        ([BOUNDS] * 2, {"sh": np.zeros((299, 9), np.uint8)}, "with 300 rows in the element sh, got 299"),
        ([BOUNDS] * 2, {"sh": np.zeros((300, 10), np.uint8)}, "expected 9, 24 or 45 f_rest of a byte, got 10"),
        ([BOUNDS] * 2, {"sh": np.zeros((300, 9), np.float32)}, "expected 9, 24 or 45 f_rest of a byte, got 0"),
    ],
)
def test_a_compressed_ply_that_lacks_something_is_refused(tmp_path, bounds, options, message):
    write_packed(tmp_path / "a.ply", [(0, 0, 0, 0)] * 300, bounds, **options)
    with pytest.raises(UserError, match=rf"a\.ply: .*{message}"):
        read_splats(tmp_path / "a.ply")


def test_a_compressed_ply_without_a_chunk_is_refused(tmp_path):
    words = np.zeros(3, dtype=[(f"packed_{name}", "u4") for name in ("position", "rotation", "scale", "color")])
    PlyData([PlyElement.describe(words, "vertex")]).write(str(tmp_path / "a.ply"))
    with pytest.raises(UserError, match=r"a\.ply: expected a compressed PLY with 1 rows in the element chunk, got 0"):
        read_splats(tmp_path / "a.ply")


def test_an_empty_element_of_harmonics_is_none(tmp_path):
    """As gsplat's exporter declares it."""
    write_packed(tmp_path / "a.ply", [(0, 0, 0, 0)], [BOUNDS])
    data = (tmp_path / "a.ply").read_bytes()
    (tmp_path / "a.ply").write_bytes(data.replace(b"end_header", b"element sh 1\nend_header", 1))
    assert read_splats(tmp_path / "a.ply").sh_degree == 0


SPZ = struct.pack("<IIIBBBB", 0x5053474E, 3, 1, 0, 12, 0, 0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "its bytes are none of these"),
        (bytes(320), "its bytes are none of these"),
        (b"\xff" * 320, "its bytes are none of these"),
        (struct.pack("<6f8B", *[1] * 6, *[255] * 4, 255, 128, 128, 128) + b"x", "its bytes are none of these"),
        (np.random.default_rng(0).bytes(3200), "its bytes are none of these"),
        (b"\x89PNG\r\n\x1a\n" + bytes(88), "its bytes are none of these"),
        (
            gzip.compress(SPZ, mtime=0),
            r"a compressed file \(.spz or .gz\), .* convert it to a PLY, for example in SuperSplat",
        ),
        (SPZ, "an SPZ file, which gsdff does not read; convert it to a PLY"),
        (b"PK\x03\x04" + bytes(60), r"an archive \(.sog or .zip\), which gsdff does not read"),
        (b"ply\n" + bytes(60), "cannot be read as a 3DGS PLY"),
    ],
)
def test_what_is_no_splat_is_refused_whatever_its_name(tmp_path, content, message):
    for name in ("scene.splat", "scene.ply"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=rf"{name}: .*{message}"):
            load(tmp_path / name, device="cpu")


def test_a_file_without_gaussians_is_refused(tmp_path):
    write_ply(tmp_path / "scene.ply", make_gaussians(0))
    with pytest.raises(UserError, match=r"scene\.ply: expected Gaussian splats, it holds none"):
        load(tmp_path / "scene.ply", device="cpu")


@pytest.mark.parametrize("write", [write_compressed_ply, write_splat, write_ply])
def test_a_field_loads_edits_and_exports_each_format_under_any_name(tmp_path, write):
    given = scene(100, 1)
    write(tmp_path / "scene.xyz", given)
    field = load(tmp_path / "scene.xyz", device="cpu")
    assert len(field) == 100
    if write is not write_ply:
        with pytest.raises(UserError, match=r"scene\.xyz: expected features"):
            field.query("chair")
    for name in ("out.ply", "out.splat", "out.compressed.ply"):
        assert len(load(field.save(tmp_path / name), device="cpu")) == 100
