"""Sparse matrix product of graph diffusion on the CPU, float32: row by row, terms in the order of their list."""

import numpy as np
import torch
from jaxtyping import Float, Float64, Int32, Int64
from torch import Tensor

from gsdff.kernels import kernel, run_parts, split_range


def multiply(
    diagonal: Float64[Tensor, "N"],
    offsets: Int64[Tensor, "N+1"],
    columns: Int32[Tensor, "E"],
    values: Float64[Tensor, "E"],
    z: Float[Tensor, "M K"],
) -> Float[Tensor, "N K"]:
    """The product of a sparse matrix (`graph._Matrix`) and a float32 one."""
    rows = z.detach().contiguous().numpy()
    product = np.empty((len(diagonal), rows.shape[1]), rows.dtype)
    fixed = (diagonal.numpy(), offsets.numpy(), columns.numpy(), values.numpy(), rows, product)
    run_parts(_multiply_rows, [(*part, *fixed) for part in split_range(len(product))])
    return torch.from_numpy(product)


@kernel(fastmath={"contract"})
def _multiply_rows(first, last, diagonal, offsets, columns, values, z, product):
    """Computes rows `first` to `last` of the product."""
    num_channels = z.shape[1]
    for row in range(first, last):
        out, here, weight = product[row], z[row], np.float32(diagonal[row])
        for k in range(num_channels):
            out[k] = weight * here[k]
        for entry in range(offsets[row], offsets[row + 1]):
            there, weight = z[columns[entry]], np.float32(values[entry])
            for k in range(num_channels):
                out[k] += weight * there[k]
