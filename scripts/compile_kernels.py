"""Compiles the Triton kernels of the feature pass for cards that need not be here, and prints what they take.

    python scripts/compile_kernels.py                        # K = 16, 32, 64, 128, 512 for Ampere and Hopper
    python scripts/compile_kernels.py --archs 90 --dims 32   # one of each
    python scripts/compile_kernels.py --json kernels.json

For every kernel: registers of a thread, shared memory and spilled bytes of a block, blocks that fit a multiprocessor at
a time, and the instructions of the loop over Gaussians, per pixel and Gaussian. Exits with 1 if any kernel spills.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from gsdff.render import tensor_cores, triton_kernels

BIN = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
POINTERS = {
    "pair_ids": "*i32", "bounds": "*i32", "starts": "*i32", "counts": "*i32", "ids": "*i32", "best": "*i32",
    **dict.fromkeys(("means2d", "conics", "opacities", "table", "scale", "renders", "alphas", "cotangent"), "*fp32"),
    **dict.fromkeys(("gradients", "queries", "scores"), "*fp32"),
}  # fmt: skip
"""Types of the kernels' tensors, by the names of their parameters; `features` depend on the precision."""
NUMBERS = ("stride", "tiles_x", "width", "height", "num_positives", "num_queries")
LOCAL_ACCESS = re.compile(r"\b(?:STL|LDL)\b")


@dataclass(frozen=True)
class Limits:
    """What one multiprocessor of an architecture has."""

    warps: int
    shared_kib: int
    blocks: int = 32
    registers: int = 65536


LIMITS = {80: Limits(64, 164), 86: Limits(48, 100, 16), 89: Limits(48, 100, 24), 90: Limits(64, 228)}


