"""Weighted sums of the filters on the CPU: S(Z)_p = Σ_q w_pq Z_q, float32; each symmetric weight is computed once.

A row is laid out as K planes of W values with zeros at both ends, so that the innermost loops run along x whatever K is
and a neighbour is a shifted read. Row y is paired with the rows y..y+reach; both use the weights of such a pair. One
extra plane holds ones; its sum is the norm S(1). Rows stay in a ring buffer as long as a row below needs them.
"""

from math import exp

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gsdff.kernels import kernel, run_parts, split_range

_GROUP = 4  # taps, or channels of the guide, added at a time: fewer reads and writes of the sums
_FAST = {"contract", "reassoc", "nsz"}  # sums may be reordered and a*b+c fused
_U = np.uint64  # an unsigned index is followed by no test for counting from the end, which would keep loops scalar
_LOG2_E = 1 / np.log(2)
_EXP2 = tuple(np.float32(np.log(2) ** order / np.prod(np.arange(1, order + 1))) for order in range(7))
_LOWEST, _HALF = np.float32(-126), np.float32(0.5)


def weighted_sums(
    Z: Float[Tensor, "H W K"], reference: Tensor | None, window: int, sigma: float, sigma_range: float
) -> tuple[Float[Tensor, "H W K"], Float[Tensor, "H W"]]:
    """S(Z) and S(1) of float32 tensors; `reference` determines the weights as in `torch_filters.weighted_sums`."""
    height, width, num_channels = Z.shape
    reach = window // 2
    z = Z.detach().contiguous().numpy()
    taps = np.array([exp(-0.5 * ((tap - reach) / sigma) ** 2) for tap in range(window)], np.float32)
    out, norm = np.empty_like(z), np.empty((height, width), np.float32)
    bands = split_range(height, smallest=16)
    if reference is None:
        fixed = (z.reshape(height, -1), num_channels, taps, out.reshape(height, -1))
        run_parts(_blur, [(*band, *fixed) for band in bands])
        norms = [np.convolve(np.ones(length, np.float32), taps)[reach : reach + length] for length in (height, width)]
        return torch.from_numpy(out), torch.from_numpy(np.outer(*norms).astype(np.float32))
    if reference.is_floating_point():
        guide, labels = reference.detach().contiguous().numpy(), np.empty((0, 0), np.int64)
    else:
        guide, labels = np.empty((0, 0, 0), np.float32), reference.to(torch.int64).contiguous().numpy()
    sharpness = np.float32(max(-0.5 * _LOG2_E / sigma_range**2, -1e30))  # finite, so that its product with 0 is 0
    guided_by_z = guide.shape == z.shape and guide.ctypes.data == z.ctypes.data
    fixed = (z, guide, guided_by_z, labels, taps, sharpness, out, norm)
    run_parts(_sum_rows, [(*band, *fixed) for band in bands])
    return torch.from_numpy(out), torch.from_numpy(norm)


@kernel(fastmath=_FAST)
def _blur(first, last, z, step, taps, out):
    """Rows `first` to `last` of the plain blur; a row is its W x K interleaved values."""
    height, length = z.shape
    reach = len(taps) // 2
    margin = reach * step
    padded = np.zeros(length + 2 * margin, np.float32)
    inner = padded[margin : margin + length]
    for row in range(first, last):
        inner[:] = 0
        for tap in range(max(0, reach - row), min(len(taps), height + reach - row)):
            weight, values = taps[tap], z[row + tap - reach]
            for i in range(length):
                inner[i] += weight * values[i]
        sums = out[row]
        sums[:] = 0
        for tap in range(len(taps)):
            weight, values = taps[tap], padded[tap * step : tap * step + length]
            for i in range(length):
                sums[i] += weight * values[i]


@kernel
def _sum_rows(first, last, z, guide, guided_by_z, labels, taps, sharpness, out, norm):
    """Rows `first` to `last` of S(Z) and S(1). A row's terms are added from top to bottom, whatever the band."""
    height, width, num_channels = z.shape
    reach = len(taps) // 2
    slots = reach + 1
    margin = reach + _GROUP - 1
    # an odd number of cache lines, so that the planes of a row do not compete for the same ones
    stride = (width + 2 * margin + 15) // 16
    stride = 16 * (stride + 1 - stride % 2)
    planes = _round_up(num_channels + 1)
    values = np.zeros((slots, planes * stride), np.float32)
    sums = np.zeros((slots, (num_channels + 1) * stride), np.float32)
    weights = np.zeros(_round_up(len(taps)) * stride, np.float32)
    guide_channels = num_channels if guided_by_z else guide.shape[2]
    guides = values if guided_by_z else np.zeros((slots, _round_up(guide_channels) * stride), np.float32)
    for slot in range(slots):
        values[slot, num_channels * stride + margin : num_channels * stride + margin + width] = 1
    num_laid = max(0, first - reach)
    for row in range(num_laid, last):
        while num_laid <= min(row + reach, height - 1):
            slot = num_laid % slots
            _load_row(z[num_laid], stride, margin, values[slot])
            if not guided_by_z and len(guide):
                _load_row(guide[num_laid], stride, margin, guides[slot])
            sums[slot] = 0
            num_laid += 1
        here = row % slots
        for below in range(max(0, first - row), min(reach, height - 1 - row) + 1):
            there = (row + below) % slots
            first_tap = 0 if below else slots  # in one row, each pair once
            weights[:] = 0
            if len(labels):
                _weigh_labels(labels[row], labels[row + below], taps, below, first_tap, stride, margin, weights)
            else:
                _weigh_distances(
                    guides[here], guides[there], guide_channels, sharpness, width, taps, below, first_tap, stride,
                    margin, weights,
                )  # fmt: skip
            _exchange(
                weights, first_tap, len(taps), values[here], values[there], sums[here], sums[there], row >= first,
                row + below < last, num_channels + 1, width, stride, margin,
            )  # fmt: skip
        if row >= first:
            _store_row(values[here], sums[here], stride, margin, out[row], norm[row])


