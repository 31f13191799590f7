"""Weighted sums of the filters on any device and in any dtype: S(Z)_p = Σ_q w_pq Z_q, one offset at a time."""

from collections.abc import Iterator
from math import exp

import torch
from jaxtyping import Float
from torch import Tensor


def weighted_sums(
    Z: Float[Tensor, "H W K"], reference: Tensor | None, window: int, sigma: float, sigma_range: float
) -> tuple[Float[Tensor, "H W K"], Float[Tensor, "H W"]]:
    """S(Z) and S(1), without autograd.

    w_pq is a Gaussian of the distance in pixels times a factor given by `reference`: 1 for None; for labels [H, W], 1
    if both are equal and not 0, else 0; for a guide [H, W, G], a Gaussian of the distance between the guides. w_pp is
    1.
    """
    if reference is None:
        return _blur(Z, window, sigma), _blur(torch.ones_like(Z[..., :1]), window, sigma)[..., 0]
    sums, norm = Z.clone(), torch.ones_like(Z[..., 0])
    for space, p, q in _pairs(Z.shape[0], Z.shape[1], window, sigma):
        if reference.is_floating_point():
            weights = space * (reference[p] - reference[q]).square_().sum(-1).mul_(-0.5 / sigma_range**2).exp_()
        else:
            weights = space * ((reference[p] == reference[q]) & (reference[p] != 0)).to(Z.dtype)
        sums[p].addcmul_(weights[..., None], Z[q])
        sums[q].addcmul_(weights[..., None], Z[p])
        norm[p] += weights
        norm[q] += weights
    return sums, norm


def _pairs(height: int, width: int, window: int, sigma: float) -> Iterator[tuple[float, tuple, tuple]]:
    """All pairs of pixels within one window, each once, by offset: spatial weight, slices of p, slices of q."""
    reach = window // 2
    for dy in range(min(reach, height - 1) + 1):
        for dx in range(-min(reach, width - 1) if dy else 1, min(reach, width - 1) + 1):
            p = (slice(height - dy), slice(max(0, -dx), width - max(0, dx)))
            q = (slice(dy, None), slice(max(0, dx), width - max(0, -dx)))
            yield exp(-0.5 * (dx * dx + dy * dy) / sigma**2), p, q


def _blur(Z: Float[Tensor, "H W K"], window: int, sigma: float) -> Float[Tensor, "H W K"]:
    """Gaussian sums along one axis after the other, with zeros beyond the borders."""
    for axis in (0, 1):
        sums, length = Z.clone(), Z.shape[axis]
        for shift in range(1, min(window // 2, length - 1) + 1):
            tap = exp(-0.5 * (shift / sigma) ** 2)
            sums.narrow(axis, 0, length - shift).add_(Z.narrow(axis, shift, length - shift), alpha=tap)
            sums.narrow(axis, shift, length - shift).add_(Z.narrow(axis, 0, length - shift), alpha=tap)
        Z = sums
    return Z
