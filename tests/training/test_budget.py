"""Schedules for a given time: what is scaled, what is measured, and what is refused."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from tiny_scene import TinyDataset, tiny_scene

from gsdff import fit
from gsdff.config.file import find_preset, lay_over, read_config, read_table
from gsdff.config.options import Stage1Config, Stage2Config, TeacherConfig, TrainConfig
from gsdff.errors import UserError
from gsdff.render import render_rgb
from gsdff.training import budget
from gsdff.training.budget import Speed, apply, choose, fit_schedule, grown, measure_speed, scaled
from gsdff.training.initialise import initial_gaussians
from gsdff.training.run import complete, train_run

CPU = torch.device("cpu")
PRESET = lay_over(TrainConfig(teacher=TeacherConfig(name="none")), read_table(find_preset("cpu")), "cpu")
SPEED = Speed(fixed=0.01, per_gaussian=1e-6, pixels=540 * 960)
"""A photo of the fox at full size."""
SMALL = TrainConfig(
    teacher=TeacherConfig(name="none"),
    stage1=Stage1Config(steps=400, sh_degree=1, refine_start=40, refine_stop=300, max_gaussians=1000),
    stage2=Stage2Config(steps=6),
)


@pytest.mark.parametrize("minutes", [0.5, 2, 10, 40])
def test_the_expected_time_is_the_time_asked_for(minutes: float) -> None:
    plan = choose(PRESET, SPEED, 10_000, 60 * minutes)
    assert 0.6 < plan.seconds / (60 * minutes) <= 1  # a jump to photos of twice the side may not fit any more


def test_more_minutes_mean_more_steps_more_gaussians_and_larger_photos() -> None:
    plans = [apply(PRESET, choose(PRESET, SPEED, 10_000, 60 * minutes)) for minutes in (1, 3, 9, 27)]
    for first, second in pairwise(plans):
        assert first.stage1.steps < second.stage1.steps
        assert first.stage1.max_gaussians < second.stage1.max_gaussians
        assert first.dataset.downscale >= second.dataset.downscale
    assert plans[0].dataset.downscale > plans[-1].dataset.downscale == 1


def test_a_slower_machine_gets_a_shorter_schedule() -> None:
    slow = replace(SPEED, fixed=4 * SPEED.fixed, per_gaussian=4 * SPEED.per_gaussian)
    assert choose(PRESET, slow, 10_000, 120).factor < choose(PRESET, SPEED, 10_000, 120).factor


def test_steps_of_stage_2_count_where_there_is_a_teacher() -> None:
    with_teacher = replace(PRESET, teacher=TeacherConfig(name="toy"))
    assert choose(with_teacher, SPEED, 10_000, 120).factor < choose(PRESET, SPEED, 10_000, 120).factor


def test_photos_stay_as_large_as_the_options_say_or_become_smaller() -> None:
    halved = replace(PRESET, dataset=replace(PRESET.dataset, downscale=2))
    small = replace(SPEED, pixels=270 * 480)
    assert apply(halved, choose(halved, small, 10_000, 1e5)).dataset.downscale == 2
    assert apply(halved, choose(halved, small, 10_000, 10)).dataset.downscale > 2


def test_all_counts_of_a_schedule_keep_their_shares() -> None:
    half, double = (scaled(PRESET.stage1, factor) for factor in (0.5, 2))
    assert (half.steps, half.sh_interval, half.refine_start, half.refine_stop) == (1000, 250, 100, 750)
    assert (half.max_gaussians, half.refine_every, half.reset_every) == (25_000, 50, 0)
    assert (double.steps, double.refine_every, double.max_gaussians) == (4000, 100, 100_000)
    assert scaled(PRESET.stage1, 1) == PRESET.stage1


def test_what_is_grown_to_be_timed_looks_like_what_it_is_made_of() -> None:
    scene = tiny_scene()
    initial = initial_gaussians(SMALL, scene)
    many = grown(initial, 2 * len(initial) + 3, seed=0)
    copies = initial.map(lambda tensor: tensor.repeat(2, *[1] * (tensor.dim() - 1)))
    images = [render_rgb(each, scene.views[0].camera).image for each in (initial, many, copies)]
    assert len(many) == 2 * len(initial) + 3
    assert (images[0] - images[1]).abs().mean() < 0.3 * (images[0] - images[2]).abs().mean()


def test_the_speed_is_measured_with_few_and_with_many_gaussians(monkeypatch) -> None:
    scene, sizes = tiny_scene(), []

    def time_step(trainer) -> float:
        sizes.append(len(trainer.gaussians))
        return 0.002 + 1e-5 * sizes[-1]

    monkeypatch.setattr(budget, "time_step", time_step)
    speed = measure_speed(SMALL, scene, CPU, initial_gaussians(SMALL, scene))
    assert len(sizes) == 2 and sizes[0] < sizes[1]
    assert speed.of_step(1000, speed.pixels) == pytest.approx(0.012)
    assert speed.of_step(1000, speed.pixels / 4) == pytest.approx(0.003)


def test_a_run_trains_the_schedule_that_was_chosen_and_keeps_it(tmp_path) -> None:
    data = TinyDataset.write(tmp_path / "data").folder
    config = complete(replace(SMALL, data=data, out=tmp_path / "run"))
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    folder = train_run(config, minutes=1e-6)
    assert torch.equal(torch.rand(2), expected)  # nothing outside of the run has drawn from its numbers
    kept = read_config(folder.config)
    assert (kept.stage1.steps, kept.stage1.max_gaussians) == (budget.LEAST_STEPS, 500)
    with pytest.raises(UserError, match="`minutes`: a run that is resumed keeps its schedule"):
        train_run(config, resume=True, minutes=1)


def test_too_little_time_is_said(caplog) -> None:
    scene = tiny_scene()
    fit_schedule(SMALL, scene, CPU, 1e-6)
    assert "are not enough for 200 steps" in caplog.text


@pytest.mark.parametrize("minutes", [0, -1, float("nan"), float("inf")])
def test_a_time_that_is_none_is_refused(minutes: float) -> None:
    with pytest.raises(UserError, match="`minutes`: expected a number above 0"):
        fit_schedule(SMALL, tiny_scene(), CPU, minutes)


@pytest.mark.parametrize("minutes", ["5", [1]])
def test_minutes_that_are_no_number_are_refused_from_python(minutes: object, unchecked: None) -> None:
    with pytest.raises(UserError, match="`minutes`: expected a number above 0, got"):
        fit("demo", minutes=minutes)  # pyright: ignore[reportArgumentType]


def test_minutes_beside_another_choice_of_the_steps_are_refused(tmp_path) -> None:
    with pytest.raises(UserError, match="`iterations` and `minutes` both"):
        fit("demo", iterations=10, minutes=1)
    begun = replace(SMALL, stage1_from=tmp_path / "scene.ply")
    with pytest.raises(UserError, match="which `stage1_from` leaves out"):
        fit_schedule(begun, tiny_scene(), CPU, 1)
