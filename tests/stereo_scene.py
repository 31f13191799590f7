"""Photos of a patterned wall with a patterned board before it, of which the exact depth is known."""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from gsdff.cameras import Camera, WorldFrame
from gsdff.scene import Scene, View

WIDTH, HEIGHT, FOCAL = 64, 48, 60.0
WALL, BOARD, HALF_SIDE = 4.0, 3.0, 0.5
"""Depths of the wall and the board, and half the side of the board."""


def pattern(places: Float[Tensor, "*S 2"], seed: int) -> Float[Tensor, "*S 3"]:
    """Smooth colours in [0, 1] on a plane."""
    generator = torch.Generator().manual_seed(seed)
    frequencies = 14 * (torch.rand(12, 2, generator=generator) - 0.5)
    phases = 6.3 * torch.rand(12, 3, generator=generator)
    waves = torch.sin((places @ frequencies.T)[..., None] + phases)
    return (0.5 + waves.mean(-2)).clamp(0, 1)


def make_camera(x: float, y: float = 0.0) -> Camera:
    """A camera that looks along z from a place in the plane z = 0."""
    viewmat = torch.eye(4)
    viewmat[0, 3], viewmat[1, 3] = -x, -y
    K = torch.tensor([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]])
    return Camera(viewmat, K, WIDTH, HEIGHT)


def depth_from(camera: Camera) -> Float[Tensor, "H W"]:
    """Exact depth of every pixel."""
    hit = camera.position + BOARD * camera.rays()
    return torch.where((hit[..., :2].abs() < HALF_SIDE).all(-1), BOARD, WALL)


def photo_from(camera: Camera) -> Float[Tensor, "H W 3"]:
    """What a camera sees."""
    depth = depth_from(camera)
    places = (camera.position + depth[..., None] * camera.rays())[..., :2]
    return torch.where(depth[..., None] == BOARD, pattern(places, 1), pattern(places, 2))


def stereo_scene(num_views: int = 5) -> Scene:
    """Photos from a row of cameras, the middle one held out, and points on wall and board."""
    cameras = [make_camera(0.9 * (index / (num_views - 1) - 0.5)) for index in range(num_views)]
    views = [View(f"{n:02d}.png", cam, (255 * photo_from(cam)).round().byte()) for n, cam in enumerate(cameras)]
    line = torch.linspace(-1, 1, 12)
    x, y = torch.meshgrid(line, line, indexing="ij")
    wall = torch.stack([1.5 * x, 1.2 * y, torch.full_like(x, WALL)], -1).reshape(-1, 3)
    board = torch.stack([0.4 * x, 0.4 * y, torch.full_like(x, BOARD)], -1).reshape(-1, 3)
    points = torch.cat([wall, board])
    colors = torch.full((len(points), 3), 128, dtype=torch.uint8)
    return Scene(Path("wall"), views, points, colors, WorldFrame(), held_out=(num_views // 2,))
