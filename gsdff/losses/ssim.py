"""Structural similarity (Wang et al. 2004) with 3DGS's window, in plain torch, and the constants of both versions."""

import math
from functools import cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

SIGMA = 1.5
REACH = 5
"""Pixels the window reaches to either side: 11 taps."""
C1 = 0.01**2
"""Stabilises the comparison of means, for images in [0, 1]."""
C2 = 0.03**2
"""Stabilises the comparison of variances."""

_weights = [math.exp(-(offset**2) / (2 * SIGMA**2)) for offset in range(-REACH, REACH + 1)]
TAPS = tuple(weight / sum(_weights) for weight in _weights)
"""The window along one axis, of sum 1."""


def ssim_map(image: Float[Tensor, "H W 3"], target: Float[Tensor, "H W 3"]) -> Float[Tensor, "H W 3"]:
    """SSIM at every pixel and channel (Wang et al. 2004, eq. 13), differentiable; black beyond the borders."""
    x, y = image.permute(2, 0, 1), target.permute(2, 0, 1)
    mean_x, mean_y, square, product = _blur(torch.stack([x, y, x * x + y * y, x * y]))
    mean_square, mean_product = mean_x * mean_x + mean_y * mean_y, mean_x * mean_y
    likeness = (2 * mean_product + C1) * (2 * (product - mean_product) + C2)
    return (likeness / ((mean_square + C1) * (square - mean_square + C2))).permute(1, 2, 0)


def _blur(maps: Float[Tensor, "M 3 H W"]) -> Float[Tensor, "M 3 H W"]:
    """Weighted means over the window, zero beyond the borders; one axis after the other."""
    planes = maps.flatten(0, 1)[None]
    num = planes.shape[1]
    window = taps(planes.dtype, planes.device).expand(num, 1, -1)
    planes = F.conv2d(planes, window[..., None], padding=(REACH, 0), groups=num)
    return F.conv2d(planes, window[:, :, None], padding=(0, REACH), groups=num)[0].unflatten(0, maps.shape[:2])


@cache
def taps(dtype: torch.dtype, device: torch.device) -> Float[Tensor, "11"]:
    """The window along one axis on a device, where it is sent once."""
    return torch.tensor(TAPS, dtype=dtype, device=device)
