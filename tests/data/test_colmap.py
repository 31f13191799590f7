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


def write_model(root: Path, write_colmap, colmap_model, at: str, names: list[str], *, text: bool = False) -> Path:
    """Adds a model of the photos `names` below `root`, whose photos lie in `images`."""
    images = tuple((name, 1, (1.0, 0.0, 0.0, 0.0), (float(i), 0.0, 0.0)) for i, name in enumerate(names))
    return write_colmap(root, colmap_model(images=images), at=at, text=text)


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize(("at", "other"), [("sparse/1", "sparse/0"), ("colmap/sparse/10", "colmap/sparse/9")])
def test_of_several_models_the_one_with_most_photos_is_read(
    tmp_path, write_colmap, colmap_model, caplog, at, other, text
):
    names = [f"{i}.png" for i in range(5)]
    write_model(tmp_path, write_colmap, colmap_model, other, names[:2], text=text)
    write_model(tmp_path, write_colmap, colmap_model, at, names, text=text)
    assert [shot.name for shot in read(tmp_path).shots] == names
    assert f"2 COLMAP models: using {tmp_path / at} with 5 photos ({Path(other).name} has 2)" in caplog.text
    assert len(read(tmp_path / other).shots) == 2


def test_of_equal_models_the_first_number_is_read(tmp_path, write_colmap, colmap_model):
    for at in ("sparse/10", "sparse/2", "sparse/aligned"):
        write_model(tmp_path, write_colmap, colmap_model, at, ["0.png", "1.png"])
    assert colmap.find(tmp_path) == tmp_path / "sparse/2" == colmap.find(tmp_path / "sparse")


def test_a_damaged_model_is_not_taken_for_a_large_one(tmp_path, write_colmap, colmap_model):
    write_model(tmp_path, write_colmap, colmap_model, "sparse/0", ["0.png", "1.png", "2.png"])
    write_model(tmp_path, write_colmap, colmap_model, "sparse/1", ["0.png"])
    path = tmp_path / "sparse/1/images.bin"
    path.write_bytes((10**15).to_bytes(8, "little") + path.read_bytes()[8:])
    assert colmap.find(tmp_path) == tmp_path / "sparse/0"


def test_a_complete_text_comes_before_an_incomplete_binary(tmp_path, write_colmap):
    root = write_colmap(tmp_path, text=True)
    (root / "sparse/0/cameras.bin").write_bytes(b"")
    assert len(read(root).shots) == 3


def test_the_originals_of_a_distorted_model_are_told_from_its_undistorted_photos(
    tmp_path, write_colmap, write_photos, colmap_model
):
    names = ["0.png", "1.png"]
    root = write_model(tmp_path, write_colmap, colmap_model, "distorted/sparse/0", names)
    (root / "images").rename(root / "input")
    write_photos(root / "images", names, (14, 10))
    assert [shot.path for shot in read(root / "distorted").shots] == [root / "input" / name for name in names]
    write_photos(root / "images", names)
    assert read(root / "distorted").shots[0].path == root / "images/0.png"


def test_photos_directly_beside_the_model_are_found(tmp_path, write_colmap):
    root = write_colmap(tmp_path, at="here")
    for path in (root / "images").iterdir():
        path.rename(root / path.name)
    (root / "images").rmdir()
    capture = read(root / "here")
    assert [shot.path for shot in capture.shots] == [root / f"{i}.png" for i in range(3)] and capture.root == root


def test_a_folder_of_photos_with_another_name_is_named(tmp_path, write_colmap):
    root = write_colmap(tmp_path / "s")
    (root / "images").rename(root / "photos")
    with pytest.raises(UserError, match=r"s/photos holds photos of these names; .* rename it to images or link it"):
        read(root)


def edit(path: Path, change) -> None:
    path.write_bytes(change(path.read_bytes()))


def without_points(content: bytes) -> bytes:
    """images.txt without the lines of 2D points, also the empty one."""
    return b"\n".join(line for line in content.split(b"\n") if line.startswith(b"#") or line.count(b" ") > 8) + b"\n"


def test_lines_of_2d_points_may_be_missing(tmp_path, write_colmap, colmap_model):
    names = ["my photo one.png", "my photo two.png", "7.png", "1 2 3.png", "4 5 6 7.png", "b.png"]
    images = tuple((name, 1, (0.5, 0.5, 0.5, 0.5), (float(i), 0.0, 0.0)) for i, name in enumerate(names))
    root = write_colmap(tmp_path / "s", colmap_model(images=images), text=True)
    before, path = read(root), root / "sparse/0/images.txt"
    edit(path, lambda content: content.replace(b"7.png", b"7").replace(b"3.png", b"3"))  # 9 + 3 words: four triples
    assert_same(before, read(root))
    edit(path, without_points)
    assert path.read_bytes().count(b"\n") == 2 + len(names)
    assert_same(before, read(root))


