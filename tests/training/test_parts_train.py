"""Whole trainings by two ranks that hold a part of the scene each: the run they leave, stopped and resumed."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torchrun import run_job
from written_runs import assert_same_bits, read_lines

import gsdff
from gsdff.config.file import read_config
from gsdff.errors import UserError
from gsdff.io.checkpoint import list_checkpoints, load_checkpoint, load_newest
from gsdff.training.run import train_run


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """Folder with the runs of two ranks, and what each reports."""
    folder = tmp_path_factory.mktemp("job")
    return folder, run_job(Path(__file__).with_name("job_that_trains_parts.py"), folder)


def test_a_run_of_parts_ends_as_any_other(job):
    for name, has_features in (("whole", True), ("plain", False), ("begun", True)):
        run = job[0] / name
        path = list_checkpoints(run / "checkpoints")[-1]
        state = load_checkpoint(path)
        assert state["gaussians"].keys() >= {"means", "shN"} and ("features" in state["gaussians"]) == has_features
        assert not list(run.glob(f"checkpoints/{path.stem}.part_*")), "the last checkpoint is a whole one"
        field = gsdff.load(run / "scene.ply")
        assert len(field.gaussians) == len(state["gaussians"]["means"]) == read_lines(run)[-1]["gaussians"]
        assert (run / "events").is_dir() and len(list((run / "events").iterdir())) == 1


def test_features_trained_in_parts_are_those_of_ranks_that_hold_the_whole(job):
    """The job lets splits draw the same for every Gaussian, so that the scenes are the same."""
    lines = [read_lines(job[0] / name) for name in ("whole", "replicated")]
    for parts, whole in zip(*lines, strict=True):
        assert parts == pytest.approx(whole, rel=1e-3)
    assert "feature" in lines[0][-1] and lines[0][-1]["gaussians"] > 40


def test_each_rank_holds_a_part_and_lines_count_all(job):
    largest = max(line["gaussians"] for line in read_lines(job[0] / "plain"))
    assert largest > 40
    for report in job[1]:
        assert max(report["sizes"]) <= 0.6 * largest


def test_a_run_of_parts_stopped_and_resumed_has_the_bits_of_one_that_was_not(job):
    folder, reports = job
    assert all(report["stopped after 14"] and report["stopped after 26"] for report in reports)
    states = [load_checkpoint(folder / name / "checkpoints" / "step_000030.pt") for name in ("whole", "torn")]
    assert_same_bits(*(state["gaussians"] for state in states))
    for name, optimizer in states[0]["optimizers"].items():
        assert_same_bits(optimizer["state"][0], states[1]["optimizers"][name]["state"][0])
    assert read_lines(folder / "whole") == read_lines(folder / "torn")


def test_a_checkpoint_of_parts_is_read_as_a_whole_one(job):
    folder = job[0] / "torn_14" / "checkpoints"
    (path,) = list_checkpoints(folder)
    parts = sorted(other.name for other in folder.glob("*.part_*"))
    assert parts == [f"{path.stem}.part_{rank}_of_2.pt" for rank in range(2)]
    whole, first, second = (load_checkpoint(path, part) for part in (None, (0, 2), (1, 2)))
    sizes = [len(state["gaussians"]["means"]) for state in (whole, first, second)]
    assert sizes[0] == sizes[1] + sizes[2] and min(sizes) > 0
    assert torch.equal(whole["gaussians"]["sh0"][sizes[1] :], second["gaussians"]["sh0"])
    assert len(load_checkpoint(path, (0, 3))["gaussians"]["means"]) == sizes[0], "another number of ranks"
    assert len(gsdff.load(job[0] / "torn_14").gaussians) == sizes[0]


def test_one_rank_continues_a_run_of_parts_to_its_end(job, tmp_path):
    out = tmp_path / "alone"
    shutil.copytree(job[0] / "torn_14", out)
    train_run(replace(read_config(out / "config.toml"), out=out), resume=True)
    state = load_newest(out / "checkpoints")
    assert state is not None and state["step"] == 30 and state["gaussians"]["features"].shape[1] == 3
    assert not list((out / "checkpoints").glob("*.part_*")), "parts of checkpoints that are gone are removed"


@pytest.mark.parametrize("damage", ["lost", "foreign"])
def test_a_checkpoint_that_lacks_a_part_of_its_own_is_refused(job, tmp_path, damage):
    folder = tmp_path / "checkpoints"
    shutil.copytree(job[0] / "torn_14" / "checkpoints", folder)
    (path,) = list_checkpoints(folder)
    part = folder / f"{path.stem}.part_1_of_2.pt"
    if damage == "lost":
        part.unlink()
    else:
        state = torch.load(part, weights_only=True)
        torch.save(state | {"token": "another"}, part)
    with pytest.raises(UserError, match="part_1_of_2" if damage == "lost" else "do not belong together"):
        load_newest(folder)


def test_a_viewer_of_parts_is_refused(job):
    for report in job[1]:
        assert report["viewer"].startswith("`viewer`: shows whole scenes only")
