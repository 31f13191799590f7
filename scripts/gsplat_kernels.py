"""Counts what gsplat's kernels for colours take, compiled from its sources for cards that need not be here."""

import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from compile_kernels import BIN, list_instructions, list_loops

CHANNELS = 3
FLAGS = (
    "-D__CUDA_NO_HALF_OPERATORS__", "-D__CUDA_NO_HALF_CONVERSIONS__", "-D__CUDA_NO_BFLOAT16_CONVERSIONS__",
    "-D__CUDA_NO_HALF2_OPERATORS__", "--expt-relaxed-constexpr", "-O3", "-use_fast_math", "-std=c++20",
    "--disable-warnings",
)  # fmt: skip
"""As torch and gsplat compile them."""


@dataclass(frozen=True)
class LoopCost:
    """Instructions of a warp per Gaussian in the loop of gsplat's `rasterize_to_pixels`."""

    blended: int
    """Instructions for a Gaussian that shows in a pixel of the warp."""
    skipped: int
    """Instructions for one that shows in none: up to the branch that leaves it."""
    atomics: int
    """Additions to the memory of the card, for one that shows."""


def measure_loop(direction: str, arch: int) -> LoopCost:
    """Compiles the kernel of one direction, `Fwd` or `Bwd`, for three channels, and counts its loop over Gaussians.

    Raises RuntimeError without nvcc, with what it lacks.
    """
    with tempfile.TemporaryDirectory() as folder:
        binary = Path(folder) / "kernel.cubin"
        _compile(direction, arch, Path(folder) / "kernel.cu", binary)
        command = [BIN / "cuobjdump", "-sass", binary]
        sass = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    instructions = list_instructions(sass)
    # the inmost loop with an exponential is the one over Gaussians
    loops = [span for span in list_loops(instructions) if _count(instructions, span, "MUFU.EX2")]
    first, last = min(loops, key=lambda span: span[1] - span[0])
    body = [(address, text) for address, text in instructions if first <= address <= last]
    exponential = next(address for address, text in body if text.startswith("MUFU.EX2"))
    leaving = next(address for address, text in body if address > exponential and _leaves_body(address, text, body))
    skipped = sum(address <= leaving for address, _ in body)
    return LoopCost(len(body), skipped, _count(instructions, (first, last), "RED"))


def _leaves_body(address: int, text: str, body: list[tuple[int, str]]) -> bool:
    """Whether an instruction branches over the rest of the loop, to its last few instructions."""
    target = re.match(r"BRA.*?(0x[0-9a-f]+)", text)
    return target is not None and int(target[1], 16) > max(address, body[0][0] + 0.8 * (body[-1][0] - body[0][0]))


def _count(instructions: list[tuple[int, str]], span: tuple[int, int], kind: str) -> int:
    return sum(span[0] <= address <= span[1] and text.startswith(kind) for address, text in instructions)


def _compile(direction: str, arch: int, source: Path, binary: Path) -> None:
    """Compiles one of gsplat's sources with its instances for other numbers of channels left out."""
    package, torch_package = find_spec("gsplat"), find_spec("torch")
    assert package is not None and package.origin and torch_package is not None and torch_package.origin
    cuda, torch_include = Path(package.origin).parent / "cuda", Path(torch_package.origin).parent / "include"
    text = (cuda / "csrc" / f"RasterizeToPixels3DGS{direction}.cu").read_text()
    source.write_text(re.sub(rf"^__INS__\((?!{CHANNELS}\)).*\n", "", text, flags=re.MULTILINE))
    headers = [cuda / "include", cuda / "csrc", cuda / "csrc" / "third_party" / "glm"]
    headers += [torch_include, torch_include / "torch" / "csrc" / "api" / "include"]
    nvcc = Path(os.environ.get("CUDA_HOME", "/usr/local/cuda")) / "bin" / "nvcc"
    command = [nvcc, "-cubin", f"-arch=sm_{arch}", *FLAGS, *(f"-I{path}" for path in headers), "-o", binary]
    try:
        subprocess.run([*command, source], capture_output=True, text=True, check=True)
    except FileNotFoundError as error:
        raise RuntimeError(f"{nvcc}: no such program; set CUDA_HOME to a CUDA toolkit's folder") from error
    except subprocess.CalledProcessError as error:
        raise RuntimeError(f"{source.name}: {error.stderr[-1000:]}") from error
