"""A disk that fills up at any write, and a kill between any two replacements, for everything that is written."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from dying import killed_at
from saved_by_page import rows_of, save_scene
from tiny_answers import write_asked_run
from tiny_run import open_field

from gsdff import Delete, Recolor, edit, train
from gsdff.config.file import write_config
from gsdff.config.options import TrainConfig
from gsdff.editing.edit import EditList
from gsdff.editing.toml_file import read_edits, write_edits
from gsdff.errors import UserError
from gsdff.evaluation.run import score
from gsdff.files import writing
from gsdff.io.ply import read_ply
from gsdff.io.sidecar import sidecar_path
from gsdff.latents import Basis
from gsdff.selection import Selection
from gsdff.viewer.shared_scene import open_shared_scene
from gsdff.viewer.wire.messages import HandEdit

needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full")


@pytest.fixture
def field(tmp_path, generator):
    run = write_asked_run(tmp_path, generator)
    for path in (run.data / "images" / "b").glob("v*.png"):  # every stem once, for label maps
        path.rename(path.with_name(path.name.replace("v", "w")))
    transforms = run.data / "transforms.json"
    transforms.write_text(transforms.read_text().replace("b/v", "b/w"))
    return open_field(run.folder)


def edited(field, version):
    """The field without its lamps at first, and with blue chairs and another basis later."""
    if version == 0:
        return field.edit(Delete("lamp"))
    other = replace(field, basis=replace(field.basis, B=field.basis.B.flip(1).contiguous()))
    return replace(other, gaussians=field.edit(Recolor("chair", (0.0, 0.0, 1.0))).gaussians)


def some(field, version):
    return Selection(torch.arange(len(field)) % (version + 2) == 0)


def save_viewed(field, version, folder):
    shared = open_shared_scene(field)
    shared.folder = folder
    save_scene(shared, HandEdit("delete", rows_of(some(field, version).mask)))


def segment(field, version, folder):
    classes = [("chair", "lamp"), ("lamp", "wall", "chair")][version]
    field.save_segmentation(classes, folder / "segmentation", views=["a/v1.png", "a/v2.png"][: 2 - version])


def evaluate(field, version, folder):
    copy = folder / "run.ply"
    if not copy.exists():
        field.save(copy, features="none")
    loaded = open_field(copy, data=field.data)
    score(replace(loaded, gaussians=replace(edited(field, version).gaussians, features=None)))


def record(field, version, folder):
    edits = [Delete(some(field, version)), Recolor(some(field, 1 - version), (0.0, 0.0, 1.0))]
    write_edits(folder / "a.toml", EditList(edits))


WRITERS = {
    "ply": lambda field, version, folder: edited(field, version).save(folder / "a.ply"),
    "decoded": lambda field, version, folder: edited(field, version).save(folder / "a.ply", features="decoded"),
    "splat": lambda field, version, folder: edited(field, version).save(folder / "a.splat"),
    "compressed": lambda field, version, folder: edited(field, version).save(folder / "a.compressed.ply"),
    "edits": record,
    "selection": lambda field, version, folder: field.query(["chair", "lamp"][version]).save(folder / "a.safetensors"),
    "pictures": lambda field, version, folder: field.query(["chair", "lamp"][version]).save(folder / "a.png"),
    "classes": lambda field, version, folder: field.segment(["chair", "lamp", "wall"][version:]).save(folder / "a.png"),
    "values": lambda field, version, folder: field.render(version, "features").save(folder / "a.npy"),
    "segmentation": segment,
    "evaluation": evaluate,
    "viewer": save_viewed,
    "config": lambda field, version, folder: write_config(folder / "config.toml", TrainConfig(seed=version)),
    "basis": lambda field, version, folder: Basis(torch.eye(3) + version, 1.0, "lseg", "f").save(folder / "a"),
}
"""Everything that writes, in two versions of equal names."""


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch, full_from: int | None = None) -> Iterator[list[Path]]:
    """Lists the files that are written; from one of them on, all are written to a disk that is full."""
    seen: list[Path] = []
    name = writing.partial_path

    def counting(path):
        partial = name(path)
        if full_from is not None and len(seen) >= full_from:
            partial.symlink_to("/dev/full")
        seen.append(path)
        return partial

    with monkeypatch.context() as patch:
        patch.setattr(writing, "partial_path", counting)
        yield seen


@needs_full
@pytest.mark.parametrize("name", WRITERS)
def test_a_disk_that_fills_up_at_any_write_leaves_the_old_files(field, tmp_path, monkeypatch, name):
    write, folder, trial = WRITERS[name], tmp_path / "out", tmp_path / "trial"
    folder.mkdir()
    write(field, 0, folder)
    old = contents(folder)
    shutil.copytree(folder, trial)
    with counted(monkeypatch) as seen:
        write(field, 1, trial)
    assert seen and contents(trial) != old
    for number, path in enumerate(seen):
        full = pytest.raises(UserError, match=r"the disk is full, [\d,.]+ MiB free")
        with counted(monkeypatch, number), full as error:
            write(field, 1, folder)
        assert path.name in str(error.value)
        assert contents(folder) == old, f"write {number}: {error.value}"
    write(field, 1, folder)
    assert contents(folder).keys() == contents(trial).keys() or name == "viewer"  # which takes another name each time


READERS = {
    "ply": lambda folder: open_field(folder / "a.ply").encode_text("chair"),
    "edits": lambda folder: read_edits(folder / "a.toml"),
    "segmentation": lambda folder: open_field(folder / "segmentation" / "scene.ply").encode_text("chair"),
}


@pytest.mark.parametrize("name", READERS)
def test_a_kill_between_any_two_replacements_leaves_a_set_that_the_next_reader_completes(field, tmp_path, name, caplog):
    folder, first, second = (tmp_path / part for part in ("out", "first", "second"))
    folder.mkdir()
    for version, kept in ((0, first), (1, second)):
        WRITERS[name](field, version, folder)
        shutil.copytree(folder, kept)
    new = contents(second)
    for number in range(len(new)):
        shutil.rmtree(folder)
        shutil.copytree(first, folder)
        with killed_at(number):
            WRITERS[name](field, 1, folder)
        assert contents(folder) != new
        caplog.clear()
        READERS[name](folder)
        assert "whose replacement had been interrupted" in caplog.text
        assert contents(folder) == new


def test_a_sidecar_that_is_not_of_its_ply_is_said(field, tmp_path, caplog):
    edited(field, 0).save(tmp_path / "a.ply")
    edited(field, 1).save(tmp_path / "b.ply")
    open_field(tmp_path / "a.ply")
    assert not caplog.messages
    shutil.copy(sidecar_path(tmp_path / "b.ply"), sidecar_path(tmp_path / "a.ply"))
    assert open_field(tmp_path / "a.ply").has_features
    assert "a.ply: is not the file that a.basis.safetensors was written with" in caplog.text


def test_training_takes_away_the_sidecar_of_an_earlier_export(field, tmp_path, monkeypatch):
    out = tmp_path / "new"
    steps = ["--stage1.steps", 2, "--dataset.random-points", 20, "--teacher", "none", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["train", *map(str, ["--data", field.data, "--out", out, *steps])])
    train.main()
    sidecar_path(out / "scene.ply").write_text("of another scene")
    monkeypatch.setattr(sys, "argv", ["train", "--out", str(out), "--resume"])
    train.main()
    assert (out / "scene.ply").is_file() and not sidecar_path(out / "scene.ply").exists()


@needs_full
def test_an_edit_and_the_record_of_it_are_replaced_together(field, tmp_path, monkeypatch, call):
    out = tmp_path / "out" / "edited.ply"
    call(edit, field.source, "--delete", "lamp", "--out", out)
    old = contents(out.parent)
    assert old.keys() == {"edited.ply", "edited.basis.safetensors", "edited.toml"}
    for number in range(3):
        with counted(monkeypatch, number), pytest.raises(UserError, match="the disk is full"):
            call(edit, field.source, "--delete", "chair", "--out", out)
        assert contents(out.parent) == old
    with killed_at(1):
        call(edit, field.source, "--delete", "chair", "--out", out)
    assert "lamp" in out.with_suffix(".toml").read_text()
    assert len(read_ply(out)) == 30 and "chair" in out.with_suffix(".toml").read_text()


def test_a_folder_in_place_of_a_file_is_refused_by_every_writer(field, tmp_path):
    folder = tmp_path / "out"
    names = ["a.ply", "a.splat", "a.compressed.ply", "a.toml", "a.safetensors", "a.png", "a.npy", "config.toml", "a"]
    for name in names:
        (folder / name).mkdir(parents=True)
    (folder / "segmentation").touch()
    for name in WRITERS.keys() - {"evaluation", "viewer"}:  # which choose their names
        with pytest.raises(UserError, match=r"there is a (folder|file) of that name; choose another"):
            WRITERS[name](field, 0, folder)
    assert contents(folder).keys() == {"segmentation"}


def test_names_near_the_limit_leave_room_for_those_of_temporary_files(field, tmp_path):
    path = field.save(tmp_path / ("\u00e4" * 118 + ".ply"))
    assert open_field(path).has_features
