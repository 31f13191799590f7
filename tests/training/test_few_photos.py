"""Scenes of few photos: points and views from between the cameras for them, and nothing at all for others."""

from dataclasses import replace

import pytest
import torch
from stereo_scene import BOARD, WALL, make_camera, photo_from, stereo_scene

from gsdff.config.options import Stage1Config, TeacherConfig, TrainConfig
from gsdff.io.checkpoint import snapshot
from gsdff.training.few_photos import (
    FewPhotos,
    find_points,
    has_few_photos,
    look_between,
    middle_camera,
    thin,
    trusted_depths,
)
from gsdff.training.initialise import initial_gaussians
from gsdff.training.stereo import measure_depths
from gsdff.training.trainer import Trainer

STEPS = 40
CPU = torch.device("cpu")


def make_config(choice: str = "on", **options) -> TrainConfig:
    stage1 = Stage1Config(steps=STEPS, refine_start=5, refine_every=5, refine_stop=30, max_gaussians=2000)
    stage1 = replace(stage1, few_photos=choice)
    return TrainConfig(stage1=stage1, teacher=TeacherConfig(name="none"), **options)


def make_trainer(choice: str = "on") -> Trainer:
    config, scene = make_config(choice), stereo_scene()
    return Trainer(config, scene, CPU, initial_gaussians(config, scene))


def train(steps: int, choice: str = "on") -> Trainer:
    trainer = make_trainer(choice)
    for _ in range(steps):
        trainer.advance()
    return trainer


def test_photos_are_few_if_half_of_the_points_lie_in_fewer_than_ten():
    assert has_few_photos(stereo_scene(10))  # nine are trained from, and one is held out
    assert not has_few_photos(stereo_scene(11))


def test_found_points_lie_on_the_surfaces_in_their_colours():
    config, scene = make_config(), stereo_scene()
    points, colors = find_points(config, scene)
    assert 200 < len(points) <= 0.4 * config.stage1.max_gaussians and colors.dtype == torch.uint8
    distances = torch.minimum((points[:, 2] - BOARD).abs(), (points[:, 2] - WALL).abs())
    assert float(distances.median()) < 0.02
    assert len(initial_gaussians(config, scene)) == len(points) + len(scene.points)


def test_points_where_many_photos_agree_are_added_as_far_as_there_is_room():
    scene = stereo_scene(31)
    config = make_config("off")

    def start(most, share=0.5, scene=scene, **options):
        stage1 = replace(config.stage1, max_gaussians=most, agreed_points=share, **options)
        return len(initial_gaussians(replace(config, stage1=stage1), scene))

    own = len(scene.points)
    assert start(8 * own, 0.0) == own and own + 3 * own < start(8 * own) <= own + 4 * own
    assert start(own + 10) <= own + 10 and start(own) == start(8 * own, refine_poses=True) == own
    assert start(8 * own, scene=replace(scene, has_own_points=False)) == start(8 * own, scene=stereo_scene(30)) == own


def test_few_photos_start_from_points_by_stereo_alone():
    config, scene = make_config(), stereo_scene()
    by_stereo = initial_gaussians(config, scene)
    both = replace(config, stage1=replace(config.stage1, agreed_points=0.5))
    assert torch.equal(initial_gaussians(both, scene).means, by_stereo.means)


def test_lonely_points_are_left_out_and_crowds_are_thinned_to_their_means():
    crowd = torch.randn(1000, 3, generator=torch.Generator().manual_seed(0)).clamp(-2, 2)
    lonely = torch.tensor([[50.0, 0.0, 0.0]])
    points, colors = thin(torch.cat([crowd, lonely]), torch.ones(1001, 3), 100)
    assert 10 < len(points) <= 100 and float(points.abs().max()) <= 2
    torch.testing.assert_close(colors, torch.ones(len(points), 3))