@dataclass(frozen=True)
class Compiled:
    """One kernel for one architecture."""

    kernel: str
    num_channels: int
    precision: str
    arch: int
    num_warps: int
    pixels: int
    registers: int
    shared_bytes: int
    spilled_bytes: int
    sass: str

    @cached_property
    def loop(self) -> list[str]:
        """Instructions of the first loop: the one over Gaussians."""
        instructions = list_instructions(self.sass)
        first, last = min(list_loops(instructions))
        return [text for address, text in instructions if first <= address <= last]

    @property
    def pairs(self) -> float:
        """Pixels and Gaussians that a thread blends in one pass through the loop."""
        return tensor_cores.CHUNK * self.pixels / (32 * self.num_warps)

    def count(self, pattern: str) -> float:
        """Instructions of a kind per pixel and Gaussian."""
        return sum(bool(re.match(pattern, text)) for text in self.loop) / self.pairs

    @property
    def resident_blocks(self) -> int:
        """Blocks that a multiprocessor holds at a time."""
        limits = LIMITS[self.arch]
        per_warp = -(-self.registers * 32 // 256) * 256
        by_registers = limits.registers // per_warp // self.num_warps
        by_shared = limits.shared_kib * 1024 // (self.shared_bytes + 1024)
        return min(by_registers, by_shared, limits.warps // self.num_warps, limits.blocks)


def list_instructions(sass: str) -> list[tuple[int, str]]:
    """Addresses and instructions of a disassembled kernel, predicates left out."""
    found = re.findall(r"^\s+/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\d+ )?(.*?)\s*;", sass, re.MULTILINE)
    return [(int(address, 16), text) for address, text in found]


def list_loops(instructions: list[tuple[int, str]]) -> list[tuple[int, int]]:
    """Addresses of the first and the last instruction of every loop."""
    spans = []
    for address, text in instructions:
        target = re.match(r"BRA.*?(0x[0-9a-f]+)", text)
        if target and int(target[1], 16) < address:
            spans.append((int(target[1], 16), address))
    return spans


def compile_kernel(name: str, num_channels: int, precision: tensor_cores.Precision, arch: int) -> Compiled:
    """Compiles as `tensor_cores` launches it."""
    function = getattr(triton_kernels, name)
    half = precision == "half"
    plans = {
        "blend_features": tensor_cores.plan_blend,
        "gather_gradients": tensor_cores.plan_gradients,
        "score_features": tensor_cores.plan_scores,
    }
    if name in plans:
        plan = plans[name](num_channels, precision)
        constants = {"K": num_channels, "P": plan.pixels, "WIDE": plan.channels, "PRECISION": "tf32x3"}
        extra = {"gather_gradients": {"HALF": half}, "score_features": {"METHOD": 0}}
        constants |= extra.get(name, {})
    else:
        plan = tensor_cores.Plan(tensor_cores.PIXELS, 0, 4)
        constants = {"BLOCK": tensor_cores.LIST_BLOCK}
    types = POINTERS | dict.fromkeys(NUMBERS, "i32") | {"sharpness": "fp32", "features": "*fp16" if half else "*fp32"}
    names = function.arg_names
    signature = {parameter: "constexpr" if parameter in constants else types[parameter] for parameter in names}
    aligned = [i for i, parameter in enumerate(names) if signature[parameter].startswith("*") or parameter == "stride"]
    source = ASTSource(
        function,
        signature,
        constexprs={(names.index(parameter),): value for parameter, value in constants.items()},
        attrs={(i,): [["tt.divisibility", 16]] for i in aligned},
    )
    options = {"num_warps": plan.num_warps, **tensor_cores.OPTIONS}
    made = triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(made.asm["cubin"])
        file.flush()
        usage, sass = (
            subprocess.run([BIN / "cuobjdump", option, file.name], capture_output=True, text=True, check=True).stdout
            for option in ("-res-usage", "-sass")
        )
    found = re.search(r"REG:(\d+) STACK:(\d+)", usage)
    assert found is not None, usage
    spilled = max(int(found[2]), 4 * len(LOCAL_ACCESS.findall(sass)))
    shared = made.metadata.shared
    return Compiled(
        name, num_channels, precision, arch, plan.num_warps, plan.pixels, int(found[1]), shared, spilled, sass
    )


def compile_all(dims: list[int], archs: list[int], precisions: list[tensor_cores.Precision]) -> list[Compiled]:
    """Every kernel for these; `score_features` for as many channels as it takes."""
    made = [compile_kernel("list_ellipses", 0, "float32", arch) for arch in archs]
    for precision in precisions:
        for name in ("blend_features", "gather_gradients", "score_features"):
            fitting = [dim for dim in dims if name != "score_features" or dim <= tensor_cores.MOST_SCORED[precision]]
            made += [compile_kernel(name, dim, precision, arch) for dim in fitting for arch in archs]
    return made


def main() -> int:
    """Prints the table; 1 if any kernel spills."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archs", type=int, nargs="+", default=[80, 86, 90], choices=sorted(LIMITS))
    parser.add_argument("--dims", type=int, nargs="+", default=[16, 32, 64, 128, 512], help="numbers of channels K")
    parser.add_argument("--precisions", nargs="+", default=["half", "float32"], choices=["half", "float32"])
    parser.add_argument("--json", type=Path, help="file to write the table to")
    options = parser.parse_args()
    print("kernel            K    precision  sm  warps  pixels  registers  shared  spilled  blocks  instructions")
    made = compile_all(options.dims, options.archs, options.precisions)
    for kernel in made:
        print(
            f"{kernel.kernel:<17} {kernel.num_channels:<4} {kernel.precision:<9} {kernel.arch:>3} "
            f"{kernel.num_warps:>6} {kernel.pixels:>7} {kernel.registers:>10} {kernel.shared_bytes:>7} "
            f"{kernel.spilled_bytes:>8} {kernel.resident_blocks:>7} {len(kernel.loop) / kernel.pairs:>13.1f}"
        )
    if options.json:
        keys = ("resident_blocks",)
        rows = [asdict(kernel) | {key: getattr(kernel, key) for key in keys} for kernel in made]
        options.json.write_text(json.dumps([{k: v for k, v in row.items() if k != "sass"} for row in rows], indent=1))
    spilling = [kernel for kernel in made if kernel.spilled_bytes]
    if spilling:
        print(f"{len(spilling)} of {len(made)} kernels spill registers", file=sys.stderr)
    return int(bool(spilling))


if __name__ == "__main__":
    sys.exit(main())