@kernel(forceinline=True)
def _round_up(count):
    return (count + _GROUP - 1) // _GROUP * _GROUP


@kernel
def _load_row(pixels, stride, margin, planes):
    """Copies a row's pixels [W, K] into planes."""
    width, num_channels = pixels.shape
    for x in range(width):
        for k in range(num_channels):
            planes[_U(k * stride + margin + x)] = pixels[x, k]


@kernel
def _store_row(values, sums, stride, margin, out, norm):
    """Writes a row's sums, with the pixels' own terms, whose weight is 1."""
    width, num_channels = out.shape
    for x in range(width):
        for k in range(num_channels):
            out[x, k] = sums[_U(k * stride + x)] + values[_U(k * stride + margin + x)]
        norm[x] = sums[_U(num_channels * stride + x)] + np.float32(1)


@kernel
def _weigh_labels(here, there, taps, below, first_tap, stride, margin, weights):
    """Weights between two rows: the spatial ones if the labels are equal and not 0."""
    width, reach = len(here), len(taps) // 2
    for tap in range(first_tap, len(taps)):
        space = taps[reach + below] * taps[tap]
        shift = tap - reach
        for x in range(max(0, -shift), min(width, width - shift)):
            label = here[x]
            if label == there[_U(x + shift)] and label != 0:
                weights[_U(tap * stride + margin + x)] = space


@kernel
def _weigh_distances(
    here, there, num_channels, sharpness, width, taps, below, first_tap, stride, margin, weights
):  # fmt: skip
    """Weights between two rows: spatial ones times Gaussians of the distance between the guides."""
    reach = len(taps) // 2
    for channel in range(0, num_channels, _GROUP):
        plane = channel * stride + margin
        for tap in range(first_tap, len(taps)):
            shifted = plane + tap - reach
            _add_squares(
                weights, _U(tap * stride + margin), here, _U(plane), there, _U(shifted), _U(stride), _U(width)
            )  # fmt: skip
    for tap in range(first_tap, len(taps)):
        shift = tap - reach
        start = min(width, max(0, -shift))
        stop = max(start, min(width, width - shift))
        row = tap * stride + margin
        weights[row : row + start] = 0
        weights[row + stop : row + width] = 0
        _decay(weights[row + start : row + stop], sharpness, taps[reach + below] * taps[tap])


@kernel(fastmath=_FAST)
def _add_squares(squares, at, here, a0, there, b0, stride, width):
    """Adds the squared differences of four planes of a row to four of another to `squares`."""
    a1, b1 = a0 + stride, b0 + stride
    a2, b2 = a1 + stride, b1 + stride
    a3, b3 = a2 + stride, b2 + stride
    for x in range(width):
        d0, d1 = here[a0 + x] - there[b0 + x], here[a1 + x] - there[b1 + x]
        d2, d3 = here[a2 + x] - there[b2 + x], here[a3 + x] - there[b3 + x]
        squares[at + x] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)


@kernel(fastmath=_FAST)
def _decay(squares, sharpness, space):
    """Computes space · 2^(sharpness · x) in place, relative error below 1e-6; smaller powers become 2^-126.

    2^(n + f) with n the nearest integer and |f| <= 1/2: n goes into the exponent's bits, 2^f is a polynomial.
    """
    for x in range(len(squares)):
        power = max(squares[x] * sharpness, _LOWEST)
        whole = np.int32(power - _HALF)
        rest = power - np.float32(whole)
        value = _EXP2[6]
        for order in (5, 4, 3, 2, 1, 0):
            value = value * rest + _EXP2[order]
        squares[x] = space * value * np.int32((whole + np.int32(127)) << np.int32(23)).view(np.float32)


@kernel
def _exchange(
    weights, first_tap, window, z_here, z_there, sums_here, sums_there, into_here, into_there, num_planes, width,
    stride, margin,
):  # fmt: skip
    """Adds to the sums of two rows the weighted values of the other row."""
    reach = window // 2
    step, one, count = _U(stride), _U(1), _U(width)
    for plane in range(num_planes):
        at, z = _U(plane * stride), plane * stride + margin
        for tap in range(first_tap // _GROUP * _GROUP, window, _GROUP):
            shift, row = tap - reach, tap * stride + margin
            if into_here:
                _add_products(sums_here, at, weights, _U(row), step, z_there, _U(z + shift), one, count)
            if into_there:  # the same weights, seen from the other end
                _add_products(sums_there, at, weights, _U(row - shift), step - one, z_here, _U(z - shift), -one, count)


@kernel(fastmath=_FAST)
def _add_products(sums, at, weights, w0, weight_step, values, z0, value_step, width):
    """Adds the products of weights and values of four taps; each tap lies one step further."""
    w1, z1 = w0 + weight_step, z0 + value_step
    w2, z2 = w1 + weight_step, z1 + value_step
    w3, z3 = w2 + weight_step, z2 + value_step
    for x in range(width):
        sums[at + x] += (weights[w0 + x] * values[z0 + x] + weights[w1 + x] * values[z1 + x]) + (
            weights[w2 + x] * values[z2 + x] + weights[w3 + x] * values[z3 + x]
        )
