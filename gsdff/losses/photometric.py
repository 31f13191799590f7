"""Image loss (1 - w) L1 + w (1 - SSIM): compiled for float32 on the CPU and on a card, plain torch for all else."""

import logging
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gsdff.device import find_triton_obstacle
from gsdff.losses.ssim import ssim_map

log = logging.getLogger("gsdff")


@dataclass(frozen=True)
class ImageLoss:
    """Errors of an image against its target. Only `loss` carries a gradient."""

    loss: Float[Tensor, ""]
    """Training loss (1 - w) L1 + w (1 - SSIM)."""
    l1: Float[Tensor, ""]
    """Mean absolute error."""
    ssim: Float[Tensor, ""]
    """Mean structural similarity, 1 for equal images."""
    mse: Float[Tensor, ""]
    """Mean squared error."""


def image_loss(
    image: Float[Tensor, "H W 3"],
    target: Float[Tensor, "H W 3"],
    ssim_weight: float,
    mask: Bool[Tensor, "H W"] | None = None,
) -> ImageLoss:
    """The loss of 3DGS (Kerbl et al. 2023, eq. 7), differentiable in `image`.

    Pixels outside `mask` are black in both images: they add nothing to the loss, and windows at the mask's edge see
    nothing of what it hides. The loss stays a mean over all pixels, so that a pixel that counts has the same weight in
    every photo; the other three are means over the mask.

    SSIM uses the window of Wang et al. (11 pixels, sigma 1.5) and black pixels outside the images, as 3DGS does, so it
    is defined for images of any size. float32 takes one compiled pass on the CPU, and four kernels on a card that runs
    Triton; everything else is torch.
    """
    if mask is not None:
        image, target = (torch.where(mask[..., None], picture, 0) for picture in (image, target))
        whole = image_loss(image, target, ssim_weight)
        share = mask.float().mean().clamp_min(1 / mask.numel())
        return ImageLoss(whole.loss, whole.l1 / share, 1 - (1 - whole.ssim) / share, whole.mse / share)
    if image.dtype == torch.float32 and (not image.is_cuda or _runs_triton()):
        loss, l1, ssim, mse = _CompiledImageLoss.apply(image, target, ssim_weight)
        return ImageLoss(loss, l1, ssim, mse)
    l1 = (image - target).abs().mean()
    ssim = ssim_map(image, target).mean()
    mse = (image.detach() - target).square().mean()
    return ImageLoss((1 - ssim_weight) * l1 + ssim_weight * (1 - ssim), l1.detach(), ssim.detach(), mse)


@cache
def _runs_triton() -> bool:
    reason = find_triton_obstacle()
    if reason:
        log.info("the image loss is computed by torch, more slowly than by gsdff's own kernels: %s", reason)
    return not reason


class _CompiledImageLoss(torch.autograd.Function):
    """Loss and gradient from kernels, computed together; the backward pass only scales the gradient."""

    @staticmethod
    def forward(ctx, image: Tensor, target: Tensor, ssim_weight: float) -> tuple[Tensor, ...]:
        if image.is_cuda:
            from gsdff.losses.cuda import measure  # loads Triton
        else:
            from gsdff.losses.cpu import measure  # loads numba

        l1, ssim, mse, gradient = measure(image.detach().contiguous(), target.contiguous(), ssim_weight)
        ctx.save_for_backward(gradient)
        results: Any = ((1 - ssim_weight) * l1 + ssim_weight * (1 - ssim), l1, ssim, mse)
        if not image.is_cuda:  # its kernel gives numbers
            results = torch.tensor(results).unbind()
        ctx.mark_non_differentiable(*results[1:])
        return results

    @staticmethod
    def backward(ctx, grad_loss: Tensor, *_unused: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return grad_loss * gradient, None, None
