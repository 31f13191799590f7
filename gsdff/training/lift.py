"""Lifting: a finished splat takes over the teacher's maps in one pass, without training."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gsdff.cameras import Camera


@dataclass(frozen=True)
class FeatureTarget:
    """What one view's teacher map asks of the field."""

    camera: Camera
    """The photo's."""
    latents: Float[Tensor, "h w K"]
    """Of the photo's size or coarser; a coarse pixel is the mean of what it covers."""
    weights: Float[Tensor, "h w"]
    """In [0, 1]; 0 where the teacher says nothing."""


@dataclass(frozen=True)
class Lifted:
    """The rendering-weighted mean of the teacher over all views."""

    features: Float[Tensor, "N K"]
    """Zero for Gaussians that no pixel has seen: a zero feature has no say in any query."""
    weights: Float[Tensor, "N"]
    """Σ_v Σ_p w_ip, in pixels: how much each Gaussian was seen."""


def lift_features(
    render: Callable[[Float[Tensor, "N D"], FeatureTarget], Float[Tensor, "h w D"]],
    targets: Iterable[FeatureTarget],
    num_gaussians: int,
) -> Lifted:
    """z_i = Σ_v Σ_p w_ip f_p / Σ_v Σ_p w_ip, where w_ip is Gaussian i's share in pixel p of view v.

    Σ_p w_ip f_p is the gradient of ⟨render(z), f⟩ with respect to z_i, so one backward pass a view does it; a channel
    of ones appended to f gives Σ_p w_ip. `render` must be linear in its features and is called at zero features; it
    gives a picture of the target's size.
    """
    sums: Tensor | None = None
    for target in targets:
        weights = target.weights[..., None]
        cotangent = torch.cat([target.latents * weights, weights], dim=-1)
        features = cotangent.new_zeros(num_gaussians, cotangent.shape[-1], requires_grad=True)
        (gradient,) = torch.autograd.grad(render(features, target), features, cotangent)
        sums = gradient if sums is None else sums + gradient
    assert sums is not None, "lifting needs at least one view"
    weights = sums[:, -1]
    # Denormal sums would divide into noise; a Gaussian seen that little has not been seen.
    seen = weights > 1e-6
    features = torch.where(seen[:, None], sums[:, :-1] / weights.clamp_min(1e-6)[:, None], 0.0)
    return Lifted(features, torch.where(seen, weights, 0.0))
