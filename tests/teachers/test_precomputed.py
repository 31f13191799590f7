"""The precomputed teacher: what it reads, and what it refuses."""

import io
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from gsdff.cameras import Camera, WorldFrame
from gsdff.config.options import TeacherConfig
from gsdff.errors import UserError
from gsdff.scene import Scene, View
from gsdff.teachers import open_teacher
from gsdff.teachers.precomputed import PrecomputedTeacher


def make_view(name: str = "street/a.jpg") -> View:
    return View(name, Camera(torch.eye(4), torch.eye(3), 6, 4), torch.zeros(4, 6, 3, dtype=torch.uint8))


def make_scene(root: Path) -> Scene:
    return Scene(root, [make_view()], torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.uint8), WorldFrame())


def write_map(folder: Path, features: object, stem: str = "a") -> Path:
    path = folder / f"{stem}_fmap_CxHxW.pt"
    torch.save(features, path)
    return path


def open_maps(folder: Path) -> PrecomputedTeacher:
    return PrecomputedTeacher(TeacherConfig("precomputed", folder))


def only_map(folder: Path) -> torch.Tensor:
    (features,) = open_maps(folder).extract([make_view()])
    return features


def write_text(folder: Path, names: list[str], vectors: np.ndarray) -> None:
    np.savez(folder / "text_features.npz", names=np.array(names), vectors=vectors)


def test_a_map_is_normalised_per_pixel_and_stays_where_it_is(tmp_path: Path) -> None:
    features = torch.zeros(2, 1, 3)
    features[:, 0, 0] = torch.tensor([3.0, 4.0])
    features[:, 0, 1] = torch.tensor([0.0, -2.0])
    write_map(tmp_path, features)
    got = only_map(tmp_path)
    expected = torch.tensor([[[0.6, 0.0, 0.0]], [[0.8, -1.0, 0.0]]])
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_maps_of_any_float_type_come_out_as_unit_float32(
    tmp_path: Path, dtype: torch.dtype, generator: torch.Generator
) -> None:
    features = torch.randn(5, 3, 4, generator=generator)
    write_map(tmp_path, features.to(dtype))
    got = only_map(tmp_path)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.norm(dim=0), torch.ones(3, 4))


def test_text_is_looked_up_by_name_whatever_its_case_and_has_unit_length(tmp_path: Path) -> None:
    write_text(tmp_path, ["road", "Traffic Light", "road"], np.array([[2.0, 0.0], [3.0, 4.0], [0.0, 1.0]], np.float16))
    teacher = open_maps(tmp_path)
    assert teacher.knows("ROAD") and teacher.knows("traffic light") and not teacher.knows("sky")
    got = teacher.text(["traffic light", "road"])
    torch.testing.assert_close(got, torch.tensor([[0.6, 0.8], [1.0, 0.0]]))


def test_an_unknown_name_is_refused_with_the_closest_ones(tmp_path: Path) -> None:
    write_text(tmp_path, ["building", "sky"], np.eye(2, dtype=np.float32))
    with pytest.raises(UserError, match=r"text_features.npz: unknown name 'bilding'; did you mean 'building'\? Known"):
        open_maps(tmp_path).text(["bilding"])
    write_text(tmp_path, ["building", *(f"thing {i}" for i in range(99))], np.ones((100, 2), np.float32))
    with pytest.raises(UserError, match=r"'bilding'; did you mean 'building'\? Known: building, .*\(100 names\)"):
        open_maps(tmp_path).text(["bilding"])


def test_without_text_features_it_knows_no_name_and_says_which_file_it_wants(tmp_path: Path) -> None:
    teacher = open_maps(tmp_path)
    assert not teacher.knows("road")
    with pytest.raises(UserError, match=r"text_features\.npz: missing"):
        teacher.text(["road"])


