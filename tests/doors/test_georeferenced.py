"""A scene at (500000, 4649776, 100), coordinates of a map, and the same scene near zero, through every door."""

import json
import logging
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from plyfile import PlyData
from saved_by_page import save_scene
from tiny_answers import write_asked_run
from tiny_run import open_field
from tiny_scene import TinyDataset

from gsdff import Recolor, Rotate, edit, export, segment, train
from gsdff.config.options import TrainConfig
from gsdff.data.points import read_points
from gsdff.errors import UserError
from gsdff.files.reading import read_safetensors
from gsdff.files.writing import save_tensors
from gsdff.io.camera_paths import orbit
from gsdff.io.ply import read_ply, write_ply
from gsdff.io.runs import load_run
from gsdff.io.sidecar import Sidecar, sidecar_path
from gsdff.metrics import psnr
from gsdff.origin import ZERO
from gsdff.viewer.shared_scene import open_shared_scene
from gsdff.viewer.wire.answers import Answers

UTM = (500000.0, 4649776.0, 100.0)
SAME = 90.0
"""Least PSNR in dB of the moved scene's pictures against the unmoved one's; without an origin it is 10 to 20."""
MILLIONTH = 4e-6
"""A millionth of the size of the scene, 4."""


@pytest.fixture
def near(tmp_path, generator):
    return write_asked_run(tmp_path / "near", generator)


@pytest.fixture
def far(near, tmp_path):
    return write_asked_run(tmp_path / "far", torch.Generator().manual_seed(0), UTM)


def picture(source, data):
    field = open_field(source, data=data)
    return field.draw(field.scene.views[4].camera).image


def assert_same_picture(near, far, ours, theirs=None):
    """The same picture of a result of the far scene as of the near one's, or as of the near run."""
    assert psnr(picture(ours, far.data), picture(theirs or near.folder, near.data)) > SAME


def errors(positions, expected):
    return (np.asarray(positions) - np.asarray(expected.double() + torch.tensor(UTM).double())).__abs__().max()


def test_a_run_is_loaded_and_exported_relative_to_an_offset_that_the_file_states(near, far, call, caplog):
    with caplog.at_level(logging.WARNING, "gsdff"):
        call(export, far.folder)
    ply = far.folder / "scene.ply"
    assert "relative to the offset (500007.0, 4649781.0, 103.0)" in caplog.text and "steps of 0.5" in caplog.text
    assert caplog.text.count("offset") - caplog.text.count("`comment offset`") == 1  # said once
    lines = ply.read_bytes().partition(b"end_header")[0].decode().splitlines()
    assert lines[2] == "element vertex 60" and lines[3] == "comment offset 500007.0 4649781.0 103.0"
    assert Sidecar.load(sidecar_path(ply)).origin == (500007.0, 4649781.0, 103.0)
    read, run = read_ply(ply), open_field(far.folder).gaussians
    assert read.origin == run.origin and torch.equal(read.means, run.means)
    assert errors(read.positions, near.gaussians.means) < MILLIONTH
    assert all(len(read.means[:, axis].unique()) == 60 for axis in range(3))
    assert_same_picture(near, far, ply)
    assert_same_picture(near, far, far.folder)


def test_without_features_the_comment_is_enough(near, far, call):
    call(export, far.folder, "--features", "none", "--out", far.folder / "plain.ply")
    assert not sidecar_path(far.folder / "plain.ply").exists()
    assert errors(read_ply(far.folder / "plain.ply").positions, near.gaussians.means) < MILLIONTH
    assert_same_picture(near, far, far.folder / "plain.ply")


