"""Class lists and label images: reading them, the classes that count, and errors."""

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gsdff.cameras import Camera, WorldFrame
from gsdff.errors import UserError
from gsdff.labels import (
    VOID,
    LabelClass,
    LabelImages,
    Truth,
    find_label_images,
    find_truth,
    read_classes,
    read_instances,
    write_classes,
    write_label_image,
)
from gsdff.scene import Scene, View


def test_a_list_of_names_gives_ids_and_queries(tmp_path: Path) -> None:
    path = tmp_path / "classes.json"
    path.write_text('["wall", "floor"]')
    assert read_classes(path) == [LabelClass(0, "wall", "wall"), LabelClass(1, "floor", "floor")]


def test_rows_give_ids_queries_motion_and_colours_in_the_order_of_ids(tmp_path: Path) -> None:
    path = tmp_path / "classes.json"
    rows = [
        {"id": 7, "name": "car", "moves": True, "text_query": "automobile", "color": [64, 0, 128], "pixel_share": 0.1},
        {"id": 2, "name": "pole", "text_query": None},
        {"id": 3, "name": "road"},
    ]
    path.write_text(json.dumps({"void": 255, "classes": rows}))
    pole, road, car = read_classes(path)
    assert pole == LabelClass(2, "pole", None)
    assert road == LabelClass(3, "road", "road")
    assert car == LabelClass(7, "car", "automobile", True, (64, 0, 128))


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "3",
        '{"names": ["wall"]}',
        '[{"id": 1}]',
        "[1]",
        '[{"id": 255, "name": "wall"}]',
        '[{"id": "1", "name": "wall"}]',
        '[{"id": 1, "name": "wall"}, {"id": 1, "name": "floor"}]',
        '[{"id": 1, "name": "wall", "text_query": 3}]',
        '[{"id": 1, "name": "wall", "color": [1, 2]}]',
        '[{"id": 1, "name": "wall", "color": 7}]',
        '[{"id": true, "name": "wall"}]',
        '[{"id": 1e400, "name": "wall"}]',
        '[{"id": 1, "name": "\\ud800"}]',
        '["wall", "\\udfff"]',
        '["wall", 7]',
        '[{"id": 1, "name": "wall", "text_query": "\\ud800"}]',
        '[{"id": 1, "name": "wall", "moves": "false"}]',
        '[{"id": 1, "name": "wall", "counts": []}]',
        json.dumps([f"class {i}" for i in range(256)]),
        "[" * 100_000,
    ],
)
def test_what_is_no_class_list_is_refused_with_the_files_name(tmp_path: Path, content: str) -> None:
    path = tmp_path / "classes.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"classes\.json: "):
        read_classes(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_class_list_may_have_a_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "classes.json").write_text('["wall", "Tür"]', encoding=encoding)
    assert [row.name for row in read_classes(tmp_path / "classes.json")] == ["wall", "Tür"]


def test_a_missing_class_list_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"classes\.json: missing"):
        read_classes(tmp_path / "classes.json")


def make_view(name: str, width: int = 4, height: int = 2) -> View:
    camera = Camera(torch.eye(4), torch.eye(3), width, height)
    return View(name, camera, torch.zeros(height, width, 3, dtype=torch.uint8))


def make_scene(root: Path, names: list[str]) -> Scene:
    nothing = torch.zeros(0, 3)
    return Scene(root, [make_view(name) for name in names], nothing, nothing.byte(), WorldFrame())


def write_labels(folder: Path, stem: str, ids: np.ndarray) -> Path:
    folder.mkdir(exist_ok=True)
    Image.fromarray(ids).save(folder / f"{stem}.png")
    return folder / f"{stem}.png"


CLASSES = [{"id": 3, "name": "road"}, {"id": 5, "name": "pole", "text_query": None}, {"id": 9, "name": "sky"}]
ROAD, POLE, SKY = (LabelClass(3, "road", "road"), LabelClass(5, "pole", None), LabelClass(9, "sky", "sky"))


