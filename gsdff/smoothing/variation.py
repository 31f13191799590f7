"""Total variation of a feature map: compiled for float32 on the CPU, plain torch for everything else."""

import torch
from jaxtyping import Float, Integer
from torch import Tensor
from torch.autograd.function import once_differentiable

from gsdff.smoothing.filters import check_map, check_segments


def total_variation(Z: Float[Tensor, "H W K"], segments: Integer[Tensor, "H W"] | None = None) -> Float[Tensor, ""]:
    """Anisotropic total variation per pixel and channel: (Σ |Z[y, x+1] - Z[y, x]| + Σ |Z[y+1, x] - Z[y, x]|) / HWK.

    Sums over all pairs of neighbours inside the map and all channels; the divisor is always the number of values, HWK.
    With `segments`, pairs with different labels count zero: no penalty across the border of a segment. Label 0 is a
    label like any other here. Differentiable in `Z`; the gradient between equal neighbours is 0. float32 on the CPU
    takes one compiled pass, everything else torch.
    """
    check_map(Z)
    if segments is not None:
        check_segments(segments, Z)
        segments = segments.to(Z.device)
    if Z.device.type == "cpu" and Z.dtype == torch.float32:
        return _CompiledVariation.apply(Z, segments)
    total = Z.new_zeros(())
    for axis in (0, 1):
        steps = Z.diff(dim=axis).abs()
        if segments is not None:
            length = Z.shape[axis] - 1
            same = segments.narrow(axis, 0, length) == segments.narrow(axis, 1, length)
            steps = torch.where(same, steps.sum(-1), 0)
        total = total + steps.sum()
    return total / Z.numel()


class _CompiledVariation(torch.autograd.Function):
    """Variation and gradient from the CPU kernel, computed together; the backward pass only scales the gradient."""

    @staticmethod
    def forward(ctx, Z: Tensor, segments: Tensor | None) -> Tensor:
        from gsdff.smoothing.variation_cpu import measure  # loads numba

        variation, gradient = measure(Z, segments)
        ctx.save_for_backward(gradient)
        return torch.tensor(variation)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return grad * gradient, None