def test_without_its_comment_the_sidecar_is_enough_and_a_difference_is_said(near, far, call, caplog):
    call(export, far.folder)
    ply = far.folder / "scene.ply"
    stated, without = b"comment offset 500007.0 4649781.0 103.0\n", ply.read_bytes()
    ply.write_bytes(without.replace(stated, b""))
    assert errors(open_field(ply).gaussians.positions, near.gaussians.means) < MILLIONTH
    assert "its header states the offset (0.0, 0.0, 0.0), scene.basis.safetensors states (500007.0" in caplog.text
    ply.write_bytes(without.replace(b"500007.0", b"400007.0"))
    assert open_field(ply).gaussians.origin[0] == 400007.0
    assert "states the offset (400007.0, " in caplog.text and "taking (400007.0, " in caplog.text


@pytest.mark.parametrize("wrong", ["[1, 2]", "[1, 2, NaN]", '"here"', "{}", "[1, 2, [3]]", "5"])
def test_a_sidecar_with_an_origin_that_is_none_is_refused(far, wrong):
    ply = far.folder / "scene.ply"
    open_field(far.folder).save(ply)
    tensors, metadata = read_safetensors(sidecar_path(ply), "a sidecar")
    save_tensors(sidecar_path(ply), tensors, metadata | {"origin": wrong})
    with pytest.raises(UserError, match=r"scene\.basis\.safetensors"):
        Sidecar.load(sidecar_path(ply))


@pytest.mark.parametrize(
    ("given", "origin"), [(("500000", "4649776", "100"), UTM), (("499990", "4649770.5", "0"), (499990, 4649770.5, 0))]
)
def test_the_origin_can_be_chosen(near, far, call, given, origin):
    call(export, far.folder, "--origin", *given)
    read = read_ply(far.folder / "scene.ply")
    assert read.origin == origin
    assert_same_picture(near, far, far.folder / "scene.ply")
    again = open_field(far.folder / "scene.ply").save(far.folder / "again.ply")
    assert again.read_bytes() == (far.folder / "scene.ply").read_bytes()


def test_none_writes_what_float32_leaves_and_says_how_coarse_it_is(near, far, call, caplog):
    call(export, far.folder, "--origin", "none")
    ply = far.folder / "scene.ply"
    assert b"comment" not in ply.read_bytes()[:2000] and read_ply(ply).origin == ZERO
    assert (
        "--origin" not in caplog.text and "`origin` (0.0, 0.0, 0.0): positions are rounded to steps of" in caplog.text
    )
    assert len(read_ply(ply).means[:, 1].unique()) < 10
    caplog.clear()
    open_field(ply)
    assert "stored as float32, in steps of 0.5, too coarse for a scene" in caplog.text


def test_a_scene_near_zero_is_written_as_ever(near, tmp_path, call, caplog):
    call(export, near.folder)
    ply = near.folder / "scene.ply"
    run = load_run(near.folder)
    scale, centre = run.frame.scale, torch.tensor(run.frame.centre, dtype=torch.float64)
    as_ever = replace(
        run.gaussians,
        means=(run.gaussians.means.double() * scale + centre).float(),
        log_scales=run.gaussians.log_scales + np.log(scale),
    )
    write_ply(tmp_path / "as_ever.ply", as_ever)
    assert ply.read_bytes() == (tmp_path / "as_ever.ply").read_bytes()
    assert b"comment" not in ply.read_bytes()[:2000] and not caplog.messages


def test_an_origin_that_is_none_is_refused(near, unchecked):
    field = open_field(near.folder)
    choices: list[Any] = ["here", (1.0, 2.0), (1.0, float("nan"), 0.0), 5]
    for wrong in choices:
        with pytest.raises(UserError, match=r"`origin`: expected auto, none or three numbers of at most 1e\+12, got "):
            field.save(near.folder / "x.ply", origin=wrong)
    with pytest.raises(
        UserError, match=r"`TrainConfig.origin`: expected auto, none or three numbers of at most 1e\+12, got \(nan"
    ):
        TrainConfig(origin=(float("nan"), 0.0, 0.0))


