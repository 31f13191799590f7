"""COLMAP models are read correctly, and damaged files are named."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gsdff.data import colmap, colmap_files
from gsdff.errors import UserError

HALF = math.sqrt(0.5)


def read(root: Path, downscale: int = 1):
    return colmap.read(colmap.find(root), downscale)


def test_a_quarter_turn_about_z_takes_x_to_y(tmp_path, write_colmap, colmap_model):
    image = ("a.png", 1, (HALF, 0, 0, HALF), (1.0, 2.0, 3.0))
    shot = read(write_colmap(tmp_path / "s", colmap_model(images=(image,)))).shots[0]
    assert np.allclose(shot.viewmat @ [1, 0, 0, 1], [1, 3, 3, 1])


def test_a_quaternion_of_any_length_is_the_same_rotation(tmp_path, write_colmap, colmap_model):
    quat = np.array([0.5, -0.1, 0.7, 0.2])
    images = tuple((f"{i}.png", 1, tuple(quat * scale), (0.0, 0.0, 0.0)) for i, scale in enumerate((1.0, 1e-3, 40.0)))
    shots = read(write_colmap(tmp_path / "s", colmap_model(images=images))).shots
    rotation = shots[0].viewmat[:3, :3]
    assert np.allclose(rotation @ rotation.T, np.eye(3)) and np.isclose(np.linalg.det(rotation), 1)
    assert all(np.allclose(shot.viewmat, shots[0].viewmat) for shot in shots)


def test_points_lenses_and_names_are_read(tmp_path, write_colmap):
    capture = read(write_colmap(tmp_path / "s"))
    assert [shot.name for shot in capture.shots] == ["0.png", "1.png", "2.png"]
    lens = capture.shots[0].lens
    assert (lens.model, lens.width, lens.height, lens.params) == ("PINHOLE", 16, 12, (20.0, 21.0, 8.0, 6.0))
    assert capture.points.tolist() == [[0.5, 1, 2], [-1, 0, 3]]
    assert capture.point_colors.tolist() == [[255, 128, 0], [1, 2, 3]]
    assert capture.root == tmp_path / "s" and capture.held_out is None


def assert_same(one, other):
    assert [(s.name, s.path.name, s.lens) for s in one.shots] == [(s.name, s.path.name, s.lens) for s in other.shots]
    assert all(np.allclose(a.viewmat, b.viewmat, atol=1e-12) for a, b in zip(one.shots, other.shots, strict=True))
    order = [np.lexsort(capture.points.T) for capture in (one, other)]  # COLMAP's text keeps another order
    assert np.allclose(one.points[order[0]], other.points[order[1]], atol=1e-12)
    assert (one.point_colors[order[0]] == other.point_colors[order[1]]).all()


def test_text_and_binary_say_the_same(tmp_path, write_colmap, colmap_model):
    images = (*colmap_model().images, ("a folder/with spaces.png", 1, (0.1, 0.2, 0.3, 0.4), (5.0, 6.0, 7.0)))
    model = colmap_model(images=images)
    binary, text = write_colmap(tmp_path / "b", model), write_colmap(tmp_path / "t", model, text=True)
    assert_same(read(binary), read(text))


def test_colmaps_own_text_of_the_fox_is_read_like_its_binary(tmp_path, shared):
    fox = shared / "assets/scenes/fox"
    (tmp_path / "sparse/0").mkdir(parents=True)
    (tmp_path / "images").symlink_to(fox / "images")
    script = "import sys, pycolmap; pycolmap.Reconstruction(sys.argv[1]).write_text(sys.argv[2])"
    command = [sys.executable, "-c", script, str(fox / "sparse/0"), str(tmp_path / "sparse/0")]
    subprocess.run(command, check=True, capture_output=True)
    assert (tmp_path / "sparse/0/images.txt").is_file()
    binary, text = read(fox), read(tmp_path)
    assert (len(binary.shots), len(binary.points)) == (50, 11873)
    assert_same(binary, text)


def test_every_camera_model_of_pycolmap_is_known():
    script = """
