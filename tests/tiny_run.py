"""A finished run of a few Gaussians on photos that they themselves made: what evaluation and export tests share."""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from gsdff.cameras import Camera, WorldFrame
from gsdff.config.file import write_config
from gsdff.config.options import TeacherConfig, TrainConfig
from gsdff.field.field import Field
from gsdff.field.load import load
from gsdff.gaussians import Gaussians
from gsdff.io.checkpoint import save_checkpoint
from gsdff.latents import Basis
from gsdff.render import render_rgb

WIDTH, HEIGHT, FOCAL = 30, 22, 28.0
NAMES = [f"{folder}/v{i}.png" for folder in "ab" for i in range(5)]
"""Ten photos; the first (a/v0) and the ninth (b/v3) are held out."""


@dataclass(frozen=True)
class TinyRun:
    """A small run on disk, and what was written into it."""

    folder: Path
    data: Path
    gaussians: Gaussians
    """In the input's frame, as they made the photos."""
    frame: WorldFrame


def make_gaussians(generator: torch.Generator, num_features: int | None = None) -> Gaussians:
    """Opaque coloured blobs around (5, 5, 5)."""
    return Gaussians(
        means=torch.randn(60, 3, generator=generator) * 0.5 + 5,
        quats=torch.randn(60, 4, generator=generator),
        log_scales=torch.rand(60, 3, generator=generator) - 2,
        logit_opacities=torch.rand(60, generator=generator) * 4,
        sh0=torch.randn(60, 1, 3, generator=generator),
        shN=torch.randn(60, 3, 3, generator=generator) * 0.2,
        features=None if num_features is None else torch.randn(60, num_features, generator=generator),
    )


def camera_to_world(index: int) -> np.ndarray:
    """A camera three units from (5, 5, 5), looking at it, OpenCV axes; an arc in the plane y = 5."""
    angle = 0.15 * index
    back = np.array([math.sin(angle), 0.0, -math.cos(angle)])
    matrix = np.eye(4)
    matrix[:3, 0] = [math.cos(angle), 0, math.sin(angle)]
    matrix[:3, 1] = [0, 1, 0]
    matrix[:3, 2] = -back
    matrix[:3, 3] = 5 + 3 * back
    return matrix


def write_data(folder: Path, gaussians: Gaussians) -> WorldFrame:
    """transforms.json and the photos these Gaussians make; gives the scene's frame. Cameras move with the origin."""
    K = torch.tensor([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]])
    frames = []
    for i, name in enumerate(NAMES):
        matrix = camera_to_world(i)
        viewmat = torch.from_numpy(np.linalg.inv(matrix)).float()
        image = render_rgb(gaussians, Camera(viewmat, K, WIDTH, HEIGHT)).image.clamp(0, 1)
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image * 255).round().byte().numpy()).save(path)
        matrix[:3, 3] += gaussians.origin
        opengl = matrix @ np.diag([1.0, -1.0, -1.0, 1.0])
        frames.append({"file_path": f"images/{name}", "transform_matrix": opengl.tolist()})
    intrinsics = {"fl_x": FOCAL, "fl_y": FOCAL, "cx": WIDTH / 2, "cy": HEIGHT / 2, "w": WIDTH, "h": HEIGHT}
    (folder / "transforms.json").write_text(json.dumps({**intrinsics, "frames": frames}))
    centres = np.stack([camera_to_world(i)[:3, 3] + gaussians.origin for i in range(len(NAMES))])
    return WorldFrame.around(torch.from_numpy(centres))


def write_run(root: Path, gaussians: Gaussians, *, trained: Gaussians | None = None) -> TinyRun:
    """Data made by `gaussians` below `root`, and a run on it that ended with `trained` (or with the very same)."""
    frame = write_data(root / "data", gaussians)
    folder = root / "runs" / "tiny"
    folder.mkdir(parents=True)
    config = TrainConfig(data=root / "data", device="cpu")
    if gaussians.features is not None:
        config = replace(config, teacher=TeacherConfig(name="precomputed", maps=root / "maps"))
        Basis(torch.eye(gaussians.features.shape[1]), 1.0, "precomputed", "f").save(folder / "basis.safetensors")
    write_config(folder / "config.toml", config)
    save_run(folder, 700, (trained or gaussians).to_working_frame(frame), frame)
    return TinyRun(folder, root / "data", gaussians, frame)


def save_run(folder: Path, step: int, gaussians: Gaussians, frame: WorldFrame) -> None:
    """A checkpoint with what evaluation and export read of one."""
    state = {"gaussians": dict(gaussians.items()), "frame": {"centre": list(frame.centre), "scale": frame.scale}}
    save_checkpoint(folder / "checkpoints", step, state)


def open_field(source: Path, *, data: Path | None = None) -> Field:
    """The field of a run or a PLY on the CPU, whatever the machine has."""
    return load(source, data=data, device="cpu")