def test_a_comment_that_is_no_offset_is_refused(far, call):
    call(export, far.folder)
    ply = far.folder / "scene.ply"
    for wrong in (b"500007.0 nan 103.0", b"500007.0", b"east north up"):
        ply.write_bytes(ply.read_bytes().replace(b"offset 500007.0 4649781.0 103.0", b"offset " + wrong, 1))
        with pytest.raises(UserError, match="is no offset; expected three numbers"):
            read_ply(ply)
        call(export, far.folder)


def test_a_scene_with_an_offset_gives_the_points_that_training_starts_from(near, far, call):
    call(export, far.folder)
    assert errors(read_points(far.folder / "scene.ply")[0], near.gaussians.means) < MILLIONTH


def test_double_coordinates_of_other_programs_are_kept(near, tmp_path):
    call_origin = torch.tensor(UTM).double()
    write_ply(tmp_path / "float.ply", near.gaussians)
    vertices = PlyData.read(str(tmp_path / "float.ply"))["vertex"].data
    wide = vertices.astype([(name, "<f8" if name in "xyz" else "<f4") for name in vertices.dtype.names])
    for axis, name in enumerate("xyz"):
        wide[name] = near.gaussians.means[:, axis].double() + call_origin[axis]
    header = (tmp_path / "float.ply").read_bytes().partition(b"end_header\n")[0].decode()
    for name in "xyz":
        header = header.replace(f"property float {name}\n", f"property double {name}\n")
    (tmp_path / "wide.ply").write_bytes(header.encode() + b"end_header\n" + wide.tobytes())
    read = read_ply(tmp_path / "wide.ply")
    assert read.origin != ZERO and errors(read.positions, near.gaussians.means) < MILLIONTH


def test_an_edited_scene_is_where_it_was_and_edits_know_the_world(near, far, call):
    for run in (near, far):
        out = call(edit, run.folder, "--recolor", "chair:#2a6fdb", "--move", "lamp:0.5,0,0.25", "--views", "4")
    assert_same_picture(near, far, far.folder / "edited.ply", near.folder / "edited.ply")
    centre = out[0].partition("centre (")[2].partition(")")[0].split(", ")
    expected = open_field(near.folder).edit(Recolor("chair", (0.0, 0.0, 1.0))).edits[0].centre
    assert errors([float(value) for value in centre], torch.tensor(expected, dtype=torch.float64)) < MILLIONTH
    turned = {}
    for run, shift in ((near, ZERO), (far, UTM)):
        pivot = tuple(a + b for a, b in zip((5.0, 4.0, 6.0), shift, strict=True))
        turned[shift] = open_field(run.folder).edit(Rotate("chair", euler=(0, 30, 0), centre=pivot))
        turned[shift].save(run.folder / "turned.ply")
    assert_same_picture(near, far, far.folder / "turned.ply", near.folder / "turned.ply")
    again = open_field(far.folder / "turned.ply").gaussians
    assert torch.equal(again.positions, turned[UTM].gaussians.positions)


