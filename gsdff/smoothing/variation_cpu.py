"""Total variation and its gradient in one compiled pass over the rows."""

import numpy as np
import torch
from jaxtyping import Float, Integer
from torch import Tensor

from gsdff.kernels import kernel, run_parts, split_range

# Sums may be reordered and a*b+c fused; NaN keeps its meaning, as the trainer checks for it.
_FAST = {"contract", "reassoc", "nsz"}


def measure(Z: Float[Tensor, "H W K"], segments: Integer[Tensor, "H W"] | None) -> tuple[float, Float[Tensor, "H W K"]]:
    """The total variation of a float32 map and its gradient."""
    height, _, num_channels = Z.shape
    z = Z.detach().contiguous().numpy().reshape(height, -1)
    labels = torch.empty(height, 0) if segments is None else segments
    gradient, sums = np.empty_like(z), np.empty(height, np.float32)
    fixed = (z, labels.to(torch.int64).contiguous().numpy(), num_channels, np.float32(1 / z.size), gradient, sums)
    run_parts(_measure_rows, [(*band, *fixed) for band in split_range(height, smallest=16)])
    return float(sums.sum(dtype=np.float64)) / z.size, torch.from_numpy(gradient).view(Z.shape)


@kernel
def _measure_rows(first, last, z, labels, step, scale, gradient, sums):
    """Rows `first` to `last`: the gradient, and the sum of the differences to the right and below."""
    height, length = z.shape
    for row in range(first, last):
        here, names, out = z[row], labels[row], gradient[row]
        out[:] = 0
        right, left = here[step:], here[: length - step]
        sums[row] = _pull(left, right, names[:-1], names[1:], step, scale, out[: length - step])
        _pull(right, left, names[1:], names[:-1], step, scale, out[step:])
        if row + 1 < height:
            sums[row] += _pull(here, z[row + 1], names, labels[row + 1], step, scale, out)
        if row > 0:
            _pull(here, z[row - 1], names, labels[row - 1], step, scale, out)


@kernel
def _pull(near, far, near_labels, far_labels, step, scale, out):
    """Returns Σ |near - far| over equal labels, and adds its gradient in `near`, times `scale`, to `out`."""
    if len(near_labels) == 0:  # no segments, or nothing to compare
        return _pull_run(near, far, scale, out)
    total = np.float32(0)
    start = 0
    while start < len(near_labels):
        stop = start
        while stop < len(near_labels) and near_labels[stop] == far_labels[stop]:
            stop += 1
        run = slice(start * step, stop * step)
        total += _pull_run(near[run], far[run], scale, out[run])
        start = stop + 1
    return total


@kernel(fastmath=_FAST)
def _pull_run(near, far, scale, out):
    total = np.float32(0)
    for i in range(len(near)):
        difference = near[i] - far[i]
        total += abs(difference)
        out[i] += scale * (np.float32(difference > 0) - np.float32(difference < 0))
    return total
