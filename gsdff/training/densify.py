"""Densification in stage 1: gsplat's DefaultStrategy, or growth by halves, up to a maximal number of Gaussians.

Opacity resets work, too, which gsplat 1.5.3 never does.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from gsplat.strategy import DefaultStrategy
from gsplat.strategy.ops import reset_opa
from torch import Tensor

from gsdff.config.options import Stage1Config
from gsdff.gaussians import Gaussians
from gsdff.ranks import this_job
from gsdff.training.growth import replace_by_halves
from gsdff.training.pace import is_due

Params = dict[str, torch.nn.Parameter]
Optimizers = dict[str, torch.optim.Optimizer]

_STRATEGY_NAMES = {"log_scales": "scales", "logit_opacities": "opacities"}
"""Names of our attributes in the strategy, if they differ."""
RESET_OPACITY = 2.0
"""Opacity after a reset, as a multiple of the opacity below which Gaussians are pruned (3DGS)."""


@dataclass
class CappedStrategy(DefaultStrategy):
    """DefaultStrategy that stops at `max_gaussians`; Gaussians with the largest gradients grow first."""

    max_gaussians: int = 0

    def _update_state(
        self, params: Params | torch.nn.ParameterDict, state: dict[str, Any], info: dict[str, Any], packed: bool = False
    ) -> None:
        """Adds to the running sums as gsplat does, which waits for the device to list the Gaussians in view."""
        means2d = info[self.key_for_gradient]
        gradients = (means2d.absgrad if self.absgrad else means2d.grad).clone()
        gradients[..., 0] *= info["width"] / 2.0 * info["n_cameras"]
        gradients[..., 1] *= info["height"] / 2.0 * info["n_cameras"]
        is_in_view = (info["radii"] > 0).all(dim=-1)
        lengths = torch.where(is_in_view, gradients.norm(dim=-1), 0)
        sums = {"grad2d": lengths.sum(dim=0), "count": is_in_view.sum(dim=0).to(lengths)}
        this_job().add_up([*sums.values()])
        for name, values in sums.items():
            state[name] = values if state[name] is None else state[name] + values

    @torch.no_grad()
    def _grow_gs(
        self, params: Params | torch.nn.ParameterDict, optimizers: Optimizers, state: dict[str, Any], step: int
    ) -> tuple[int, int]:
        threshold = self.grow_grad2d
        # a clone adds one Gaussian, and a split replaces one by two
        room = max(0, self.max_gaussians - len(params["means"]))
        gradients = state["grad2d"] / state["count"].clamp_min(1)
        if int((gradients > threshold).sum()) > room:
            # gradients above the threshold grow: raise it to the largest gradient that must not
            self.grow_grad2d = float(gradients.topk(room + 1).values[-1])
        try:
            return super()._grow_gs(params, optimizers, state, step)
        finally:
            self.grow_grad2d = threshold


@dataclass
class HalvingStrategy(CappedStrategy):
    """The same, but Gaussians are halved (`gsdff.training.growth`)."""

    @torch.no_grad()
    def _grow_gs(
        self, params: Params | torch.nn.ParameterDict, optimizers: Optimizers, state: dict[str, Any], step: int
    ) -> tuple[int, int]:
        """Halves the Gaussians with large mean gradients, the largest first; returns (0, their number).

        At least as many as will be pruned: random initial points, of which most fade, then move to where they are
        needed, instead of leaving a scene that has to grow from little.
        """
        is_fading = params["opacities"].sigmoid() < self.prune_opa
        gradients = torch.where(is_fading, 0, state["grad2d"] / state["count"].clamp_min(1))
        num_fading = self._sum(int(is_fading.sum()))
        num_wanted = max(num_fading, self._sum(int((gradients > self.grow_grad2d).sum())))
        room = max(0, self.max_gaussians - self._sum(len(gradients)) + num_fading)
        num = min(num_wanted, room, self._sum(int((gradients > 0).sum())))
        rows = self._find_largest_rows(gradients, num)
        replace_by_halves(params, optimizers, rows)
        for name, values in state.items():
            if isinstance(values, Tensor):
                state[name] = torch.cat([values, values[rows]])
        return 0, len(rows)

    def _sum(self, number: int) -> int:
        """A number of these Gaussians, for the scene."""
        return number

    def _find_largest_rows(self, values: Tensor, num: int) -> Tensor:
        """Rows of the `num` largest values, in order."""
        return values.topk(num).indices.sort().values


class Densifier:
    """Applies the strategy around a training step, to parameters and optimizers keyed by the names of our attributes.

    `params` and `optimizers` are changed in place: tensors are replaced by longer or shorter ones, and so are the
    moments of the optimizers. Splits draw from torch's global generator.
    """

    def __init__(self, config: Stage1Config, scene_extent: float, kind: Callable[..., CappedStrategy] | None = None):
        """`kind` makes the strategy; by default it is that of a whole scene, by the option `strategy`."""
        self.reset_every = config.reset_every
        never = max(config.steps, config.refine_stop) + 1
        if kind is None:
            kind = HalvingStrategy if config.strategy == "halves" else CappedStrategy
        self.strategy = kind(
            grow_grad2d=config.grow_grad2d,
            prune_opa=config.prune_opacity,
            refine_start_iter=config.refine_start,
            refine_stop_iter=min(config.refine_stop, config.steps),
            refine_every=config.refine_every,
            reset_every=config.reset_every or never,
            absgrad=config.absgrad,
            max_gaussians=config.max_gaussians,
        )
        self.state = self.strategy.initialize_state(scene_scale=scene_extent)

    def prior(self, gaussians: Gaussians) -> Tensor:
        """Adds nothing to the loss."""
        return gaussians.means.new_zeros(())

    def before_backward(self, meta: dict[str, Any]) -> None:
        """Keeps the gradients of the projected means."""
        self.strategy.step_pre_backward({}, {}, self.state, 0, meta)

    def after_step(self, params: Params, optimizers: Optimizers, before: int, step: int, meta: dict[str, Any]) -> None:
        """Accumulates gradients; grows, prunes and resets if that became due since `before` steps, at `step` now."""
        if step >= self.strategy.refine_stop_iter:
            return
        renamed = {_STRATEGY_NAMES.get(name, name): param for name, param in params.items()}
        renamed_optimizers = {_STRATEGY_NAMES.get(name, name): optimizer for name, optimizer in optimizers.items()}
        # the strategy refines at multiples only, which a round of several steps may pass over
        every = self.strategy.refine_every
        due = step // every * every if is_due(before, step, every) else step
        self.strategy.step_post_backward(renamed, renamed_optimizers, self.state, due, meta)
        # gsplat 1.5.3 writes `step % reset_every == 0 & step > 0`, which is never true
        if self.reset_every and is_due(before, step, self.reset_every):
            reset_opa(renamed, renamed_optimizers, self.state, value=RESET_OPACITY * self.strategy.prune_opa)
        for name in params:
            params[name] = renamed[_STRATEGY_NAMES.get(name, name)]

    def state_dict(self) -> dict[str, Any]:
        """Running sums since the last refinement, and the extent of the scene."""
        return dict(self.state)

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Continues from the running sums of `state_dict`."""
        self.state = {key: value.to(device) if isinstance(value, Tensor) else value for key, value in state.items()}
