"""Classes that compete, their sources, and the ground truth of a view."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_field import make_scene

from gsdff.errors import UserError
from gsdff.evaluation.classes import ScoredClasses, find_classes
from gsdff.scene import VOID, Scene

CLASSES = [
    {"id": 4, "name": "road"},
    {"id": 1, "name": "pole", "text_query": None},
    {"id": 2, "name": "car", "text_query": "automobile"},
    {"id": 7, "name": "sky"},
]


class Speaker:
    """A teacher that knows some texts."""

    name = "speaker"

    def __init__(self, *known: str):
        self.known = known

    def knows(self, name: str) -> bool:
        return name.lower() in self.known


TEACHER = Speaker("road", "sky", "automobile", "tree")


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """A scene with held-out views v0 and v8, without labels."""
    return make_scene(tmp_path, width=6, height=4)


def write_labels(scene: Scene, stem: str = "v0") -> None:
    """Writes labels with columns road, road, pole, car, sky, void."""
    (scene.root / "labels").mkdir(exist_ok=True)
    (scene.root / "classes.json").write_text(json.dumps({"classes": CLASSES}))
    ids = np.tile(np.array([4, 4, 1, 2, 7, 255], np.uint8), (4, 1))
    Image.fromarray(ids).save(scene.root / "labels" / f"{stem}.png")


def write_instances(scene: Scene, stem: str, ids: np.ndarray) -> None:
    (scene.root / "instances").mkdir(exist_ok=True)
    Image.fromarray(ids).save(scene.root / "instances" / f"{stem}.png")


def find(scene: Scene, *names: str, teacher: Speaker = TEACHER, labels: Path | None = None) -> ScoredClasses | None:
    return find_classes(teacher, scene, labels, names)


def names_of(rows: Sequence) -> list[str]:
    return [row.name for row in rows]


def test_without_labels_the_texts_compete_as_they_are_given(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="gsdff"):
        scored = find(scene, "Tree", "road")
    assert not caplog.records
    assert names_of(scored.classes) == ["Tree", "road"] and scored.truth is None
    assert [row.query for row in scored.classes] == ["Tree", "road"]
    assert scored.load(scene.views[0]) is None


def test_with_labels_their_classes_compete(scene: Scene) -> None:
    write_labels(scene)
    scored = find(scene)
    assert names_of(scored.classes) == names_of(scored.truth.competing) == ["car", "road", "sky"]


@pytest.mark.parametrize("names", [("sky", "car"), ("automobile", "SKY"), (" sky ", "Automobile")])
def test_texts_restrict_the_labels_classes_and_the_others_do_not_count(scene: Scene, names: tuple[str, ...]) -> None:
    write_labels(scene)
    scored = find(scene, *names)
    assert names_of(scored.classes) == ["car", "sky"]
    assert sorted(names_of(scored.truth.ignored)) == ["pole", "road"]
    assert scored.load(scene.views[0]).labels[0].tolist() == [VOID, VOID, VOID, 0, 1, VOID]


def test_ids_tell_all_classes_apart(scene: Scene) -> None:
    write_labels(scene)
    truth = find(scene).load(scene.views[0])
    assert truth.labels[0].tolist() == [1, 1, VOID, 0, 2, VOID]
    ids = truth.ids[0].tolist()
    assert ids[0] == ids[1] and ids[5] == VOID and len(set(ids)) == 5
    assert torch.equal(truth.segments.byte(), truth.ids) and truth.no_segment == VOID
    assert find(scene).load(scene.views[8]) is None


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_instance_maps_beside_the_labels_are_the_segments(scene: Scene, dtype: type) -> None:
    write_labels(scene)
    largest = np.iinfo(dtype).max
    write_instances(scene, "v0", np.array([[0, 1, largest], [2, 2, 3]], dtype))
    truth = find(scene).load(scene.views[0])
    assert truth.segments.tolist() == [[0, 0, 1, 1, largest, largest]] * 2 + [[2, 2, 2, 2, 3, 3]] * 2
    assert truth.no_segment == 0


def test_instance_maps_count_only_where_every_labelled_view_has_one(scene: Scene) -> None:
    write_labels(scene, "v0")
    write_labels(scene, "v8")
    write_instances(scene, "v0", np.ones((4, 6), np.uint8))
    assert find(scene).instances is None
    write_instances(scene, "v8", np.ones((4, 6), np.uint8))
    assert find(scene).instances == scene.root / "instances"


def test_a_teacher_without_text_and_a_scene_without_labels_leave_nothing_to_ask(scene: Scene) -> None:
    assert find(scene) is None
    write_labels(scene)
    assert find(scene, teacher=Speaker()) is None


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("tree",), "expected two different names or more, separated by spaces, got 'tree'"),
        (("tree,road",), "separated by spaces, got 'tree,road'"),
        (("tree", "Tree "), "expected two different names"),
        (("tree", "zebra"), "the speaker teacher does not know 'zebra'"),
    ],
)
def test_texts_that_cannot_compete_are_refused(scene: Scene, names: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        find(scene, *names)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("sky", "tree"), r"'tree' cannot be scored, expected names among car, road, sky, which .*labels"),
        (("sky", "pole"), "'pole' cannot be scored"),
        (("car", "automobile"), "car is named twice, also as 'automobile'"),
    ],
)
def test_texts_that_the_labels_cannot_score_are_refused(scene: Scene, names: tuple[str, ...], message: str) -> None:
    write_labels(scene)
    with pytest.raises(UserError, match=f"`classes`: {message}"):
        find(scene, *names)


def test_labels_that_are_asked_for_must_be_there(scene: Scene) -> None:
    with pytest.raises(UserError, match=r"nowhere: no such folder"):
        find(scene, labels=scene.root / "nowhere")
