"""Borders of things before stage 2: Gaussians across them are cut, and trained until each shows its own thing alone."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import torch
from jaxtyping import Float, Int32, Int64
from torch import Tensor

from gsdff.config.options import TrainConfig
from gsdff.config.smoothing import ThingsConfig
from gsdff.gaussians import Gaussians
from gsdff.ranks import this_job
from gsdff.render import rasterization
from gsdff.render.parts import render_part
from gsdff.scene import Scene
from gsdff.smoothing.view_filters import Segments
from gsdff.things import (
    MaskWeights,
    Things,
    cut_along_longest,
    draw_thing_map,
    find_straddling,
    is_purer,
    recount_members,
)
from gsdff.training.parts import add_parts
from gsdff.training.thing_targets import find_things

log = logging.getLogger("gsdff")

T = TypeVar("T")
CODE = 8
"""Length of the random vector that stands for a thing; longer ones make the loss less noisy, and slower."""


def cuts_borders(config: TrainConfig) -> bool:
    """Whether stage 2 begins with cuts at the borders of things."""
    things = config.smoothing.things
    return config.teacher.name != "none" and things.form != "off" and things.borders.rounds > 0


def cut_borders(
    gaussians: Gaussians, weigh: Callable[[Gaussians], MaskWeights], options: ThingsConfig
) -> tuple[Gaussians, Things, Int64[Tensor, "M"]]:
    """Joins masks into things, and cuts the Gaussians across their borders, `options.borders.rounds` times.

    Cuts that do not make a Gaussian's memberships purer are undone. `weigh` gives weights in the masks. Returns the
    Gaussians, the things, and the Gaussian that each was a part of.
    """
    weights = weigh(gaussians)
    things, visible = _agree(find_things(gaussians, weights, options), gaussians), weights.visible
    parents = torch.arange(len(gaussians))
    is_tried = torch.zeros(len(gaussians), dtype=torch.bool)
    for _ in range(options.borders.rounds):
        is_straddling = _agree(find_straddling(things, visible) & ~is_tried, gaussians)
        num_straddling = add_parts(gaussians, int(is_straddling.sum()))
        if not num_straddling:
            break
        trial = cut_along_longest(gaussians, is_straddling.to(gaussians.means.device))
        weights = weigh(trial.gaussians)
        after = recount_members(weights, things, trial.parents.cpu())
        good = _agree(is_purer(things, after, trial, visible, weights.visible), gaussians)
        gaussians = cut_along_longest(gaussians, good.to(gaussians.means.device)).gaussians
        taken = (trial.is_child.cpu() & good[trial.parents.cpu()]).nonzero()[:, 0]
        things = replace(
            things,
            members=torch.cat([things.members[~good], after.members[taken]]),
            shares=torch.cat([things.shares[~good], after.shares[taken]]),
            parts=torch.cat([things.parts[~good], after.parts[taken]]),
        )
        visible = torch.cat([visible[~good], weights.visible[taken]])
        is_tried = torch.cat([(is_tried | is_straddling)[~good], torch.zeros(len(taken), dtype=torch.bool)])
        num_cut = add_parts(gaussians, int(good.sum()))
        log.info("borders: cut %d of %d Gaussians across them", num_cut, num_straddling)
        parents = torch.cat([parents[~good], parents[trial.parents.cpu()[taken]]])
    return gaussians, things, parents


def _agree(found: T, gaussians: Gaussians) -> T:
    """What all ranks take to be so: the first one's answer about the whole scene, or each its own about its part."""
    return found if gaussians.is_part else this_job().from_first(found)


@dataclass(frozen=True)
class BorderTerm:
    """Loss of what Gaussians show outside their own things (`gsdff.training.terms.Term`), in a training view.

    Each thing is a random vector, another one in every step, and those of the Gaussians are rendered and compared with
    those of the pixels. In expectation that is the sum over all things of the squared error of what is shown of each,
    for any number of things at the price of `CODE` channels. Differentiable in geometry and opacity.
    """

    instance_ids: Int32[Tensor, "N"]
    """Thing of each Gaussian."""
    scene: Scene
    segments: Segments
    owners: Sequence[Int32[Tensor, "_"]]
    """For every training view: the thing that each mask shows."""
    weight: float

    def __call__(self, gaussians: Gaussians, view_id: int, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the mean over all pixels, 0 where no thing is known, and the same as the scalar `border`."""
        device = gaussians.means.device
        owner = self.owners[self.scene.train_ids.index(view_id)]
        drawn = draw_thing_map([self.segments[view_id]], [owner])
        codes = torch.randn(self._num_things + 1, CODE).to(device)
        codes[0] = 0
        rendered = self._render(gaussians, codes[self.instance_ids.to(device).long()], view_id)
        error = (rendered - codes[drawn.long()]).square().mean(-1)
        loss = (error * (drawn > 0)).mean()
        return loss, {"border": loss}

    @cached_property
    def _num_things(self) -> int:
        """Number of all things, which is the same on all ranks, and so are the vectors drawn for them."""
        return int(torch.cat([*self.owners, self.instance_ids]).max())

    def _render(self, gaussians: Gaussians, values: Float[Tensor, "N D"], view_id: int) -> Float[Tensor, "H W D"]:
        """Renders values with gradients for geometry and opacity."""
        camera = self.scene.views[view_id].camera.to(gaussians.means.device)
        if gaussians.is_part:
            return render_part(gaussians, camera, values)[0]
        return rasterization(
            gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, values, camera.viewmat[None],
            camera.K[None], camera.width, camera.height, rasterize_mode=gaussians.rasterize_mode,
        )[0][0]  # fmt: skip
