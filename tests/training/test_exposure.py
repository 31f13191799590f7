"""Exposure of photos: found where there is any, left alone where there is none, kept by checkpoints and for stage 2."""

import math
from dataclasses import replace

import pytest
import torch
from tiny_scene import tiny_scene

from gsdff.config.options import Stage1Config, TeacherConfig, TrainConfig
from gsdff.errors import UserError
from gsdff.evaluation.run import score_fitted
from gsdff.io.checkpoint import snapshot
from gsdff.metrics import fit_colors
from gsdff.ranks import Ranks
from gsdff.scene import View
from gsdff.training.exposure import Exposure
from gsdff.training.initialise import initial_gaussians
from gsdff.training.pace import Pace
from gsdff.training.trainer import Trainer

STEPS = 400
ALONE = Pace(Ranks(), True)
CONFIG = TrainConfig(stage1=Stage1Config(steps=STEPS, exposure="affine"), teacher=TeacherConfig(name="none"))


def make_exposure(choice="auto", scene=None):
    return Exposure(choice, scene or tiny_scene(), STEPS, ALONE, "cpu")


def watch(exposure, scene, gains, generator, noise=0.0):
    """Shows a whole training in which photos are renderings times their gains."""
    for step in range(STEPS):
        view_id = scene.train_ids[step % len(scene.train_ids)]
        image = 0.1 + 0.5 * torch.rand(8, 10, 3, generator=generator)
        target = image * gains[view_id] + noise * torch.randn(8, 10, 3, generator=generator)
        exposure.observe(image, target, None, view_id, step)
        exposure.after_step(step + 1)


def gains_of(scene, spread, generator):
    return {view_id: (spread * torch.randn(3, generator=generator)).exp() for view_id in scene.train_ids}


def test_photos_of_one_exposure_are_left_alone(generator):
    scene = tiny_scene()
    exposure = make_exposure(scene=scene)
    watch(exposure, scene, gains_of(scene, 0.0, generator), generator, noise=0.1)
    image = torch.rand(8, 10, 3, generator=generator)
    assert not exposure.is_on and exposure.apply(image, scene.train_ids[0]) is image