@pytest.mark.parametrize("stem", ["cameras", "images", "points3D"])
def test_text_of_other_tools_is_read(tmp_path, write_colmap, colmap_model, stem):
    root = write_colmap(tmp_path / "s", colmap_model(), text=True)
    before, path = read(root), root / f"sparse/0/{stem}.txt"
    content = path.read_bytes()
    variants = [
        b"\xef\xbb\xbf" + content,
        content.replace(b"\n", b"\r\n"),
        content.decode().encode("utf-16"),
        content.replace(b"\n", b"\n# another comment\n"),
        content.replace(b" 16 12 ", b" 16.0 12.0 ").replace(b"255 128 0", b"255.0 128.0 0.0"),
        content.rstrip(b"\n"),
    ]
    for variant in variants:
        path.write_bytes(variant)
        assert_same(before, read(root))


@pytest.mark.parametrize(
    ("stem", "old", "new"),
    [
        ("images", b" 1 0.png", b" one 0.png"),
        ("images", b"1 1.0 0.0 0.0 0.0 0.0", b"1 1.0 0.0 0.0 zero 0.0"),
        ("images", b" 1 0.png", b" 1"),
        ("images", b"1.0 2.0 -1 3.0 4.0 7", b"1.0 2.0 -1 3.0 4.0 seven"),
        ("images", b"1.0 2.0 -1 3.0 4.0 7", b"1.0 2.0 -1 3.0 4.0"),
        ("cameras", b" 16 12 ", b" 16.5 12 "),
        ("cameras", b" 16 12 ", b" inf 12 "),
        ("cameras", b" 16 12 ", b" 16 12 1 "),
        ("cameras", b"20.0", b"twenty"),
        ("cameras", b"1 PINHOLE 16 12 20.0 21.0 8.0 6.0", b"1 PINHOLE 16 12 20 21 8 6\n1 PINHOLE 16 12 20 22 8 6"),
        ("points3D", b"0.5 1.0 2.0", b"0.5 1.0 two"),
        ("points3D", b" 255 128 0 0.5 1 0 2 0", b" 255 12"),
    ],
)
def test_words_in_the_place_of_numbers_are_refused(tmp_path, write_colmap, stem, old, new):
    root = write_colmap(tmp_path / "s", text=True)
    path = root / f"sparse/0/{stem}.txt"
    assert old in path.read_bytes()
    edit(path, lambda content: content.replace(old, new, 1))
    with pytest.raises(UserError, match=rf"{stem}.txt: truncated or damaged COLMAP file"):
        read(root)


@pytest.mark.parametrize(("stem", "what"), [("cameras", "cameras"), ("images", "images"), ("points3D", "points")])
def test_a_text_cut_between_its_lines_is_said(tmp_path, write_colmap, colmap_model, caplog, stem, what):
    cameras = tuple((i, *colmap_model().cameras[0][1:]) for i in (1, 2))
    root = write_colmap(tmp_path / "s", colmap_model(cameras=cameras), text=True)
    path = root / f"sparse/0/{stem}.txt"
    num = {"cameras": 2, "images": 3, "points": 2}[what]
    edit(path, lambda content: f"# Number of {what}: {num}, mean track length: 7\n".encode() + content)
    read(root)
    assert "is cut" not in caplog.text
    edit(path, lambda content: content[: content.rstrip().rindex(b"\n") + 1])
    if stem == "images":
        edit(path, lambda content: content[: content.rstrip().rindex(b"\n") + 1])
    read(root)
    assert (
        f"{stem}.txt: says that it holds {num}, and holds {num - 1}; if none was taken out, the file is cut"
        in caplog.text
    )
    caplog.clear()
    edit(path, lambda content: content.replace(f": {num},".encode(), b": 1,") if num > 2 else content)
    read(root)
    assert num == 2 or f"{stem}.txt: says that it holds 1, and holds 2; all are read" in caplog.text


@pytest.mark.parametrize("stem", ["cameras", "images", "points3D"])
def test_a_number_of_rows_that_is_too_small_is_refused(tmp_path, write_colmap, stem):
    root = write_colmap(tmp_path / "s")
    path = root / f"sparse/0/{stem}.bin"
    for number in (0, 2**63, 2**64 - 1) if stem == "cameras" else (1, 2**63, 2**64 - 1):
        edit(path, lambda content, number=number: number.to_bytes(8, "little") + content[8:])
        with pytest.raises(UserError, match=rf"{stem}.bin: truncated or damaged"):
            read(root)


