"""A scene small enough for tests of training: six cameras around 40 coloured Gaussians, 40x32 pixels."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from gsdff.cameras import Camera, WorldFrame
from gsdff.gaussians import Gaussians
from gsdff.render import render_rgb
from gsdff.scene import Scene, View

WIDTH, HEIGHT, FOCAL = 40, 32, 40.0
NUM_VIEWS = 6


def tiny_gaussians(num: int = 40, sh_degree: int = 1) -> Gaussians:
    """Opaque blobs within half a unit of the origin."""
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    return Gaussians(
        means=draw(num, 3) - 0.5,
        quats=draw(num, 4) + 0.1,
        log_scales=(0.05 + 0.1 * draw(num, 3)).log(),
        logit_opacities=torch.full((num,), 2.0),
        sh0=3 * draw(num, 1, 3) - 1.5,
        shN=torch.zeros(num, (sh_degree + 1) ** 2 - 1, 3),
    )


def camtoworld(index: int) -> Tensor:
    """OpenCV camera `index` of a ring of radius 2, looking at the origin."""
    angle = 2 * math.pi * index / NUM_VIEWS
    forward = -torch.tensor([math.sin(angle), 0.2, math.cos(angle)])
    position = -2 * forward
    forward = forward / forward.norm()
    right = torch.linalg.cross(forward, torch.tensor([0.0, 1.0, 0.0]))
    right = right / right.norm()
    pose = torch.eye(4)
    pose[:3, :3] = torch.stack([right, torch.linalg.cross(forward, right), forward], dim=1)
    pose[:3, 3] = position
    return pose


def tiny_scene() -> Scene:
    """Views of `tiny_gaussians` and noisy points of it; the working frame is the input's, for simplicity."""
    truth = tiny_gaussians()
    K = torch.tensor([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]])
    views = []
    for index in range(NUM_VIEWS):
        camera = Camera(torch.linalg.inv(camtoworld(index)), K, WIDTH, HEIGHT)
        image = (render_rgb(truth, camera).image.clamp(0, 1) * 255).round().byte()
        views.append(View(f"view_{index}.png", camera, image))
    colors = ((0.5 + 0.2821 * truth.sh0[:, 0]).clamp(0, 1) * 255).byte()
    return Scene(Path("tiny"), views, truth.means.clone(), colors, WorldFrame())


@dataclass(frozen=True)
class TinyDataset:
    """`tiny_scene` on disk, as a folder with transforms.json."""

    folder: Path

    @staticmethod
    def write(folder: Path) -> "TinyDataset":
        """Photos and poses, without points: training starts from random ones."""
        folder.mkdir(parents=True)
        flip = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
        frames = []
        for index, view in enumerate(tiny_scene().views):
            Image.fromarray(view.image.numpy()).save(folder / view.name)
            pose = (camtoworld(index) @ flip).tolist()
            frames.append({"file_path": view.name, "transform_matrix": pose})
        shared = {"w": WIDTH, "h": HEIGHT, "fl_x": FOCAL, "fl_y": FOCAL, "cx": WIDTH / 2, "cy": HEIGHT / 2}
        (folder / "transforms.json").write_text(json.dumps({**shared, "frames": frames}))
        return TinyDataset(folder)
