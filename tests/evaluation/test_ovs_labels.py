"""Labels of LERF-OVS and 3D-OVS: masks by hand, their photos, errors that name damaged files."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_field import make_scene

from gsdff.config.options import DataConfig
from gsdff.data import load_scene
from gsdff.errors import UserError
from gsdff.evaluation.ovs.labels import (
    LerfFrame,
    MaskFrame,
    boxes_in_view,
    find_views,
    masks_in_view,
    read_3d_ovs,
    read_lerf_ovs,
)

SQUARE = [[2, 1], [5, 1], [5, 3], [2, 3]]


def thing(category: str = "mug", segmentation: object = SQUARE, **more: object) -> dict:
    return {"category": category, "group": 1, "segmentation": segmentation, **more}


def write_frame(folder: Path, name: str, *objects: object, size: tuple[int, int] = (12, 8)) -> Path:
    folder.mkdir(exist_ok=True)
    info = {"name": f"{name}.jpg", "width": size[0], "height": size[1], "depth": 3, "note": ""}
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"info": info, "objects": list(objects)}))
    return path


def write_masks(root: Path, folders: dict[str, dict[str, np.ndarray]], classes: list[str]) -> Path:
    for folder, masks in folders.items():
        (root / folder).mkdir(parents=True)
        for name, mask in masks.items():
            Image.fromarray(mask.astype(np.uint8) * 255).save(root / folder / f"{name}.png")
    (root / "classes.txt").write_text("\n".join(classes) + "\n")
    return root


def pixels(mask: torch.Tensor) -> set[tuple[int, int]]:
    return {(int(x), int(y)) for y, x in mask.nonzero()}


def rectangle(x0: int, y0: int, x1: int, y1: int) -> set[tuple[int, int]]:
    """All pixels from one corner to the other, both included."""
    return {(x, y) for x in range(x0, x1 + 1) for y in range(y0, y1 + 1)}


def test_a_polygon_covers_its_inside_and_its_border(tmp_path):
    write_frame(tmp_path, "frame_00041", thing())
    frame = read_lerf_ovs(tmp_path)[0]
    mask = frame.masks(12, 8)["mug"]
    assert mask.shape == (8, 12) and mask.dtype == torch.bool
    assert pixels(mask) == rectangle(2, 1, 5, 3)
    assert (frame.name, frame.width, frame.height, frame.names) == ("frame_00041.jpg", 12, 8, ["mug"])


def test_corners_are_cut_to_whole_pixels(tmp_path):
    write_frame(tmp_path, "f", thing(segmentation=[[2.9, 1.2], [5.9, 1.9], [5.1, 3.9], [2.0, 3.3]]))
    assert pixels(read_lerf_ovs(tmp_path)[0].masks(12, 8)["mug"]) == rectangle(2, 1, 5, 3)


def test_corners_beyond_the_left_and_upper_edge_stay_where_they_are(tmp_path):
    """The slanted side is x + 2 y = 2; with its corners rounded inwards, it would end in (4, 0)."""
    write_frame(tmp_path, "f", thing(segmentation=[[-6, 4], [6, -2], [-6, -2]]))
    assert pixels(read_lerf_ovs(tmp_path)[0].masks(12, 8)["mug"]) == rectangle(0, 0, 2, 0) | rectangle(0, 1, 1, 1)


def test_polygons_of_one_category_are_joined_and_keep_a_box_each(tmp_path):
    far = [[9, 5], [11, 5], [11, 7], [9, 7]]
    write_frame(tmp_path, "f", thing(bbox=[5, 4, 1, 0]), thing("lamp"), thing(segmentation=far))
    frame = read_lerf_ovs(tmp_path)[0]
    assert pixels(frame.masks(12, 8)["mug"]) == rectangle(2, 1, 5, 3) | rectangle(9, 5, 11, 7)
    assert frame.boxes["mug"] == [(1, 0, 5, 4), (9, 5, 11, 7)]  # the file's, its corners in order, and the polygon's
    assert frame.names == ["mug", "lamp"]


def test_labels_of_another_size_are_scaled(tmp_path):
    write_frame(tmp_path, "f", thing())
    frame = read_lerf_ovs(tmp_path)[0]
    # pixel 2's centre, 2.5, lies at 1.25 in half the width: pixel 1
    assert pixels(frame.masks(6, 4)["mug"]) == rectangle(1, 0, 2, 1)
    assert pixels(frame.masks(24, 16)["mug"]) == rectangle(5, 3, 11, 7)
    assert frame.scaled_boxes(12, 8) == {"mug": [(2, 1, 5, 3)]}
    assert frame.scaled_boxes(6, 4) == {"mug": [(0.75, 0.25, 2.25, 1.25)]}


def test_a_thing_that_shrinks_below_a_pixel_keeps_one(tmp_path):
    write_frame(tmp_path, "f", thing(segmentation=[[5, 5], [6, 5], [6, 6]]))
    assert pixels(read_lerf_ovs(tmp_path)[0].masks(3, 2)["mug"]) == {(1, 1)}


def test_a_box_of_two_corners_is_read(tmp_path):
    write_frame(tmp_path, "f", thing(bbox=[[1, 2], [3, 4]]))
    assert read_lerf_ovs(tmp_path)[0].boxes["mug"] == [(1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (thing(segmentation=[[1, 1], [5, 5]]), r"object 1 \(mug\): expected a polygon .* of three points or more"),
        (thing(segmentation=[1, 1, 5, 5, 3, 3]), "expected a polygon"),
        (thing(segmentation=[[1, 1], [5, "a"], [3, 3]]), "expected a polygon"),
        (thing(segmentation=[[1, 1], [5, float("nan")], [3, 3]]), "expected a polygon"),
        (thing(segmentation=[[20, 1], [25, 1], [25, 3]]), "lies outside the picture of 12 x 8"),
        (thing(bbox=[1, 2, 3]), "expected a bbox"),
        (thing(category=" "), "expected a category"),
        ({"category": "mug"}, r'expected \{"category", "segmentation"\}'),
        ("mug", r'expected \{"category", "segmentation"\}'),
    ],
)
def test_a_thing_that_cannot_be_read_names_file_and_place(tmp_path, entry, message):
    path = write_frame(tmp_path, "frame_00041", thing(), entry)
    with pytest.raises(UserError, match=message) as caught:
        read_lerf_ovs(tmp_path)
    assert str(caught.value).startswith(f"{path}: object 1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as labels of LERF-OVS"),
        ("[]", "misses"),
        ('{"objects": []}', "misses 'info'"),
        ('{"info": {"name": "a", "width": 3}, "objects": []}', "misses 'height'"),
        ('{"info": {"name": "a", "width": 3, "height": 0}, "objects": []}', "expected a photo's name and its size"),
        ('{"info": {"name": "", "width": 3, "height": 3}, "objects": []}', "expected a photo's name and its size"),
        (
            '{"info": {"name": "a", "width": 3, "height": 3}, "objects": []}',
            "expected a list of one labelled object or more",
        ),
    ],
)
def test_a_file_that_is_no_label_is_named(tmp_path, text, message):
    (tmp_path / "frame_00041.json").write_text(text)
    with pytest.raises(UserError, match=f"frame_00041.json: .*{message}"):
        read_lerf_ovs(tmp_path)


@pytest.mark.parametrize(("folder", "what"), [("", "has no JSON file in it"), ("nowhere", "no such folder")])
def test_a_folder_without_frames_is_refused(tmp_path, folder, what):
    with pytest.raises(UserError, match=f"{what}; expected LERF-OVS labels"):
        read_lerf_ovs(tmp_path / folder)


def test_masks_of_classes_are_read_in_the_lists_order_and_scaled(tmp_path):
    left = np.arange(8) < 4
    masks = {"white mug": np.tile(left, (6, 1)), "lamp": np.tile(~left, (6, 1))}
    root = write_masks(tmp_path / "sofa" / "segmentations", {"03": masks, "00": masks}, ["white mug", "lamp"])
    frames = read_3d_ovs(root)
    assert [(frame.name, frame.width, frame.names) for frame in frames] == [
        ("00", 8, ["white mug", "lamp"]),
        ("03", 8, ["white mug", "lamp"]),
    ]
    assert pixels(frames[0].masks(8, 6)["white mug"]) == rectangle(0, 0, 3, 5)
    assert pixels(frames[0].masks(4, 3)["lamp"]) == rectangle(2, 0, 3, 2)
    assert read_3d_ovs(tmp_path / "sofa") == frames


def test_a_missing_or_damaged_mask_is_named(tmp_path):
    masks = {"mug": np.ones((4, 4), bool), "lamp": np.ones((4, 4), bool)}
    root = write_masks(tmp_path / "a", {"00": masks}, ["mug", "lamp"])
    (root / "00" / "lamp.png").write_bytes(b"no picture")
    frame = read_3d_ovs(root)[0]
    with pytest.raises(UserError, match=r"00/lamp.png: cannot be read as a mask"):
        frame.masks(4, 4)
    (root / "00" / "lamp.png").unlink()
    with pytest.raises(UserError, match=r"00/lamp.png: missing; every labelled view needs a mask of every class"):
        read_3d_ovs(root)


def test_a_bad_class_list_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"expected 3D-OVS labels, with classes.txt"):
        read_3d_ovs(tmp_path)
    for names in (["mug"], ["mug", "Mug"], []):
        (tmp_path / "classes.txt").write_text("\n".join(names))
        with pytest.raises(UserError, match=r"classes.txt: expected two different names or more"):
            read_3d_ovs(tmp_path)
    (tmp_path / "classes.txt").write_text("mug\nlamp\n")
    with pytest.raises(UserError, match="has no folder of masks"):
        read_3d_ovs(tmp_path)


def lerf(name: str, size: tuple[int, int] = (13, 9)) -> LerfFrame:
    return LerfFrame(Path(f"{name}.json"), name, *size, {}, {})


def masked(name: str) -> MaskFrame:
    return MaskFrame(Path(name), name, 4, {})


def test_photos_are_found_by_name_by_stem_and_those_of_3d_ovs_by_index(tmp_path):
    scene = make_scene(tmp_path)
    views = find_views([lerf("v3.png"), lerf("v1.jpg"), masked("v2"), masked("07")], scene)
    assert [view.name for view in views] == ["v3.png", "v1.png", "v2.png", "v7.png"]


@pytest.mark.parametrize(
    ("size", "is_fine"),
    [
        *[(size, True) for size in ((13, 9), (26, 18), (130, 89), (6, 4))],
        *[(size, False) for size in ((9, 13), (1, 1), (1000, 1000), (13, 1))],
    ],
)
def test_labels_of_another_shape_than_their_photo_are_refused(tmp_path, size, is_fine):
    scene = make_scene(tmp_path)
    white = np.ones(size[::-1], bool)
    root = write_masks(tmp_path / "a", {"v2": {"mug": np.ones((9, 13), bool), "lamp": white}}, ["mug", "lamp"])
    for frames in ([lerf("v1.jpg", size)], read_3d_ovs(root)):
        if is_fine:
            assert len(find_views(frames, scene)) == 1
            continue
        with pytest.raises(UserError, match=rf"is {size[0]}x{size[1]}, its photo v\d.png is 13x9") as e:
            find_views(frames, scene)
        assert ("EXIF" in str(e.value)) == (size == (9, 13))


@pytest.mark.parametrize("name", ["../secret", "a/b", "a\\b", "x" * 2000])
def test_a_class_that_is_no_file_name_is_refused(tmp_path, name):
    (tmp_path / "classes.txt").write_text(f"mug\n{name}\n")
    with pytest.raises(UserError, match=r"classes.txt: expected the names of masks <class>.png, got"):
        read_3d_ovs(tmp_path)


def test_frames_without_a_photo_are_named_with_the_photos_like_them(tmp_path):
    scene = make_scene(tmp_path)
    with pytest.raises(UserError) as caught:
        find_views([lerf("v1.jpg"), lerf("vv3.jpg"), lerf("07")], scene)
    message = str(caught.value)
    assert message.startswith(f"vv3.jpg.json: no photo of {tmp_path} goes with labels for vv3.jpg, 07; closest: v3.png")
    assert "its photos are v0.png, v1.png" in message
    with pytest.raises(UserError, match=r"labels for 09; closest: nothing like it; its photos are v0.png"):
        find_views([masked("09")], scene)


def test_two_labels_of_one_photo_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"v1.png.json: labels v1.png, as v1.jpg.json does"):
        find_views([lerf("v1.jpg"), lerf("v1.png")], make_scene(tmp_path))


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ({"segmentation": [[math.nan, 1], [5, 1], [5, 3]]}, "expected a polygon"),
        ({"segmentation": [[math.inf, 1], [5, 1], [5, 3]]}, "expected a polygon"),
        ({"segmentation": [[10**400, 1], [5, 1], [5, 3]]}, "expected a polygon"),
        ({"segmentation": [[1e300, 1], [5, 1], [5, 3]]}, "expected a polygon"),
        ({"segmentation": [[1e6, 1], [-1e6, 1], [5, 3]]}, "its polygon reaches far out of the picture of 12 x 8"),
        ({"segmentation": [[True, 1], [5, 1], [5, 3]]}, "expected a polygon"),
        ({"segmentation": [[1, 1], [5, 1]]}, "expected a polygon"),
        ({"bbox": [0, 0, math.nan, 3]}, "expected a bbox"),
        ({"bbox": [0, 0, 10**400, 3]}, "expected a bbox"),
        ({"category": "half \ud800"}, "expected a text in UTF-8"),
        ({"category": "c" * 10**6}, "expected a text of at most 1,000 characters"),
        ({"category": ["mug"]}, "expected a category name"),
    ],
    ids=range(12),
)
def test_labels_with_absurd_values_are_refused_by_file_and_object(tmp_path, entry, complaint):
    write_frame(tmp_path, "f", thing("lamp"), {**thing(), **entry})
    with pytest.raises(UserError, match=rf"f\.json: object 1.*: {complaint}") as error:
        read_lerf_ovs(tmp_path)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize("size", [(0, 8), (12, -8), (12.0, 8), (True, 8), (10**400, 8), (12, 10**7)])
def test_a_labelled_picture_of_an_absurd_size_is_refused(tmp_path, size):
    write_frame(tmp_path, "f", thing(), size=size)
    with pytest.raises(UserError, match=r"f\.json: info: expected a photo's name and its size"):
        read_lerf_ovs(tmp_path)


@pytest.mark.parametrize("data", [b"[" * 10**5, b"\xff", b"9" * 5000, b"", b"\x00" * 99])
def test_a_file_of_labels_that_is_no_json_is_refused(tmp_path, data):
    (tmp_path / "f.json").write_bytes(data)
    with pytest.raises(UserError, match=r"f\.json: cannot be read as labels of LERF-OVS"):
        read_lerf_ovs(tmp_path)


def test_files_with_a_byte_order_mark_are_read(tmp_path):
    path = write_frame(tmp_path, "f", thing())
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_lerf_ovs(tmp_path)[0].names == ["mug"]
    masks = {"mug": np.ones((9, 13), bool), "lamp": np.ones((9, 13), bool)}
    root = write_masks(tmp_path / "a", {"00": masks}, ["mug", "lamp"])
    (root / "classes.txt").write_bytes("\ufeffmug\r\nlamp\r\n".encode())
    assert read_3d_ovs(root)[0].names == ["mug", "lamp"]


def test_labels_of_a_distorted_and_turned_photo_are_shown_as_its_view_shows_them(tmp_path):
    """The photo is white where it is labelled, so that its view tells what the labels are to be."""
    inside = np.zeros((72, 96), bool)
    inside[8:40, 10:50] = True
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "images").mkdir()
    frames = []
    for i in range(2):
        Image.fromarray(inside.astype(np.uint8) * 255).convert("RGB").save(tmp_path / f"images/{i}.png", exif=exif)
        frames.append({"file_path": f"images/{i}.png", "transform_matrix": np.eye(4).tolist()})
    lens = {"fl_x": 70.0, "k1": -0.15, "camera_model": "OPENCV", "w": 96, "h": 72}
    (tmp_path / "transforms.json").write_text(json.dumps(lens | {"frames": frames}))
    view = load_scene(tmp_path, DataConfig(random_points=10)).views[0]
    seen = view.image[..., 0] > 127
    corners = [[10, 8], [49, 8], [49, 39], [10, 39]]
    write_frame(tmp_path / "lerf", "0", thing(segmentation=corners), size=(96, 72))
    write_masks(tmp_path / "ovs", {"0": {"mug": inside, "lamp": ~inside}}, ["mug", "lamp"])
    (frame,) = read_lerf_ovs(tmp_path / "lerf")
    for mask in (masks_in_view(frame, view)["mug"], masks_in_view(read_3d_ovs(tmp_path / "ovs")[0], view)["mug"]):
        assert mask.shape == seen.shape and (mask & seen).sum() / (mask | seen).sum() > 0.97
    ((x0, y0, x1, y1),) = boxes_in_view(frame, view)["mug"]
    rows, columns = seen.nonzero().unbind(1)
    limits = columns.min(), rows.min(), columns.max(), rows.max()
    assert all(abs(a - int(b)) <= 1 for a, b in zip((x0, y0, x1, y1), limits, strict=True))