@pytest.mark.parametrize(
    ("colors", "expected"),
    [
        (b"65535 32896 0", [255, 128, 0]),
        (b"0.5 0.25 1", [128, 64, 255]),
        (b"255.0 128 0.0", [255, 128, 0]),
        (b"1e999 128 0", [128, 128, 128]),
        (b"-1 128 0", [128, 128, 128]),
    ],
)
def test_colours_of_texts_are_no_bytes_that_wrap_around(tmp_path, write_colmap, colmap_model, caplog, colors, expected):
    points = (((0.5, 1.0, 2.0), (255, 128, 0)),)
    root = write_colmap(tmp_path / "s", colmap_model(points=points), text=True)
    edit(root / "sparse/0/points3D.txt", lambda content: content.replace(b"255 128 0", colors))
    assert read(root).point_colors.tolist() == [expected]


def test_points_of_3dgs_beside_a_model_are_read(tmp_path, write_colmap):
    root = write_colmap(tmp_path / "s")
    (root / "sparse/0/points3D.bin").unlink()
    properties = "".join(f"property float {axis}\n" for axis in "xyz")
    ply = f"ply\nformat ascii 1.0\nelement vertex 1\n{properties}end_header\n1 2 3\n"
    (root / "sparse/0/points3D.ply").write_text(ply)
    assert read(root).points.tolist() == [[1, 2, 3]]


def images_of(*names: str, pose: bool = True) -> tuple:
    """Photos with one pose, or with one each."""
    return tuple((name, 1, (1.0, 0.0, 0.0, 0.0), (0.0 if pose else float(i), 0.0, 0.0)) for i, name in enumerate(names))


def test_a_photo_that_is_there_twice_counts_once(tmp_path, write_colmap, colmap_model, caplog):
    root = write_colmap(
        tmp_path / "s", colmap_model(images=(*images_of("0.png", "0.png", "0.png"), *images_of("1.png")))
    )
    assert [shot.name for shot in read(root).shots] == ["0.png", "1.png"]
    assert "1 photos are listed several times with one pose and are used once" in caplog.text


def test_several_poses_of_one_photo_are_refused(tmp_path, write_colmap, colmap_model):
    root = write_colmap(tmp_path / "s", colmap_model(images=images_of(*["0.png"] * 10, pose=False)))
    with pytest.raises(UserError, match=r"images.bin: 0.png: 10 entries with different poses or lenses"):
        read(root)
    cameras = tuple((i, "PINHOLE", 16, 12, (20.0 + i, 21.0, 8.0, 6.0)) for i in (1, 2))
    images = (*images_of("0.png"), ("0.png", 2, (1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0)))
    root = write_colmap(tmp_path / "t", colmap_model(cameras=cameras, images=images))
    with pytest.raises(UserError, match=r"0.png: 2 entries with different poses or lenses"):
        read(root)


def list_otherwise(root: Path, *changes: tuple[bytes, bytes]) -> None:
    """Replaces names in a model's images.txt."""
    for old, new in changes:
        assert old in (root / "sparse/0/images.txt").read_bytes()
        edit(root / "sparse/0/images.txt", lambda content, old=old, new=new: content.replace(old, new))


@pytest.mark.parametrize(
    "listed",
    ["left/0.PNG", "left/0.jpg", "LEFT/0.png", "left\\0.png", "Left\\0.JPG", "./left/0.png", "left/0", "left//0.png",
     "C:\\data\\s\\images\\left\\0.png", "/mnt/data/images/left/0.png", "../../other/images/left/0.jpeg",
     "\\\\server\\images\\left\\0.png"],
)  # fmt: skip
@pytest.mark.parametrize("downscale", [1, 2])
def test_names_are_found_as_they_are_meant(tmp_path, write_colmap, write_photos, colmap_model, listed, downscale):
    root = write_colmap(
        tmp_path / "s", colmap_model(images=images_of("left/0.png", "left/1.png", pose=False)), text=True
    )
    write_photos(root / "images_2", ["left/0.png", "left/1.png"], (8, 6))
    list_otherwise(root, (b"left/0.png", listed.encode()), (b"left/1.png", listed.replace("0", "1").encode()))
    shots = read(root, downscale).shots
    assert [shot.name for shot in shots] == ["left/0.png", "left/1.png"]
    folder = root / ("images" if downscale == 1 else "images_2")
    assert [shot.path for shot in shots] == [folder / "left/0.png", folder / "left/1.png"]


def test_an_accent_may_be_apart_from_its_letter(tmp_path, write_colmap, colmap_model):
    apart, together = "cafe\u0301.png", "caf\u00e9.png"
    root = write_colmap(tmp_path / "s", colmap_model(images=images_of(apart)), text=True)
    list_otherwise(root, (apart.encode(), together.encode()))
    assert read(root).shots[0].path == root / "images" / apart


