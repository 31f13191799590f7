"""Writing and reading PLY, .splat and compressed PLY."""

import logging
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plyfile import PlyData, PlyElement
from random_gaussians import assert_same_bits, make_gaussians

from gsdff.errors import UserError
from gsdff.gaussians import FARTHEST, LEAST_LOG_SCALE, MOST_LOG_SCALE, MOST_LOGIT, Gaussians
from gsdff.io.ply import read_ply, write_compressed_ply, write_ply, write_points, write_splat


def write_text_ply(path: Path, properties: list[str], rows: list[str], count: int | None = None) -> Path:
    header = ["ply", "format ascii 1.0", f"element vertex {len(rows) if count is None else count}"]
    path.write_text("\n".join([*header, *(f"property {p}" for p in properties), "end_header", *rows]) + "\n")
    return path


STANDARD = ["x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"]
STANDARD += ["scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]


def write_with_plyfile(path: Path, gaussians: Gaussians) -> None:
    """As other programs write it, whatever the values are."""
    columns = [tensor.flatten(1) if tensor.ndim > 1 else tensor[:, None] for tensor in (
        gaussians.means, gaussians.sh0, gaussians.logit_opacities, gaussians.log_scales, gaussians.quats,
        gaussians.shN.transpose(1, 2))]  # fmt: skip
    values = torch.cat(columns, dim=1).numpy()
    names = [*STANDARD, *(f"f_rest_{i}" for i in range(values.shape[1] - len(STANDARD)))]
    vertices = np.array([tuple(row) for row in values], dtype=[(name, "<f4") for name in names])
    PlyData([PlyElement.describe(vertices, "vertex")], byte_order="<").write(str(path))


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize("num_features", [0, 1, 5])
def test_what_is_written_is_read_back_bit_for_bit(tmp_path, degree, num_features):
    gaussians = make_gaussians(7, degree, num_features)
    write_ply(tmp_path / "scene.ply", gaussians)
    assert_same_bits(gaussians, read_ply(tmp_path / "scene.ply"))


def test_extreme_finite_values_survive(tmp_path):
    gaussians = make_gaussians(4)
    gaussians.means[0] = torch.tensor([-0.0, 1e-45, FARTHEST])
    gaussians.logit_opacities[:2] = torch.tensor([MOST_LOGIT, -MOST_LOGIT])
    gaussians.log_scales[1, :2] = torch.tensor([LEAST_LOG_SCALE, MOST_LOG_SCALE])
    write_ply(tmp_path / "scene.ply", gaussians)
    assert_same_bits(gaussians, read_ply(tmp_path / "scene.ply"))


def infinite_gaussians(num: int = 300) -> Gaussians:
    """As Scaniverse and SuperSplat write them: half of them opaque (inf), a third flat (-inf), some invisible."""
    gaussians = make_gaussians(num, 1)
    gaussians.logit_opacities[::2] = torch.inf
    gaussians.logit_opacities[1::50] = -torch.inf
    gaussians.log_scales[::3, 2] = -torch.inf
    return gaussians


@pytest.mark.parametrize("write", [write_ply, write_with_plyfile], ids=["ours", "theirs"])
def test_opaque_and_flat_gaussians_are_read_as_finite_ones_that_look_the_same(tmp_path, write, caplog):
    given = infinite_gaussians()
    write(tmp_path / "scene.ply", given)
    read = read_ply(tmp_path / "scene.ply")
    assert len(read) == 300 and not caplog.records
    assert all(tensor.isfinite().all() for _, tensor in read.items())
    assert torch.equal((read.opacities * 255).byte(), (given.opacities * 255).byte())
    assert (read.opacities[::2] == 1).all() and (read.scales[::3, 2] < 1e-15).all()
    assert_same_bits(read, replace(given, log_scales=read.log_scales, logit_opacities=read.logit_opacities))


def test_no_writer_writes_what_is_not_finite(tmp_path, caplog):
    gaussians = make_gaussians(400)
    gaussians.means *= 1e300
    labels = torch.zeros(400, dtype=torch.uint8)
    for write in (write_ply, write_splat, write_compressed_ply):
        with pytest.raises(UserError, match="none of 400 Gaussians can be drawn"):
            write(tmp_path / "scene.ply", gaussians)
    assert not list(tmp_path.iterdir())
    gaussians.means[100:] = 1
    write_ply(tmp_path / "scene.ply", gaussians, labels=labels + torch.arange(400) % 256)
    vertices = PlyData.read(str(tmp_path / "scene.ply"), mmap=False)["vertex"].data
    assert len(vertices) == 300 and vertices["label"][0] == 100
    assert "left out 100 of 400 Gaussians" in caplog.text
    write_points(tmp_path / "points.ply", gaussians.means, torch.zeros(400, 3).byte(), labels)
    assert PlyData.read(str(tmp_path / "points.ply"), mmap=False)["vertex"].count == 300


def test_lossy_formats_keep_opaque_and_flat_gaussians(tmp_path, caplog):
    gaussians = infinite_gaussians()
    write_splat(tmp_path / "scene.splat", gaussians)
    write_compressed_ply(tmp_path / "scene.compressed.ply", gaussians)
    rows = np.frombuffer((tmp_path / "scene.splat").read_bytes(), "<f4, <f4, <f4, 3<f4, 4u1, 4u1")
    assert len(rows) == 300 and (rows["f4"][:, 3] == 255).sum() == 150
    visible = int((gaussians.opacities > 1 / 255).sum())
    assert PlyData.read(str(tmp_path / "scene.compressed.ply"), mmap=False)["vertex"].count == visible == 294
    assert not caplog.records


def test_a_scene_without_gaussians_is_a_file_without_vertices(tmp_path):
    write_ply(tmp_path / "scene.ply", make_gaussians(0, 2, 3))
    assert_same_bits(make_gaussians(0, 2, 3), read_ply(tmp_path / "scene.ply"))


def test_parameters_that_want_gradients_can_be_written(tmp_path):
    gaussians = make_gaussians(3).map(lambda t: t.requires_grad_())
    write_ply(tmp_path / "scene.ply", gaussians)
    assert_same_bits(gaussians.map(torch.detach), read_ply(tmp_path / "scene.ply"))


def test_header_and_bytes_are_those_of_3dgs(tmp_path):
    gaussians = make_gaussians(1, degree=1, num_features=2)
    write_ply(tmp_path / "scene.ply", gaussians)
    data = (tmp_path / "scene.ply").read_bytes()
    header, body = data.split(b"end_header\n", 1)
    names = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", *(f"f_rest_{i}" for i in range(9))]
    names += ["opacity", *(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4)), "semantic_0", "semantic_1"]
    expected = ["ply", "format binary_little_endian 1.0", "element vertex 1", *(f"property float {n}" for n in names)]
    assert header.decode().splitlines() == expected
    values = dict(zip(names, struct.unpack(f"<{len(names)}f", body), strict=True))
    assert values["nx"] == values["ny"] == values["nz"] == 0
    # channel-major: f_rest_0..2 are the three bands of red
    assert values["f_rest_1"] == gaussians.shN[0, 1, 0]
    assert values["f_rest_3"] == gaussians.shN[0, 0, 1]
    assert values["rot_0"] == gaussians.quats[0, 0]
    assert values["opacity"] == gaussians.logit_opacities[0]