def test_a_missing_map_is_named_together_with_its_photo(tmp_path: Path) -> None:
    teacher = open_maps(tmp_path)
    for ask in (teacher.check, lambda view: next(teacher.extract([view])), teacher.fingerprint_of):
        with pytest.raises(UserError, match=r"a_fmap_CxHxW\.pt: missing; photo street/a\.jpg .*or a\.npy"):
            ask(make_view())


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (torch.full((2, 3, 3), torch.nan), "NaN or infinite"),
        (torch.full((2, 3, 3), torch.inf), "NaN or infinite"),
        (torch.ones(3, 3), r"expected a float tensor \[channels, height, width\], got torch.float32 \[3, 3\]"),
        (torch.ones(2, 3, 3, dtype=torch.uint8), "got torch.uint8"),
        (torch.ones(2, 3, 3, dtype=torch.bool), "got torch.bool"),
        (torch.ones(2, 3, 3, dtype=torch.complex64), "got torch.complex64"),
        (torch.ones(2, 3, 3).to_sparse(), "a tensor of the kind torch.sparse_coo"),
        (torch.ones(2, 3, 3, device="meta"), "on meta"),
        (torch.ones(()), r"got torch.float32 \[\]"),
        (None, "got NoneType"),
        (torch.full((2, 3, 3), 1e300, dtype=torch.float64), "beyond float32"),
        (torch.ones(2, 0, 3), "is empty"),
        ({"features": torch.ones(2, 3, 3)}, "got dict"),
    ],
)
@pytest.mark.filterwarnings("ignore:Validating sparse tensor invariants")
def test_what_is_no_map_is_refused_with_the_files_name(tmp_path: Path, features: object, message: str) -> None:
    write_map(tmp_path, features)
    with pytest.raises(UserError, match=rf"a_fmap_CxHxW\.pt: .*{message}"):
        only_map(tmp_path)


@pytest.mark.parametrize("damage", ["empty", "cut", "noise", "text"])
def test_a_damaged_map_is_refused_with_the_files_name(tmp_path: Path, damage: str) -> None:
    path = write_map(tmp_path, torch.ones(2, 30, 30))
    whole = path.read_bytes()
    noise = bytes(np.random.default_rng(0).integers(0, 256, 500, dtype=np.uint8))
    path.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "noise": noise, "text": b"<html>"}[damage])
    with pytest.raises(UserError, match=r"a_fmap_CxHxW\.pt: cannot be read as a teacher map"):
        only_map(tmp_path)


def test_a_map_that_would_run_code_is_refused_and_runs_none(tmp_path: Path) -> None:
    write_map(tmp_path, Path("anything"))  # any class beyond tensors needs code to load
    with pytest.raises(UserError, match="cannot be read as a teacher map"):
        only_map(tmp_path)


def test_a_map_with_other_channels_than_the_first_or_the_text_is_refused(tmp_path: Path) -> None:
    write_map(tmp_path, torch.ones(3, 2, 2), "a")
    write_map(tmp_path, torch.ones(4, 2, 2), "b")
    teacher = open_maps(tmp_path)
    maps = teacher.extract([make_view("a.jpg"), make_view("b.jpg")])
    next(maps)
    with pytest.raises(UserError, match=r"b_fmap_CxHxW\.pt: has 4 channels, but .* have 3"):
        next(maps)
    write_text(tmp_path, ["sky"], np.ones((1, 4), np.float32))
    with pytest.raises(UserError, match=r"a_fmap_CxHxW\.pt: has 3 channels, but .* have 4"):
        only_map(tmp_path)


