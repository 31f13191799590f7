"""Triton, in which kernels for a card are written, and whether they run on the one here."""

from subprocess import CalledProcessError

import torch
import triton
import triton.language as tl

__all__ = ["tl", "triton", "try_kernel"]


@triton.jit
def _write_one(out):
    tl.store(out, 1)


def try_kernel() -> str:
    """Why kernels do not run on the card; empty if they do."""
    try:
        result = torch.zeros(1, dtype=torch.int32, device="cuda")
        _write_one[(1,)](result)
        return "" if int(result) == 1 else "a kernel of Triton gives a wrong result"
    # no driver, no C compiler (with which Triton builds its launcher), a compiler that fails
    except (RuntimeError, OSError, AssertionError, CalledProcessError, triton.errors.TritonError) as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
