"""The picture of poses shows where cameras and points are, and which camera fits least."""

import numpy as np
import pytest
import torch

from gsdff.data.sfm import PosedPhotos
from gsdff.io.pictures import heat
from gsdff.io.pose_picture import HEADROOM, SIDE, draw_poses, level_axes


def looking_at_origin(*positions):
    """Viewmats of upright cameras (z up) at places, looking at the origin."""
    viewmats = []
    for position in np.array(positions, float):
        ahead = -position / np.linalg.norm(position)
        right = np.cross(ahead, [0, 0, 1])
        right /= np.linalg.norm(right)
        rotation = np.stack([right, np.cross(ahead, right), ahead])
        viewmats.append(np.eye(4))
        viewmats[-1][:3, :3], viewmats[-1][:3, 3] = rotation, -rotation @ position
    return np.stack(viewmats)


RING = looking_at_origin((4, 0, 1), (0, 2, 1), (-4, 0, 1), (0, -2, 1))


def test_above_is_where_the_cameras_point_upwards_and_the_widest_spread_lies_across():
    along, across, up = level_axes(RING)
    assert (
        np.allclose(up, [0, 0, 1]) and np.allclose(np.abs(along), [1, 0, 0]) and np.allclose(np.abs(across), [0, 1, 0])
    )


@pytest.mark.parametrize(
    "viewmats", [RING[:1], looking_at_origin((0, 3, 1), (0, 3, 1)), np.stack([np.eye(4), np.diag([1.0, -1, -1, 1])])]
)
def test_cameras_at_one_place_and_upside_down_ones_have_axes_too(viewmats):
    axes = level_axes(viewmats)
    assert np.allclose(axes @ axes.T, np.eye(3), atol=1e-6)


def test_the_camera_with_the_largest_residual_has_its_colour_and_points_have_theirs():
    residuals = np.array([0.2, 0.2, 1.0, 0.2])
    points = np.array([[0.0, 0, 0], [4, 0, 0]])
    colors = np.array([[0, 0, 0], [0, 0, 0]], np.uint8)
    picture = draw_poses(PosedPhotos(list("abcd"), RING, residuals, points, colors))
    assert picture.shape[1] > 2 * SIDE
    panels = picture[-SIDE:, : 2 * SIDE].reshape(-1, 3)
    worst = heat(torch.tensor([[1 / HEADROOM]]))[0, 0]
    best = heat(torch.tensor([[0.2 / HEADROOM]]))[0, 0]
    assert (panels == worst).all(1).sum() > 50 and (panels == best).all(1).sum() > 150
    assert not (panels == heat(torch.tensor([[0.5]]))[0, 0]).all(1).any()


def test_a_scene_without_points_and_without_residuals_is_drawn():
    nothing = PosedPhotos(["a"], RING[:1], np.zeros(1), np.zeros((0, 3)), np.zeros((0, 3), np.uint8))
    assert draw_poses(nothing).float().std() > 0