def test_the_view_from_between_two_cameras_is_what_a_camera_there_sees():
    scene = stereo_scene()
    between = look_between(scene, measure_depths(scene), 1, 3)
    torch.testing.assert_close(between.camera.viewmat, make_camera(0.0).viewmat, rtol=0, atol=1e-6)
    errors = (between.image.float() / 255 - photo_from(make_camera(0.0))).abs()[between.mask]
    assert float(between.mask.float().mean()) > 0.4 and float(errors.median()) < 0.02


def test_the_camera_between_two_is_turned_half_as_far():
    turned = make_camera(1.0)
    cosine, sine = torch.cos(torch.tensor(0.4)), torch.sin(torch.tensor(0.4))
    rotation = torch.tensor([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
    pose = turned.camtoworld
    pose[:3, :3] = rotation
    middle = middle_camera(make_camera(0.0), replace(turned, viewmat=torch.linalg.inv(pose)))
    torch.testing.assert_close(middle.position, torch.tensor([0.5, 0, 0]))
    torch.testing.assert_close(middle.camtoworld[:3, :3] @ middle.camtoworld[:3, :3], rotation)


def test_only_some_steps_of_the_first_stage_look_from_between():
    trainer = make_trainer()
    few_photos, gaussians = trainer.radiance.few_photos, trainer.gaussians
    values = [bool(few_photos.compare(gaussians, step, 0, None) > 0) for step in range(8)]
    assert values == [True, False, False, False] * 2
    assert not few_photos.compare(gaussians, STEPS, 0, None)


def test_where_nothing_is_held_back_no_number_is_drawn_and_training_is_as_it_was_to_the_bit():
    config, scene = make_config("auto"), stereo_scene(16)
    assert not len(find_points(config, scene)[0])
    off, gaussians = FewPhotos(config, scene, CPU), initial_gaussians(config, scene)
    before = torch.get_rng_state()
    assert not off.compare(gaussians, 0, 0, None)
    assert torch.equal(torch.get_rng_state(), before)
    torch.testing.assert_close(gaussians.means, initial_gaussians(make_config("off"), scene).means, rtol=0, atol=0)


@pytest.mark.parametrize("changes", [{"shard": "gaussians"}, {"stage1": Stage1Config(steps=0, few_photos="on")}])
def test_parts_of_a_scene_and_scenes_without_a_first_stage_are_not_held_back(changes):
    config = replace(make_config("on"), **changes)
    assert not FewPhotos(config, stereo_scene(), CPU).pictures


def test_depths_that_are_hardly_known_anywhere_are_not_trusted(monkeypatch):
    config, scene = make_config("on"), stereo_scene()
    depths = measure_depths(scene)
    assert trusted_depths(config, scene) is depths
    sparse = {view_id: torch.where(torch.rand(depth.shape) < 0.1, depth, 0) for view_id, depth in depths.items()}
    monkeypatch.setattr("gsdff.training.few_photos.measure_depths", lambda _: sparse)
    assert not trusted_depths(config, scene)


def test_photos_without_a_pattern_are_trained_without_points_or_views_from_between():
    scene = stereo_scene()
    plain = replace(scene, views=[replace(view, image=torch.full_like(view.image, 90)) for view in scene.views])
    config = make_config("on")
    trainer = Trainer(config, plain, CPU, initial_gaussians(config, plain))
    assert len(trainer.gaussians) == len(scene.points)
    assert torch.isfinite(trainer.advance()["loss"])


def test_a_training_that_is_held_back_goes_on_with_the_same_bits_after_a_pause():
    whole, half, resumed = train(STEPS), train(STEPS // 2), make_trainer()
    resumed.load_state_dict(half.step, snapshot(half.state_dict()))
    for _ in range(STEPS - half.step):
        resumed.advance()
    for name, tensor in whole.gaussians.items():
        assert torch.equal(tensor, getattr(resumed.gaussians, name)), name
    assert len(whole.gaussians) > len(train(0, "off").gaussians)
