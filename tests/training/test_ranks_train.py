"""Training by two ranks: one step, a run, its end and its resumption. One job makes all that is looked at here."""

import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from torchrun import run_job
from written_runs import assert_same_bits, read_lines

from gsdff.config.file import read_config
from gsdff.errors import UserError
from gsdff.io.checkpoint import list_checkpoints, load_checkpoint
from gsdff.ranks import Ranks
from gsdff.training.pace import Pace, is_due
from gsdff.training.run import train_run


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """Folder with the runs of two ranks, and what each reports."""
    folder = tmp_path_factory.mktemp("job")
    return folder, run_job(Path(__file__).with_name("job_that_trains.py"), folder)


def resume_alone(folder, out):
    """Continues a run of two ranks with one, in a copy of its folder."""
    shutil.copytree(folder, out)
    train_run(config_of(out), resume=True)
    return load_checkpoint(list_checkpoints(out / "checkpoints")[-1])


def config_of(out):
    return replace(read_config(out / "config.toml"), out=out)


def test_a_step_of_two_ranks_follows_the_gradients_of_one_rank_on_both_views(job):
    for report in job[1]:
        assert len(report["step"]) == 6 and max(report["step"].values()) < 1e-5
    assert job[1][0]["step"] == job[1][1]["step"]


def test_ranks_write_one_run_with_every_view_shown_as_a_step(job):
    lines = read_lines(job[0] / "whole")
    assert [line["step"] for line in lines] == [4, 8, 12, 16, 20, 24, 28, 30]
    assert max(line["gaussians"] for line in lines) > 40
    assert [path.name for path in list_checkpoints(job[0] / "whole" / "checkpoints")] == [
        "step_000024.pt",
        "step_000030.pt",
    ]
    assert (job[0] / "whole" / "scene.ply").is_file() and len(list((job[0] / "whole" / "events").iterdir())) == 1


def test_a_run_stopped_and_resumed_by_two_ranks_has_the_bits_of_one_that_was_not(job):
    folder, reports = job
    assert all(report["stopped after 14"] and report["stopped after 26"] for report in reports)
    states = [load_checkpoint(folder / name / "checkpoints" / "step_000030.pt") for name in ("whole", "torn")]
    assert_same_bits(*(state["gaussians"] for state in states))
    for name, optimizer in states[0]["optimizers"].items():
        assert_same_bits(optimizer["state"][0], states[1]["optimizers"][name]["state"][0])
    assert read_lines(folder / "whole") == read_lines(folder / "torn")


@pytest.mark.parametrize("step", [14, 26])
def test_one_rank_continues_a_run_of_two_to_its_end(job, tmp_path, step):
    state = resume_alone(job[0] / f"torn_{step}", tmp_path / "alone")
    assert state["step"] == 30 and state["gaussians"]["features"].shape[1] == 3


def test_maps_and_basis_made_by_two_ranks_have_the_bits_of_those_made_by_one(job, tmp_path):
    resume_alone(job[0] / "torn_14", tmp_path / "alone")  # stopped before stage 2, which makes them
    (by_two,), (by_one,) = (
        [path for path in (run / "features").iterdir() if path.is_dir()]
        for run in (job[0] / "whole", tmp_path / "alone")
    )
    names = sorted(path.name for path in by_two.iterdir() if path.suffix in (".npy", ".safetensors"))
    assert len(names) == 6 and by_two.name == by_one.name
    for name in names:
        assert (by_two / name).read_bytes() == (by_one / name).read_bytes()


def test_ranks_with_different_options_stop_at_once_with_the_option_and_the_rank(job):
    for report in job[1]:
        assert report["unlike options"] == "`seed`: rank 1 has 1, rank 0 has 0; give all ranks the same options"


def test_a_second_training_into_a_folder_in_use_is_refused_and_leaves_it_as_it_was(job, tmp_path):
    out = tmp_path / "used"
    shutil.copytree(job[0] / "torn_14", out)
    before = (out / "config.toml").read_bytes()
    with FileLock(out / ".lock"), pytest.raises(UserError, match="used: another training writes into it now"):
        train_run(config_of(out), resume=True)
    assert (out / "config.toml").read_bytes() == before


@pytest.mark.parametrize("counts_views, stride, turns, factor", [(True, 4, [3, 7], 2.0), (False, 1, [3, 7], 1.0)])
def test_the_pace_counts_views_or_rounds(counts_views, stride, turns, factor):
    pace = Pace(Ranks(3, 4), counts_views)
    assert (pace.stride, pace.rate_factor) == (stride, factor)
    assert [pace.turn(0), pace.turn(stride)] == turns
    adam = pace.make_adam(torch.nn.Parameter(torch.zeros(1)), 0.1, 1e-15)
    assert adam.defaults["lr"] == pytest.approx(0.1 * factor)
    assert adam.defaults["betas"] == pytest.approx((0.9**stride, 0.999**stride))


def test_a_round_that_passes_over_a_multiple_makes_it_due_once():
    steps = range(0, 25, 4)
    due = [step for before, step in pairwise(steps) if is_due(before, step, 10)]
    assert due == [12, 20] and is_due(9, 10, 10) and not is_due(10, 11, 10)
