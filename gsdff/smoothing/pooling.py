"""Means over whole segments, and the share of a pixel's surroundings that lies in its own segment."""

from math import ceil

import torch
from jaxtyping import Float, Integer
from torch import Tensor
from torch.autograd.function import once_differentiable

from gsdff.smoothing.filters import check_map, check_segments, segment_shares

MOST_LABELS = 1 << 16
"""Labels that a map on a card may have: masks store 16 bits."""


def segment_mean(Z: Float[Tensor, "H W K"], segments: Integer[Tensor, "H W"]) -> Float[Tensor, "H W K"]:
    """Replaces every pixel by the mean over all pixels with its label: `segment_blur` with infinite window and sigma.

    Label 0 means no segment: such pixels are returned unchanged. Differentiable in `Z`.
    """
    check_map(Z)
    check_segments(segments, Z)
    return _Mean.apply(Z, segments.to(Z.device, torch.long).flatten())


class _Mean(torch.autograd.Function):
    """Segment mean: a symmetric projection, so the gradient is the segment mean of the incoming gradient."""

    @staticmethod
    def forward(ctx, Z: Tensor, labels: Tensor) -> Tensor:
        ctx.save_for_backward(labels)
        return _pool(Z, labels)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        return _pool(grad, *ctx.saved_tensors), None


def _pool(Z: Float[Tensor, "H W K"], labels: Integer[Tensor, "P"]) -> Float[Tensor, "H W K"]:
    pixels = Z.detach().reshape(len(labels), -1)
    counts = _count(labels)
    # In float32 a sum over a segment of the photo's size would be off by a thousandth.
    sums = pixels.new_zeros(len(counts), pixels.shape[1], dtype=torch.float64).index_add_(0, labels, pixels.double())
    means = (sums / counts.clamp_min(1)[:, None]).to(Z)
    return torch.where((labels > 0)[:, None], means[labels], pixels).reshape(Z.shape)


def _count(labels: Integer[Tensor, "P"]) -> Integer[Tensor, "L"]:
    """Number of pixels of each label; on a card of `MOST_LABELS`, so that nothing waits for the largest one."""
    if not labels.is_cuda:
        return torch.bincount(labels)
    return labels.new_zeros(MOST_LABELS).index_add_(0, labels, torch.ones_like(labels))


def purity(segments: Integer[Tensor, "H W"], sigma: float) -> Float[Tensor, "H W"]:
    """Share of a pixel's surroundings, weighted by a Gaussian of `sigma` pixels, that has the pixel's own label.

    1 inside a segment, 1/2 at a straight border; places outside the map do not count. Pixels of label 0, which are in
    no segment, get 1.
    """
    shares = segment_shares(segments, window=2 * ceil(2 * sigma) + 1, sigma=sigma)
    return torch.where(segments > 0, shares, 1)
