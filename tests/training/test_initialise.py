import math

import pytest
import torch

from gsdff.training.initialise import initialise_gaussians, neighbour_distances


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
    gaussians = initialise_gaussians(points, colors, sh_degree=3, max_gaussians=100)
    assert torch.equal(gaussians.means, points)
    torch.testing.assert_close(gaussians.scales, neighbour_distances(points)[:, None].expand(-1, 3))
    assert torch.equal(gaussians.quats, torch.tensor([1.0, 0, 0, 0]).expand(20, 4))
    torch.testing.assert_close(gaussians.opacities, torch.full((20,), 0.1))
    torch.testing.assert_close(0.5 + gaussians.sh0[:, 0] / (2 * math.sqrt(math.pi)), colors / 255)
    assert gaussians.sh_degree == 3 and not gaussians.shN.any()


def test_points_at_one_place_get_a_size_all_the_same():
    points = torch.zeros(5, 3)
    gaussians = initialise_gaussians(points, torch.zeros(5, 3, dtype=torch.uint8), 0, 10)
    torch.testing.assert_close(gaussians.scales, torch.full((5, 3), 1e-7**0.5))


def test_too_many_points_are_thinned_evenly(generator):
    points, colors = cloud(101, generator)
    gaussians = initialise_gaussians(points, colors, 0, 11)
    assert torch.equal(gaussians.means, points[::10])
    torch.testing.assert_close(gaussians.scales[:, 0], neighbour_distances(points[::10]))


@pytest.mark.parametrize("num", [2, 3])
def test_fewer_points_than_neighbours_use_those_there_are(num):
    points = torch.arange(num, dtype=torch.float32)[:, None].expand(num, 3).contiguous()
    assert neighbour_distances(points)[0] == pytest.approx(math.sqrt(3 * sum(i**2 for i in range(1, num)) / (num - 1)))
