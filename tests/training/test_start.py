"""What a run begins with: points, another run's Gaussians, a PLY."""

from dataclasses import replace

import pytest
import torch
from tiny_run import make_gaussians, write_run
from tiny_scene import tiny_gaussians, tiny_scene

from gsdff.cameras import WorldFrame
from gsdff.config.options import TrainConfig
from gsdff.data import load_scene
from gsdff.errors import UserError
from gsdff.io.ply import write_ply
from gsdff.training.start import first_gaussians


def test_too_few_points_are_an_error_that_names_the_scene():
    scene = tiny_scene()
    few = replace(scene, points=scene.points[:3], point_colors=scene.point_colors[:3])
    with pytest.raises(UserError, match="tiny: expected at least 4 points to start from, got 3"):
        first_gaussians(TrainConfig(), few)


def test_points_make_one_gaussian_each():
    scene = tiny_scene()
    first = first_gaussians(TrainConfig(), scene)
    assert torch.equal(first.means, scene.points) and first.features is None


def test_a_runs_scene_comes_back_in_the_working_frame_and_without_its_features(tmp_path, generator):
    run = write_run(tmp_path, make_gaussians(generator, num_features=3))
    config = TrainConfig(data=run.data, stage1_from=run.folder)
    scene = load_scene(run.data, config.dataset)
    first = first_gaussians(config, scene)
    expected = run.gaussians.to_working_frame(run.frame)
    assert first.features is None
    torch.testing.assert_close(first.means, expected.means, atol=1e-5, rtol=0)
    torch.testing.assert_close(first.log_scales, expected.log_scales, atol=1e-5, rtol=0)
    assert torch.equal(first.sh0, expected.sh0)


def test_a_ply_in_the_photos_frame_is_taken_into_the_working_frame(tmp_path):
    scene = replace(tiny_scene(), frame=WorldFrame((1.0, 2.0, 3.0), 4.0))
    write_ply(tmp_path / "scene.ply", tiny_gaussians().to_input_frame(scene.frame))
    first = first_gaussians(TrainConfig(stage1_from=tmp_path / "scene.ply"), scene)
    torch.testing.assert_close(first.means, tiny_gaussians().means, atol=1e-5, rtol=0)


def test_a_splat_no_photo_sees_is_refused(tmp_path):
    gaussians = replace(tiny_gaussians(), means=tiny_gaussians().means + torch.tensor([0.0, 500.0, 0.0]))
    write_ply(tmp_path / "scene.ply", gaussians)
    with pytest.raises(UserError, match=r"scene\.ply: no training photo of tiny has any of its Gaussians in view"):
        first_gaussians(TrainConfig(stage1_from=tmp_path / "scene.ply"), tiny_scene())
