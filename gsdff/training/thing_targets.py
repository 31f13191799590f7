"""Things in stage 2: joined from the masks, their features pooled over all views, and given back as targets."""

import logging
from collections.abc import Iterator
from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int32
from torch import Tensor
from tqdm import tqdm

from gsdff.cameras import Camera
from gsdff.config.smoothing import ThingsConfig
from gsdff.gaussians import Gaussians
from gsdff.io.runs import RunFolder
from gsdff.latents import MIN_NORM
from gsdff.ranks import this_job
from gsdff.render import render_features
from gsdff.scene import Scene
from gsdff.smoothing.view_filters import Segments
from gsdff.things import (
    JoinOptions,
    MaskWeights,
    ThingPool,
    Things,
    ViewMasks,
    assign_things,
    collect_weights,
    draw_thing_map,
    join_masks,
    spread_features,
)
from gsdff.things.store import load_things, save_things
from gsdff.training.lift import FeatureTarget
from gsdff.training.parts import count_all, find_own_rows, join_rows
from gsdff.training.smoothing_losses import purity_weights
from gsdff.training.teacher_targets import FilteredMaps, enlarge_target
from gsdff.training.thing_parts import divide_things, join_things, join_weights, take_rows
from gsdff.training.view_data import ViewCache

log = logging.getLogger("gsdff")

LEAST = 0.01
"""Least reliability that pixels count by, so that a thing on which no two views agree has a feature too."""


def weigh_masks(gaussians: Gaussians, scene: Scene, segments: Segments) -> MaskWeights:
    """Weights of the Gaussians in the masks of the training views."""
    # ranks that hold a part each render one view together, and the picture of one of them counts
    is_counted = this_job().is_first or not gaussians.is_part

    def render(values: Float[Tensor, "N D"], camera: Camera) -> Float[Tensor, "H W D"]:
        image = render_features(gaussians, camera.to(values.device), features=values).image
        return image if is_counted else 0 * image

    def masks() -> Iterator[ViewMasks]:
        for view_id in tqdm(scene.train_ids, desc="things", unit="view", leave=False):
            camera = scene.views[view_id].camera.to(gaussians.means.device)
            yield ViewMasks(camera, [segments[view_id]])

    return collect_weights(render, masks(), len(gaussians))


def find_things(gaussians: Gaussians, weights: MaskWeights, options: ThingsConfig) -> Things:
    """Joins the masks of the training views into things.

    Those of parts are joined by the first rank, in the memory of its machine, and each rank gets what is of its part.
    """
    means = gaussians.means.detach()
    if not gaussians.is_part:
        return _join(weights, means, options)
    weights, means = join_weights(weights), join_rows(means.cpu())
    return divide_things(_join(weights, means, options) if this_job().is_first else None, len(gaussians))


def _join(weights: MaskWeights, means: Float[Tensor, "N 3"], options: ThingsConfig) -> Things:
    joined = join_masks(weights, means, JoinOptions(whole=options.whole, part=options.part))
    things = assign_things(weights, joined)
    in_things = float((things.instance_ids > 0).float().mean())
    log.info("things: %d, with %.0f %% of the Gaussians", len(things), 100 * in_things)
    return things


@torch.no_grad()
def blend_reliability(gaussians: Gaussians, reliability: Float[Tensor, "N"], camera: Camera) -> Float[Tensor, "H W"]:
    """Mean reliability of what every pixel shows; 0 where nothing is."""
    columns = torch.stack([reliability, torch.ones_like(reliability)], dim=1)
    blended, alpha = render_features(gaussians, camera, features=columns).image.unbind(-1)
    return blended / alpha.clamp_min(MIN_NORM)


class ThingTargets:
    """Features of the things of a run: for its Gaussians, and as maps of its training views."""

    def __init__(
        self, options: ThingsConfig, scene: Scene, segments: Segments, maps: ViewCache[FeatureTarget], folder: RunFolder
    ):
        self.options = options
        self.scene = scene
        self.segments = segments
        self.maps = maps
        self.folder = folder

    def prepare(
        self,
        gaussians: Gaussians,
        lifted: Float[Tensor, "N K"] | None,
        reliability: Float[Tensor, "N"] | None,
        filtered: FilteredMaps | None,
        things: Things | None = None,
    ) -> Float[Tensor, "N K"] | None:
        """Returns the Gaussians' features with those of their things, and writes the maps if they are wanted.

        Things are joined, unless they are given, and saved if there are lifted features; a resumed run, which lifts
        nothing, loads its own. Without a reliability, as in a resumed run of an earlier version, all Gaussians count
        alike.
        """
        if lifted is None:
            things = load_things(self.folder.things, count_all(gaussians))
            things = take_rows(things, find_own_rows(gaussians))
        else:
            if things is None:
                weights = weigh_masks(gaussians, self.scene, self.segments)
                things = find_things(gaussians, weights, self.options)
            whole = join_things(things) if gaussians.is_part else things
            if this_job().is_first:
                save_things(self.folder.things, whole)
        pooled, is_known = self._pool(things, gaussians, reliability)
        if filtered is not None:
            for number, view_id in this_job().share([*enumerate(self.scene.train_ids)]):
                filtered.save(self.scene.views[view_id], self._target(things, number, view_id, pooled, is_known))
            this_job().wait()
        if lifted is None:
            return None
        options = self.options
        return spread_features(things, pooled, is_known, lifted, sharpness=options.sharpness, share=options.own_share)

    def _pool(
        self, things: Things, gaussians: Gaussians, reliability: Float[Tensor, "N"] | None
    ) -> tuple[Float[Tensor, "T K"], Bool[Tensor, "T"]]:
        pool = ThingPool(len(things))
        for number, view_id in enumerate(self.scene.train_ids):
            drawn, target = self._draw(things, number, view_id), self.maps[view_id]
            weights = purity_weights(drawn, target, self.options.purity)
            if reliability is not None and self.options.reliability > 0:
                blended = blend_reliability(gaussians, reliability, target.camera).clamp_min(LEAST)
                weights = weights * blended**self.options.reliability
            target = enlarge_target(target, "bilinear")
            pool.add(drawn, target.latents, target.weights * weights)
        return pool.features(self.options.spread)

    def _draw(self, things: Things, number: int, view_id: int) -> Int32[Tensor, "H W"]:
        return draw_thing_map([self.segments[view_id]], [things.owners[number]])

    def _target(
        self, things: Things, number: int, view_id: int, pooled: Float[Tensor, "T K"], is_known: Bool[Tensor, "T"]
    ) -> FeatureTarget:
        """The teacher's map of a view with the features of things where masks show some."""
        target = enlarge_target(self.maps[view_id], "bilinear")
        drawn = self._draw(things, number, view_id).long()
        rows = torch.cat([pooled.new_zeros(1, pooled.shape[1]), pooled]).to(target.latents)
        known = torch.cat([is_known.new_zeros(1), is_known]).to(drawn.device)[drawn]
        # where the teacher has no feature, nothing of its own is mixed in
        share = self.options.own_share * (target.weights > 0)[..., None]
        latents = torch.where(known[..., None], torch.lerp(rows[drawn], target.latents, share), target.latents)
        return replace(target, latents=latents, weights=torch.where(known, 1, target.weights))
