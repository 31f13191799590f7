"""The Gaussians a run begins with: from the scene's points, or from a splat that is finished already."""

import logging
from dataclasses import replace
from pathlib import Path

from gsdff.config.options import TrainConfig
from gsdff.errors import UserError
from gsdff.field.field import load
from gsdff.gaussians import Gaussians
from gsdff.scene import Scene
from gsdff.training.initialise import initialise_gaussians

log = logging.getLogger("gsdff")

FEWEST_POINTS = 4
"""A Gaussian's first size comes from its three nearest neighbours."""


def first_gaussians(config: TrainConfig, scene: Scene) -> Gaussians:
    """What stage 1 starts from, or stage 2 where `stage1_from` names a splat; in the working frame, on the CPU."""
    if config.stage1_from is not None:
        return read_splat(config.stage1_from, scene)
    num = len(scene.points)
    if num < FEWEST_POINTS:
        raise UserError(f"{scene.root}: expected at least {FEWEST_POINTS} points to start from, got {num}")
    first = initialise_gaussians(scene.points, scene.point_colors, config.stage1.sh_degree, config.stage1.max_gaussians)
    if len(first) < num:
        log.info("%d of %d points make Gaussians: stage1.max_gaussians", len(first), num)
    return first


def read_splat(source: Path, scene: Scene) -> Gaussians:
    """A run's newest Gaussians or those of a 3DGS PLY, without features, in the scene's working frame.

    Both are taken to be in the world frame of the scene's photos. `UserError` where none of them is in front of any
    camera: then the two do not belong together.
    """
    gaussians = load(source, device="cpu").gaussians
    if gaussians.features is not None:
        log.info("%s: its features are left out, stage 2 makes new ones", source)
    gaussians = replace(gaussians, features=None).to_working_frame(scene.frame)
    if not any(_is_seen(gaussians, scene, view_id) for view_id in scene.train_ids):
        raise UserError(
            f"{source}: no training photo of {scene.root} has any of its Gaussians in view; "
            "expected a splat in the world frame of these photos' poses"
        )
    return gaussians


def _is_seen(gaussians: Gaussians, scene: Scene, view_id: int) -> bool:
    camera = scene.views[view_id].camera
    points = gaussians.means @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]
    x, y, depth = (points @ camera.K.T).unbind(-1)
    inside = (x > 0) & (y > 0) & (x < camera.width * depth) & (y < camera.height * depth)
    return bool((inside & (depth > 0)).any())