def test_ids_become_indices_of_competing_classes_and_the_rest_is_void(tmp_path: Path) -> None:
    write_labels(tmp_path, "a", np.array([[3, 5, 9, 255], [9, 9, 3, 3]], np.uint8))
    got = Truth(tmp_path, [ROAD, SKY], [POLE]).load(make_view("sub/a.jpg"))
    assert got.tolist() == [[0, VOID, 1, VOID], [1, 1, 0, 0]] and got.dtype == torch.uint8


def test_labels_of_a_larger_photo_shrink_by_nearest_neighbour(tmp_path: Path) -> None:
    blocks = np.array([[3, 5, 9, 255], [9, 9, 3, 3]], np.uint8)
    write_labels(tmp_path, "a", blocks.repeat(3, 0).repeat(3, 1))
    got = Truth(tmp_path, [ROAD, SKY], [POLE]).load(make_view("a.jpg"))
    assert got.tolist() == [[0, VOID, 1, VOID], [1, 1, 0, 0]]


def test_a_view_without_a_label_image_has_no_truth(tmp_path: Path) -> None:
    assert Truth(tmp_path, [ROAD, SKY], []).load(make_view("a.jpg")) is None


def test_an_id_of_no_class_is_refused_with_the_files_name(tmp_path: Path) -> None:
    write_labels(tmp_path, "a", np.full((2, 4), 7, np.uint8))
    with pytest.raises(UserError, match=r"a\.png: holds id 7"):
        Truth(tmp_path, [ROAD, SKY], [POLE]).load(make_view("a.jpg"))


@pytest.mark.parametrize("damage", ["colour", "noise", "cut", "huge"])
def test_what_is_no_label_image_is_refused_with_the_files_name(tmp_path: Path, damage: str) -> None:
    if damage == "colour":
        write_labels(tmp_path, "a", np.zeros((2, 4, 3), np.uint8))
    elif damage == "huge":
        path = write_labels(tmp_path, "a", np.zeros((2, 4), np.uint8))
        header = b"IHDR" + struct.pack(">IIBBBBB", 200_000, 100_000, 8, 0, 0, 0, 0)
        path.write_bytes(path.read_bytes()[:12] + header + struct.pack(">I", zlib.crc32(header)))
    else:
        noise = np.random.default_rng(0).integers(0, 256, (200, 200), dtype=np.uint8)
        path = write_labels(tmp_path, "a", noise)
        path.write_bytes(b"noise" if damage == "noise" else path.read_bytes()[:500])
    with pytest.raises(UserError, match=r"a\.png: "):
        Truth(tmp_path, [ROAD, SKY], [POLE]).load(make_view("a.jpg"))


def test_classes_compete_if_they_have_a_query_the_teacher_knows(tmp_path: Path) -> None:
    write_labels(tmp_path / "labels", "a", np.zeros((2, 4), np.uint8))
    (tmp_path / "classes.json").write_text('["wall", "floor", "clock"]')
    truth = find_truth(make_scene(tmp_path, ["a.jpg"]), None, lambda name: name != "clock")
    assert [row.name for row in truth.competing] == ["wall", "floor"]
    assert [row.name for row in truth.ignored] == ["clock"]


def test_a_class_without_a_query_does_not_compete(tmp_path: Path) -> None:
    write_labels(tmp_path / "labels", "a", np.zeros((2, 4), np.uint8))
    (tmp_path / "classes.json").write_text(json.dumps({"classes": CLASSES}))
    truth = find_truth(make_scene(tmp_path, ["a.jpg"]), None, lambda name: True)
    assert truth.competing == [ROAD, SKY] and truth.ignored == [POLE]