def test_labels_come_last_as_four_byte_integers_and_change_nothing_else(tmp_path):
    gaussians = make_gaussians(3, degree=1, num_features=2)
    write_ply(tmp_path / "plain.ply", gaussians)
    write_ply(tmp_path / "scene.ply", gaussians, labels=torch.tensor([7, 0, 255], dtype=torch.uint8))
    plain, labelled = ((tmp_path / name).read_bytes().split(b"end_header\n", 1) for name in ("plain.ply", "scene.ply"))
    assert labelled[0] == plain[0] + b"property int label\n"
    rows = np.frombuffer(labelled[1], "<u4").reshape(3, -1)
    assert np.array_equal(rows[:, :-1], np.frombuffer(plain[1], "<u4").reshape(3, -1))
    assert rows[:, -1].tolist() == [7, 0, 255]
    assert_same_bits(gaussians, read_ply(tmp_path / "scene.ply"))


def test_a_scene_without_gaussians_has_labels_too(tmp_path):
    write_ply(tmp_path / "scene.ply", make_gaussians(0), labels=torch.zeros(0, dtype=torch.uint8))
    assert_same_bits(make_gaussians(0), read_ply(tmp_path / "scene.ply"))


def test_a_labelled_point_cloud_has_the_names_and_types_that_others_know(tmp_path):
    points = torch.tensor([[1.5, -2.0, 1e-3], [0.0, 3e8, -0.5]], requires_grad=True)
    colors = torch.tensor([[255, 0, 7], [1, 2, 3]], dtype=torch.uint8)
    write_points(tmp_path / "points.ply", points, colors, torch.tensor([255, 4], dtype=torch.uint8))
    header, body = (tmp_path / "points.ply").read_bytes().split(b"end_header\n", 1)
    expected = ["ply", "format binary_little_endian 1.0", "element vertex 2"]
    expected += [f"property float {name}" for name in "xyz"]
    expected += [f"property uchar {name}" for name in ("red", "green", "blue")]
    assert header.decode().splitlines() == [*expected, "property int label"]
    row = struct.Struct("<3f3Bi")
    rows = zip(points.tolist(), colors.tolist(), [255, 4], strict=True)
    assert [*row.iter_unpack(body)] == [(*place, *color, label) for place, color, label in rows]


