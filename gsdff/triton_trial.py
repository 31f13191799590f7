"""A kernel to try whether Triton runs here."""

import torch
import triton
import triton.language as tl


@triton.jit
def _write_one(out):
    tl.store(out, 1)


def answer() -> int:
    """1, from the card; raises an error if there is no driver, no compiler, or one that fails."""
    out = torch.zeros(1, dtype=torch.int32, device="cuda")
    _write_one[(1,)](out)
    return int(out)