def test_selections_queries_and_the_viewer_agree(near, far):
    masks, drawn, saved = [], [], []
    for run in (near, far):
        field = open_field(run.folder)
        hit = field.query("chair")
        masks.append(hit.selection.grow(field.gaussians.means).mask)
        shared = open_shared_scene(field)
        drawn.append(Answers(shared).gaussians.means)
        path = save_scene(shared, selected=masks[-1])
        saved.append(read_ply(path))
        cameras = [view.camera for view in field.scene.views]
        drawn.append(torch.stack([camera.viewmat for camera in orbit(cameras, 5)]))
        drawn.append(torch.stack([camera.position for camera in cameras]))  # the frustums
    assert torch.equal(*masks)
    for ours, theirs in zip(drawn[3:], drawn[:3], strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
    assert errors(saved[1].positions, saved[0].means) < MILLIONTH
    without_photos = open_field(path)  # the frame is then fitted to the Gaussians
    assert np.allclose(
        without_photos.frame.centre, saved[0].means.double().median(0).values + torch.tensor(UTM), atol=1
    )
    assert without_photos.working.means.abs().max() < 10


def test_a_segmentation_has_the_scene_relative_and_the_points_in_double(near, far, call):
    for run in (near, far):
        call(segment, run.folder, "--classes", "chair", "lamp", "--views", "a/v1.png")
    folder = far.folder / "segmentation"
    assert_same_picture(near, far, folder / "scene.ply")
    assert open_field(folder / "scene.ply").has_features
    points, unmoved = (PlyData.read(str(run.folder / "segmentation/points.ply"))["vertex"].data for run in (far, near))
    assert [str(points.dtype[axis]) for axis in "xyz"] == ["float64"] * 3
    assert [str(unmoved.dtype[axis]) for axis in "xyz"] == ["float32"] * 3
    expected = torch.from_numpy(np.stack([unmoved[axis] for axis in "xyz"], 1).copy())
    assert errors(np.stack([points[axis] for axis in "xyz"], 1), expected) < MILLIONTH


def test_lossy_formats_are_relative_too_and_say_so(near, far, call, caplog):
    for run in (near, far):
        call(export, run.folder, "--format", "splat")
        call(export, run.folder, "--format", "compressed")
    assert "(500007.0, 4649781.0, 103.0), which a .splat has no place for" in caplog.text
    assert caplog.text.count("relative to the offset") == 2
    rows = [np.fromfile(run.folder / "scene.splat", np.uint8).reshape(60, 32) for run in (near, far)]
    near_means, far_means = (row[:, :12].copy().view(np.float32) for row in rows)
    order = [np.lexsort(means.round(3).T) for means in (near_means - [7, 5, 3], far_means)]
    assert np.abs(near_means[order[0]] - [7, 5, 3] - far_means[order[1]]).max() < MILLIONTH
    header = (far.folder / "scene.compressed.ply").read_bytes().partition(b"end_header")[0]
    assert header.endswith(b"comment offset 500007.0 4649781.0 103.0\n")
    assert b"comment" not in (near.folder / "scene.compressed.ply").read_bytes().partition(b"end_header")[0]


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """Folder of the runs `auto` and `own`, each trained with that origin, and of their `photos`."""
    data = TinyDataset.write(tmp_path / "photos").folder
    content = json.loads((data / "transforms.json").read_text())
    for frame in content["frames"]:
        for axis in range(3):
            frame["transform_matrix"][axis][3] += UTM[axis]
    (data / "transforms.json").write_text(json.dumps(content))
    steps = ["--stage1.steps", 20, "--dataset.random-points", 60, "--teacher", "none", "--device", "cpu"]
    for name, origin in (("auto", []), ("own", ["--origin", *UTM])):
        options = ["--data", data, "--out", tmp_path / name, *steps, *origin]
        monkeypatch.setattr(sys, "argv", ["train", *map(str, options)])
        train.main()
    return tmp_path


def test_training_writes_positions_that_float32_could_not_hold(trained):
    auto, own = (read_ply(trained / name / "scene.ply") for name in ("auto", "own"))
    assert auto.origin != ZERO and len(auto.means[:, 1].unique()) > 0.9 * len(auto)
    assert own.origin == UTM and load_run(trained / "own").config.origin == UTM
    assert (own.positions - auto.positions).abs().max() < MILLIONTH
    for name, read in (("auto", auto), ("own", own)):
        ply, run = trained / name / "scene.ply", open_field(trained / name)
        assert psnr(picture(ply, trained / "photos"), picture(trained / name, trained / "photos")) > SAME
        assert torch.equal(run.for_files().means, read.means)


def test_the_door_says_it_in_its_own_words(far):
    command = [sys.executable, "-m", "gsdff.export", str(far.folder), "--features", "none"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("warning:") == 1 and "(--origin chooses another)" in done.stderr
