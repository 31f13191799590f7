"""The image loss and its gradient in two compiled passes over the rows.

With x the image, y the target and E = blur(x² + y²), P = blur(xy), m = blur(x), n = blur(y), SSIM per value is
S = (2mn + C1)(2(P - mn) + C2) / ((m² + n² + C1)(E - m² - n² + C2)): four blurred maps, not five. Its gradient is
blur(∂S/∂m) + 2x blur(∂S/∂E) + y blur(∂S/∂P), the window being symmetric. The first pass takes one row at a time through
the vertical blur, the horizontal one, SSIM, its three derivatives and their horizontal blur; the second pass blurs
those vertically. A row is its H x 3 interleaved values, so horizontal neighbours are 3 apart.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gsdff.kernels import kernel, run_parts, split_range
from gsdff.losses.ssim import C1, C2, REACH, TAPS

CHANNELS = 3
_TAPS = tuple(np.float32(tap) for tap in TAPS)
_MARGIN = CHANNELS * REACH
_C1, _C2 = np.float32(C1), np.float32(C2)
_ONE, _TWO = np.float32(1), np.float32(2)  # to numba, an integer times a float32 is a float64
# Sums may be reordered and a*b+c fused; NaN keeps its meaning, as the trainer checks for it.
_FAST = {"contract", "reassoc", "arcp", "nsz"}


def measure(
    image: Float[Tensor, "H W 3"], target: Float[Tensor, "H W 3"], ssim_weight: float
) -> tuple[float, float, float, Float[Tensor, "H W 3"]]:
    """Returns (L1, SSIM, MSE, gradient of (1 - w) L1 + w (1 - SSIM) in `image`) of contiguous float32 images."""
    height, width, channels = image.shape
    x, y = (tensor.numpy().reshape(height, width * channels) for tensor in (image, target))
    derivatives = np.empty((3, *x.shape), np.float32)
    gradient = np.empty_like(x)
    sums = np.empty((height, 3), np.float32)
    l1_scale, ssim_scale = np.float32((1 - ssim_weight) / x.size), np.float32(-ssim_weight / x.size)
    bands = split_range(height, smallest=16)
    run_parts(_compare, [(*band, x, y, derivatives, sums) for band in bands])
    run_parts(_gather, [(*band, x, y, derivatives, l1_scale, ssim_scale, gradient) for band in bands])
    l1, ssim, mse = (float(total) / x.size for total in sums.sum(axis=0, dtype=np.float64))
    return l1, ssim, mse, torch.from_numpy(gradient).view(image.shape)


@kernel(fastmath=_FAST)
def _blur_row(row, out):
    """Horizontal blur of a row with a margin on both sides."""
    for i in range(len(out)):
        total = np.float32(0)
        for tap in range(len(_TAPS)):
            total += _TAPS[tap] * row[i + CHANNELS * tap]
        out[i] = total


@kernel(fastmath=_FAST)
def _compare(first, last, x, y, derivatives, sums):
    """Rows `first` to `last`: sums of |x - y|, S and (x - y)², and S's derivatives blurred horizontally."""
    height, width = x.shape
    padded = np.zeros((4, width + 2 * _MARGIN), np.float32)
    blurred = np.empty((4, width), np.float32)
    slopes = np.zeros((3, width + 2 * _MARGIN), np.float32)
    # one row at a time: numba then knows each to be contiguous
    inner = slice(_MARGIN, _MARGIN + width)
    mean_x, mean_y, square, product = padded[0, inner], padded[1, inner], padded[2, inner], padded[3, inner]
    m, n, e, p = blurred
    by_mean, by_square, by_product = slopes[0, inner], slopes[1, inner], slopes[2, inner]
    for row in range(first, last):
        padded[:] = 0
        for tap in range(max(0, REACH - row), min(len(_TAPS), height + REACH - row)):
            weight, xs, ys = _TAPS[tap], x[row + tap - REACH], y[row + tap - REACH]
            for i in range(width):
                weighted_x, weighted_y = weight * xs[i], weight * ys[i]
                mean_x[i] += weighted_x
                mean_y[i] += weighted_y
                square[i] += weighted_x * xs[i] + weighted_y * ys[i]
                product[i] += weighted_x * ys[i]
        for k in range(4):
            _blur_row(padded[k], blurred[k])
        ssim = np.float32(0)
        for i in range(width):
            means, mean_squares = m[i] * n[i], m[i] * m[i] + n[i] * n[i]
            top1, top2 = _TWO * means + _C1, _TWO * (p[i] - means) + _C2
            inverse1, inverse2 = _ONE / (mean_squares + _C1), _ONE / (e[i] - mean_squares + _C2)
            inverse = inverse1 * inverse2
            value = top1 * top2 * inverse
            ssim += value
            by_mean[i] = _TWO * (n[i] * (top2 - top1) * inverse + value * m[i] * (inverse2 - inverse1))
            by_square[i] = -value * inverse2
            by_product[i] = _TWO * top1 * inverse
        for k in range(3):
            _blur_row(slopes[k], derivatives[k, row])
        absolute, squared = np.float32(0), np.float32(0)
        xs, ys = x[row], y[row]
        for i in range(width):
            error = xs[i] - ys[i]
            absolute += abs(error)
            squared += error * error
        sums[row, 0], sums[row, 1], sums[row, 2] = absolute, ssim, squared


@kernel(fastmath=_FAST)
def _gather(first, last, x, y, derivatives, l1_scale, ssim_scale, gradient):
    """Rows `first` to `last` of the gradient, from the derivatives blurred vertically."""
    height, width = x.shape
    by_mean, by_square, by_product = np.empty((3, width), np.float32)
    for row in range(first, last):
        by_mean[:] = 0
        by_square[:] = 0
        by_product[:] = 0
        for tap in range(max(0, REACH - row), min(len(_TAPS), height + REACH - row)):
            weight, source = _TAPS[tap], row + tap - REACH
            means, squares, products = derivatives[0, source], derivatives[1, source], derivatives[2, source]
            for i in range(width):
                by_mean[i] += weight * means[i]
                by_square[i] += weight * squares[i]
                by_product[i] += weight * products[i]
        xs, ys, out = x[row], y[row], gradient[row]
        for i in range(width):
            error = xs[i] - ys[i]
            l1 = l1_scale * (np.float32(error > 0) - np.float32(error < 0))
            out[i] = l1 + ssim_scale * (by_mean[i] + _TWO * xs[i] * by_square[i] + ys[i] * by_product[i])
