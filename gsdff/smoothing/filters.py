"""Filters on a feature map, S(Z) / S(1) with S(Z)_p = Σ_q w_pq Z_q over a square window around p.

The weights are symmetric and carry no gradient, so the gradient in Z is S(grad / S(1)), the same kind of sum. float32
on the CPU takes compiled kernels, everything else torch; both compute a pair's weight when it is needed, so memory does
not grow with the window. Neighbours outside the map do not count. Constants stay constant.
"""

from math import isfinite

import torch
from jaxtyping import Float, Integer
from torch import Tensor
from torch.autograd.function import once_differentiable

from gsdff.smoothing import torch_filters


def segment_blur(
    Z: Float[Tensor, "H W K"], segments: Integer[Tensor, "H W"], *, window: int, sigma: float
) -> Float[Tensor, "H W K"]:
    """Gaussian blur inside each segment: a neighbour counts iff it has the same label. Differentiable in `Z`.

    Label 0 means no segment: such pixels are returned unchanged. `window` (odd) and `sigma` are in pixels. A label may
    cover several regions that do not touch; they mix if they lie in one window.
    """
    _check(Z, window, sigma=sigma)
    check_segments(segments, Z)
    return _Average.apply(Z, segments.to(Z.device), window, sigma, 1.0)


def segment_shares(segments: Integer[Tensor, "H W"], *, window: int, sigma: float) -> Float[Tensor, "H W"]:
    """Share of a plain blur's weights that `segment_blur` uses: S(1) with segments over S(1) without.

    float32, in (0, 1]; where the label is 0, only the pixel itself counts. `window` and `sigma` as in `segment_blur`.
    """
    ones = torch.ones(*segments.shape, 1, device=segments.device)
    _check(ones, window, sigma=sigma)
    return _weighted_sums(ones, segments, window, sigma, 1.0)[1] / _weighted_sums(ones, None, window, sigma, 1.0)[1]


def bilateral_blur(
    Z: Float[Tensor, "H W K"],
    guide: Float[Tensor, "H W G"] | None = None,
    *,
    window: int,
    sigma_space: float,
    sigma_range: float,
) -> Float[Tensor, "H W K"]:
    """Blur with weights exp(-|Δx|² / 2σ_space²) exp(-‖guide_p - guide_q‖² / 2σ_range²). Differentiable in `Z`.

    Without a `guide`, `Z` guides itself. No gradient passes through the weights. `window` (odd) and `sigma_space` are
    in pixels, `sigma_range` in the units of the guide.
    """
    _check(Z, window, sigma_space=sigma_space, sigma_range=sigma_range)
    guide = Z if guide is None else guide
    if guide.ndim != 3 or guide.shape[:2] != Z.shape[:2] or not guide.is_floating_point():
        raise ValueError(
            f"the guide must be floats of shape {tuple(Z.shape[:2])} + (G,), "
            f"got {guide.dtype} of shape {tuple(guide.shape)}"
        )
    return _Average.apply(Z, guide.detach().to(Z), window, sigma_space, sigma_range)


def gaussian_blur(Z: Float[Tensor, "H W K"], *, window: int, sigma: float) -> Float[Tensor, "H W K"]:
    """Gaussian blur, normalised at the borders. Differentiable in `Z`; `window` (odd) and `sigma` are in pixels."""
    _check(Z, window, sigma=sigma)
    return _Average.apply(Z, None, window, sigma, 1.0)


def check_map(Z: Tensor) -> None:
    """Raises ValueError for anything but a float map [H, W, K]."""
    if Z.ndim != 3 or not Z.is_floating_point():
        raise ValueError(f"a feature map is floats of shape (H, W, K), got {Z.dtype} of shape {tuple(Z.shape)}")


def check_segments(segments: Tensor, Z: Tensor) -> None:
    """Raises ValueError for anything but integers [H, W] as large as the map."""
    if segments.shape != Z.shape[:2] or segments.is_floating_point() or segments.is_complex():
        raise ValueError(
            f"segments must be integers of shape {tuple(Z.shape[:2])}, "
            f"got {segments.dtype} of shape {tuple(segments.shape)}"
        )


def _check(Z: Tensor, window: int, **sigmas: float) -> None:
    check_map(Z)
    if window < 1 or window % 2 != 1:
        raise ValueError(f"window must be odd and at least 1, got {window}")
    for name, sigma in sigmas.items():
        if not (sigma > 0 and isfinite(sigma)):
            raise ValueError(f"{name} must be positive and finite, got {sigma}")


class _Average(torch.autograd.Function):
    """Filter S(Z) / S(1); `reference` determines the weights as in `torch_filters.weighted_sums`."""

    @staticmethod
    def forward(ctx, Z: Tensor, reference: Tensor | None, window: int, sigma: float, sigma_range: float) -> Tensor:
        sums, norm = _weighted_sums(Z, reference, window, sigma, sigma_range)
        ctx.save_for_backward(reference, norm)
        ctx.settings = window, sigma, sigma_range
        return sums.div_(norm[..., None])

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        reference, norm = ctx.saved_tensors
        grad_Z, _ = _weighted_sums(grad / norm[..., None], reference, *ctx.settings)
        return grad_Z, None, None, None, None


def _weighted_sums(Z: Tensor, *settings) -> tuple[Tensor, Tensor]:
    if Z.device.type == "cpu" and Z.dtype == torch.float32:
        from gsdff.smoothing.cpu import weighted_sums  # loads numba

        return weighted_sums(Z, *settings)
    return torch_filters.weighted_sums(Z, *settings)
