"""transforms.json is read in the dialects of nerfstudio, instant-ngp and Blender."""

import json
import math

import numpy as np
import pytest

from gsdff.data import transforms
from gsdff.errors import UserError

POSE = [[1.0, 0, 0, 1], [0, 1, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]]
SHEARED = [[1.0, 0.5, 0, 1], [0, 1, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]]
SHARED_LENS = {"fl_x": 20.0, "fl_y": 21.0, "cx": 8.5, "cy": 6.5, "w": 16, "h": 12}


@pytest.fixture
def write(tmp_path, write_photos):
    """Writes photos, and a transforms file with a frame for each of `paths` (as given there)."""

    def write(
        paths=("images/0.png", "images/1.png"), shared=SHARED_LENS, frames=None, name="transforms.json", photos=None
    ):
        root = tmp_path / "s"
        write_photos(root, paths if photos is None else photos)
        if frames is None:
            frames = [{"file_path": path, "transform_matrix": POSE} for path in paths]
        (root / name).write_text(json.dumps({**shared, "frames": frames}))
        return root

    return write


def read(root, downscale=1):
    return transforms.read(transforms.find(root), downscale)


def frame(path="images/0.png", **settings):
    return {"file_path": path, "transform_matrix": POSE, **settings}


def test_opengl_cameras_become_opencv_ones(write):
    viewmat = read(write()).shots[0].viewmat
    # The camera stands at (1, 2, 3) and looks along -z with +y up: what lies 5 ahead and 1 up is at (0, -1, 5).
    assert np.allclose(viewmat @ [1, 3, -2, 1], [0, -1, 5, 1])


def test_shared_intrinsics_are_read(write):
    lens = read(write()).shots[0].lens
    assert (lens.model, lens.width, lens.height, lens.params) == ("PINHOLE", 16, 12, (20.0, 21.0, 8.5, 6.5))


def test_a_frames_own_intrinsics_come_before_shared_ones(write):
    shots = read(write(frames=[frame(fl_x=30.0, fl_y=31.0, cx=1.0), frame("images/1.png")])).shots
    assert [shot.lens.params for shot in shots] == [(30.0, 31.0, 1.0, 6.5), (20.0, 21.0, 8.5, 6.5)]


def test_angles_of_view_give_focal_lengths(write):
    angle = 2 * math.atan(0.5 * 16 / 25)
    lens = read(write(shared={"camera_angle_x": angle})).shots[0].lens
    assert np.allclose(lens.params, (25, 25, 8, 6)) and (lens.width, lens.height) == (16, 12)
    both = {"camera_angle_x": angle, "camera_angle_y": 2 * math.atan(0.5 * 12 / 30)}
    assert np.allclose(read(write(shared=both)).shots[0].lens.params[:2], (25, 30))
    assert np.allclose(read(write(shared={**both, "fl_x": 20.0})).shots[0].lens.params[:2], (20, 20))


@pytest.mark.parametrize(
    ("settings", "model", "params"),
    [
        ({"k1": 0.0, "k2": 0.0, "p1": 0.0, "p2": 0.0}, "PINHOLE", ()),
        ({"camera_model": "PINHOLE", "k1": 0.3}, "PINHOLE", ()),
        ({"k1": 0.1, "p2": 0.4}, "OPENCV", (0.1, 0.0, 0.0, 0.4)),
        ({"camera_model": "OPENCV", "k1": 0.1, "k2": 0.2, "p1": 0.3, "p2": 0.4}, "OPENCV", (0.1, 0.2, 0.3, 0.4)),
        ({"camera_model": "OPENCV", "k1": 0.1, "k3": 0.5}, "FULL_OPENCV", (0.1, 0, 0, 0, 0.5, 0, 0, 0)),
        ({"camera_model": "OPENCV_FISHEYE", "k1": 0.1, "k4": 0.4}, "OPENCV_FISHEYE", (0.1, 0, 0, 0.4)),
        ({"camera_model": "OPENCV_FISHEYE"}, "OPENCV_FISHEYE", (0, 0, 0, 0)),
        ({"is_fisheye": True, "k2": 0.2}, "OPENCV_FISHEYE", (0, 0.2, 0, 0)),
    ],
)
def test_lens_models_are_colmaps(write, settings, model, params):
    lens = read(write(shared=SHARED_LENS | settings)).shots[0].lens
    assert lens.model == model and lens.params == (20.0, 21.0, 8.5, 6.5, *params)


