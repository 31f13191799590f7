"""(1 - w) L1 + w (1 - SSIM) between two images, chosen by the tensors' device: plain torch, or compiled on the CPU."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gsdff.losses.window import C1, C2, REACH, TAPS


@dataclass(frozen=True)
class ImageLoss:
    """How far an image is from its target. Only `loss` carries a gradient."""

    loss: Float[Tensor, ""]
    """(1 - w) L1 + w (1 - SSIM)."""
    l1: Float[Tensor, ""]
    """Mean absolute error."""
    ssim: Float[Tensor, ""]
    """Mean structural similarity, 1 for equal images."""
    mse: Float[Tensor, ""]
    """Mean squared error."""


def image_loss(image: Float[Tensor, "H W 3"], target: Float[Tensor, "H W 3"], ssim_weight: float) -> ImageLoss:
    """The loss of 3DGS (Kerbl et al. 2023, eq. 7), differentiable in `image`.

    SSIM has the window of Wang et al. (11 pixels, sigma 1.5) and takes what lies outside the images as black, as 3DGS
    does, so images of any size have one. float32 on the CPU takes one compiled pass; everything else is torch.
    """
    if image.device.type == "cpu" and image.dtype == torch.float32:
        loss, l1, ssim, mse = _CompiledImageLoss.apply(image, target, ssim_weight)
        return ImageLoss(loss, l1, ssim, mse)
    l1 = (image - target).abs().mean()
    ssim = ssim_map(image, target).mean()
    mse = (image.detach() - target).square().mean()
    return ImageLoss((1 - ssim_weight) * l1 + ssim_weight * (1 - ssim), l1.detach(), ssim.detach(), mse)


def ssim_map(image: Float[Tensor, "H W 3"], target: Float[Tensor, "H W 3"]) -> Float[Tensor, "H W 3"]:
    """SSIM at every pixel and channel (Wang et al. 2004, eq. 13), differentiable; black beyond the borders."""
    x, y = image.permute(2, 0, 1), target.permute(2, 0, 1)
    mean_x, mean_y, square, product = _blur(torch.stack([x, y, x * x + y * y, x * y]))
    mean_square, mean_product = mean_x * mean_x + mean_y * mean_y, mean_x * mean_y
    likeness = (2 * mean_product + C1) * (2 * (product - mean_product) + C2)
    return (likeness / ((mean_square + C1) * (square - mean_square + C2))).permute(1, 2, 0)


def _blur(maps: Float[Tensor, "M 3 H W"]) -> Float[Tensor, "M 3 H W"]:
    """The window's weighted means, zero beyond the borders; the two axes one after the other."""
    planes = maps.flatten(0, 1)[None]
    num = planes.shape[1]
    taps = planes.new_tensor(TAPS).expand(num, 1, -1)
    planes = F.conv2d(planes, taps[..., None], padding=(REACH, 0), groups=num)
    return F.conv2d(planes, taps[:, :, None], padding=(0, REACH), groups=num)[0].unflatten(0, maps.shape[:2])


class _CompiledImageLoss(torch.autograd.Function):
    """The CPU kernel gives the loss and its gradient at once; the backward pass only scales it."""

    @staticmethod
    def forward(ctx, image: Tensor, target: Tensor, ssim_weight: float) -> tuple[Tensor, ...]:
        from gsdff.losses.cpu import measure  # numba is loaded where it is used

        l1, ssim, mse, gradient = measure(image.detach().contiguous(), target.contiguous(), ssim_weight)
        ctx.save_for_backward(gradient)
        results = torch.tensor([(1 - ssim_weight) * l1 + ssim_weight * (1 - ssim), l1, ssim, mse]).unbind()
        ctx.mark_non_differentiable(*results[1:])
        return results

    @staticmethod
    def backward(ctx, grad_loss: Tensor, *_unused: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return grad_loss * gradient, None, None
