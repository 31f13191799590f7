"""Lifting: features of Gaussians from the teacher's maps in one pass over the views, without training."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.ranks import this_job


@dataclass(frozen=True)
class FeatureTarget:
    """Teacher map of one view, as a target for rendered features."""

    camera: Camera
    """Camera of the photo."""
    latents: Float[Tensor, "h w K"]
    """Latent features at the size of the photo or coarser; a coarse pixel is the mean of the area it covers."""
    weights: Float[Tensor, "h w"]
    """Weights of the pixels in [0, 1]; 0 without a teacher feature."""


@dataclass(frozen=True)
class Lifted:
    """Features of Gaussians: means of the teacher over all views, weighted by the blending weights."""

    features: Float[Tensor, "N K"]
    """Mean latent features; zero, which matches no query, for Gaussians that no pixel shows."""
    weights: Float[Tensor, "N"]
    """Σ_v Σ_p w_ip, in pixels: how much each Gaussian is visible."""
    agreement: Float[Tensor, "N"]
    """‖Σ w f‖ / Σ w ‖f‖ over all pixels, in [0, 1]: the length of the mean feature against the mean length."""
    views: Float[Tensor, "N"]
    """(Σ_v w_v)² / Σ_v w_v², w_v being what view v shows of the Gaussian: the effective number of views."""

    @property
    def reliability(self) -> Float[Tensor, "N"]:
        """agreement² - 1 / views, at least 0: the mean cosine of the features in two looks at a Gaussian.

        Looks are drawn by their weights, and two into one view count as 0, since a view always agrees with itself: a
        Gaussian that one view shows has 0, one on which n views agree 1 - 1/n.
        """
        return (self.agreement.square() - 1 / self.views.clamp_min(1)).clamp(0, 1)


def lift_features(
    render: Callable[[Float[Tensor, "N D"], FeatureTarget], Float[Tensor, "h w D"]],
    targets: Iterable[FeatureTarget],
    num_gaussians: int,
    *,
    adds_ranks: bool = True,
) -> Lifted:
    """Returns z_i = Σ_v Σ_p w_ip f_p / Σ_v Σ_p w_ip, w_ip being the blending weight of Gaussian i in pixel p of view v.

    Σ_p w_ip f_p is the gradient of ⟨render(z), f⟩ with respect to z_i, so one backward pass per view suffices; a
    channel of ‖f‖ appended to f gives the mean length, and one of ones Σ_p w_ip. `render` must be linear in its
    features and is called at zero features; it returns a picture of the size of the target. Several ranks give targets
    of different views, and get the features of all; with `adds_ranks` off each has Gaussians of its own, and a gradient
    is the sum over the views of all ranks, in which ones take a channel of each rank, as they are squared view by view.
    """
    sums: Tensor | None = None
    squares = torch.zeros(())
    num_together, place = (1, 0) if adds_ranks else (this_job().world_size, this_job().rank)
    for target in targets:
        weights = target.weights[..., None]
        lengths = target.latents.norm(dim=-1, keepdim=True)
        ones = F.pad(weights, (place, num_together - 1 - place))
        cotangent = torch.cat([target.latents * weights, lengths * weights, ones], dim=-1)
        features = cotangent.new_zeros(num_gaussians, cotangent.shape[-1], requires_grad=True)
        (gradient,) = torch.autograd.grad(render(features, target), features, cotangent)
        sums = gradient if sums is None else sums + gradient
        squares = squares.to(gradient) + gradient[:, -num_together:].square().sum(dim=1)
    assert sums is not None, "lifting needs at least one view"
    if adds_ranks:
        this_job().add_up([sums, squares])
    latents, lengths = sums[:, : -num_together - 1], sums[:, -num_together - 1]
    weights = sums[:, -num_together:].sum(dim=1)
    # Quotients of denormal sums would be noise; a Gaussian that faint counts as invisible.
    seen = weights > 1e-6
    features = torch.where(seen[:, None], latents / weights.clamp_min(1e-6)[:, None], 0.0)
    agreement = torch.where(seen, latents.norm(dim=1) / lengths.clamp_min(1e-6), 0.0).clamp_max(1)
    views = torch.where(seen, weights.square() / squares.clamp_min(1e-12), 0.0)
    return Lifted(features, torch.where(seen, weights, 0.0), agreement, views)


def keep_in_step(targets: Iterator[FeatureTarget], num_views: int) -> Iterator[FeatureTarget]:
    """This rank's targets, and one without weight if others have one more: ranks that hold parts render together.

    What `targets` does at its end is done when all have rendered theirs.
    """
    ranks = this_job()
    for number in range(0, num_views, ranks.world_size):
        if number + ranks.rank < num_views:
            target = next(targets)
            yield target
        else:
            yield replace(target, weights=torch.zeros_like(target.weights))
    deque(targets, maxlen=0)
