"""Poses that are a little off: what they cost, and what `stage1.refine_poses` wins back.

    python scripts/study_poses.py [--scenes demo fox_small] [--noises 0 1] [--angle 0.3] [--shift 0.01]

Turns the training photos' cameras by `angle` degrees and shifts them by `shift` of the cameras' radius, each in a
seeded direction, and trains with the preset for the CPU: with the dataset's poses, with those that are off, and with
those refined. Held-out photos keep their poses. What all training cameras are off in common (a turn, a shift, a size)
no photo can tell, but it puts held-out photos off: so their PSNR is given as it is, and aligned: moved with what the
training cameras have in common, by least squares of pixels. Pixels are distances of the points in photos, after that.
"""

import gsdff  # noqa: F401  # isort: skip  # before torch: it sets how torch's threads wait

import json
import math
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean, median

import torch
import tyro
from bench_train import ROOT, json_value
from bench_train_worker import config_for
from jaxtyping import Float64
from study_tools import markdown_table
from torch import Tensor
from training_scenes import SCENES, Places

from gsdff.cli import run_door
from gsdff.metrics import psnr
from gsdff.render import render_view
from gsdff.scene import Scene
from gsdff.training.initialise import initial_gaussians
from gsdff.training.pose_search import find_poses
from gsdff.training.poses import find_gauge, pixel_basis, rigid_motion
from gsdff.training.trainer import Trainer

HEADER = ("scene", "noise", "poses", "PSNR", "aligned", "off, degrees", "off, % of the radius", "off, pixels")


@dataclass(frozen=True)
class Options:
    """Trains with poses that are off, refined and not."""

    scenes: tuple[str, ...] = ("demo",)
    """Names of scripts/training_scenes.py."""
    noises: tuple[int, ...] = (0,)
    """Seeds of the poses' errors."""
    arms: tuple[str, ...] = ("exact", "off", "refined", "exact, refined")
    """What is trained; the first and last not more than once a scene."""
    angle: float = 0.3
    """Turn of every camera, in degrees."""
    shift: float = 0.01
    """Shift of every camera, in shares of the cameras' radius."""
    options: dict[str, str] = field(default_factory=dict)
    """Options of the training by their dotted names."""
    data: Path = ROOT.parent / "shared" / "assets" / "scenes"
    """Folder with the real scenes."""
    work: Path = ROOT / "build" / "bench_train"
    """Folder for what is made from them."""
    json: Path | None = None
    """File for the figures."""


def disturbed(scene: Scene, angle: float, shift: float, seed: int) -> Scene:
    """The scene with its training photos' cameras turned and shifted."""
    generator, views = torch.Generator().manual_seed(seed), list(scene.views)
    for view_id in scene.train_ids:
        turn, way = (torch.nn.functional.normalize(torch.randn(3, generator=generator), dim=0) for _ in range(2))
        motion = rigid_motion(torch.cat([math.radians(angle) * turn, shift * way]).double())
        views[view_id] = moved_by(views[view_id], motion)
    return replace(scene, views=views)


def moved_by(view, motion: Float64[Tensor, "4 4"]):
    """A view with its camera moved, in the camera's frame."""
    viewmat = (motion @ view.camera.viewmat.double()).float()
    return replace(view, camera=replace(view.camera, viewmat=viewmat))


def motions_between(scene: Scene, truth: Scene) -> Float64[Tensor, "V 6"]:
    """Small motions from the truth's training cameras to the scene's."""
    motions = []
    for view_id in truth.train_ids:
        one, other = (each.views[view_id].camera.viewmat.double() for each in (scene, truth))
        matrix = one @ torch.linalg.inv(other)
        skew = (matrix[:3, :3] - matrix[:3, :3].T) / 2
        motions.append(torch.stack([skew[2, 1], skew[0, 2], skew[1, 0], *matrix[:3, 3]]))
    return torch.stack(motions)


def score(trainer: Trainer, truth: Scene) -> dict[str, float]:
    """PSNR of held-out photos, as they are and aligned; medians of how far training cameras are off."""
    scene = trainer.radiance.poses.moved(trainer.scene)
    motions = motions_between(scene, truth)
    cameras = [truth.views[view_id].camera for view_id in truth.train_ids]
    modes = find_gauge(torch.stack([camera.viewmat for camera in cameras]).double()).reshape(-1, 6, 7)
    pixels = torch.linalg.inv(torch.stack([pixel_basis(camera, truth.points) for camera in cameras]))
    found = (pixels @ motions[:, :, None]).reshape(-1, 1)
    common = torch.linalg.lstsq((pixels @ modes).reshape(-1, 7), found).solution[:, 0]
    left = (pixels @ (motions - modes @ common)[:, :, None]).norm(dim=1)
    scores = []
    for view in (truth.views[view_id] for view_id in truth.test_ids):
        motion = rigid_motion(find_gauge(view.camera.viewmat[None].double()) @ common)
        pictures = (
            render_view(trainer.gaussians, each, trainer.config.dataset.solid_background)
            for each in (view, moved_by(view, motion))
        )
        scores.append([psnr(picture, view.target, view.mask) for picture in pictures])
    as_is, aligned = map(fmean, zip(*scores, strict=True))
    angle, shift = (median(part.norm(dim=1).tolist()) for part in motions.split(3, dim=1))
    off = {"angle": math.degrees(angle), "shift": 100 * shift, "pixels": float(left.median())}
    return {"psnr": as_is, "aligned": aligned, **off}


def train(truth: Scene, scene: Scene, name: str, options: Options, *, refines: bool) -> dict[str, float]:
    """Trains on a scene, and scores against the truth."""
    values: dict[str, object] = {key.replace("-", "_"): json_value(value) for key, value in options.options.items()}
    config = config_for(name, 0, values | {"stage1.refine_poses": refines})
    trainer = Trainer(config, scene, torch.device("cpu"), initial_gaussians(config, scene))
    find_poses(trainer)
    while trainer.step < trainer.total_steps:
        trainer.advance()
    with torch.no_grad():
        return score(trainer, truth)


def main(options: Options) -> None:
    """Trains all arms, and prints a table."""
    rows, lines = [], []
    for name in options.scenes:
        truth = SCENES[name](Places(options.data, options.work))
        for place, noise in enumerate(options.noises):
            off = disturbed(truth, options.angle, options.shift, noise)
            for arm in options.arms:
                if arm.startswith("exact") and place:
                    continue
                scene = truth if arm.startswith("exact") else off
                found = train(truth, scene, name, options, refines=arm.endswith("refined"))
                rows.append({"scene": name, "noise": noise, "poses": arm, **found})
                figures = [f"{found[key]:.2f}" for key in ("psnr", "aligned")]
                figures += [f"{found['angle']:.3f}", f"{found['shift']:.2f}", f"{found['pixels']:.2f}"]
                lines.append((name, noise, arm, *figures))
                print("\t".join(map(str, lines[-1])), file=sys.stderr, flush=True)
    print(markdown_table(HEADER, lines))
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    run_door(lambda: main(tyro.cli(Options)))
