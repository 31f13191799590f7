"""Rows about what poses and files of photos belong to, if EXIF turns the photos: A7 and A8."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gsdff.config.options import TeacherConfig
from gsdff.config.smoothing import MaskConfig
from gsdff.masks.precomputed import PrecomputedSegmenter
from gsdff.stored_photo import UNMIRRORED, turn
from gsdff.teachers.precomputed import PrecomputedTeacher
from odd_rows.make import NAMES, load, matrix, save_ids, write_model
from odd_rows.table import Here, Table, code, expect

TABLE = Table()
row = TABLE.row
ORIENTATION = 0x0112
BACK = {6: 8, 8: 6}
SIDE = 48
WIDTH, HEIGHT = 12, 16
"""Size of upright photos."""


def save_photo(path: Path, upright: np.ndarray, orientation: int) -> None:
    """Writes a photo that EXIF turns upright."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(turn(upright, BACK.get(orientation, orientation))).save(path, exif=exif)


def paint(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Colours of a plane, smooth and without symmetry."""
    waves = np.sin(1.3 * x + 0.4), np.cos(0.9 * y + x), np.sin(0.7 * x - 1.1 * y)
    return np.round(127 + 120 * np.stack(waves, -1)).astype(np.uint8)


def write_plane(folder: Path, orientation: int, is_turned: bool, *, is_grey: bool = False) -> list[np.ndarray]:
    """A model of square photos of the plane z = 3, its poses those of the turned or the stored photos; gives the
    pictures of the cameras."""
    model = write_model(folder, camera=f"PINHOLE {SIDE} {SIDE} 36 36 {SIDE / 2} {SIDE / 2}")
    rows, columns = (np.indices((SIDE, SIDE)) + 0.5 - SIDE / 2) / 36 * 3
    pictures = [paint(columns + 0.3 * i, rows) for i in range(len(NAMES))]
    for name, picture in zip(NAMES, pictures, strict=True):
        save_photo(folder / "images" / name, picture if is_turned else turn(picture, orientation), orientation)
    places = np.random.default_rng(0).uniform(-1.8, 2.5, (300, 2))
    lines = []
    for i, ((x, y), color) in enumerate(zip(places, paint(*places.T), strict=True)):
        red, green, blue = (128, 128, 128) if is_grey else color
        lines.append(f"{i + 1} {x} {y} 3 {red} {green} {blue} 0.5 1 0 2 0")
    (model / "points3D.txt").write_text("\n".join(lines) + "\n")
    return pictures


# --- A8


@row(
    "A8",
    "square photos, and photos turned by 180°, with poses of the stored or of the turned photos",
    "test_the_points_colours_tell_of_square_photos",
)
def square_photos(here: Here) -> str:
    num_right = 0
    for orientation in range(2, 9):
        for is_turned in (False, True):
            folder = here.folder / f"{orientation}{is_turned}"
            pictures = write_plane(folder, orientation, is_turned)
            upright = UNMIRRORED.get(orientation, orientation)
            num_right += all(
                (view.image.numpy() == (picture if is_turned else turn(picture, upright))).all()
                for view, picture in zip(load(folder).views, pictures, strict=True)
            )
    expect(num_right == 14, f"{num_right} of 14 are right")
    return f"14 of 14 are right, {here.said('colours of the points', '8True')}"


@row(
    "A8",
    "the same with grey points",
    "test_where_nothing_tells_poses_are_those_of_stored_photos_and_a_warning_names_the_option",
    "test_the_option_decides_against_the_colours_and_without_a_word",
)
def undecidable_photos(here: Here) -> str:
    pictures = write_plane(here.folder, 3, True, is_grey=True)
    load(here.folder)
    said = here.said("nothing tells", "dataset.poses")
    view = load(here.folder, poses="turned").views[1]
    expect((view.image.numpy() == pictures[1]).all() and view.stored, "poses = turned is not respected")
    expect(view.stored is not None and view.stored.turn_before == 3, "the cameras were turned")
    return said


def write_frames(folder: Path, orientation: int = 6, **settings: Any) -> None:
    """transforms.json without a size, and photos that lie on their sides."""
    frames = [{"file_path": f"images/{name}", "transform_matrix": matrix(i)} for i, name in enumerate(NAMES)]
    for i, name in enumerate(NAMES):
        noise = np.random.default_rng(i).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        save_photo(folder / "images" / name, noise, orientation)
    (folder / "transforms.json").write_text(json.dumps({**settings, "frames": frames}))


@row(
    "A8",
    "transforms.json without w and h, with cx, cy or two angles of view of the turned or the stored photos",
    "test_numbers_of_a_camera_without_a_size_tell_which_way_up_it_is",
    "test_an_angle_of_view_alone_belongs_to_the_side_that_the_poses_have",
)
def sizeless(here: Here) -> str:
    sides = {True: (WIDTH, HEIGHT), False: (HEIGHT, WIDTH)}
    num_right = 0
    for is_turned, (width, height) in sides.items():
        angles = {f"camera_angle_{axis}": 2 * math.atan(side / 40) for axis, side in (("x", width), ("y", height))}
        for i, settings in enumerate(({"fl_x": 20, "cx": width / 2, "cy": height / 2}, angles)):
            folder = here.folder / f"{is_turned}{i}"
            folder.mkdir()
            write_frames(folder, **settings)
            view = load(folder).views[0]
            turned = view.stored is not None and view.stored.turn_before == 6
            focals = view.camera.K.diagonal()[:2].tolist()
            num_right += turned == is_turned and np.allclose(focals, 20) and view.image.shape[:2] == (HEIGHT, WIDTH)
    expect(num_right == 4, f"{num_right} of 4 are right")
    return "4 of 4 are right: upright, with the focal lengths of the file"


@row(
    "A8",
    "w and h of the stored photo beside cx and cy of the turned one",
    "test_a_size_and_a_centre_of_different_ways_up_are_refused",
)
def split_numbers(here: Here) -> str:
    write_frames(here.folder, w=HEIGHT, h=WIDTH, fl_x=20, cx=WIDTH / 2, cy=HEIGHT / 2)
    return here.refused(lambda: load(here.folder), "principal point", "w and h")


@row(
    "A8",
    "cameras of some photos are those of the stored, of others those of the turned photos",
    "test_photos_that_contradict_one_another_are_named",
)
def contradiction(here: Here) -> str:
    write_frames(here.folder)
    content = json.loads((here.folder / "transforms.json").read_text())
    for i, frame in enumerate(content["frames"]):
        frame |= {"w": HEIGHT, "h": WIDTH, "fl_x": 20} if i % 2 else {"w": WIDTH, "h": HEIGHT, "fl_x": 20}
    (here.folder / "transforms.json").write_text(json.dumps(content))
    return here.refused(lambda: load(here.folder), "v0.png and v2.png", "v1.png and v3.png")


@row(
    "A8",
    "some photos taken with the camera upside down, without points",
    "test_upward_directions_tell_of_photos_of_different_orientations",
)
def upside_down(here: Here) -> str:
    said = []
    for is_turned in (False, True):
        folder = here.folder / str(is_turned)
        folder.mkdir()
        write_frames(folder, 3, w=WIDTH, h=HEIGHT, fl_x=20)
        content = json.loads((folder / "transforms.json").read_text())
        noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        save_photo(folder / "images" / NAMES[0], noise, 1)
        for frame in content["frames"][1:] if not is_turned else ():
            pose = np.array(frame["transform_matrix"])
            pose[:3, :2] *= -1  # half a turn about the axis
            frame["transform_matrix"] = pose.tolist()
        (folder / "transforms.json").write_text(json.dumps(content))
        views = load(folder).views
        ups = np.stack([view.camera.viewmat[1, :3].numpy() for view in views])
        expect((ups @ ups[0] > 0.99).all(), "the views have different upward directions")
        said.append(here.said("upward directions", str(is_turned)))
    return " and ".join(said)


# --- A7


@row(
    "A7",
    "label maps of `gsdff segment` as `--masks.folder`, of photos turned by 180°",
    "test_segments_that_gsdff_has_made_show_views",
    "test_label_images_that_gsdff_has_made_show_views",
)
def own_segments(here: Here) -> str:
    write_plane(here.folder, 3, False)
    ids = np.add.outer(np.arange(SIDE) // 8, np.arange(SIDE) // 12 * 6)
    for name in NAMES:
        save_ids(here.folder / "labels" / name, ids)
    (here.folder / "labels/classes.json").write_text(json.dumps({"made_by": "gsdff.segment", "classes": []}))
    view = load(here.folder).views[1]
    segments = PrecomputedSegmenter(MaskConfig(folder=here.folder / "labels", min_area=1)).segment(view, view.image)
    expect((segments.numpy() == ids).all(), "the segments are turned")
    return f"taken as they are: all {ids.size} pixels equal"


@row(
    "A7",
    "square teacher maps, as of networks that squeeze photos, of photos turned by 90°",
    "test_maps_of_the_folder_that_tell_decide_for_square_ones",
)
def square_maps(here: Here) -> str:
    write_frames(here.folder, w=HEIGHT, h=WIDTH, fl_x=20)
    scene = load(here.folder)
    said = []
    for kind, shape in (("unclear", (16, 16)), ("told", (HEIGHT, WIDTH))):
        maps = here.folder / kind
        maps.mkdir()
        for i, view in enumerate(scene.views):
            values = np.random.default_rng(i).standard_normal((3, *(shape if i == 1 else (16, 16)))).astype(np.float32)
            np.save(maps / f"{view.stem}.npy", values / np.linalg.norm(values, axis=0))
        teacher = PrecomputedTeacher(TeacherConfig("precomputed", maps), scene)
        for view in scene.views:
            teacher.check(view)
        (features,) = teacher.extract(scene.views[:1])
        given = np.load(maps / f"{scene.views[0].stem}.npy")
        shown = given if kind == "told" else turn(given.transpose(1, 2, 0), 6).transpose(2, 0, 1)
        expect(np.allclose(features.numpy(), shown, atol=1e-5), f"{kind}: another map")
        said.append([line for line in here.lines if kind in line][-1])
    expect("dataset.made_from" in said[0] and "upright" in said[1], f"said: {said}")
    return f"{code(said[0])}; with a map of the view's shape among them {code(said[1])}"