@pytest.mark.parametrize(
    "arrays",
    [
        {"names": np.array(["sky"])},
        {"names": np.array(["sky"]), "vectors": np.ones((2, 3), np.float32)},
        {"names": np.array(["sky"]), "vectors": np.ones((1, 3), np.int64)},
        {"names": np.array(["sky"]), "vectors": np.zeros((1, 3), np.float32)},
        {"names": np.array(["sky"]), "vectors": np.full((1, 3), np.nan, np.float32)},
        {"names": np.array(["sky"], dtype=object), "vectors": np.ones((1, 3), np.float32)},
        {"names": np.array([3]), "vectors": np.ones((1, 3), np.float32)},
        {"names": np.array([b"sky"]), "vectors": np.ones((1, 3), np.float32)},
        {"names": np.array(["\ud800"]), "vectors": np.ones((1, 3), np.float32)},
        {"names": np.array("sky"), "vectors": np.ones((1, 3), np.float32)},
    ],
)
def test_broken_text_features_are_refused_with_the_files_name(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    np.savez(tmp_path / "text_features.npz", **arrays)
    with pytest.raises(UserError, match=r"text_features\.npz: "):
        open_maps(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no zip at all", "folder", "npy", "terabytes"])
def test_text_features_that_are_no_npz_are_refused(tmp_path: Path, content: bytes | str) -> None:
    path = tmp_path / "text_features.npz"
    if content == "folder":
        path.mkdir()
    elif content == "npy":
        with path.open("wb") as file:
            np.save(file, np.ones((2, 3), np.float32))
    elif content == "terabytes":
        with zipfile.ZipFile(path, "w") as archive:
            header = io.BytesIO()
            np.lib.format.write_array_header_1_0(
                header, {"descr": "<f4", "fortran_order": False, "shape": (10**6, 10**6)}
            )
            archive.writestr("names.npy", header.getvalue())
    else:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"text_features\.npz: "):
        open_maps(tmp_path)


def test_the_fingerprint_of_a_map_changes_with_its_bytes(tmp_path: Path) -> None:
    teacher = open_maps(tmp_path)
    write_map(tmp_path, torch.ones(2, 3, 3))
    before = teacher.fingerprint_of(make_view())
    assert before == teacher.fingerprint_of(make_view())
    write_map(tmp_path, torch.full((2, 3, 3), 2.0))
    assert before != teacher.fingerprint_of(make_view())


def test_the_configuration_opens_it_or_says_what_is_missing(tmp_path: Path) -> None:
    scene = make_scene(tmp_path)
    assert open_teacher(TeacherConfig("none"), scene) is None
    with pytest.raises(UserError, match=r"^`teacher\.name`: expected none or one of lseg, clip, .* got 'auto'$"):
        open_teacher(TeacherConfig(), scene)
    assert open_teacher(TeacherConfig("precomputed", tmp_path), scene).name == "precomputed"
    with pytest.raises(UserError, match=r"^`teacher\.maps`: expected the folder"):
        open_teacher(TeacherConfig("precomputed"), scene)
    with pytest.raises(UserError, match=r"nowhere: no such folder; `teacher\.maps` expects a folder"):
        open_teacher(TeacherConfig("precomputed", tmp_path / "nowhere"), scene)


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4"])
def test_a_numpy_map_is_read_like_a_torch_map(tmp_path: Path, dtype: str, generator: torch.Generator) -> None:
    features = torch.randn(5, 3, 4, generator=generator)
    write_map(tmp_path, features)
    expected = only_map(tmp_path)
    (tmp_path / "a_fmap_CxHxW.pt").unlink()
    for name in ("a.npy", "a_fmap_CxHxW.npy"):
        np.save(tmp_path / name, features.numpy().astype(dtype))
        torch.testing.assert_close(only_map(tmp_path), expected, atol=1e-3, rtol=1e-3)
        (tmp_path / name).unlink()


def test_of_several_maps_the_torch_one_wins_then_the_numpy_one_of_the_same_name(tmp_path: Path) -> None:
    heights = {"a_fmap_CxHxW.pt": 1, "a_fmap_CxHxW.npy": 2, "a.npy": 3}
    write_map(tmp_path, torch.ones(2, 1, 1))
    for name in ("a_fmap_CxHxW.npy", "a.npy"):
        np.save(tmp_path / name, np.ones((2, heights[name], 1), np.float32))
    for name, height in heights.items():
        assert only_map(tmp_path).shape == (2, height, 1)
        (tmp_path / name).unlink()


def test_a_batch_of_one_is_a_map_and_a_batch_of_two_is_none(tmp_path: Path) -> None:
    write_map(tmp_path, torch.ones(1, 2, 3, 4))
    assert only_map(tmp_path).shape == (2, 3, 4)
    write_map(tmp_path, torch.ones(2, 2, 3, 4))
    with pytest.raises(UserError, match=r"got torch\.float32 \[2, 2, 3, 4\]"):
        only_map(tmp_path)


@pytest.mark.parametrize(
    "content", ["empty", "cut", "text", "objects", "archive", "integers", "number", "complex", "terabytes"]
)
def test_what_is_no_numpy_map_is_refused_with_the_files_name(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.ones((2, 3, 3), np.float32))
    if content == "archive":
        with path.open("wb") as file:
            np.savez(file, features=np.ones((2, 3, 3)))
    elif content in ("objects", "integers", "number", "complex"):
        arrays = {"objects": np.array([{}], dtype=object), "integers": np.ones((2, 3, 3), np.int32)}
        np.save(path, {**arrays, "number": np.float32(1), "complex": np.ones((2, 3, 3), np.complex64)}[content])
    elif content == "terabytes":
        path.write_bytes(path.read_bytes().replace(b"(2, 3, 3), }", b"(2000000, 3000000, 3), }"))
    else:
        path.write_bytes({"empty": b"", "cut": path.read_bytes()[:140], "text": b"<html>"}[content])
    with pytest.raises(UserError, match=r"a\.npy: (cannot be read as a teacher map|expected a float tensor)"):
        only_map(tmp_path)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7])
def test_the_maps_of_many_views_come_in_their_order(tmp_path: Path, count: int) -> None:
    for i in range(count):
        write_map(tmp_path, torch.ones(2, 1, i + 1), f"v{i}")
    views = [make_view(f"v{i}.png") for i in range(count)]
    order = [*reversed(views)]
    shapes = [features.shape[2] for features in open_maps(tmp_path).extract(order)]
    assert shapes == [*range(count, 0, -1)]