def test_a_point_cloud_is_not_taken_for_gaussians(tmp_path):
    none = torch.zeros(0, 3)
    write_points(tmp_path / "points.ply", none, none.byte(), torch.zeros(0, dtype=torch.uint8))
    with pytest.raises(UserError, match=r"points\.ply: expected a 3DGS PLY, its vertices lack f_dc_0.*point cloud"):
        read_ply(tmp_path / "points.ply")


@pytest.mark.parametrize("text, byte_order", [(False, ">"), (True, "=")])
def test_big_endian_and_ascii_files_give_the_same_gaussians(tmp_path, text, byte_order):
    gaussians = make_gaussians(5, 1, 2)
    write_ply(tmp_path / "scene.ply", gaussians)
    ply = PlyData.read(str(tmp_path / "scene.ply"), mmap=False)
    PlyData(ply.elements, text=text, byte_order=byte_order).write(str(tmp_path / "other.ply"))
    assert_same_bits(gaussians, read_ply(tmp_path / "other.ply"))


def test_doubles_shuffled_properties_extra_properties_and_extra_elements_are_tolerated(tmp_path):
    gaussians = make_gaussians(6, 2)
    write_ply(tmp_path / "scene.ply", gaussians)
    vertices = PlyData.read(str(tmp_path / "scene.ply"), mmap=False)["vertex"].data
    names = [name for name in reversed(vertices.dtype.names) if name not in ("nx", "ny", "nz")]
    other = np.zeros(6, dtype=[("confidence", "u1"), *((name, "f8") for name in names)])
    for name in names:
        other[name] = vertices[name]
    faces = np.zeros(2, dtype=[("a", "i4")])
    elements = [PlyElement.describe(faces, "face"), PlyElement.describe(other, "vertex", comments=["from elsewhere"])]
    PlyData(elements, byte_order="<", comments=["hello"]).write(str(tmp_path / "other.ply"))
    assert_same_bits(gaussians, read_ply(tmp_path / "other.ply"))


def test_a_ply_as_feature_3dgs_writes_it_loads_with_its_features(tmp_path):
    # construct_list_of_attributes of its GaussianModel: 3DGS's own, then semantic_0 ... of as many channels as it has
    names = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", *(f"f_rest_{i}" for i in range(45))]
    names += ["opacity", *(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4))]
    names += [f"semantic_{i}" for i in range(128)]
    rows = np.random.default_rng(0).normal(size=(5, len(names))).astype(np.float32)
    vertices = np.array([tuple(row) for row in rows], dtype=[(name, "f4") for name in names])
    PlyData([PlyElement.describe(vertices, "vertex")]).write(str(tmp_path / "point_cloud.ply"))
    gaussians = read_ply(tmp_path / "point_cloud.ply")
    assert gaussians.features.shape == (5, 128) and gaussians.sh_degree == 3
    assert np.array_equal(gaussians.features.numpy(), rows[:, -128:])
    assert np.array_equal(gaussians.means.numpy(), rows[:, :3])


