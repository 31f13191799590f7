"""Initial Gaussians of a run: one per point of the scene, or those of a finished splat."""

import logging
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from gsdff.config.options import TrainConfig
from gsdff.data.agreed_points import points_where_photos_agree
from gsdff.errors import UserError
from gsdff.field.load import load
from gsdff.field.placement import find_misplacement
from gsdff.gaussians import SH_C0, Gaussians
from gsdff.neighbours import nearest_neighbours
from gsdff.neighbours_of_parts import nearest_over_ranks
from gsdff.scene import Scene
from gsdff.training.few_photos import find_points, has_few_photos
from gsdff.training.parts import own_rows, shares_gaussians

log = logging.getLogger("gsdff")

INITIAL_OPACITY = 0.1
NUM_NEIGHBOURS = 3
"""Number of nearest points that the initial scale comes from."""
MIN_POINTS = NUM_NEIGHBOURS + 1
MIN_SCALE = 1e-7**0.5
"""Least initial scale, for points at the same place: 3DGS keeps squared distances above 1e-7."""
LEAST_PHOTOS = 30
"""Training photos from which points are added where they agree: fewer agree by chance too often (docs/training.md)."""


def initial_gaussians(config: TrainConfig, scene: Scene) -> Gaussians:
    """Gaussians that stage 1 starts from, or stage 2 if `stage1_from` is given; in the working frame, on the CPU.

    Of points, those of this rank's part if ranks hold a part each; of a splat all, which the trainer cuts.
    """
    if config.stage1_from is not None:
        return read_splat(config.stage1_from, scene)
    if len(scene.points) < MIN_POINTS:
        raise UserError(f"{scene.root}: expected at least {MIN_POINTS} points to start from, got {len(scene.points)}")
    found, found_colors = find_more_points(config, scene)
    points, colors = torch.cat([found, scene.points]), torch.cat([found_colors, scene.point_colors])
    num, stage1 = len(points), config.stage1
    if stage1.max_gaussians < num:
        log.info("%d of %d points become Gaussians, as many as `stage1.max_gaussians`", stage1.max_gaussians, num)
    limits, is_part = (stage1.sh_degree, stage1.max_gaussians), shares_gaussians(config)
    return gaussians_from_points(points, colors, *limits, is_part=is_part)


def find_more_points(config: TrainConfig, scene: Scene) -> tuple[Float[Tensor, "F 3"], UInt8[Tensor, "F 3"]]:
    """Points that photos tell of besides the scene's own, and their colours; possibly none.

    By stereo if photos are few; where they agree if they are many, as the option `agreed_points` says. Not if poses are
    still to be found, for then photos agree at wrong places.
    """
    found, stage1 = find_points(config, scene), config.stage1
    num = min(int(stage1.agreed_points * stage1.max_gaussians), stage1.max_gaussians - len(scene.points))
    is_for_many = len(scene.train_ids) >= LEAST_PHOTOS and not has_few_photos(scene)
    can_agree = stage1.steps and scene.has_own_points and not stage1.refine_poses
    if len(found[0]) or num <= 0 or not (is_for_many and can_agree):
        return found
    views, background = [scene.views[i] for i in scene.train_ids], torch.tensor(config.dataset.solid_background)
    found = points_where_photos_agree(views, num, background, only_shared=True)
    log.info("%d points added where photos agree (`stage1.agreed_points`)", len(found[0]))
    return found


def read_splat(source: Path, scene: Scene) -> Gaussians:
    """Loads the newest Gaussians of a run, or those of a 3DGS PLY, without features, in the scene's working frame.

    Both are taken to be in the world frame of the scene's photos. Raises `UserError` if they lie far away from all
    cameras, or if no training photo shows any of them, since splat and photos then do not belong together.
    """
    gaussians = load(source, device="cpu").gaussians
    if gaussians.features is not None:
        log.info("%s: its features are left out, stage 2 makes new ones", source)
    if complaint := find_misplacement(gaussians, scene, is_run=source.is_dir()):
        raise UserError(f"{source}: {complaint}")
    gaussians = replace(gaussians, features=None, reliability=None).to_working_frame(scene.frame)
    if not any(_is_in_view(gaussians, scene, view_id) for view_id in scene.train_ids):
        raise UserError(
            f"{source}: no training photo of {scene.root} has any of its Gaussians in view; "
            "expected a splat in the world frame of these photos' poses"
        )
    return gaussians


def gaussians_from_points(
    points: Float[Tensor, "P 3"],
    colors: UInt8[Tensor, "P 3"],
    sh_degree: int,
    max_gaussians: int,
    *,
    is_part: bool = False,
) -> Gaussians:
    """Makes one Gaussian per point: round, of opacity 0.1, of the point's colour in all directions.

    The scale is the root mean square distance to the 3 nearest points (3DGS, `create_from_pcd`). If there are more than
    `max_gaussians` points, some are left out evenly over the list. Needs at least 2 points. With `is_part` all ranks
    call it with the same points, and each makes its part of the Gaussians.
    """
    if len(points) > max_gaussians:
        kept = torch.linspace(0, len(points) - 1, max_gaussians, dtype=torch.float64).round().long()
        points, colors = points[kept], colors[kept]
    if is_part:
        points, colors = (rows[own_rows(len(rows))] for rows in (points, colors))
    num = len(points)
    quats = torch.zeros(num, 4)
    quats[:, 0] = 1
    return Gaussians(
        means=points.clone(),
        quats=quats,
        log_scales=neighbour_distances(points, is_part=is_part).clamp_min(MIN_SCALE).log()[:, None].repeat(1, 3),
        logit_opacities=torch.full((num,), INITIAL_OPACITY).logit(),
        sh0=((colors.float() / 255 - 0.5) / SH_C0)[:, None],
        shN=torch.zeros(num, (sh_degree + 1) ** 2 - 1, 3),
        is_part=is_part,
    )


def neighbour_distances(points: Float[Tensor, "P 3"], *, is_part: bool = False) -> Float[Tensor, "P"]:
    """Root mean square distance of every point to its 3 nearest others, or to all others if they are fewer.

    With `is_part` among the points of all ranks, each of which has some.
    """
    if is_part:
        near = nearest_over_ranks(points.double(), NUM_NEIGHBOURS)
        return near.spread.take(near.distances.square().mean(dim=1).sqrt().float())
    distances, _ = nearest_neighbours(points.double(), NUM_NEIGHBOURS)
    return distances.square().mean(dim=1).sqrt().float()


def _is_in_view(gaussians: Gaussians, scene: Scene, view_id: int) -> bool:
    """Whether any centre projects into the image, in front of the camera."""
    return bool(scene.views[view_id].camera.project(gaussians.means).inside.any())