def test_the_class_list_may_lie_inside_the_label_folder(tmp_path: Path) -> None:
    folder = tmp_path / "truth"
    write_labels(folder, "a", np.zeros((2, 4), np.uint8))
    (folder / "classes.json").write_text('["wall", "floor"]')
    truth = find_truth(make_scene(tmp_path / "elsewhere", ["a.jpg"]), folder, lambda name: True)
    assert truth.folder == folder and len(truth.competing) == 2


@pytest.mark.parametrize("missing", ["folder", "classes", "held-out view"])
def test_labels_that_are_not_there_are_skipped_unless_asked_for(tmp_path: Path, missing: str) -> None:
    folder = tmp_path / "labels"
    if missing != "folder":
        write_labels(folder, "b" if missing == "held-out view" else "a", np.zeros((2, 4), np.uint8))
    if missing != "classes":
        (tmp_path / "classes.json").write_text('["wall", "floor"]')
    scene = make_scene(tmp_path, ["a.jpg", "b.jpg"])  # b is for training
    assert find_truth(scene, None, lambda name: True) is None
    with pytest.raises(UserError, match=r"labels: "):
        find_truth(scene, folder, lambda name: True)


def test_a_teacher_without_words_scores_no_labels(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_labels(tmp_path / "labels", "a", np.zeros((2, 4), np.uint8))
    (tmp_path / "classes.json").write_text('["wall", "floor"]')
    assert find_truth(make_scene(tmp_path, ["a.jpg"]), None, lambda name: False) is None
    assert "the teacher knows 0 of the classes" in caplog.text


@pytest.mark.parametrize("times", [1, 3])
def test_label_images_are_no_finer_than_the_photo(tmp_path: Path, times: int) -> None:
    blocks = np.array([[3, 5, 9, 255], [9, 9, 3, 3]], np.uint8)
    write_labels(tmp_path, "a", blocks.repeat(times, 0).repeat(times, 1))
    got = LabelImages(tmp_path, [ROAD, POLE, SKY]).load(make_view("a.jpg"))
    assert got.shape == (2, 4) and got.tolist() == [[0, 1, 2, VOID], [2, 2, 0, 0]]


def test_label_images_smaller_than_the_photo_keep_their_size(tmp_path: Path) -> None:
    write_labels(tmp_path, "a", np.array([[3, 9]], np.uint8))
    assert LabelImages(tmp_path, [ROAD, POLE, SKY]).load(make_view("a.jpg")).tolist() == [[0, 2]]


def test_a_label_image_asked_for_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.png: missing; photo sub/a\.jpg"):
        LabelImages(tmp_path, [ROAD]).load(make_view("sub/a.jpg"))


@pytest.mark.parametrize("missing", ["folder", "classes"])
def test_a_teacher_of_labels_needs_the_folder_and_its_classes(tmp_path: Path, missing: str) -> None:
    scene = make_scene(tmp_path, ["a.jpg"])
    if missing != "folder":
        write_labels(tmp_path / "labels", "a", np.zeros((2, 4), np.uint8))
    for labels in (None, tmp_path / "labels"):
        with pytest.raises(UserError, match=r"labels: no .*`teacher\.labels`"):
            find_label_images(scene, labels)
    write_labels(tmp_path / "labels", "a", np.zeros((2, 4), np.uint8))
    (tmp_path / "classes.json").write_text('["wall", "floor"]')
    assert [row.name for row in find_label_images(scene, None).classes] == ["wall", "floor"]


def test_instances_keep_all_of_their_16_bits(tmp_path: Path) -> None:
    ids = np.array([[0, 300], [65535, 7]], np.uint16)
    Image.fromarray(ids).save(tmp_path / "a.png")
    for size in (None, (2, 2)):
        assert read_instances(tmp_path / "a.png", make_view("a.jpg", 2, 2), size).tolist() == ids.tolist()
    larger = read_instances(tmp_path / "a.png", make_view("a.jpg", 4, 4))
    assert larger.tolist() == ids.repeat(2, 0).repeat(2, 1).tolist()


def test_classes_and_label_images_are_read_as_they_were_written(tmp_path: Path) -> None:
    cat = LabelClass(4, "cat", "a tabby cat", moves=True, color=(1, 2, 255), counts=False)
    write_classes(tmp_path / "classes.json", [cat, LabelClass(9, "void-ish", None)], {"source": "here"})
    assert read_classes(tmp_path / "classes.json") == [cat, LabelClass(9, "void-ish", None)]
    assert json.loads((tmp_path / "classes.json").read_text())["source"] == "here"
    write_label_image(tmp_path / "a.png", torch.tensor([[4, 9, VOID]], dtype=torch.uint8))
    images = find_label_images(make_scene(tmp_path, ["a.jpg"]), tmp_path)
    assert images.load(make_view("a.jpg")).tolist() == [[0, 1, VOID]]


def read_all(folder: Path, view: View) -> list[Callable[[], object]]:
    """Every way to read the label image of a view."""
    images, truth = LabelImages(folder, [ROAD, POLE, SKY]), Truth(folder, [ROAD, SKY], [POLE])
    instances = lambda: read_instances(folder / f"{view.key}.png", view)  # noqa: E731
    return [lambda: images.check(view), lambda: images.load(view), lambda: truth.load(view), instances]


@pytest.mark.parametrize(
    ("width", "height", "complaint"),
    [
        (30, 40, "is 30x40, its photo a.jpg is 40x30; its sides are swapped: .*EXIF"),
        (1, 1, "is 1x1, its photo a.jpg is 40x30; that is too coarse"),
        (40, 20, "is 40x20, its photo a.jpg is 40x30; expected the photo's shape"),
    ],
)
def test_label_images_of_another_shape_than_the_photo_are_refused(
    tmp_path: Path, width: int, height: int, complaint: str
) -> None:
    write_labels(tmp_path, "a", np.full((height, width), 3, np.uint8))
    for read in read_all(tmp_path, make_view("a.jpg", 40, 30)):
        with pytest.raises(UserError, match=rf"a\.png: {complaint}"):
            read()


@pytest.mark.parametrize("size", [(40, 30), (80, 60), (41, 30), (13, 10)])
def test_label_images_of_the_photos_shape_are_read_at_any_size(tmp_path: Path, size: tuple[int, int]) -> None:
    write_labels(tmp_path, "a", np.full((size[1], size[0]), 3, np.uint8))
    for read in read_all(tmp_path, make_view("a.jpg", 40, 30)):
        read()


def test_photos_of_one_stem_have_label_images_of_their_own(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, ["cam0/0001.jpg", "cam1/0001.jpg"])
    (tmp_path / "labels" / "cam0").mkdir(parents=True)
    write_labels(tmp_path / "labels" / "cam0", "0001", np.full((2, 4), 3, np.uint8))
    write_labels(tmp_path / "labels", "cam1_0001", np.full((2, 4), 9, np.uint8))
    write_labels(tmp_path / "labels", "0001", np.full((2, 4), 5, np.uint8))  # whose would it be
    (tmp_path / "classes.json").write_text(json.dumps({"classes": CLASSES}))
    images = find_label_images(scene, None)
    truth = find_truth(scene, None, lambda name: True)
    for view, index, competing in zip(scene.views, (0, 2), (0, 1), strict=True):
        assert images.load(view).unique().tolist() == [index] and truth.load(view).unique().tolist() == [competing]


def test_instances_beyond_16_bits_are_refused(tmp_path: Path) -> None:
    for ids in (np.full((2, 4), 65536, np.int32), np.full((2, 4), -1, np.int32)):
        Image.fromarray(ids).save(tmp_path / "a.png", format="TIFF")
        with pytest.raises(UserError, match=r"a\.png: expected ids from 0 to 65535, got "):
            read_instances(tmp_path / "a.png", make_view("a.jpg"))