def test_gaussians_that_cannot_be_drawn_are_dropped_and_counted(tmp_path, caplog):
    gaussians = make_gaussians(9)
    gaussians.means[0, 1] = torch.nan
    gaussians.means[1, 1] = torch.inf
    gaussians.quats[2] = 0
    gaussians.shN[3, 2, 1] = torch.nan
    gaussians.quats[4, 1] = torch.inf
    gaussians.log_scales[5, 1] = torch.nan
    gaussians.quats[6] = 1e-30  # of norm 0 in float32
    write_with_plyfile(tmp_path / "scene.ply", gaussians)
    with caplog.at_level(logging.WARNING, logger="gsdff"):
        assert_same_bits(gaussians.map(lambda t: t[7:]), read_ply(tmp_path / "scene.ply"))
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'scene.ply'}: left out 7 of 9 Gaussians, without a finite position, rotation, size, opacity, "
        "colour or feature"
    ]
    write_with_plyfile(tmp_path / "scene.ply", gaussians.map(lambda t: t[:7]))
    with pytest.raises(UserError, match=r"scene\.ply: none of 7 Gaussians can be drawn"):
        read_ply(tmp_path / "scene.ply")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "scene.ply"
    write_ply(path, make_gaussians(2))
    before = path.read_bytes()

    def fail_midway(*_, **__):  # after the header
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gsdff.io.ply.tqdm", fail_midway)
    with pytest.raises(UserError, match=r"scene\.ply: cannot be written: the disk is full, [\d,.]+ MiB free"):
        write_ply(path, make_gaussians(3))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(UserError, match=r"nowhere\.ply: expected a 3DGS PLY, there is no such file"):
        read_ply(Path("nowhere.ply"))


@pytest.mark.parametrize(
    "content",
    [b"", b"ply", b"\xff\xd8\xff\xe0 a jpeg", b"ply\nformat binary_little_endian 1.0\n", b"ply\n\xfe\n", b"hi\n" * 50],
)
def test_a_file_that_is_no_ply_is_refused(tmp_path, content):
    path = tmp_path / "scene.ply"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"scene\.ply: cannot be read as a 3DGS PLY"):
        read_ply(path)


def test_a_mesh_is_called_a_mesh(tmp_path):
    path = write_text_ply(tmp_path / "mesh.ply", ["float x", "float y", "float z", "uchar red"], ["0 0 0 255"])
    with pytest.raises(UserError, match=r"mesh\.ply: expected a 3DGS PLY, .*lack f_dc_0.*have red, x, y, z \(a mesh"):
        read_ply(path)


def test_a_ply_without_vertices_is_refused(tmp_path):
    path = tmp_path / "faces.ply"
    PlyData([PlyElement.describe(np.zeros(2, dtype=[("a", "i4")]), "face")]).write(str(path))
    with pytest.raises(UserError, match=r"faces\.ply: .* without the element vertex but with face"):
        read_ply(path)


def test_an_unknown_number_of_sh_coefficients_is_refused(tmp_path):
    properties = [f"float {name}" for name in [*STANDARD, *(f"f_rest_{i}" for i in range(10))]]
    path = write_text_ply(tmp_path / "scene.ply", properties, [" ".join(["1"] * len(properties))])
    with pytest.raises(UserError, match=r"scene\.ply: expected 0, 9, 24 or 45 f_rest properties .* got 10"):
        read_ply(path)


def test_a_list_where_a_number_belongs_is_refused(tmp_path):
    properties = [f"float {name}" for name in STANDARD]
    properties[6] = "list uchar float opacity"
    path = write_text_ply(tmp_path / "scene.ply", properties, ["1 " * 6 + "2 1 1 " + "1 " * 7])
    with pytest.raises(UserError, match=r"scene\.ply: expected one number per vertex in property opacity, got a list"):
        read_ply(path)


def test_an_impossible_count_is_refused(tmp_path):
    properties = [f"float {name}" for name in STANDARD]
    for count in (10**18, -1):
        path = write_text_ply(tmp_path / "scene.ply", properties, ["1 " * 14], count)
        with pytest.raises(UserError, match=r"scene\.ply: cannot be read as a 3DGS PLY"):
            read_ply(path)