def test_no_more_than_two_maps_are_read_ahead_of_the_one_in_use(tmp_path: Path, monkeypatch) -> None:
    for i in range(8):
        write_map(tmp_path, torch.ones(2, 1, 1), f"v{i}")
    read = []
    teacher = open_maps(tmp_path)
    read_map = teacher._read
    monkeypatch.setattr(teacher, "_read", lambda view: read.append(view.stem) or read_map(view))
    maps = teacher.extract([make_view(f"v{i}.png") for i in range(8)])
    for used in range(1, 9):
        next(maps)
        assert used <= len(read) <= min(used + 2, 8)


def test_a_broken_map_stops_the_sequence_at_its_turn_and_the_readers_with_it(tmp_path: Path) -> None:
    for stem in ("v0", "v2"):
        write_map(tmp_path, torch.ones(2, 1, 1), stem)
    (tmp_path / "v1.npy").write_bytes(b"")
    maps = open_maps(tmp_path).extract([make_view(f"v{i}.png") for i in range(3)])
    next(maps)
    with pytest.raises(UserError, match=r"v1\.npy"):
        next(maps)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("teacher-maps")]


def test_readers_end_when_nobody_wants_the_rest(tmp_path: Path) -> None:
    for i in range(4):
        write_map(tmp_path, torch.ones(2, 1, 1), f"v{i}")
    maps = open_maps(tmp_path).extract([make_view(f"v{i}.png") for i in range(4)])
    next(maps)
    maps.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("teacher-maps")]


def test_a_map_that_requires_grad_is_a_map_like_any_other(tmp_path: Path, generator: torch.Generator) -> None:
    features = torch.randn(5, 3, 4, generator=generator)
    write_map(tmp_path, features)
    expected = only_map(tmp_path)
    for kind in (features.clone().requires_grad_(), torch.nn.Parameter(features)):
        write_map(tmp_path, kind)
        got = only_map(tmp_path)
        assert not got.requires_grad and type(got) is torch.Tensor and torch.equal(got, expected)


@pytest.mark.parametrize("scale", [1e-30, 1e-7, 1e30])
def test_directions_are_kept_whatever_the_length_of_the_vectors(
    tmp_path: Path, scale: float, generator: torch.Generator
) -> None:
    features = torch.randn(5, 3, 4, generator=generator)
    write_map(tmp_path, features * scale)
    write_text(tmp_path, ["sky"], (features[:, 0, :1].T * scale).numpy())
    teacher = open_maps(tmp_path)
    (got,) = teacher.extract([make_view()])
    torch.testing.assert_close(got, torch.nn.functional.normalize(features, dim=0))
    torch.testing.assert_close(teacher.text(["sky"])[0], got[:, 0, 0])


def test_maps_of_the_turned_photo_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    view = View("a.jpg", Camera(torch.eye(4), torch.eye(3), 64, 48), torch.zeros(48, 64, 3, dtype=torch.uint8))
    teacher = open_maps(tmp_path)
    for name in ("a.npy", "a_fmap_CxHxW.npy"):
        np.save(tmp_path / name, np.ones((5, 32, 24), np.float32))
        with pytest.raises(UserError, match=rf"{name}: expected .*64x48, got \[5, 32, 24\]; .* swapped: .*EXIF"):
            teacher.check(view)
    write_map(tmp_path, torch.ones(24, 32, 5))
    with pytest.raises(UserError, match=r"seems to be \[height, width, channels\]"):
        teacher.check(view)
    write_map(tmp_path, torch.ones(5, 24, 24))  # squeezed to a square, as many networks do
    teacher.check(view)
    write_map(tmp_path, torch.ones(6, 24, 32))
    with pytest.raises(UserError, match=r"has 6 channels, but the other maps .* have 5"):
        teacher.check(view)


def test_maps_of_a_single_pixel_are_said_once(tmp_path: Path, caplog) -> None:
    for stem in "abc":
        write_map(tmp_path, torch.ones(2, *((2, 2) if stem == "b" else (1, 1))), stem)
    teacher = open_maps(tmp_path)
    for stems in ("a", "bc"):  # a store takes the first map, then the others
        assert len([*teacher.extract([make_view(f"{stem}.jpg") for stem in stems])]) == len(stems)
    (record,) = caplog.records
    assert "holds maps of a single pixel, such as that of a.jpg" in record.getMessage()
