"""A step of Adam on the CPU in one pass, over the columns in use, that clears the gradient behind itself.

Adam (Kingma & Ba 2015) as torch computes it. Bands of the harmonics that are not in use yet have neither gradients nor
moments, so that a step would leave them as they are; they are two thirds of all numbers for most of a short schedule.
"""

import math

import numpy as np
import torch

from gsdff.kernels import kernel, run_parts, split_range


def follow(optimizer: torch.optim.Optimizer, num_columns: int | None = None) -> None:
    """Does a step of torch's Adam for its only parameter, on the CPU, and sets the gradient to zero.

    Only for the first columns of each flattened row, or all; the gradient of the others must be zero, and must always
    have been. Nothing happens without a gradient.
    """
    (group,) = optimizer.param_groups
    (parameter,) = group["params"]
    if parameter.grad is None or parameter.numel() == 0:
        return
    state = optimizer.state[parameter]
    if not state:
        state["step"] = torch.zeros(())
        state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
    state["step"] += 1
    count, (decay1, decay2) = float(state["step"]), group["betas"]
    tensors = parameter.detach(), parameter.grad, state["exp_avg"], state["exp_avg_sq"]
    arrays = tuple(tensor.view(-1).numpy() for tensor in tensors)
    num, width = len(parameter), parameter[0].numel()
    columns = width if num_columns is None else num_columns
    inverse_root = 1 / math.sqrt(1 - decay2**count)
    factors = (group["lr"] / (1 - decay1**count), 1 - decay1, decay2, 1 - decay2, inverse_root, group["eps"])
    numbers = tuple(map(np.float32, factors))
    run_parts(_follow_rows, [(*part, width, columns, *arrays, *numbers) for part in split_range(num)])


@kernel
def _follow_rows(begin, end, width, columns, values, grads, first, second, rate, share1, decay2, share2, root, eps):
    """Rows begin..end, of `width` numbers each, of flat arrays; `root` is 1 / sqrt(1 - decay2^t)."""
    numbers = rate, share1, decay2, share2, root, eps
    if columns == width:
        _follow_range(begin * width, end * width, values, grads, first, second, numbers)
    else:
        for row in range(begin, end):
            _follow_range(row * width, row * width + columns, values, grads, first, second, numbers)


@kernel(fastmath={"contract", "arcp", "nsz"})
def _follow_range(begin, end, values, grads, first, second, numbers):
    rate, share1, decay2, share2, root, eps = numbers
    for i in range(begin, end):
        slope = grads[i]
        mean = first[i] + (slope - first[i]) * share1
        square = second[i] * decay2 + slope * slope * share2
        first[i], second[i] = mean, square
        values[i] -= rate * mean / (np.sqrt(square) * root + eps)
        grads[i] = np.float32(0)
