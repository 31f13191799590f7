"""Densification by moving Gaussians: 3D Gaussian Splatting as Markov Chain Monte Carlo (Kheradmand et al. 2024).

The number of Gaussians rises to a limit and never falls. Those that have faded are put onto others, drawn by their
opacity; all that lie in one place then get the opacity and size with which the picture stays. Every step moves the
means of faint Gaussians at random, along their own axes, so that they explore. Two priors, on opacity and on size, let
fade what is not needed.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gsdff.config.options import Stage1Config
from gsdff.gaussians import Gaussians
from gsdff.rotation import quats_to_matrices
from gsdff.training.densify import Optimizers, Params
from gsdff.training.growth import lengthen
from gsdff.training.pace import is_due

MIN_OPACITY = 0.005
"""Opacity at or below which a Gaussian has faded."""
MOST_COPIES = 51
"""Copies that one Gaussian may have at a time."""
LEAST_GROWTH = 1.05
"""Growth of a refinement, where that suffices to reach the limit before growth stops."""
NOISE = 5e5 * 1.6e-4
"""Length of the noise in units of a Gaussian's covariance, times the scene's extent, until the means' rate decays."""
FAINT, STEEPNESS = 0.005, 100.0
"""Opacity at which the noise has half its strength, and how fast it falls with opacity."""
OPACITY_WEIGHT, SCALE_WEIGHT = 0.01, 0.01


def share_among_copies(
    opacities: Float[Tensor, "N"], num: Int[Tensor, "N"]
) -> tuple[Float[Tensor, "N"], Float[Tensor, "N"]]:
    """Opacity of each of `num` equal Gaussians that replace one, and the factor on its scales (Eq. 9 of the paper).

    One behind the other they let through as much light in the middle, and cover as much along a line through it. The
    paper's double sum is a single one here: its inner binomials add up to another binomial.
    """
    num = num.clamp(1, MOST_COPIES).double()[:, None]
    whole = opacities.double().clamp(1e-12, 1 - 1e-7)[:, None]
    shared = -torch.expm1(torch.log1p(-whole) / num)
    j = torch.arange(1, MOST_COPIES + 1, dtype=torch.double, device=opacities.device)
    log_binomials = torch.lgamma(num + 1) - torch.lgamma(j + 1) - torch.lgamma((num - j).clamp_min(0) + 1)
    sizes = torch.where(j <= num, (log_binomials + j * shared.log()).exp() / j.sqrt(), 0)
    covered = (sizes[:, ::2].sum(1) - sizes[:, 1::2].sum(1)).clamp_min(1e-12)
    return shared[:, 0].to(opacities), (whole[:, 0] / covered).to(opacities)


class Relocation:
    """Moves, adds and disturbs Gaussians after a step; has the same methods as `gsdff.training.densify.Densifier`.

    Draws from torch's global generators.
    """

    def __init__(self, config: Stage1Config, scene_extent: float, means_rate: float):
        """`means_rate` is the first learning rate of the means, in the scene's unit: noise falls as the rate does."""
        self.config = config
        self._noise = NOISE * scene_extent / means_rate
        self._last_growth = min(config.refine_stop, config.steps) - 1

    def prior(self, gaussians: Gaussians) -> Tensor:
        """Term of the loss that small multiples of the mean opacity and the mean scale make up."""
        return OPACITY_WEIGHT * gaussians.opacities.mean() + SCALE_WEIGHT * gaussians.scales.mean()

    def before_backward(self, meta: dict[str, Any]) -> None:
        """Keeps nothing: gradients decide nothing here."""

    @torch.no_grad()
    def after_step(self, params: Params, optimizers: Optimizers, before: int, step: int, meta: dict[str, Any]) -> None:
        """Moves and adds Gaussians, in place, if that became due since `before` steps, at `step` now; adds noise."""
        config = self.config
        if config.refine_start < step <= self._last_growth and is_due(before, step, config.refine_every):
            self._move_faded(params, optimizers)
            self._add(params, optimizers, step)
        if step < config.steps:
            self._disturb(params, optimizers["means"].param_groups[0]["lr"])

    def state_dict(self) -> dict[str, Any]:
        """Nothing is kept between steps."""
        return {}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Nothing is kept between steps."""

    def _move_faded(self, params: Params, optimizers: Optimizers) -> None:
        opacities = params["logit_opacities"].sigmoid()
        is_faded = opacities <= MIN_OPACITY
        faded = is_faded.nonzero()[:, 0]
        chosen = draw(torch.where(is_faded, 0, opacities), len(faded))
        if not len(chosen):
            return
        make_room(params, chosen)
        for name, param in params.items():
            param[faded] = param[chosen]
            for key, moment in optimizers[name].state.get(param, {}).items():
                if key != "step":
                    moment[torch.cat([faded, chosen])] = 0

    def _add(self, params: Params, optimizers: Optimizers, step: int) -> None:
        now, most = len(params["means"]), self.config.max_gaussians
        refinements = (self._last_growth - step) // self.config.refine_every + 1
        growth = max(LEAST_GROWTH, (most / now) ** (1 / refinements)) if now else 1.0
        chosen = draw(params["logit_opacities"].sigmoid(), max(0, min(most, round(growth * now)) - now))
        if not len(chosen):
            return
        make_room(params, chosen)
        none = chosen[:0]
        for name, param in list(params.items()):
            lengthen(params, optimizers, name, torch.cat([param, param[chosen]]), none)

    def _disturb(self, params: Params, rate: float) -> None:
        opacities = params["logit_opacities"].sigmoid()
        strength = self._noise * rate * torch.sigmoid(STEEPNESS * (FAINT - opacities))
        axes = quats_to_matrices(params["quats"]) * params["log_scales"].exp()[:, None]
        noise = torch.randn_like(params["means"])[..., None]
        params["means"].add_((axes @ (axes.mT @ noise))[..., 0] * strength[:, None])


def draw(weights: Float[Tensor, "N"], num: int) -> Int[Tensor, "num"]:
    """Indices drawn by their weights, with repetition, for any number of weights; none if all are 0."""
    ends = weights.double().cumsum(0)
    if num == 0 or not len(ends) or float(ends[-1]) <= 0:
        return torch.zeros(0, dtype=torch.long, device=weights.device)
    places = torch.rand(num, dtype=torch.double, device=weights.device) * ends[-1]
    return torch.searchsorted(ends, places, right=True).clamp(max=len(ends) - 1)


def make_room(params: Params, chosen: Int[Tensor, "C"]) -> None:
    """Gives Gaussians the opacity and size of one of their copies, as many as are chosen and one, in place."""
    num = torch.bincount(chosen, minlength=len(params["means"])) + 1
    rows = chosen.unique()
    opacities, factors = share_among_copies(params["logit_opacities"][rows].sigmoid(), num[rows])
    params["logit_opacities"][rows] = opacities.clamp(MIN_OPACITY, 1 - 1e-6).logit()
    params["log_scales"].data[rows] += factors.log()[:, None]