@pytest.mark.parametrize(
    ("listed", "there"),
    [("./images/a", "images/a.png"), ("images/a", "images/a.JPG"), ("images\\a.jpg", "images/a.jpg"),
     ("images/a.0001", "images/a.0001.jpeg"), ("./images/../images/a.png", "images/a.png")],
)  # fmt: skip
def test_paths_are_found_as_they_are_meant(write, listed, there):
    root = write(paths=[listed], photos=[there])
    shot = read(root).shots[0]
    assert shot.path == root / there and shot.name == there.removeprefix("images/")


def test_absolute_paths_are_taken_as_they_are(write, tmp_path, write_photos):
    write_photos(tmp_path / "elsewhere", ["a.png"])
    shots = read(write(paths=[str(tmp_path / "elsewhere/a.png"), "images/b.png"], photos=["images/b.png"])).shots
    assert [shot.path.name for shot in shots] == ["a.png", "b.png"]


def test_listed_photos_that_do_not_exist_are_skipped_with_a_count(write, caplog):
    root = write(paths=["images/0.png", "images/1.png"], photos=["images/1.png"])
    assert [shot.name for shot in read(root).shots] == ["1.png"]
    assert "1 of 2 listed photos do not exist" in caplog.text and "images/0.png" in caplog.text
    with pytest.raises(UserError, match=r"transforms.json: none of the 1 photos"):
        read(write(paths=["images/7.png"], photos=[]))


def test_smaller_copies_are_taken_where_they_are_there(write, write_photos):
    root = write()
    write_photos(root / "images_2", ["0.png"], (8, 6))
    shots = read(root, 2).shots
    assert [(s.path.relative_to(root).as_posix(), s.shrink, s.name) for s in shots] == [
        ("images_2/0.png", 1, "0.png"), ("images/1.png", 2, "1.png"),
    ]  # fmt: skip


def test_blenders_split_is_kept_and_its_validation_photos_left_out(write):
    shared = {"camera_angle_x": 0.69}
    for split, count in (("train", 3), ("val", 2), ("test", 2)):
        paths = [f"./{split}/r_{i}" for i in range(count)]
        root = write(paths, shared, name=f"transforms_{split}.json", photos=[f"{path}.png" for path in paths])
    capture = read(root)
    assert sorted(s.name for s in capture.shots) == [
        "test/r_0.png", "test/r_1.png", "train/r_0.png", "train/r_1.png", "train/r_2.png",
    ]  # fmt: skip
    assert capture.held_out == {"test/r_0.png", "test/r_1.png"}
    (root / "transforms_test.json").unlink()
    assert read(root).held_out == {"val/r_0.png", "val/r_1.png"}
    (root / "transforms_val.json").unlink()
    assert read(root).held_out is None


def test_nerfstudios_lists_of_filenames_are_kept_to(write):
    paths = [f"images/{i}.png" for i in range(4)]
    split = {"train_filenames": paths[:2], "val_filenames": paths[2:3], "test_filenames": paths[2:3]}
    capture = read(write(paths, SHARED_LENS | split))
    assert [s.name for s in capture.shots] == ["0.png", "1.png", "2.png"] and capture.held_out == {"2.png"}


def test_a_listed_point_cloud_is_read_in_the_files_own_frame(write, caplog):
    moved = {"ply_file_path": "sparse.ply", "applied_transform": [[0, 1, 0, 9], [1, 0, 0, 9], [0, 0, -1, 9]]}
    root = write(shared=SHARED_LENS | moved)
    assert read(root).points.shape == (0, 3) and "'sparse.ply' does not exist" in caplog.text
    properties = "".join(f"property float {axis}\n" for axis in "xyz")
    (root / "sparse.ply").write_text(f"ply\nformat ascii 1.0\nelement vertex 1\n{properties}end_header\n1 2 3\n")
    capture = read(root)
    assert capture.points.tolist() == [[1, 2, 3]]
    assert np.allclose(capture.shots[0].viewmat @ [1, 2, 3, 1], [0, 0, 0, 1])