import json, pycolmap
known = [m for m in pycolmap.CameraModelId.__members__.values() if int(m) >= 0]
print(json.dumps({int(m): [m.name, len(pycolmap.Camera.create_from_model_id(0, m, 9.0, 8, 8).params)] for m in known}))
"""
    out = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    theirs = {int(key): tuple(value) for key, value in json.loads(out).items()}
    assert theirs.items() <= colmap_files.CAMERA_MODELS.items()


@pytest.mark.parametrize("at", ["sparse/0", "sparse", "colmap/sparse/0", "."])
def test_a_model_is_found_where_tools_put_it(tmp_path, write_colmap, at):
    root = tmp_path / "s"
    root.mkdir()
    if at == ".":
        for name, content in files_of(write_colmap, tmp_path).items():
            (root / name).write_bytes(content)
        (root / "images").symlink_to(tmp_path / "other/images")
    else:
        write_colmap(root, at=at)
    capture = read(root)
    assert capture.root == root and len(capture.shots) == 3


def files_of(write_colmap, folder: Path) -> dict[str, bytes]:
    model = write_colmap(folder / "other") / "sparse/0"
    return {path.name: path.read_bytes() for path in model.iterdir()}


def test_the_models_own_folder_is_a_path_to_the_dataset(tmp_path, write_colmap):
    root = write_colmap(tmp_path / "s")
    assert read(root / "sparse/0").root == root


def test_rigs_and_frames_of_newer_versions_are_not_needed(tmp_path, write_colmap):
    root = write_colmap(tmp_path / "s")
    before = read(root)
    for name in ("rigs.bin", "frames.bin"):
        (root / "sparse/0" / name).write_bytes(b"whatever")
    assert_same(before, read(root))


def test_a_model_without_points_is_read(tmp_path, write_colmap, colmap_model):
    root = write_colmap(tmp_path / "s", colmap_model(points=()))
    assert read(root).points.shape == (0, 3)
    (root / "sparse/0/points3D.bin").unlink()
    capture = read(root)
    assert capture.points.shape == (0, 3) and capture.point_colors.dtype == np.uint8


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("stem", ["cameras", "images", "points3D"])
def test_a_truncated_file_is_named(tmp_path, write_colmap, stem, text):
    root = write_colmap(tmp_path / "s", text=text)
    path = root / "sparse/0" / (stem + (".txt" if text else ".bin"))
    content = path.read_bytes()
    ends = [content.rindex(b"\n", 0, -1) + 4] if text else [0, 4, 20, len(content) // 2, len(content) - 1]
    for end in ends:
        path.write_bytes(content[:end])
        with pytest.raises(UserError, match=f"{path.name}.*truncated or damaged"):
            read(root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": ()}, r"images.bin: the model is empty"),
        ({"images": (("a.png", 1, (float("nan"), 0, 0, 0), (0, 0, 0)),)}, "pose of a.png is not finite"),
        ({"images": (("a.png", 1, (1, 0, 0, 0), (0, float("inf"), 0)),)}, "pose of a.png is not finite"),
        ({"images": (("a.png", 1, (0, 0, 0, 0), (0, 0, 0)),)}, "pose of a.png is not finite"),
        ({"images": (("a.png", 7, (1, 0, 0, 0), (0, 0, 0)),)}, "a.png refers to camera 7"),
    ],
)
def test_contradictions_name_the_file_and_the_photo(tmp_path, write_colmap, colmap_model, change, message):
    root = write_colmap(tmp_path / "s", replace(colmap_model(), **change))
    with pytest.raises(UserError, match=message):
        read(root)


def test_an_unknown_camera_model_is_named(tmp_path, write_colmap):
    root = write_colmap(tmp_path / "s")
    path = root / "sparse/0/cameras.bin"
    content = path.read_bytes()
    path.write_bytes(content[:12] + (9999).to_bytes(4, "little") + content[16:])
    with pytest.raises(UserError, match=r"cameras.bin.*9999"):
        read(root)


def test_a_missing_images_file_is_named(tmp_path, write_colmap):
    root = write_colmap(tmp_path / "s")
    (root / "sparse/0/images.bin").unlink()
    with pytest.raises(UserError, match=r"images.bin: not there"):
        read(root)


def test_a_model_without_an_images_folder_says_so(tmp_path, write_colmap):
    root = write_colmap(tmp_path / "s")
    (root / "images").rename(root / "photos")
    with pytest.raises(UserError, match="no folder named images"):
        read(root)


def test_listed_photos_that_do_not_exist_are_skipped_with_a_count(tmp_path, write_colmap, caplog):
    root = write_colmap(tmp_path / "s")
    (root / "images/1.png").unlink()
    assert [shot.name for shot in read(root).shots] == ["0.png", "2.png"]
    assert "1 of 3 listed photos do not exist" in caplog.text
    for path in (root / "images").iterdir():
        path.unlink()
    with pytest.raises(UserError, match=r"images.bin: none of the 3 photos"):
        read(root)


def test_smaller_copies_are_taken_where_they_are_there(tmp_path, write_colmap, write_photos):
    root = write_colmap(tmp_path / "s")
    write_photos(root / "images_2", ["0.png", "1.jpg"], (8, 6))
    shots = read(root, 2).shots
    assert [(s.path.relative_to(root).as_posix(), s.shrink) for s in shots] == [
        ("images_2/0.png", 1), ("images_2/1.jpg", 1), ("images/2.png", 2),
    ]  # fmt: skip
    assert [s.shrink for s in read(root, 4).shots] == [4, 4, 4]
    assert [s.name for s in shots] == ["0.png", "1.png", "2.png"]
