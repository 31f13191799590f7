"""Borders before stage 2: what straddles one is cut, retreats into its thing, and the run goes on with the parts."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_field import UNSMOOTHED, Distillation, random_photos

from gsdff.config.options import TrainConfig
from gsdff.config.smoothing import BordersConfig, MaskConfig, ThingsConfig
from gsdff.io.runs import RunFolder
from gsdff.things.store import load_things
from gsdff.training.borders import BorderTerm, cut_borders
from gsdff.training.thing_targets import weigh_masks
from gsdff.training.trainer import Trainer

HALVES = torch.ones(9, 13, dtype=torch.int32)
HALVES[:, 6:] = 2
OWNER = torch.tensor([0, 1, 2]).int()


class Halves:
    """Segments of any view: its left and its right half."""

    def __getitem__(self, view_id: int) -> torch.Tensor:
        return HALVES


@pytest.fixture
def setting(tmp_path: Path, generator: torch.Generator) -> Distillation:
    """A scene of two halves with masks; the last two Gaussians lie on the border, one across it and one along it."""
    setting = Distillation.write(tmp_path, generator)
    masks = tmp_path / "my_masks"
    masks.mkdir()
    for view in setting.scene.views:
        Image.fromarray(HALVES.numpy().astype(np.uint16)).save(masks / f"{view.stem}.png")
    gaussians = setting.gaussians
    gaussians.means[:, 0] = gaussians.means[:, 0].sign() * (gaussians.means[:, 0].abs() + 0.6)
    gaussians.means[:, 2] = 0
    gaussians.logit_opacities += 2
    gaussians.means[-2:] = torch.tensor([[0.0, 0.5, -0.1], [0.0, -0.5, -0.1]])
    gaussians.quats[-2:] = torch.tensor([1.0, 0, 0, 0])
    gaussians.log_scales[-2:] = torch.tensor([[-0.9, -2.0, -2.0], [-2.0, -0.9, -2.0]])
    config = replace(
        setting.config,
        masks=MaskConfig(name="precomputed", folder=masks, source="photo", min_area=1),
        smoothing=replace(UNSMOOTHED, things=ThingsConfig("target", borders=BordersConfig(rounds=2, steps=3))),
    )
    return replace(setting, config=config, scene=random_photos(setting.scene, generator))


def start_stage2(setting: Distillation, config: TrainConfig | None = None) -> Trainer:
    """A trainer at the start of stage 2."""
    config = config or setting.config
    trainer = Trainer(config, setting.scene, torch.device("cpu"), setting.gaussians)
    trainer.step = config.stage1.steps
    trainer.start_stage2(RunFolder(setting.run))
    return trainer


def test_only_what_a_cut_makes_purer_is_cut(setting: Distillation) -> None:
    options = setting.config.smoothing.things
    cut, things, parents = cut_borders(
        setting.gaussians, lambda g: weigh_masks(g, setting.scene, Halves()), replace(options, whole=0.9)
    )
    counts = parents.bincount(minlength=20)
    assert counts[18] >= 3 and counts[19] == 1
    assert len(cut) == len(parents) == len(things.members) == int(counts.sum())
    assert set(things.instance_ids[parents == 18].tolist()) == {1, 2}


def test_what_is_shown_outside_the_own_thing_raises_the_loss_and_is_drawn_back(setting: Distillation) -> None:
    scene, gaussians = setting.scene, setting.gaussians.map(lambda tensor: tensor[18:19])
    owners = [OWNER] * len(scene.train_ids)
    term = BorderTerm(torch.tensor([1]).int(), scene, Halves(), owners, 0.5)

    def expected_loss(place: torch.Tensor) -> torch.Tensor:
        """The mean over many draws of the things' vectors, with the Gaussian of the left thing at this place."""
        moved = replace(gaussians, means=place[None])
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return torch.stack([term(moved, 3, 0)[0] for _ in range(200)]).mean()

    left, border, right = (torch.tensor([x, 0.0, 0.0], requires_grad=True) for x in (-0.9, 0.0, 0.9))
    losses = [expected_loss(place) for place in (left, border, right)]
    assert losses[0] < losses[1] < losses[2]
    losses[1].backward()
    assert border.grad is not None and border.grad[0] > 0  # downhill is to the left


def test_the_loss_is_logged_as_border(setting: Distillation) -> None:
    owners = [OWNER] * len(setting.scene.train_ids)
    loss, scalars = BorderTerm(torch.ones(20).int(), setting.scene, Halves(), owners, 0.5)(setting.gaussians, 3, 0)
    assert loss > 0 and scalars.keys() == {"border"} and torch.equal(scalars["border"], loss)


def test_pixels_of_no_thing_are_no_loss(setting: Distillation) -> None:
    owners = [torch.zeros(3, dtype=torch.int32)] * len(setting.scene.train_ids)
    term = BorderTerm(torch.ones(20).int(), setting.scene, Halves(), owners, 0.5)
    assert term(setting.gaussians, 3, 0)[0] == 0


def test_stage_2_goes_on_with_the_parts_and_their_things(setting: Distillation) -> None:
    trainer = start_stage2(setting)
    features = trainer.gaussians.features
    assert features is not None and len(trainer.gaussians) == len(features) > 20
    things = load_things(RunFolder(setting.run).things, len(features))
    assert len(things) == 2
    assert len(trainer.terms) == 2 and not isinstance(trainer.terms[1], BorderTerm)
    scalars = trainer.advance()
    assert "border" not in scalars and "smooth_things" in scalars


def test_without_rounds_stage_2_starts_with_the_gaussians_of_stage_1(setting: Distillation) -> None:
    things = replace(setting.config.smoothing.things, borders=BordersConfig())
    trainer = start_stage2(setting, replace(setting.config, smoothing=replace(UNSMOOTHED, things=things)))
    assert torch.equal(trainer.gaussians.means, setting.gaussians.means)


def test_moments_of_the_parents_go_to_their_parts(setting: Distillation) -> None:
    config = replace(setting.config, smoothing=replace(UNSMOOTHED))
    trainer = Trainer(config, setting.scene, torch.device("cpu"), setting.gaussians)
    trainer.step = config.stage1.steps
    trainer.advance()
    parents = torch.tensor([3, 3, 0])
    before = trainer.optimizers["sh0"].state_dict()["state"][0]["exp_avg"]
    trainer._replace_gaussians(setting.gaussians.map(lambda t: t[parents]), parents)
    after = trainer.optimizers["sh0"].state_dict()["state"][0]
    assert torch.equal(after["exp_avg"], before[parents]) and float(after["step"]) == 1
    trainer.advance()
    assert len(trainer.gaussians) == 3


def test_a_run_that_is_cut_resumes_with_its_parts(setting: Distillation) -> None:
    trainer = start_stage2(setting)
    trainer.advance()
    state = deepcopy(trainer.state_dict())
    other = Trainer(setting.config, setting.scene, torch.device("cpu"), setting.gaussians)
    other.load_state_dict(trainer.step, state)
    other.start_stage2(RunFolder(setting.run))
    losses = [float(t.advance()["loss"]) for t in (trainer, other)]
    assert losses[0] == losses[1]
