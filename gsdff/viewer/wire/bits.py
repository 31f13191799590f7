"""Gaussians of a mask as bits in a message, first bit first (numpy's packbits)."""

import zlib

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from gsdff.errors import UserError


def read_rows(deflated: bytes, num_gaussians: int) -> Bool[Tensor, "N"]:
    """Gaussians of a mask, as `read_bits`, from its bits deflated by zlib; raises `UserError` for anything else."""
    if not deflated:
        return read_bits(b"", num_gaussians)
    expected, reader = -(-num_gaussians // 8), zlib.decompressobj()
    try:
        bits = reader.decompress(deflated, expected + 1)  # whatever it would inflate to
    except zlib.error as error:
        raise UserError(f"message: rows: expected deflated bits, got {error}") from error
    if not reader.eof or reader.unused_data:
        raise UserError(f"message: rows: expected {expected} bytes, deflated, for {num_gaussians:,} Gaussians")
    return read_bits(bits, num_gaussians)


def read_bits(bits: bytes, num_gaussians: int) -> Bool[Tensor, "N"]:
    """Gaussians of a mask, first bit first (numpy's packbits), on the CPU; none for no bits.

    Raises `UserError` for bits of another number of Gaussians.
    """
    expected = -(-num_gaussians // 8)
    if not bits:
        return torch.zeros(num_gaussians, dtype=torch.bool)
    if len(bits) != expected:
        raise UserError(f"message: expected {expected} bytes for {num_gaussians:,} Gaussians, got {len(bits)}")
    return torch.from_numpy(np.unpackbits(np.frombuffer(bits, np.uint8), count=num_gaussians).astype(bool))