def test_rounded_matrices_give_rigid_cameras(write):
    angle = 0.3
    cosine, sine = math.cos(angle), math.sin(angle)
    matrix = np.array([[cosine, -sine, 0, 1], [sine, cosine, 0, 2], [0, 0, 1, 3]])
    viewmat = read(write(frames=[frame(transform_matrix=matrix.round(3).tolist())])).shots[0].viewmat
    assert np.allclose(viewmat[:3, :3] @ viewmat[:3, :3].T, np.eye(3), atol=1e-12)
    assert np.allclose(viewmat @ [1, 2, 3, 1], [0, 0, 0, 1])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (
            {"transform_matrix": np.diag([2.0, 1, 1, 1]).tolist()},
            "images/0.png: transform_matrix is scaled differently",
        ),
        ({"transform_matrix": np.diag([1.0, 1, -1, 1]).tolist()}, "images/0.png: transform_matrix mirrors"),
        ({"transform_matrix": np.diag([-2.0, -2, -2, 1]).tolist()}, "images/0.png: transform_matrix mirrors"),
        ({"transform_matrix": SHEARED}, "images/0.png: transform_matrix is sheared"),
        ({"transform_matrix": np.diag([1.0, 1, 0, 1]).tolist()}, "images/0.png: transform_matrix is flat"),
        (
            {"transform_matrix": np.diag([1e9, 1e9, 1e9, 1]).tolist()},
            "images/0.png: transform_matrix is flat or scaled",
        ),
        ({"transform_matrix": np.transpose(POSE).tolist()}, "images/0.png: .*last row.*may be transposed"),
        ({"transform_matrix": np.diag([1.0, 1, 1, 2]).tolist()}, "images/0.png: expected 0, 0, 0, 1 in the last row"),
        ({"transform_matrix": [[10**400] * 4] * 4}, "images/0.png: transform_matrix is not a matrix of numbers"),
        ({"transform_matrix": [[math.nan] * 4] * 4}, "images/0.png: transform_matrix is not finite"),
        ({"transform_matrix": [[1, 2], [3, 4]]}, r"images/0.png: expected a 4x4 transform_matrix, got shape \(2, 2\)"),
        ({"transform_matrix": [["a"]]}, "images/0.png: transform_matrix is not a matrix of numbers"),
        ({"transform_matrix": None}, "images/0.png: expected a 4x4 transform_matrix"),
        ({"fl_x": "20"}, "images/0.png: fl_x must be a number, got '20'"),
        ({"fl_x": 10**400}, "images/0.png: fl_x must be a number, got 1000"),
        ({"cx": math.inf}, "images/0.png: cx must be a number, got inf"),
        ({"camera_angle_x": 0}, "images/0.png: camera_angle_x: expected more than 0 and less than pi radians, got 0"),
        ({"camera_angle_x": 49.1}, "images/0.png: camera_angle_x: expected more than 0 and less than pi radians"),
        ({"camera_angle_y": -0.5}, "images/0.png: camera_angle_y: expected more than 0 and less than pi radians"),
        ({"camera_model": "EQUIRECTANGULAR"}, "images/0.png: camera model 'EQUIRECTANGULAR' cannot"),
        ({"k1": 0.1, "k4": 0.1}, "images/0.png: k4 of a perspective camera"),
        ({"file_path": 3}, "frame 0 has no file_path"),
    ],
)
def test_a_bad_frame_is_named(write, bad, message):
    root = write(frames=[frame(**bad), frame("images/1.png")])
    with pytest.raises(UserError, match=rf"transforms\.json: .*{message}|transforms\.json: {message}"):
        read(root)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read as a transforms file"),
        ('{"frames": ' + "[" * 100_000, "cannot be read as a transforms file .nested too deep"),
        ('{"frames": 1' + "0" * 5000 + "}", "cannot be read as a transforms file"),
        ("[]", "expected an object with a list of frames"),
        ('{"frames": 3}', "expected an object with a list of frames"),
        ('{"frames": []}', "its list of frames is empty"),
    ],
)
def test_a_file_that_is_no_transforms_file_is_named(tmp_path, content, message):
    (tmp_path / "transforms.json").write_text(content)
    with pytest.raises(UserError, match=rf"transforms\.json: {message}"):
        read(tmp_path)


def test_frames_without_intrinsics_are_named(write):
    with pytest.raises(UserError, match=r"images/0.png: no intrinsics"):
        read(write(shared={}))


def test_a_scaled_rotation_is_a_camera_and_said_once(write, caplog):
    root = write(frames=[frame(), frame("images/1.png")])
    before = read(root).shots
    assert "scale" not in caplog.text
    scaled = [[0.33 * x if column < 3 else x for column, x in enumerate(row)] for row in POSE[:3]]
    after = read(write(frames=[frame(transform_matrix=scaled), frame("images/1.png", transform_matrix=scaled)])).shots
    assert all(np.allclose(a.viewmat, b.viewmat, atol=1e-12) for a, b in zip(before, after, strict=True))
    assert caplog.text.count("2 of 2 transform_matrix are rotations scaled by 0.33 to 0.33") == 1


