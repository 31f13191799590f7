"""How photos are read may change after the training; what shaped the training may not."""

from dataclasses import fields

import pytest
from PIL import Image
from tiny_answers import write_asked_run

from gsdff import edit, query, segment
from gsdff.cli.source import PhotoOptions
from gsdff.config.options import DataConfig
from gsdff.config.reading import CHANGEABLE, change_dataset
from gsdff.errors import UserError
from gsdff.field.load import load
from gsdff.io.checkpoint import load_newest, save_checkpoint
from gsdff.io.dataset_summary import summarize

ASSUMED = "its options are of an earlier version and do not say what label images, masks and teacher maps were made"


@pytest.fixture
def turned(tmp_path, generator):
    """A run on photos that EXIF turns upside down."""
    run = write_asked_run(tmp_path, generator)
    exif = Image.Exif()
    exif[0x0112] = 3
    for photo in run.data.rglob("*.png"):
        Image.open(photo).save(photo, exif=exif)
    return run


def forget(run, line='made_from = "photos"\n'):
    """Takes `dataset.made_from`, or another line, out of a run's options, as earlier versions wrote them."""
    path = run.folder / "config.toml"
    path.write_text(path.read_text().replace(line, ""))


def test_what_files_show_can_be_said_when_a_run_is_read(turned):
    assert load(turned.folder, device="cpu").scene.views[0].stored is not None
    changed = load(turned.folder, dataset={"made_from": "views"}, device="cpu")
    assert changed.scene.views[0].stored is None and changed.dataset.made_from == "views"


def test_an_old_run_says_what_it_assumes_until_it_is_told(turned, caplog):
    _ = load(turned.folder, device="cpu").scene
    assert ASSUMED not in caplog.text
    forget(turned)
    _ = load(turned.folder, device="cpu").scene
    assert ASSUMED in caplog.text and "set `dataset.made_from` to views" in caplog.text
    caplog.clear()
    for answer in ("photos", "views"):
        _ = load(turned.folder, dataset={"made_from": answer}, device="cpu").scene
    assert ASSUMED not in caplog.text


def test_poses_that_the_training_did_not_have_are_refused(turned):
    state = load_newest(turned.folder / "checkpoints")
    trained_on = summarize(load(turned.folder, device="cpu").scene)
    save_checkpoint(turned.folder / "checkpoints", 701, {**state, "dataset": trained_on})
    _ = load(turned.folder, dataset={"poses": "stored"}, device="cpu").scene
    with pytest.raises(UserError, match=r"10 of 10 photos \(such as a/v0\.png\) have other camera poses"):
        _ = load(turned.folder, dataset={"poses": "turned"}, device="cpu").scene


def test_an_old_run_on_poses_that_are_now_taken_for_others_is_said(turned, caplog):
    """Half of the photos are turned and all cameras have one upward direction, which earlier versions did not see."""
    for photo in turned.data.rglob("b/*.png"):
        Image.open(photo).save(photo, exif=Image.Exif())
    for is_old in (False, True):
        if is_old:
            forget(turned, 'poses = "auto"\n')
        assert load(turned.folder, device="cpu").scene.views[0].stored.turn_before == 3
        assert ("took the poses of 5 photos, such as a/v0.png, for those" in caplog.text) == is_old
    caplog.clear()
    _ = load(turned.folder, dataset={"poses": "turned"}, device="cpu").scene
    assert not caplog.messages


def test_an_old_run_on_plain_photos_assumes_nothing(tmp_path, generator, caplog):
    run = write_asked_run(tmp_path, generator)
    forget(run)
    _ = load(run.folder, device="cpu").scene
    assert ASSUMED not in caplog.text


@pytest.mark.parametrize(
    "door, before",
    [
        (query, ["--text", "chair", "--view", "0"]),
        (segment, ["--classes", "chair", "lamp", "--views", "0"]),
        (edit, ["--delete", "chair", "--views", "0"]),
    ],
)
def test_the_doors_take_it(turned, call, caplog, door, before):
    forget(turned)
    call(door, turned.folder, *before, "--dataset.made-from", "views", "--dataset.masks", "False")
    assert ASSUMED not in caplog.text
    call(door, turned.folder, *before, "--dataset.memory", "1")
    assert ASSUMED in caplog.text


def test_masks_can_be_left_out_when_a_run_is_read(tmp_path, generator):
    run = write_asked_run(tmp_path, generator)
    mask = run.data / "masks" / "a"
    mask.mkdir(parents=True)
    Image.new("L", (30, 22)).save(mask / "v1.png")
    assert load(run.folder, device="cpu").find_view("a/v1").mask is not None
    assert load(run.folder, dataset={"masks": False}, device="cpu").find_view("a/v1").mask is None


def test_the_doors_offer_all_that_may_change():
    assert tuple(entry.name for entry in fields(PhotoOptions)) == CHANGEABLE


def test_other_options_and_values_are_refused():
    for name, hint in (
        ("downscale", "that is fixed by the training"),
        ("pose", r"did you mean poses\? Others are fixed"),
    ):
        with pytest.raises(UserError, match=rf"`dataset`: expected some of poses, made_from, .*, got {name}; {hint}"):
            change_dataset(DataConfig(), {name: 2})
    with pytest.raises(UserError, match=r"`dataset\.made_from`: expected one of 'photos', 'views', got 'maps'"):
        change_dataset(DataConfig(), {"made_from": "maps"})
    with pytest.raises(UserError, match=r"`dataset\.memory`: expected at least 0"):
        change_dataset(DataConfig(), {"memory": -1})
    assert change_dataset(DataConfig(masks=False), {"masks": None, "memory": 2}) == DataConfig(masks=False, memory=2)
