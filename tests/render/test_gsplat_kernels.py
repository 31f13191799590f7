"""What is counted of gsplat's kernels agrees with what their source says."""

import os
from pathlib import Path

import pytest


def test_the_loop_over_gaussians_is_found_in_what_gsplats_sources_compile_to(monkeypatch):
    nvcc = Path(os.environ.get("CUDA_HOME", "/usr/local/cuda")) / "bin" / "nvcc"
    if not nvcc.is_file():
        pytest.skip("needs the CUDA compiler nvcc, in /usr/local/cuda or CUDA_HOME")
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "scripts"))
    from gsplat_kernels import measure_loop

    forward, backward = measure_loop("Fwd", 90), measure_loop("Bwd", 90)
    # gradients of three channels, three numbers of the conic, two of the position, their absolutes, and the opacity
    assert (forward.atomics, backward.atomics) == (0, 3 + 3 + 2 + 2 + 1)
    # of each of these but the absolutes, five exchanges within a warp add up the 32 lanes
    assert backward.blended - backward.skipped > 2 * 5 * 9
    assert 10 < forward.skipped < forward.blended < backward.blended