def test_a_byte_order_mark_is_no_part_of_the_file(write):
    root = write()
    content = (root / "transforms.json").read_text()
    for encoding in ("utf-8-sig", "utf-16"):
        (root / "transforms.json").write_text(content, encoding=encoding)
        assert len(read(root).shots) == 2


PATHS = [f"images/{i}.png" for i in range(5)]


def split_of(capture):
    """Names of the photos to train on, and of those held out."""
    held_out = capture.held_out or frozenset()
    return [s.name for s in capture.shots if s.name not in held_out], sorted(held_out)


@pytest.mark.parametrize(
    ("split", "train", "test", "message"),
    [
        ({"test": PATHS[3:]}, "012", "34", None),
        ({"val": PATHS[3:]}, "012", "34", None),
        ({"test": PATHS[3:4], "val": PATHS[4:]}, "012", "3", None),
        ({"train": PATHS[:3]}, "012", "34", "lists photos to train on and none to test; the other 2 are held out"),
        ({"train": PATHS}, "01234", "", None),
        ({"train": PATHS[:4], "test": PATHS[3:]}, "012", "34", "1 photos are listed for training and for testing"),
        ({"train": PATHS[:2], "test": ["./images/2", "IMAGES\\3.JPG"]}, "01", "23", None),
        (
            {"train": PATHS[:2], "test": [PATHS[2], "images/9.png"]},
            "01",
            "2",
            "test_filenames: 1 of 2 photos are not in",
        ),
        ({"train": [], "test": []}, "01234", "", None),
    ],
)
def test_a_split_is_kept_to(write, caplog, split, train, test, message):
    root = write(PATHS, SHARED_LENS | {f"{key}_filenames": names for key, names in split.items()})
    assert split_of(read(root)) == ([f"{i}.png" for i in train], [f"{i}.png" for i in test])
    assert message in caplog.text if message else "WARNING" not in caplog.text


@pytest.mark.parametrize("key", ["train_filenames", "test_filenames", "val_filenames"])
@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["images/7.png"], r"none of its 1 photos is in the frames \(first: 'images/7.png'\)"),
        ([0, 1], "expected a list of file paths as in the frames, got"),
        ("images/0.png", "expected a list of file paths"),
        ({"images/0.png": 1}, "expected a list of file paths"),
    ],
)
def test_a_split_that_says_nothing_is_refused(write, key, names, message):
    with pytest.raises(UserError, match=rf"transforms.json: {key}: {message}"):
        read(write(PATHS, SHARED_LENS | {key: names}))


@pytest.mark.parametrize("other", ["images/1.png", "./images/1.png", "images\\1.PNG", "images/1", "IMAGES/1.jpg"])
def test_a_frame_that_is_listed_twice_is_held_out_if_either_is(write, caplog, other):
    shared = SHARED_LENS | {"train_filenames": ["images/0.png", "images/1.png"], "test_filenames": [other]}
    frames = [frame(), frame("images/1.png"), frame(other)]
    capture = read(write(shared=shared, frames=frames))
    assert split_of(capture) == (["0.png"], ["1.png"]) and len(capture.shots) == 2
    assert "1 photos are listed several times with one pose and are used once" in caplog.text


def test_a_photo_of_both_files_of_a_split_is_held_out(write, caplog):
    shared = {"camera_angle_x": 0.69}
    write(["./all/r_0", "./all/r_1"], shared, name="transforms_train.json", photos=["all/r_0.png", "all/r_1.png"])
    root = write(["./all/r_1"], shared, name="transforms_test.json", photos=[])
    capture = read(root)
    assert split_of(capture) == (["r_0.png"], ["r_1.png"]) and len(capture.shots) == 2
    assert "used once, held out if any entry is (first: r_1.png)" in caplog.text


@pytest.mark.parametrize("other", ["images/0.png", "./images/0.png", "images/0"])
def test_two_poses_of_one_frame_are_refused(write, other):
    moved = [[*row[:3], row[3] + 1] for row in POSE[:3]]
    with pytest.raises(UserError, match=r"0.png: 2 entries with different poses or lenses are of the one photo"):
        read(write(frames=[frame(), frame(other, transform_matrix=moved)]))


def test_a_split_whose_photos_are_gone_is_said(write, caplog):
    capture = read(write(PATHS, SHARED_LENS | {"test_filenames": PATHS[4:]}, photos=PATHS[:4]))
    assert capture.held_out is None and len(capture.shots) == 4
    assert "none of its test photos exists, every 8th photo is held out" in caplog.text


