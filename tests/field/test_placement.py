"""A scene's file that lies where the photos' cameras cannot have seen it is said, and its offset can be given."""

import logging

import pytest
import torch
from tiny_answers import write_asked_run
from tiny_run import open_field

from gsdff import evaluate, export, view
from gsdff.config.options import TrainConfig
from gsdff.errors import UserError
from gsdff.field.load import load
from gsdff.field.placement import FAR_AWAY, find_misplacement
from gsdff.io.ply import read_ply
from gsdff.metrics import psnr
from gsdff.training.initialise import initial_gaussians

UTM = (500000.0, 4649776.0, 100.0)
OFFSET = (500007.0, 4649781.0, 103.0)
GIVEN = "give it as `offset`, 500007 4649781 103"


@pytest.fixture
def far(tmp_path, generator):
    """A georeferenced run, and its `scene.splat`, which has lost the offset."""
    run = write_asked_run(tmp_path / "far", generator, UTM)
    open_field(run.folder).save(run.folder / "scene.splat")
    return run


def picture(field):
    return field.draw(field.scene.views[4].camera).image


def test_a_splat_without_its_offset_is_said_where_photos_join_it(far, caplog):
    field = open_field(far.folder / "scene.splat", data=far.data)
    lost = picture(field)
    assert "scene.splat: its middle (" in caplog.text and GIVEN in caplog.text
    right = load(far.folder / "scene.splat", data=far.data, offset=OFFSET, device="cpu")
    caplog.clear()
    truth = picture(open_field(far.folder))
    assert psnr(picture(right), truth) > 25 > 15 > psnr(lost, truth)
    assert "middle" not in caplog.text


def test_training_refuses_it_and_takes_it_with_an_offset(far, call):
    scene = open_field(far.folder).scene
    with pytest.raises(UserError, match=r"scene\.splat: its middle .* times the radius of scene and cameras"):
        initial_gaussians(TrainConfig(data=far.data, stage1_from=far.folder / "scene.splat"), scene)
    call(export, far.folder / "scene.splat", "--offset", *OFFSET, "--out", far.folder / "there.ply")
    assert read_ply(far.folder / "there.ply").origin == OFFSET
    started = initial_gaussians(TrainConfig(data=far.data, stage1_from=far.folder / "there.ply"), scene)
    torch.testing.assert_close(started.means.mean(0), open_field(far.folder).working.means.mean(0), atol=1e-3, rtol=0)


def test_the_doors_take_the_offset(far, call, caplog, monkeypatch):
    splat = far.folder / "scene.splat"
    call(evaluate, splat, "--data", far.data, "--offset", *OFFSET)
    assert "middle" not in caplog.text
    call(evaluate, splat, "--data", far.data)
    assert GIVEN in caplog.text
    monkeypatch.setattr("gsdff.viewer.serve.serve", lambda field, **_: print(field.gaussians.origin))
    assert call(view, splat, "--data", far.data, "--offset", *OFFSET) == [str(OFFSET)]


def test_an_offset_is_refused_where_positions_are_known(far, call):
    with pytest.raises(UserError, match=r"--offset: .* is a run, whose positions are those of the world; leave it out"):
        call(export, far.folder, "--offset", 1, 2, 3, "--out", far.folder / "x.ply")
    open_field(far.folder).save(far.folder / "stated.ply")
    with pytest.raises(UserError, match=r"--offset: .* states the offset \(500007.0, 4649781.0, 103.0\) itself"):
        call(export, far.folder / "stated.ply", "--offset", 1, 2, 3, "--out", far.folder / "x.ply")
    with pytest.raises(UserError, match=r"--offset: expected three numbers of at most 1e\+12, got \(nan"):
        call(export, far.folder / "scene.splat", "--offset", "nan", 2, 3, "--out", far.folder / "x.ply")


def test_an_offset_is_asked_for_only_where_it_can_be_given(far, tmp_path, generator):
    """A run has none, and a PLY that states one has not lost it."""
    other = open_field(write_asked_run(tmp_path / "other", generator).folder).scene
    for source, can_lack_it in ((far.folder, False), (far.folder / "scene.splat", True)):
        with pytest.raises(UserError, match="do these belong together") as error:
            initial_gaussians(TrainConfig(stage1_from=source), open_field(far.folder).scene if can_lack_it else other)
        assert ("`offset`" in str(error.value)) == can_lack_it
    open_field(far.folder).save(far.folder / "stated.ply")
    assert "`offset`" not in find_misplacement(open_field(far.folder / "stated.ply").gaussians, other)


def test_small_things_cut_out_of_a_scene_and_far_cameras_are_no_misplacement(tmp_path, generator, caplog):
    near = write_asked_run(tmp_path / "near", generator)
    scene, gaussians = open_field(near.folder).scene, near.gaussians
    small = gaussians.map(lambda tensor: tensor[:1])
    assert find_misplacement(gaussians, scene) == find_misplacement(small, scene) == ""
    moved = gaussians.map(lambda tensor: tensor)
    for shift, is_far in ((0.8, False), (1.6, True)):
        moved.means = gaussians.means + torch.tensor([0.0, shift * FAR_AWAY * scene.frame.scale, 0.0])
        assert bool(find_misplacement(moved, scene)) == is_far
    with caplog.at_level(logging.WARNING):
        _ = open_field(near.folder).scene
    assert not caplog.messages
