"""Training on the pretended card: both stages do what they do on the CPU, and wait no more than they may."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pretended.budget import STEPS
from tiny_field import write_maps
from tiny_scene import tiny_scene

from gsdff.config.options import DataConfig, FeatureConfig, Stage1Config, Stage2Config, TeacherConfig, TrainConfig
from gsdff.config.smoothing import (
    BilateralFilterConfig,
    GaussianFilterConfig,
    GraphConfig,
    MaskConfig,
    SegmentFilterConfig,
    SmoothingConfig,
    VariationConfig,
)
from gsdff.gaussians import Gaussians
from gsdff.io.runs import RunFolder
from gsdff.scene import Scene
from gsdff.training import view_data
from gsdff.training.initialise import initial_gaussians
from gsdff.training.trainer import Trainer

STAGE1 = Stage1Config(
    steps=24, sh_degree=1, sh_interval=8, refine_start=4, refine_every=5, refine_stop=20, grow_grad2d=1e-5,
    reset_every=12, max_gaussians=70,
)  # fmt: skip
CONFIG = TrainConfig(
    teacher=TeacherConfig(name="none"), stage1=STAGE1, masks=MaskConfig("felzenszwalb", source="photo", min_area=20)
)
DEVICES = ("cpu", "cuda")


def make_trainer(config: TrainConfig, device: str, scene: Scene | None = None) -> Trainer:
    scene = scene or tiny_scene()
    return Trainer(config, scene, torch.device(device), initial_gaussians(config, scene).map(torch.clone))


def losses(trainer: Trainer, steps: int) -> list[float]:
    return [float(trainer.advance()["loss"].detach()) for _ in range(steps)]


@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
def test_stage_1_learns_refines_and_resets_as_on_the_cpu(card, rasterize_mode):
    stage1 = replace(STAGE1, rasterize_mode=rasterize_mode, absgrad=rasterize_mode == "antialiased")
    config = replace(CONFIG, stage1=stage1, dataset=DataConfig(background="random"))
    trainers = [make_trainer(config, device) for device in DEVICES]
    before_refinement = [losses(trainer, 4) for trainer in trainers]
    assert before_refinement[1] == pytest.approx(before_refinement[0], rel=1e-5)
    # the refinements sum the same gradients in another order
    afterwards = [losses(trainer, 20) for trainer in trainers]
    assert afterwards[1] == pytest.approx(afterwards[0], rel=5e-3)
    assert len(trainers[0].gaussians) == len(trainers[1].gaussians) > 40


def test_moved_gaussians_learn_as_on_the_cpu_without_more_waits(card):
    stage1 = replace(STAGE1, strategy="mcmc", max_gaussians=80)
    trainers = [make_trainer(replace(CONFIG, stage1=stage1), device) for device in DEVICES]
    on_cpu, on_card = (losses(trainer, 24) for trainer in trainers)
    assert on_card == pytest.approx(on_cpu, rel=5e-3)
    assert len(trainers[0].gaussians) == len(trainers[1].gaussians) > 40
    card.clear()
    trainers[1].advance()
    assert card.num_waits <= STEPS["stage 1"], card.table()


def test_photos_colours_and_poses_are_found_as_on_the_cpu_without_more_waits(card, tmp_path):
    stage1 = replace(STAGE1, refine_stop=0, exposure="affine", refine_poses=True)
    trainers = [make_trainer(replace(CONFIG, stage1=stage1), device) for device in DEVICES]
    on_cpu, on_card = ([losses(trainer, 1)[0]] for trainer in trainers)  # the window of SSIM is sent once
    for _ in range(23):
        on_cpu.append(float(trainers[0].advance()["loss"].detach()))
        card.clear()
        loss = trainers[1].advance()["loss"].detach()
        assert card.num_waits <= STEPS["stage 1"], card.table()
        on_card.append(float(loss))
    assert on_card == pytest.approx(on_cpu, rel=1e-3)
    exposures, poses = ([getattr(trainer.radiance, name) for trainer in trainers] for name in ("exposure", "poses"))
    for (ours, theirs), name in ((exposures, "deviations"), (poses, "motions")):
        found, expected = (getattr(each, name).detach().cpu() for each in (theirs, ours))
        assert bool(expected.any()) and float((found - expected).abs().max()) < 0.05 * float(expected.abs().max())
    exposures[1].write(tmp_path / "exposure.json")
    exposures[1].read(tmp_path / "exposure.json")
    moved = poses[1].moved(trainers[1].scene)
    assert moved.views[1].camera.viewmat.device.type == "cpu"


def test_a_scene_that_has_lost_all_its_gaussians_goes_on(card):
    for device in DEVICES:
        trainer = make_trainer(replace(CONFIG, stage1=replace(STAGE1, refine_stop=0)), device)
        trainer._set_gaussians(trainer.gaussians.map(lambda tensor: tensor.detach()[:0]))
        assert losses(trainer, 2)[0] > 0 and len(trainer.gaussians) == 0


def filters(form: str) -> SmoothingConfig:
    """All filters in one form."""
    return SmoothingConfig(
        sam=SegmentFilterConfig(form),
        bilateral=BilateralFilterConfig(form, window=3),
        gaussian=GaussianFilterConfig(form, window=3),
        graph=GraphConfig("off"),
    )


FORMS = {
    "none": SmoothingConfig(graph=GraphConfig("off")),
    "default": SmoothingConfig(),
    "render": filters("render"),
    "consistency": filters("consistency"),
    "target": filters("target"),
    "window": SmoothingConfig(sam=SegmentFilterConfig("consistency", window=3), graph=GraphConfig("off")),
    "features as guide": SmoothingConfig(bilateral=BilateralFilterConfig("render", guide="features", window=3)),
    "variation": SmoothingConfig(tv=VariationConfig(0.1, segments=True), graph=GraphConfig("consistency")),
}


def distil(root: Path, config: TrainConfig, device: str, scene: Scene, gaussians: Gaussians) -> Trainer:
    """A trainer at the start of stage 2, its features lifted."""
    trainer = Trainer(config, scene, torch.device(device), gaussians.map(torch.clone))
    folder = RunFolder(root / device)
    folder.path.mkdir(parents=True)
    trainer.start_stage2(folder)
    return trainer


@pytest.fixture
def teaching(tmp_path: Path, generator: torch.Generator) -> tuple[TrainConfig, Scene]:
    """A run with teacher maps that goes straight to stage 2."""
    scene = tiny_scene()
    config = replace(
        CONFIG,
        teacher=TeacherConfig("precomputed", write_maps(tmp_path / "maps", scene, generator)),
        features=FeatureConfig(4),
        stage1=replace(STAGE1, steps=0),
        stage2=Stage2Config(steps=6, parts=2),
    )
    return config, scene


@pytest.mark.parametrize("name", FORMS)
def test_every_smoothing_lifts_and_learns_as_on_the_cpu(card, tmp_path, teaching, name):
    config, scene = teaching
    config = replace(config, smoothing=FORMS[name])
    gaussians = initial_gaussians(config, scene)
    trainers = [distil(tmp_path, config, device, scene, gaussians) for device in DEVICES]
    lifted = [trainer.gaussians.features.detach().cpu() for trainer in trainers]
    torch.testing.assert_close(lifted[1], lifted[0], rtol=1e-4, atol=1e-5)
    expected, got = (losses(trainer, 3) for trainer in trainers)
    # a card projects for the whole photo, the CPU for a strip, beyond which Gaussians are drawn as if at its edge
    assert got == pytest.approx(expected, rel=1e-3)


def test_masks_of_renderings_are_made_again(card, tmp_path, teaching):
    config, scene = teaching
    masks = replace(config.masks, source="rendered", refresh=2)
    trainer = distil(tmp_path, replace(config, masks=masks, smoothing=filters("target")), "cuda", scene,
                     initial_gaussians(config, scene))  # fmt: skip
    assert all(loss > 0 for loss in losses(trainer, 5))


def test_a_trainer_continues_from_a_state_that_went_through_a_file(card, tmp_path):
    whole = make_trainer(CONFIG, "cuda")
    first, rest = losses(whole, 13), losses(whole, 8)
    broken_off = make_trainer(CONFIG, "cuda")
    assert losses(broken_off, 13) == first
    torch.save(broken_off.state_dict(), tmp_path / "state.pt")
    for device in DEVICES:
        resumed = make_trainer(CONFIG, device)
        # anew: on the CPU the tensors of a state are trained further where they are
        state = torch.load(tmp_path / "state.pt", map_location="cpu", weights_only=True)
        resumed.load_state_dict(13, state)
        assert losses(resumed, 8) == pytest.approx(rest, rel=0 if device == "cuda" else 1e-2)


# --- waits


def test_a_step_of_stage_1_waits_no_more_than_allowed(card):
    trainer = make_trainer(CONFIG, "cuda")
    for _ in range(24):
        card.clear()
        trainer.advance()
        if trainer.step % STAGE1.refine_every or trainer.step > STAGE1.refine_stop:
            assert card.num_waits <= STEPS["stage 1"], card.table()


@pytest.mark.parametrize("name", FORMS)
def test_a_step_of_stage_2_waits_no_more_than_allowed(card, tmp_path, teaching, name):
    config, scene = teaching
    config = replace(config, smoothing=FORMS[name])
    trainer = distil(tmp_path, config, "cuda", scene, initial_gaussians(config, scene))
    losses(trainer, 12)  # all views once: their targets are loaded then
    for _ in range(3):
        card.clear()
        trainer.advance()
        assert card.num_waits <= STEPS["stage 2"], card.table()


def test_what_does_not_fit_is_fetched_ahead_and_no_step_waits_for_it(card, tmp_path, teaching, monkeypatch):
    config, scene = teaching
    config = replace(config, smoothing=FORMS["window"])
    gaussians = initial_gaussians(config, scene)
    expected = losses(distil(tmp_path / "fits", config, "cuda", scene, gaussians), 6)
    monkeypatch.setattr(view_data, "SHARE", 0.0)
    trainer = distil(tmp_path / "fits not", config, "cuda", scene, gaussians)
    assert trainer.data.room == 0
    got = losses(trainer, 6)
    assert got == expected
    for _ in range(6):
        card.clear()
        trainer.advance()
        assert card.num_waits <= STEPS["stage 2"], card.table()
        assert sum(card.bytes_up.values()) > scene.views[0].image.nbytes