@pytest.mark.parametrize("prefix", ["/home/other/lego/", "C:\\Users\\me\\lego\\", "../../lego/", "lego/", "/"])
def test_the_folders_of_another_machine_are_left_out(write, prefix):
    slash = "\\" if "\\" in prefix else "/"
    photos = ["train/r_0.png", "train/r_1.png", "test/r_0.png"]
    frames = [frame(prefix + photo.replace("/", slash), transform_matrix=POSE) for photo in photos]
    for i, entry in enumerate(frames):
        entry["transform_matrix"] = [[*row[:3], row[3] + i] for row in POSE[:3]]
    root = write(frames=frames, photos=photos)
    assert [(s.name, s.path.relative_to(root).as_posix()) for s in read(root).shots] == [(p, p) for p in photos]


def test_both_photos_of_one_stem_are_themselves_with_smaller_copies(write, write_photos):
    photos = ["images/a/0.png", "images/b/0.png"]
    root = write(frames=[frame(photos[0]), frame(photos[1])], photos=photos)
    write_photos(root, ["images_2/a/0.png", "images/b_2/0.png"], (8, 6))
    assert [s.path.relative_to(root).as_posix() for s in read(root, 2).shots] == [
        "images_2/a/0.png",
        "images/b_2/0.png",
    ]


def test_a_photo_outside_the_common_folder_is_read_smaller(write, write_photos):
    photos = ["images/0.png", "others/1.png", "2.png"]
    root = write(photos)
    write_photos(root, ["images_2/0.png", "others_2/1.png"], (8, 6))
    assert [(s.path.relative_to(root).as_posix(), s.shrink) for s in read(root, 2).shots] == [
        ("images_2/0.png", 1), ("others_2/1.png", 1), ("2.png", 2),
    ]  # fmt: skip


def test_only_smaller_copies_lead_to_the_option(write):
    root = write(photos=["images_4/0.png", "images_4/1.png"])
    with pytest.raises(UserError, match=r"only smaller copies .*\(images_4\); set `dataset.downscale` to 4"):
        read(root)
    assert [shot.shrink for shot in read(root, 4).shots] == [1, 1]


def test_photos_and_points_beside_the_folder_are_read_and_farther_ones_only_if_allowed(write, write_photos, tmp_path):
    near, far = tmp_path / "images", tmp_path.parent / f"{tmp_path.name}-far"
    write()
    write_photos(near, ["0.png"])
    write_photos(far, ["1.png"])
    properties = "".join(f"property double {axis}\n" for axis in "xyz")
    ply = f"ply\nformat ascii 1.0\nelement vertex 1\n{properties}end_header\n1 2 3\n"
    (near / "a.ply").write_text(ply)
    (far / "a.ply").write_text(ply)
    root = write(
        shared=SHARED_LENS | {"ply_file_path": "../images/a.ply"}, frames=[frame("../images/0.png")], photos=[]
    )
    assert read(root).shots[0].path == near / "0.png" and len(read(root).points) == 1
    for path in (f"../../{far.name}/1.png", str(far / "1.png")):
        root = write(frames=[frame("../images/0.png"), frame(path)], photos=[])
        with pytest.raises(UserError, match=r"1 of 2 photos lie outside .*set `dataset.allow_outside`"):
            read(root)
        capture = transforms.read(transforms.find(root), 1, allow_outside=True)
        assert [shot.path for shot in capture.shots] == [near / "0.png", far / "1.png"]
    root = write(shared=SHARED_LENS | {"ply_file_path": str(far / "a.ply")})
    with pytest.raises(UserError, match=r"a.ply lies outside .*set `dataset.allow_outside`"):
        read(root)
    assert len(transforms.read(transforms.find(root), 1, allow_outside=True).points) == 1


@pytest.mark.parametrize("name", ["images/\ud800.png", "images/\udc80.png", "images/\0.png", "", "x" * 5000])
def test_what_no_file_can_be_called_is_refused(write, name):
    for shared, frames in (
        (SHARED_LENS, [frame(), frame(name)]),
        (SHARED_LENS | {"test_filenames": [name]}, [frame()]),
    ):
        with pytest.raises(UserError, match=r"transforms.json: '.*' cannot be the name of a photo") as error:
            read(write(shared=shared, frames=frames))
        assert len(str(error.value)) < 400 and str(error.value).encode()


def test_a_path_to_points_that_is_none_is_refused(write):
    with pytest.raises(UserError, match="ply_file_path: expected the path of a point cloud, got 7"):
        read(write(shared=SHARED_LENS | {"ply_file_path": 7}))
