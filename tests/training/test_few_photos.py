"""Gaussians that are left out and fade for scenes of few photos, and scenes that are trained as before."""

from dataclasses import replace

import pytest
import torch
from tiny_scene import tiny_scene

from gsdff.config.options import Stage1Config, TeacherConfig, TrainConfig
from gsdff.io.checkpoint import snapshot
from gsdff.training.few_photos import FewPhotos
from gsdff.training.initialise import initial_gaussians
from gsdff.training.trainer import Trainer

STEPS = 40
CPU = torch.device("cpu")


def make_config(*, is_on: bool) -> TrainConfig:
    stage1 = Stage1Config(steps=STEPS, refine_start=5, refine_every=5, refine_stop=30, few_photos=is_on)
    return TrainConfig(stage1=stage1, teacher=TeacherConfig(name="none"))


def train(steps: int = STEPS, *, is_on: bool = True) -> Trainer:
    config, scene = make_config(is_on=is_on), tiny_scene()
    trainer = Trainer(config, scene, CPU, initial_gaussians(config, scene))
    for _ in range(steps):
        trainer.advance()
    return trainer


def test_what_is_left_out_rises_to_a_fifth_and_the_others_make_up_for_it(generator):
    gaussians = tiny_scene_gaussians(100_000)
    holding = FewPhotos(Stage1Config(steps=STEPS, few_photos=True))
    shares = []
    for step in (0, STEPS // 2, STEPS - 1):
        factors = holding.draw(gaussians, step)
        shares.append(float((factors < 0.5).float().mean()))
        assert float(factors.mean()) == pytest.approx(1, abs=0.01)  # as much opacity as there was
    assert shares == pytest.approx([0, 0.1, 0.2 * (STEPS - 1) / STEPS], abs=0.01)
    assert holding.draw(gaussians, STEPS) is None  # the second stage shows all of them


def tiny_scene_gaussians(num: int):
    gaussians = initial_gaussians(make_config(is_on=True), tiny_scene())
    return gaussians.map(lambda tensor: tensor[torch.arange(num) % len(tensor)])


def test_where_nothing_is_held_back_no_number_is_drawn_and_the_loss_is_as_it_was():
    gaussians, holding = tiny_scene_gaussians(50), FewPhotos(Stage1Config())
    before = torch.get_rng_state()
    assert holding.draw(gaussians, 10) is None and float(holding.prior(gaussians)) == 0
    assert torch.equal(torch.get_rng_state(), before)


def test_a_part_of_a_scene_is_not_held_back():
    holding = FewPhotos(Stage1Config(few_photos=True))
    part = replace(tiny_scene_gaussians(50), is_part=True)
    assert holding.draw(part, 10) is None and float(holding.prior(part)) == 0


def test_a_training_that_is_held_back_goes_on_with_the_same_bits_after_a_pause():
    whole, half = train(), train(STEPS // 2)
    config, scene = make_config(is_on=True), tiny_scene()
    resumed = Trainer(config, scene, CPU, initial_gaussians(config, scene))
    resumed.load_state_dict(half.step, snapshot(half.state_dict()))
    for _ in range(STEPS - half.step):
        resumed.advance()
    for name, tensor in whole.gaussians.items():
        assert torch.equal(tensor, getattr(resumed.gaussians, name)), name
    plain = train(is_on=False)
    assert not torch.equal(whole.gaussians.sh0[:10], plain.gaussians.sh0[:10])
