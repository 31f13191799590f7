"""L1, SSIM and squared error with the gradient of the image loss, in four Triton kernels for CUDA.

An image is read as rows of 3 W numbers: the pixel to the right is 3 numbers on, in the same channel. The window of SSIM
is a product of two, so that rows are blurred first, and columns of the result.
"""

# pyright: reportGeneralTypeIssues=false, reportArgumentType=false
# Triton's types are those of the kernels that it makes, not of the functions that they are made of.

import torch
from jaxtyping import Float
from torch import Tensor

from gsdff.losses.ssim import C1, C2, REACH, taps
from gsdff.triton import tl, triton

CHANNELS = 3
BLOCK = 256
"""Numbers of a row in one program."""


@triton.jit
def blur_rows(x, y, weights, blurred, length, size, CHANNELS: tl.constexpr, REACH: tl.constexpr, BLOCK: tl.constexpr):
    """Blurs x, y, x² + y² and xy along the rows, into four maps of `size`."""
    row = tl.program_id(0).to(tl.int64) * length
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mean_x, mean_y = tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32)
    square, product = tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32)
    for tap in tl.static_range(2 * REACH + 1):
        at = column + CHANNELS * (tap - REACH)
        inside = (at >= 0) & (at < length)
        weight = tl.load(weights + tap)
        one = tl.load(x + row + at, mask=inside, other=0.0)
        other = tl.load(y + row + at, mask=inside, other=0.0)
        mean_x += weight * one
        mean_y += weight * other
        square += weight * (one * one + other * other)
        product += weight * (one * other)
    place, inside = blurred + row + column, column < length
    tl.store(place, mean_x, mask=inside)
    tl.store(place + size, mean_y, mask=inside)
    tl.store(place + 2 * size, square, mask=inside)
    tl.store(place + 3 * size, product, mask=inside)


@triton.jit
def compare(
    x, y, weights, blurred, slopes, sums, height, length, size,
    C1: tl.constexpr, C2: tl.constexpr, REACH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Blurs the four maps along the columns; writes slopes of SSIM in the first, third and fourth, and partial sums."""
    line = tl.program_id(0)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    here = column < length
    mean_x, mean_y = tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32)
    square, product = tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32)
    for tap in tl.static_range(2 * REACH + 1):
        row = line + tl.full([BLOCK], tap - REACH, tl.int32)
        inside = here & (row >= 0) & (row < height)
        weight = tl.load(weights + tap)
        place = blurred + row.to(tl.int64) * length + column
        mean_x += weight * tl.load(place, mask=inside, other=0.0)
        mean_y += weight * tl.load(place + size, mask=inside, other=0.0)
        square += weight * tl.load(place + 2 * size, mask=inside, other=0.0)
        product += weight * tl.load(place + 3 * size, mask=inside, other=0.0)
    both, squares = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
    alike_means, alike_spreads = 2 * both + C1, 2 * (product - both) + C2
    means, spreads = squares + C1, square - squares + C2
    below = 1 / (means * spreads)
    ssim = alike_means * alike_spreads * below
    by_mean = 2 * mean_y * (alike_spreads - alike_means) * below + 2 * mean_x * ssim * (1 / spreads - 1 / means)
    at = line.to(tl.int64) * length + column
    tl.store(slopes + at, by_mean, mask=here)
    tl.store(slopes + size + at, -ssim / spreads, mask=here)
    tl.store(slopes + 2 * size + at, 2 * alike_means * below, mask=here)
    apart = tl.load(x + at, mask=here, other=0.0) - tl.load(y + at, mask=here, other=0.0)
    program = sums + 3 * (line * tl.num_programs(1) + tl.program_id(1))
    tl.store(program, tl.sum(tl.abs(apart)))
    tl.store(program + 1, tl.sum(tl.where(here, ssim, 0.0)))
    tl.store(program + 2, tl.sum(apart * apart))


@triton.jit
def blur_slopes(
    slopes, weights, blurred, length, size, CHANNELS: tl.constexpr, REACH: tl.constexpr, BLOCK: tl.constexpr
):
    """Blurs the three slopes along the rows."""
    row = tl.program_id(0).to(tl.int64) * length
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    for which in tl.static_range(3):
        total = tl.zeros([BLOCK], tl.float32)
        for tap in tl.static_range(2 * REACH + 1):
            at = column + CHANNELS * (tap - REACH)
            inside = (at >= 0) & (at < length)
            total += tl.load(weights + tap) * tl.load(slopes + which * size + row + at, mask=inside, other=0.0)
        tl.store(blurred + which * size + row + column, total, mask=column < length)


@triton.jit
def differentiate(
    x, y, weights, blurred, gradient, height, length, size, by_l1, by_ssim, REACH: tl.constexpr, BLOCK: tl.constexpr
):
    """Blurs the slopes along the columns: the gradient of `by_l1` L1 + `by_ssim` SSIM, both as sums."""
    line = tl.program_id(0)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    here = column < length
    mean, square, product = (
        tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32)
    )  # fmt: skip
    for tap in tl.static_range(2 * REACH + 1):
        row = line + tl.full([BLOCK], tap - REACH, tl.int32)
        inside = here & (row >= 0) & (row < height)
        weight = tl.load(weights + tap)
        place = blurred + row.to(tl.int64) * length + column
        mean += weight * tl.load(place, mask=inside, other=0.0)
        square += weight * tl.load(place + size, mask=inside, other=0.0)
        product += weight * tl.load(place + 2 * size, mask=inside, other=0.0)
    at = line.to(tl.int64) * length + column
    one = tl.load(x + at, mask=here, other=0.0)
    other = tl.load(y + at, mask=here, other=0.0)
    sign = tl.where(one > other, 1.0, tl.where(one < other, -1.0, 0.0))
    slope = by_l1 * sign + by_ssim * (mean + 2 * one * square + other * product)
    tl.store(gradient + at, slope, mask=here)


def measure(
    image: Float[Tensor, "H W 3"], target: Float[Tensor, "H W 3"], ssim_weight: float
) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Float[Tensor, ""], Float[Tensor, "H W 3"]]:
    """L1, SSIM and squared error, as means, and the gradient of (1 - w) L1 + w (1 - SSIM) in the image.

    Both images are contiguous float32. Sums are in a fixed order: the same images give the same bits.
    """
    height, length, size = image.shape[0], image.shape[1] * CHANNELS, image.numel()
    grid = (height, triton.cdiv(length, BLOCK))
    weights = taps(image.dtype, image.device)
    blurred, slopes, gradient = image.new_empty(4 * size), image.new_empty(3 * size), torch.empty_like(image)
    sums = image.new_empty(grid[0] * grid[1], 3)
    shared = {"REACH": REACH, "BLOCK": BLOCK, "enable_fp_fusion": True}
    blur_rows[grid](image, target, weights, blurred, length, size, CHANNELS=CHANNELS, **shared)
    compare[grid](image, target, weights, blurred, slopes, sums, height, length, size, C1=C1, C2=C2, **shared)
    blur_slopes[grid](slopes, weights, blurred, length, size, CHANNELS=CHANNELS, **shared)
    by_l1, by_ssim = (1 - ssim_weight) / size, -ssim_weight / size
    differentiate[grid](image, target, weights, blurred, gradient, height, length, size, by_l1, by_ssim, **shared)
    l1, ssim, mse = (sums.sum(0) / size).unbind()
    return l1, ssim, mse, gradient