def test_photos_that_differ_are_corrected_by_what_was_seen_of_them(generator, caplog):
    scene = tiny_scene()
    exposure = make_exposure(scene=scene)
    gains = gains_of(scene, 0.2, generator)
    with caplog.at_level("INFO", "gsdff"):
        watch(exposure, scene, gains, generator)
    assert exposure.is_on and "the photos differ in brightness by" in caplog.text
    image = torch.rand(8, 10, 3, generator=generator)
    factors = torch.stack([exposure.apply(image, view_id) / image for view_id in scene.train_ids])
    expected = torch.stack([gains[view_id] for view_id in scene.train_ids])
    expected = expected / expected.log().mean(0).exp()
    # linear in the maps, so that their mean is the identity: off by the mean of the gains over their geometric mean
    expected = 1 + expected - expected.mean(0)
    torch.testing.assert_close(factors, expected[:, None, None].expand_as(factors), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(factors.mean(0), torch.ones_like(factors[0]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("choice", "is_on"), [("off", False), ("affine", True)])
def test_a_choice_is_kept_whatever_photos_show(choice, is_on, generator):
    scene = tiny_scene()
    exposure = make_exposure(choice, scene)
    watch(exposure, scene, gains_of(scene, 0.2, generator), generator)
    assert exposure.is_on is is_on


def test_masked_pixels_say_nothing_about_exposure(generator):
    scene = tiny_scene()
    exposure = make_exposure(scene=scene)
    mask = torch.zeros(8, 10, dtype=torch.bool)
    mask[:, :5] = True
    for step in range(STEPS):
        view_id = scene.train_ids[step % len(scene.train_ids)]
        image = torch.rand(8, 10, 3, generator=generator)
        target = torch.where(mask[..., None], image, image * view_id)
        exposure.observe(image, target, mask, view_id, step)
        exposure.after_step(step + 1)
    assert not exposure.is_on


def changed_scene():
    """The tiny scene, whose photos differ in exposure."""
    scene = tiny_scene()
    views = []
    for index, view in enumerate(scene.views):
        gain = torch.tensor([1.0, 0.7, 0.85][index % 3])
        views.append(View(view.name, view.camera, (view.image.float() * gain).round().byte()))
    return replace(scene, views=views)


def trained(scene, choice, steps=STEPS):
    config = replace(CONFIG, stage1=replace(CONFIG.stage1, exposure=choice))
    trainer = Trainer(config, scene, torch.device("cpu"), initial_gaussians(config, scene))
    losses = [float(trainer.advance()["mse"]) for _ in range(steps)]
    return trainer, sum(losses[-20:])


def test_training_explains_photos_of_many_exposures_better_with_maps_of_their_colours():
    scene = changed_scene()
    (_, without), (trainer, with_maps), (_, found) = (trained(scene, choice) for choice in ("off", "affine", "auto"))
    _, alike = trained(tiny_scene(), "off")
    assert min(without - with_maps, without - found) > 0.5 * (without - alike)
    maps = trainer.radiance.exposure.deviations.detach()
    brightness = (maps - maps.mean(0)).diagonal(dim1=1, dim2=2).mean(1)
    by_gain = sorted(zip(brightness.tolist(), scene.train_ids, strict=True))
    assert by_gain[0][1] % 3 == 1 and by_gain[-1][1] % 3 == 0


def test_a_checkpoint_keeps_the_maps_and_what_auto_has_seen():
    scene = changed_scene()
    for choice in ("affine", "auto"):
        for stop in (STEPS // 6, STEPS // 2):
            begun, _ = trained(scene, choice, stop)
            config = begun.config
            other = Trainer(config, scene, torch.device("cpu"), initial_gaussians(config, scene))
            other.load_state_dict(stop, snapshot(begun.state_dict()))
            for trainer in (begun, other):
                for _ in range(STEPS - stop):
                    trainer.advance()
            ours, theirs = (trainer.radiance.exposure for trainer in (begun, other))
            assert ours.is_on and theirs.is_on
            assert torch.equal(ours.deviations, theirs.deviations) and bool((ours.deviations != 0).any())
            assert torch.equal(begun.gaussians.sh0, other.gaussians.sh0)


def test_maps_go_through_their_file_to_the_next_stage(tmp_path):
    trainer, _ = trained(changed_scene(), "affine", 20)
    written = trainer.radiance.exposure
    written.write(tmp_path / "exposure.json")
    read = make_exposure()
    read.read(tmp_path / "exposure.json")
    image = torch.rand(8, 10, 3)
    for view_id in changed_scene().train_ids:
        torch.testing.assert_close(read.apply(image, view_id), written.apply(image, view_id))
    make_exposure().write(tmp_path / "none.json")
    assert not (tmp_path / "none.json").exists()


@pytest.mark.parametrize("content", ['{"view_1.png": [[1, 0, 0]]}', '{"view_1.png": "red"}', "[", "[1]"])
def test_a_file_of_something_else_is_refused(tmp_path, content):
    (tmp_path / "exposure.json").write_text(content)
    with pytest.raises(UserError, match=r"exposure\.json"):
        make_exposure().read(tmp_path / "exposure.json")


def test_colours_are_fitted_by_least_squares(generator):
    image, mask = torch.rand(9, 7, 3, generator=generator), torch.rand(9, 7, generator=generator) > 0.3
    truth = torch.eye(3, 4) + 0.2 * torch.randn(3, 4, generator=generator)
    target = image @ truth[:, :3].T + truth[:, 3]
    target[~mask] = 5.0
    torch.testing.assert_close(fit_colors(image, target, mask), truth, rtol=1e-4, atol=1e-4)


def test_a_held_out_photo_is_scored_by_its_right_half_in_the_colours_of_its_left(generator):
    view = tiny_scene().views[0]
    photo = torch.randint(60, 200, (16, 20, 3), generator=generator, dtype=torch.uint8)
    view = View(view.name, replace(view.camera, width=20, height=16), photo)
    rendering = 0.8 * view.target + 0.05
    assert score_fitted(rendering, view) > 100  # the same but for an affine map of colours
    rendering[:, 10:] += 0.1  # not explained by the left half
    assert score_fitted(rendering, view) == pytest.approx(-20 * math.log10(0.125), abs=0.01)
