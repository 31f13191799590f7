"""Shapes of the built-in scene: distances, boxes, rotations."""

import math

import numpy as np
import pytest
import torch

from gsdff.data.demo import sdf
from gsdff.data.demo.furniture import furniture
from gsdff.data.demo.model import quaternion
from gsdff.data.demo.room import TABLE_TOP, rug, table, window
from gsdff.data.demo.still_life import still_life


def test_no_solid_reaches_out_of_its_box(generator):
    for solid in [*table(), *still_life(TABLE_TOP), rug(), *window(), *furniture()]:
        lower, upper = torch.tensor(solid.lower)[:, None], torch.tensor(solid.upper)[:, None]
        points = lower + (upper - lower) * torch.rand(3, 3000, generator=generator)
        side, faces = torch.arange(3000) % 3, torch.cat([lower, upper], 1)
        points[side, torch.arange(3000)] = faces[side, torch.arange(3000) // 3 % 2]
        assert solid.distance(points).min() > -1e-3, solid.name


def test_distances_of_simple_shapes():
    p = torch.tensor([[0.0, 0.0, 2.0], [3.0, 0.0, 0.0], [0.0, 0.0, 0.0]]).T
    assert sdf.sphere(p, 1.0).tolist() == [1, 2, -1]
    assert sdf.box(p, (1.0, 2.0, 0.5)).tolist() == [1.5, 2, -0.5]
    assert sdf.cylinder(p, 1.0, 0.5).tolist() == [1.5, 2, -0.5]
    assert sdf.torus(p, 3.0, 0.5).tolist() == pytest.approx([math.hypot(3, 2) - 0.5, -0.5, 2.5])
    assert sdf.capsule(p, (0.0, 0.0, 0.0), (3.0, 0.0, 0.0), 0.25).tolist() == [1.75, -0.25, -0.25]
    assert sdf.turned(p, math.pi / 2)[:, 1].tolist() == pytest.approx([0, -3, 0], abs=1e-6)


def test_a_turned_rectangle_is_a_cylinder(generator):
    p = 2 * torch.rand(3, 500, generator=generator) - 1
    turned = sdf.lathe(p, ((0.0, -0.3), (0.5, -0.3), (0.5, 0.3), (0.0, 0.3)))
    torch.testing.assert_close(turned, sdf.cylinder(p, 0.5, 0.3), atol=1e-6, rtol=0)


def rotation_of(w: float, x: float, y: float, z: float) -> np.ndarray:
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip


def test_quaternions_turn_back_into_their_rotations():
    generator = np.random.default_rng(0)
    quats = generator.normal(size=(50, 4))
    quats = np.concatenate([quats / np.linalg.norm(quats, axis=1, keepdims=True), np.eye(4)])  # half turns too
    for quat in quats:
        found = quaternion(rotation_of(*quat))
        assert found[0] >= 0
        np.testing.assert_allclose(rotation_of(*found), rotation_of(*quat), atol=1e-12)
