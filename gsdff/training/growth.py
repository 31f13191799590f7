"""Growth of a scene by halving Gaussians so that the picture stays.

A Gaussian is replaced by two on its longest axis, at plus and minus `DISTANCE` of its standard deviation there. They
are shorter along it, so that the two together have the mean and the covariance of the one. Their opacity is such that
they cover as much: with deviation s, opacity o, and s' = s sqrt(1 - d^2), o' of the halves, the integral over a picture
plane of 1 - (1 - o' g1)(1 - o' g2) is that of o g if

    s' (2 o' - o'^2 e / 2) = s o,    e = exp(-d^2 / (1 - d^2)).

gsplat and 3DGS clone small Gaussians in place, which doubles their opacity, and put two smaller ones at random inside a
large one, which leaves holes: on the fox every such growth cost 3 to 4 dB on the spot (docs/training.md).
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gsdff.rotation import quats_to_matrices

DISTANCE = 0.8
"""Distance of the halves from the centre of the whole, in its standard deviations."""
MAX_OPACITY = 0.995
MIN_OPACITY = 1e-4
_SHRINK = math.sqrt(1 - DISTANCE**2)
_OVERLAP = math.exp(-(DISTANCE**2) / (1 - DISTANCE**2))


@dataclass(frozen=True)
class Halves:
    """Two Gaussians in the place of one: at `offsets` before and behind its centre, otherwise equal."""

    offsets: Float[Tensor, "N 3"]
    log_scales: Float[Tensor, "N 3"]
    logit_opacities: Float[Tensor, "N"]


def halve(quats: Float[Tensor, "N 4"], log_scales: Float[Tensor, "N 3"], logit_opacities: Float[Tensor, "N"]) -> Halves:
    """Halves of every Gaussian along its longest axis."""
    sigma, axis = log_scales.exp().max(dim=-1)
    column = axis[:, None, None].expand(-1, 3, 1)
    direction = quats_to_matrices(quats).gather(2, column)[..., 0]
    shrunk = torch.zeros_like(log_scales).scatter(1, axis[:, None], math.log(_SHRINK))
    opacities = logit_opacities.sigmoid()
    # the root is real up to opacities of 1, as `DISTANCE` is small enough
    halved = (2 - (4 - 2 * _OVERLAP * opacities / _SHRINK).clamp_min(0).sqrt()) / _OVERLAP
    offsets = DISTANCE * sigma[:, None] * direction
    return Halves(offsets, log_scales + shrunk, halved.clamp(MIN_OPACITY, MAX_OPACITY).logit())


def replace_by_halves(
    params: dict[str, torch.nn.Parameter] | torch.nn.ParameterDict,
    optimizers: dict[str, torch.optim.Optimizer],
    rows: Int[Tensor, "R"],
) -> None:
    """Puts the first halves of these Gaussians in their rows and the second ones at the end, in place.

    `params` and `optimizers` are keyed as gsplat's strategies do. Halves start without moments, so that Adam moves them
    apart by large first steps: kept moments would move both alike.
    """
    halves = halve(params["quats"][rows], params["scales"][rows], params["opacities"][rows])
    changed = {"scales": halves.log_scales, "opacities": halves.logit_opacities}
    for name, param in list(params.items()):
        values = param.detach().clone()
        first = changed[name] if name in changed else values[rows]
        second = first
        if name == "means":
            first, second = first + halves.offsets, first - halves.offsets
        values[rows] = first
        lengthen(params, optimizers, name, torch.cat([values, second]), rows)


def lengthen(
    params: dict[str, torch.nn.Parameter] | torch.nn.ParameterDict,
    optimizers: dict[str, torch.optim.Optimizer],
    name: str,
    values: Float[Tensor, "M ..."],
    changed: Int[Tensor, "R"],
) -> None:
    """Trains longer values in the place of a parameter's, with its moments but for changed and new rows."""
    param, optimizer = params[name], optimizers[name]
    longer = torch.nn.Parameter(values, requires_grad=param.requires_grad)
    state = optimizer.state.pop(param, {})
    for key, moment in state.items():
        if key != "step":
            moment[changed] = 0
            state[key] = torch.cat([moment, moment.new_zeros(len(values) - len(param), *moment.shape[1:])])
    optimizer.param_groups[0]["params"] = [longer]
    optimizer.state[longer] = state
    params[name] = longer
