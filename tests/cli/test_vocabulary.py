"""Names that a scene can be queried for, as they are read without torch: those that the teachers themselves know."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_answers import NAMES, write_asked_run
from tiny_run import make_gaussians, write_run

from gsdff.cli.vocabulary import check_classes, check_words, known_names
from gsdff.config.file import read_config, write_config
from gsdff.config.options import TeacherConfig
from gsdff.data import load_scene
from gsdff.errors import UserError
from gsdff.export import ExportArguments, export_run
from gsdff.teachers import open_teacher

CLASSES = [
    {"id": 0, "name": "Road"},
    {"id": 1, "name": "person", "text_query": "rider"},
    {"id": 2, "name": "pole", "text_query": None},
]


@pytest.fixture
def run(tmp_path, generator):
    return write_asked_run(tmp_path, generator)


def give_teacher(run, teacher):
    """The run as one of another teacher; its photos get label images."""
    path = run.folder / "config.toml"
    write_config(path, replace(read_config(path), teacher=teacher))
    labels = run.data / "labels"
    labels.mkdir()
    for i in range(5):
        Image.fromarray(np.zeros((22, 30), np.uint8)).save(labels / f"v{i}.png")
    (labels / "classes.json").write_text(json.dumps({"classes": CLASSES}))
    return labels


def names_of_teacher(run):
    config = read_config(run.folder / "config.toml")
    teacher = open_teacher(config.teacher, load_scene(config.data, config.dataset))
    return list(teacher.vocabulary.vectors)


def test_names_of_a_precomputed_teacher_and_of_its_export(run):
    assert known_names(run.folder) == names_of_teacher(run) == list(NAMES)
    assert known_names(export_run(ExportArguments(run.folder))) == list(NAMES)


@pytest.mark.parametrize("name", ["toy", "labels"])
def test_names_of_teachers_with_a_class_list(run, tmp_path, name):
    labels = give_teacher(run, TeacherConfig(name))
    assert sorted(known_names(run.folder)) == sorted(names_of_teacher(run)) == ["person", "pole", "rider", "road"]
    moved = tmp_path / "moved"
    run.data.rename(moved)
    assert known_names(run.folder) is None and known_names(run.folder, moved) is not None
    (moved / "labels").rename(tmp_path / "labels elsewhere")
    assert known_names(run.folder, moved) is None
    path = run.folder / "config.toml"
    write_config(path, replace(read_config(path), teacher=TeacherConfig(name, labels=tmp_path / labels.name)))
    (tmp_path / "labels elsewhere").rename(tmp_path / labels.name)
    assert "rider" in known_names(run.folder, moved)


def test_a_list_of_names_is_a_class_list_too(run):
    labels = give_teacher(run, TeacherConfig("toy"))
    (labels / "classes.json").unlink()
    (labels.parent / "classes.json").write_text(json.dumps(["Sky ", "Sea"]))
    assert known_names(run.folder) == names_of_teacher(run) == ["sky", "sea"]


def test_text_vectors_beside_label_images_are_left_to_the_labels_teacher(run, tmp_path):
    labels = give_teacher(run, TeacherConfig("labels"))
    (tmp_path / "maps" / "text_features.npz").rename(labels / "text_features.npz")
    assert known_names(run.folder) is None


@pytest.mark.parametrize("name", ["clip", "lseg", "dino", "none"])
def test_any_words_may_be_asked_of_an_open_vocabulary(tmp_path, generator, name):
    run = write_run(tmp_path, make_gaussians(generator))
    give_teacher(run, TeacherConfig(name))
    assert known_names(run.folder) is None
    check_words(run.folder, {"`text`": ["anything"]})


def test_what_is_missing_or_damaged_is_left_to_who_opens_it(run, tmp_path):
    assert known_names(tmp_path) is None and known_names(tmp_path / "nowhere") is None
    ply = export_run(ExportArguments(run.folder))
    sidecar = ply.with_suffix(".basis.safetensors")
    nested = b"[" * 100_000
    damaged = (b"", b"\x08\0\0\0\0\0\0\0{broken}", b"\xff" * 40, b"\2\0\0\0\0\0\0\0{}")
    for data in (*damaged, len(nested).to_bytes(8, "little") + nested):
        sidecar.write_bytes(data)
        assert known_names(ply) is None
    sidecar.unlink()
    assert known_names(ply) is None
    (tmp_path / "maps" / "text_features.npz").write_bytes(b"no archive")
    assert known_names(run.folder) is None
    for text in ("[teacher", "", "teacher = 7", 'teacher = {name = "precomputed"}', "a = " + "[" * 100_000):
        (run.folder / "config.toml").write_text(text)
        assert known_names(run.folder) is None
    (run.folder / "config.toml").unlink()
    os.mkfifo(run.folder / "config.toml")
    os.mkfifo(sidecar)
    assert known_names(run.folder) is None and known_names(ply) is None


def test_an_unknown_word_is_refused_with_the_nearest_name(run):
    check_words(run.folder, {"`text`": ["chair", " LAMP "], "`negative`": []})
    with pytest.raises(UserError) as error:
        check_words(run.folder, {"`text`": ["lamp"], "`negative`": ["chiar"]})
    assert str(error.value) == (
        f"`negative`: {run.folder}: unknown name 'chiar'; did you mean 'chair'? Known: chair, lamp, wall"
    )


def test_a_long_vocabulary_is_not_listed_in_full(run, tmp_path):
    names = np.array([f"thing {i}" for i in range(99)])
    np.savez(tmp_path / "maps" / "text_features.npz", names=names, vectors=np.ones((99, 5), np.float32))
    with pytest.raises(UserError, match=r"did you mean 'thing \d+'\? Known: thing 0, .*thing 29, \.\.\. \(99 names\)"):
        check_words(run.folder, {"`text`": ["thing x"]})


def test_classes_to_evaluate_may_go_by_the_names_of_the_labels(run, tmp_path):
    check_classes(run.folder, ["chair", "lamp"], labels=None)
    with pytest.raises(UserError, match=r"`classes`: .*unknown name 'rider'"):
        check_classes(run.folder, ["chair", "rider"], labels=None)
    labels = tmp_path / "truth"
    labels.mkdir()
    (labels / "classes.json").write_text(json.dumps({"classes": CLASSES}))
    check_classes(run.folder, ["chair", "rider"], labels=labels)
    (run.data / "labels").mkdir()
    (run.data / "labels" / "classes.json").write_text(json.dumps({"classes": CLASSES}))
    check_classes(run.folder, ["chair", "rider"], labels=None)
    (labels / "classes.json").write_text("{}")
    check_classes(run.folder, ["chair", "no such"], labels=labels)  # the evaluation itself tells what is wrong there


def test_nothing_is_read_where_there_are_no_words(monkeypatch):
    monkeypatch.setattr(Path, "is_file", lambda _: pytest.fail("read"))
    check_words(Path("x"), {"`text`": ()})
    check_classes(Path("x"), (), labels=None)
