"""Initial Gaussians of a run: from points, from another run, from a PLY."""

import math
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
from gsdff.training.initialise import gaussians_from_points, initial_gaussians, neighbour_distances


def cloud(num, generator):
    points = torch.rand(num, 3, generator=generator)
    return points, (torch.rand(num, 3, generator=generator) * 255).byte()


def test_the_corners_of_a_unit_square_are_as_wide_as_their_three_neighbours_are_away():
    corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]])
    torch.testing.assert_close(neighbour_distances(corners), torch.full((4,), math.sqrt((1 + 1 + 2) / 3)))


def test_distances_are_those_of_brute_force(generator):
    points, _ = cloud(50, generator)
    nearest = torch.cdist(points.double(), points.double()).sort(dim=1).values[:, 1:4]
    torch.testing.assert_close(neighbour_distances(points), nearest.square().mean(1).sqrt().float())


def test_gaussians_are_round_unrotated_faint_and_of_their_points_colour(generator):
    points, colors = cloud(20, generator)
    gaussians = gaussians_from_points(points, colors, sh_degree=3, max_gaussians=100)
    assert torch.equal(gaussians.means, points)
    torch.testing.assert_close(gaussians.scales, neighbour_distances(points)[:, None].expand(-1, 3))
    assert torch.equal(gaussians.quats, torch.tensor([1.0, 0, 0, 0]).expand(20, 4))
    torch.testing.assert_close(gaussians.opacities, torch.full((20,), 0.1))
    torch.testing.assert_close(0.5 + gaussians.sh0[:, 0] / (2 * math.sqrt(math.pi)), colors / 255)
    assert gaussians.sh_degree == 3 and not gaussians.shN.any()


def test_points_at_one_place_get_a_size_all_the_same():
    points = torch.zeros(5, 3)
    gaussians = gaussians_from_points(points, torch.zeros(5, 3, dtype=torch.uint8), 0, 10)
    torch.testing.assert_close(gaussians.scales, torch.full((5, 3), 1e-7**0.5))


def test_too_many_points_are_thinned_evenly(generator):
    points, colors = cloud(101, generator)
    gaussians = gaussians_from_points(points, colors, 0, 11)
    assert torch.equal(gaussians.means, points[::10])
    torch.testing.assert_close(gaussians.scales[:, 0], neighbour_distances(points[::10]))


@pytest.mark.parametrize("num", [2, 3])
def test_fewer_points_than_neighbours_use_those_there_are(num):
    points = torch.arange(num, dtype=torch.float32)[:, None].expand(num, 3).contiguous()
    assert neighbour_distances(points)[0] == pytest.approx(math.sqrt(3 * sum(i**2 for i in range(1, num)) / (num - 1)))


def test_too_few_points_are_an_error_that_names_the_scene():
    scene = tiny_scene()
    few = replace(scene, points=scene.points[:3], point_colors=scene.point_colors[:3])
    with pytest.raises(UserError, match="tiny: expected at least 4 points to start from, got 3"):
        initial_gaussians(TrainConfig(), few)


def test_points_make_one_gaussian_each():
    scene = tiny_scene()
    initial = initial_gaussians(TrainConfig(), scene)
    assert torch.equal(initial.means, scene.points) and initial.features is None


def test_a_runs_scene_comes_back_in_the_working_frame_and_without_its_features(tmp_path, generator):
    run = write_run(tmp_path, make_gaussians(generator, num_features=3))
    config = TrainConfig(data=run.data, stage1_from=run.folder)
    scene = load_scene(run.data, config.dataset)
    initial = initial_gaussians(config, scene)
    expected = run.gaussians.to_working_frame(run.frame)
    assert initial.features is None
    torch.testing.assert_close(initial.means, expected.means, atol=1e-5, rtol=0)
    torch.testing.assert_close(initial.log_scales, expected.log_scales, atol=1e-5, rtol=0)
    assert torch.equal(initial.sh0, expected.sh0)


def test_a_ply_in_the_photos_frame_is_taken_into_the_working_frame(tmp_path):
    scene = replace(tiny_scene(), frame=WorldFrame((1.0, 2.0, 3.0), 4.0))
    write_ply(tmp_path / "scene.ply", tiny_gaussians().to_input_frame(scene.frame))
    initial = initial_gaussians(TrainConfig(stage1_from=tmp_path / "scene.ply"), scene)
    torch.testing.assert_close(initial.means, tiny_gaussians().means, atol=1e-5, rtol=0)


def test_a_splat_no_photo_sees_is_refused(tmp_path):
    gaussians = replace(tiny_gaussians(), means=tiny_gaussians().means + torch.tensor([0.0, 10.0, 0.0]))
    write_ply(tmp_path / "scene.ply", gaussians)
    with pytest.raises(UserError, match=r"scene\.ply: no training photo of tiny has any of its Gaussians in view"):
        initial_gaussians(TrainConfig(stage1_from=tmp_path / "scene.ply"), tiny_scene())