@pytest.mark.parametrize("text", [False, True])
def test_a_file_cut_anywhere_is_refused(tmp_path, text):
    write_ply(tmp_path / "scene.ply", make_gaussians(2, 0))
    ply = PlyData.read(str(tmp_path / "scene.ply"), mmap=False)
    PlyData(ply.elements, text=text).write(str(tmp_path / "whole.ply"))
    whole = (tmp_path / "whole.ply").read_bytes()
    last_value = len(whole.rstrip().rsplit(b" ", 1)[-1]) + 1 if text else 0  # a cut number is still a number
    for length in range(0, len(whole) - 1 - last_value):
        (tmp_path / "cut.ply").write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"cut\.ply"):
            read_ply(tmp_path / "cut.ply")


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(position=st.integers(0, 700), byte=st.integers(0, 255))
def test_one_wrong_byte_gives_gaussians_or_a_clear_error(tmp_path, position, byte):
    write_ply(tmp_path / "scene.ply", make_gaussians(3, 0, 1))
    data = bytearray((tmp_path / "scene.ply").read_bytes())
    data[position % len(data)] = byte
    (tmp_path / "scene.ply").write_bytes(data)
    try:
        assert len(read_ply(tmp_path / "scene.ply")) <= 3
    except UserError as error:
        assert "scene.ply" in str(error) and "\n" not in str(error)


def test_splat_holds_32_bytes_per_gaussian(tmp_path):
    one = Gaussians(
        means=torch.tensor([[1.0, 2.0, 3.0]]),
        quats=torch.tensor([[2.0, 0.0, 0.0, 0.0]]),
        log_scales=torch.tensor([[0.1, 0.2, 0.4]]).log(),
        logit_opacities=torch.tensor([0.0]),
        sh0=torch.tensor([[[0.0, 1.0, -1.0]]]),
        shN=torch.zeros(1, 0, 3),
    )
    write_splat(tmp_path / "scene.splat", one)
    data = (tmp_path / "scene.splat").read_bytes()
    values = struct.unpack("<6f8B", data)
    assert values[:6] == pytest.approx((1, 2, 3, 0.1, 0.2, 0.4))
    assert values[6:10] == (127, int(255 * 0.78209479), int(255 * 0.21790521), 127)
    assert values[10:] == (255, 128, 128, 128)
    write_splat(tmp_path / "many.splat", make_gaussians(9, 3, 4))
    assert (tmp_path / "many.splat").stat().st_size == 9 * 32


@pytest.mark.parametrize("degree", [0, 1, 3])
def test_compressed_ply_decodes_to_the_same_positions(tmp_path, degree):
    gaussians = make_gaussians(300, degree)
    gaussians.logit_opacities[5] = -20  # too faint to be kept
    write_compressed_ply(tmp_path / "scene.ply", gaussians)
    ply = PlyData.read(str(tmp_path / "scene.ply"), mmap=False)
    chunks, packed = ply["chunk"].data, ply["vertex"].data["packed_position"].astype(np.int64)
    assert len(chunks) == 2 and len(packed) == 299
    bits = np.stack([(packed >> 21) / 2047, (packed >> 11 & 1023) / 1023, (packed & 2047) / 2047], axis=-1)
    chunk = chunks[np.arange(299) // 256]
    low = np.stack([chunk["min_x"], chunk["min_y"], chunk["min_z"]], axis=-1)
    high = np.stack([chunk["max_x"], chunk["max_y"], chunk["max_z"]], axis=-1)
    positions = torch.from_numpy(low + bits * (high - low)).float()
    kept = gaussians.means[torch.arange(300) != 5]
    assert torch.cdist(positions, kept).min(dim=1).values.max() < 0.01
    assert ("sh" in ply) == (degree > 0)
    if degree:
        assert len(ply["sh"].properties) == 3 * ((degree + 1) ** 2 - 1)


def test_lossy_formats_leave_out_what_is_not_finite_and_refuse_an_empty_scene(tmp_path, caplog):
    gaussians = make_gaussians(4)
    gaussians.logit_opacities[0] = torch.nan
    for write in (write_splat, write_compressed_ply):
        with pytest.raises(UserError, match=r"scene\.out: nothing to write"):
            write(tmp_path / "scene.out", make_gaussians(0))
        with caplog.at_level(logging.WARNING, logger="gsdff"):
            write(tmp_path / "scene.out", gaussians)
        assert "left out 1 of 4 Gaussians" in caplog.text
    assert PlyData.read(str(tmp_path / "scene.out"), mmap=False)["vertex"].count == 3
    faint = gaussians.map(lambda t: t[1:])
    faint.logit_opacities[:] = -30
    with pytest.raises(UserError, match="no Gaussian has an opacity above 1/255"):
        write_compressed_ply(tmp_path / "scene.out", faint)
