"""The labels teacher: maps of the truth, and their text vectors."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gsdff.cameras import Camera, WorldFrame
from gsdff.config.options import TeacherConfig
from gsdff.errors import UserError
from gsdff.scene import VOID, Scene, View
from gsdff.teachers import open_teacher
from gsdff.teachers.labelled import LabelsTeacher

CLASSES = [
    {"id": 3, "name": "road"},
    {"id": 5, "name": "person", "text_query": "rider"},
    {"id": 9, "name": "pedestrian", "text_query": "person"},
    {"id": 11, "name": "pole", "text_query": None},
]


def make_view(name: str = "a.jpg", width: int = 4, height: int = 2) -> View:
    camera = Camera(torch.eye(4), torch.eye(3), width, height)
    return View(name, camera, torch.zeros(height, width, 3, dtype=torch.uint8))


def make_scene(root: Path, labels: dict[str, list[list[int]]]) -> Scene:
    """Label images by stem, classes.json beside their folder, and black photos of 4 x 2."""
    (root / "labels").mkdir()
    for stem, ids in labels.items():
        Image.fromarray(np.array(ids, np.uint8)).save(root / "labels" / f"{stem}.png")
    (root / "classes.json").write_text(json.dumps({"classes": CLASSES}))
    views = [make_view(f"{stem}.jpg") for stem in labels]
    return Scene(root, views, torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.uint8), WorldFrame())


def write_texts(root: Path, names: list[str], vectors: list[list[float]]) -> None:
    np.savez(root / "labels" / "text_features.npz", names=np.array(names), vectors=np.array(vectors, np.float32))


def test_a_pixel_shows_its_class_as_one_hot_and_void_as_nothing(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, {"a": [[3, 5, 9, VOID], [11, 9, 3, 3]]})
    (features,) = LabelsTeacher(TeacherConfig("labels"), scene).extract(scene.views)
    assert features.shape == (4, 2, 4) and features.dtype == torch.float32 and features.is_contiguous()
    assert features.sum(0).tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert features.argmax(0).tolist() == [[0, 1, 2, 0], [3, 2, 0, 0]]


def test_maps_come_in_the_order_of_the_views_and_never_finer_than_the_photo(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, {"a": [[3, 3, 5, 5]] * 2, "b": [[9] * 12] * 8})
    a, b = LabelsTeacher(TeacherConfig("labels"), scene).extract(scene.views)
    assert a.shape == b.shape == (4, 2, 4)
    assert a.argmax(0).tolist() == [[0, 0, 1, 1]] * 2 and bool((b.argmax(0) == 2).all())


def test_text_names_a_class_by_its_query_before_its_name(tmp_path: Path) -> None:
    teacher = LabelsTeacher(TeacherConfig("labels"), make_scene(tmp_path, {}))
    got = teacher.text(["Road", "rider", "person", "pedestrian", "pole"])
    assert got.argmax(1).tolist() == [0, 1, 2, 2, 3] and bool((got.sum(1) == 1).all())
    assert teacher.knows("ROAD ") and not teacher.knows("sky")


def test_an_unknown_name_is_refused_with_those_there_are(tmp_path: Path) -> None:
    teacher = LabelsTeacher(TeacherConfig("labels"), make_scene(tmp_path, {}))
    with pytest.raises(UserError, match=r"unknown name 'sky'.* Known: road, rider, person, pedestrian, pole"):
        teacher.text(["sky"])


def test_given_text_vectors_a_pixel_shows_that_of_its_class(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "gsdff")
    scene = make_scene(tmp_path, {"a": [[3, 5, 9, VOID], [11, 9, 3, 3]]})
    write_texts(tmp_path, ["road", "Person", "stuff"], [[3.0, 4.0], [0.0, 2.0], [1.0, 0.0]])
    teacher = LabelsTeacher(TeacherConfig("labels"), scene)
    (features,) = teacher.extract(scene.views)
    road, person, nothing = [0.6, 0.8], [0.0, 1.0], [0.0, 0.0]
    expected = torch.tensor([[road, nothing, person, nothing], [nothing, person, road, road]])
    torch.testing.assert_close(features.permute(1, 2, 0), expected)
    assert "no vector for person, pole; they count as void" in caplog.text
    torch.testing.assert_close(teacher.text(["stuff", "pedestrian"]), torch.tensor([[1.0, 0.0], person]))
    assert not teacher.knows("pole") and not teacher.knows("rider")


def test_text_vectors_of_other_things_than_the_classes_are_refused(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, {})
    write_texts(tmp_path, ["sky"], [[1.0, 0.0]])
    with pytest.raises(UserError, match=r"text_features\.npz: has no vector for any class"):
        LabelsTeacher(TeacherConfig("labels"), scene)


def test_a_view_without_labels_is_refused_before_anything_starts(tmp_path: Path) -> None:
    teacher = LabelsTeacher(TeacherConfig("labels"), make_scene(tmp_path, {"a": [[3]]}))
    teacher.check(make_view("a.jpg"))
    for ask in (teacher.check, teacher.fingerprint_of, lambda view: next(teacher.extract([view]))):
        with pytest.raises(UserError, match=r"b\.png: missing; photo sub/b\.jpg"):
            ask(make_view("sub/b.jpg"))


def test_labels_lie_in_the_scene_or_where_the_option_says(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, {"a": [[3]]})
    (tmp_path / "labels").rename(tmp_path / "truth")
    with pytest.raises(UserError, match=r"labels: no such folder of label images; --teacher\.labels"):
        open_teacher(TeacherConfig("labels"), scene)
    teacher = open_teacher(TeacherConfig("labels", labels=tmp_path / "truth"), scene)
    teacher.check(scene.views[0])
    assert teacher.name == "labels"


def test_the_fingerprint_of_a_view_changes_with_its_labels_and_with_the_photos_size(tmp_path: Path) -> None:
    teacher = LabelsTeacher(TeacherConfig("labels"), make_scene(tmp_path, {"a": [[3]], "b": [[3]], "c": [[5]]}))
    prints = [teacher.fingerprint_of(make_view(f"{stem}.jpg")) for stem in "abc"]
    assert prints[0] == prints[1] != prints[2]
    assert teacher.fingerprint_of(make_view("a.jpg", width=3)) != prints[0]


def test_the_fingerprint_changes_with_the_class_vectors(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, {})
    prints = [LabelsTeacher(TeacherConfig("labels"), scene).fingerprint for _ in range(2)]
    assert prints[0] == prints[1]
    for vector in ([0.6, 0.8], [0.8, 0.6]):
        write_texts(tmp_path, ["road"], [vector])
        prints.append(LabelsTeacher(TeacherConfig("labels"), scene).fingerprint)
    assert len(set(prints)) == 3