@pytest.mark.parametrize("there", [["0.jpg", "0.webp"], ["A.png", "a.PNG"]])
def test_names_that_may_mean_several_files_are_refused(tmp_path, write_colmap, write_photos, colmap_model, there):
    root = write_colmap(tmp_path / "s", colmap_model(images=images_of("x.png")), text=True)
    write_photos(root / "images", there)
    listed = {"0": b"0.png", "A": b"A.JPG"}[there[0][0]]
    list_otherwise(root, (b"x.png", listed))
    with pytest.raises(
        UserError, match=rf"{listed.decode()}: not there, and it may be {there[0]} or {there[1]}"
    ) as error:
        read(root)
    assert "rename" in str(error.value)


def test_a_missing_photo_is_not_replaced_by_another_listed_one(tmp_path, write_colmap, colmap_model, caplog):
    root = write_colmap(tmp_path / "s", colmap_model(images=images_of("0.jpg", "0.png", "1.png", pose=False)))
    (root / "images/0.png").unlink()
    shots = read(root).shots
    assert [(shot.name, shot.viewmat[0, 3]) for shot in shots] == [("0.jpg", 0), ("1.png", 2)]
    assert "1 listed photos do not exist and are skipped; the files of like names are other photos" in caplog.text


def test_a_folder_that_is_gone_is_not_replaced_by_another(tmp_path, write_colmap, colmap_model):
    root = write_colmap(tmp_path / "s", colmap_model(images=images_of("left/0.png", "right/0.png", pose=False)))
    (root / "images/right/0.png").rename(root / "images/0.png")
    assert [shot.name for shot in read(root).shots] == ["left/0.png"]


def test_smaller_copies_are_those_of_the_photo_itself(tmp_path, write_colmap, write_photos, colmap_model):
    root = write_colmap(tmp_path / "s", colmap_model(images=images_of("0.jpg", "0.png", pose=False)))
    write_photos(root / "images_2", ["0.png"], (8, 6))
    assert [(s.path.relative_to(root).as_posix(), s.shrink) for s in read(root, 2).shots] == [
        ("images/0.jpg", 2), ("images_2/0.png", 1),
    ]  # fmt: skip


def test_only_smaller_copies_lead_to_the_option(tmp_path, write_colmap, write_photos):
    root = write_colmap(tmp_path / "s")
    (root / "images").rename(root / "images_4")
    for downscale in (1, 2):
        with pytest.raises(UserError, match=r"only smaller copies .*\(images_4\); set `dataset.downscale` to 4"):
            read(root, downscale)
    assert [shot.shrink for shot in read(root, 4).shots] == [1, 1, 1]
    write_photos(root / "images_8", ["0.png"])
    with pytest.raises(UserError, match=r"\(images_4, images_8\); set `dataset.downscale` to 4 or 8"):
        read(root)


@pytest.mark.parametrize("listed", ["ABSOLUTE", "../../private/1.png", "..\\..\\private\\1.png"])
def test_photos_outside_the_dataset_are_refused_unless_allowed(tmp_path, write_colmap, write_photos, listed):
    root = write_colmap(tmp_path / "s", text=True)
    (root / "images/1.png").unlink()
    write_photos(tmp_path / "private", ["1.png"])
    listed = listed.replace("ABSOLUTE", str(tmp_path / "private/1.png"))
    list_otherwise(root, (b"1.png", listed.encode()))
    for downscale in (1, 2):
        with pytest.raises(UserError, match=r"1 of 3 photos lie outside .*/s .*set `dataset.allow_outside`"):
            colmap.read(colmap.find(root), downscale)
        shot = colmap.read(colmap.find(root), downscale, allow_outside=True).shots[1]
        assert (shot.path, shot.shrink) == (tmp_path / "private/1.png", downscale)


def test_a_photo_elsewhere_in_the_dataset_and_a_linked_folder_are_read(tmp_path, write_colmap, write_photos):
    root = write_colmap(tmp_path / "s", text=True)
    (root / "images").rename(tmp_path / "elsewhere")
    (root / "images").symlink_to(tmp_path / "elsewhere")
    write_photos(root / "more", ["1.png"])
    list_otherwise(root, (b"1.png", b"../more/1.png"), (b"2.png", str(root / "images/2.png").encode()))
    assert [shot.path for shot in read(root, 2).shots] == [
        root / p for p in ("images/0.png", "more/1.png", "images/2.png")
    ]


@pytest.mark.parametrize("quat", [(0.0, 0.0, 0.0, 0.0), (math.nan, 0, 0, 0), (1e300, 0, 0, 0), (1e-300, 0, 0, 0)])
def test_a_quaternion_that_is_no_rotation_is_refused(tmp_path, write_colmap, colmap_model, quat):
    root = write_colmap(tmp_path / "s", colmap_model(images=(("a.png", 1, quat, (0.0, 0.0, 0.0)),)))
    with pytest.raises(UserError, match=r"images.bin: the pose of a.png is not finite"):
        read(root)
