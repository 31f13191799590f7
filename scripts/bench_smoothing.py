"""The smoothing filters against kornia, a loop over masks and plain torch: time, peak memory, agreement.

    python scripts/bench_smoothing.py [--size 480 360 64] [--windows 11] [--device auto] [--out docs/benchmarks]

Times are of one forward and one backward pass, median ± half the range (number of passes); memory is the peak above
the inputs. Everything runs in a process of its own (Linux only). If a rival does not fit into memory, ours is
compared with a float64 run, and both are measured again at a third of the width and height. Filters with a window are
compared at pixels whose window lies inside the map, because kornia reflects at the border; elsewhere the cotangent is
zero. Gradients differ relative to the largest value. kornia's bilateral_blur differentiates its weights and ours does
not, so those gradients differ by definition: the row with a detached guide compares like with like.
"""

import gsdff  # noqa: F401  # isort: skip  # before torch: it sets how torch's threads wait

import ctypes
import json
import os
import resource
import sys
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
import tyro
from bench_rasterizer import DeviceName, machine, now, peak_mib, reset_peak
from kornia import filters as kornia
from torch import Tensor
from tqdm import tqdm

from gsdff import smoothing
from gsdff.cli import run_door
from gsdff.device import choose_device
from gsdff.errors import UserError

SIGMA_RANGE, MAX_MS, AIM_WINDOW, AIM_FASTER, AIM_SMALLER = 0.3, 60_000, 11, 5, 10
"""Sigma in the range of a guide, above its noise and below its edges; the time limit of timed passes; and the aims for
filters that respect edges or masks: their window, and how many times faster and smaller than the rival."""
HEAD = "filter, rival, size, window, ours ms, rival ms, times faster, ours MiB, rival MiB, times smaller, "
HEAD += "largest difference, of gradients, compared with, time aim, memory aim"


@dataclass(frozen=True)
class Options:
    """Times the smoothing filters and their rivals, and measures their memory and their differences."""

    size: tuple[int, int, int] = (480, 360, 64)
    """W, H and K of the feature map."""
    segments: int = 20
    """Number of segments of the label map, besides a region of label 0."""
    windows: tuple[int, ...] = (11,)
    """Windows in pixels, odd; sigma in space is a quarter of it."""
    only: tuple[str, ...] = ()
    """Names of the filters to measure; by default all."""
    repeats: int = 7
    """Number of timed passes of each filter; fewer, but at least two, if they take more than a minute together."""
    cap_gib: float = 10
    """Memory limit of a process on the CPU, above its inputs."""
    device: DeviceName = "auto"
    """Device to measure on."""
    out: Path = Path(__file__).resolve().parents[1] / "docs" / "benchmarks"
    """Folder for `smoothing_<device>.json` and `.md`."""


class Scene(NamedTuple):
    """Inputs of the filters besides the map; `segments` [H, W], `guide` [H, W, 3]."""

    segments: Tensor
    guide: Tensor
    window: int
    sigma: float


def bilateral(Z: Tensor, s: Scene, guide: Tensor | None = None) -> Tensor:
    return smoothing.bilateral_blur(Z, guide, window=s.window, sigma_space=s.sigma, sigma_range=SIGMA_RANGE)


def kornia_bilateral(Z: Tensor, s: Scene, *guide: Tensor) -> Tensor:
    function = kornia.joint_bilateral_blur if guide else kornia.bilateral_blur
    return function(Z, *guide, s.window, SIGMA_RANGE, (s.sigma,) * 2, color_distance_type="l2")


def blur_each_mask(Z: Tensor, s: Scene) -> Tensor:
    """Blurs every segment separately and pastes it inside its mask."""
    out, settings = Z, (s.window, (s.sigma,) * 2, "constant")
    for label in range(1, int(s.segments.max()) + 1):
        mask = (s.segments == label)[None, None]
        norm = kornia.gaussian_blur2d(mask.to(Z), *settings).where(mask, 1)
        out = torch.where(mask, kornia.gaussian_blur2d(Z * mask, *settings) / norm, out)
    return out


def torch_variation(Z: Tensor, s: Scene, labels: Tensor | None = None) -> Tensor:
    steps = [Z.diff(dim=axis).abs() for axis in (0, 1)]
    if labels is not None:
        steps = [step * (labels.diff(dim=axis) == 0)[..., None] for axis, step in enumerate(steps)]
    return sum(step.sum() for step in steps) / Z.numel()


def torch_mean(Z: Tensor, s: Scene) -> Tensor:
    counts = s.segments.flatten().bincount()[:, None]
    sums = Z.new_zeros(len(counts), Z.shape[-1]).index_add(0, s.segments.flatten(), Z.flatten(0, 1))
    return torch.where(s.segments[..., None] == 0, Z, (sums / counts)[s.segments])


# ours, the rival, its name; these rivals take [1, K, H, W], the others [H, W, K]
WINDOWED = {
    "segment_blur": (
        lambda Z, s: smoothing.segment_blur(Z, s.segments, window=s.window, sigma=s.sigma),
        *(blur_each_mask, "kornia gaussian_blur2d of each mask"),
    ),
    "bilateral_blur": (bilateral, kornia_bilateral, "kornia bilateral_blur"),
    "bilateral_blur, detached": (bilateral, lambda Z, s: kornia_bilateral(Z, s, Z.detach()), "kornia joint_bilateral"),
    "bilateral_blur, RGB guide": (
        lambda Z, s: bilateral(Z, s, s.guide),
        *(lambda Z, s: kornia_bilateral(Z, s, s.guide.permute(2, 0, 1)[None]), "kornia joint_bilateral"),
    ),
    "gaussian_blur": (
        lambda Z, s: smoothing.gaussian_blur(Z, window=s.window, sigma=s.sigma),
        *(lambda Z, s: kornia.gaussian_blur2d(Z, s.window, (s.sigma,) * 2), "kornia gaussian_blur2d"),
    ),
}
CASES = WINDOWED | {
    "total_variation": (lambda Z, s: smoothing.total_variation(Z), torch_variation, "torch differences"),
    "total_variation, segments": (
        lambda Z, s: smoothing.total_variation(Z, s.segments),
        *(lambda Z, s: torch_variation(Z, s, s.segments), "torch differences in segments"),
    ),
}
if hasattr(smoothing, "segment_mean"):
    CASES["segment_mean"] = (lambda Z, s: smoothing.segment_mean(Z, s.segments), torch_mean, "torch index_add, gather")


def prepare(name: str, side: str, window: int, options: Options) -> tuple:
    """Seeded arguments of `run_pass`: a map of about unit norm, whose segments are cells of random points."""
    (width, height, channels), reach = options.size, window // 2
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(options.segments + 1, 2, generator=generator) * torch.tensor([height, width])
    pixels = torch.cartesian_prod(torch.arange(height), torch.arange(width)).float()
    segments = torch.cdist(pixels, points).argmin(1).view(height, width)
    Z, guide = (torch.randn(len(points), k, generator=generator)[segments] / k**0.5 for k in (channels, 3))
    for values in (Z, guide):
        values += 0.1 * torch.randn(values.shape, generator=generator) / values.shape[-1] ** 0.5
    cotangent = torch.zeros_like(Z)
    cotangent[reach : height - reach, reach : width - reach].normal_(generator=generator)
    Z, cotangent, segments, guide = (tensor.to(options.device) for tensor in (Z, cotangent, segments, guide))
    if side == "rival" and name in WINDOWED:
        Z, cotangent = (tensor.permute(2, 0, 1)[None].contiguous() for tensor in (Z, cotangent))
    elif side == "float64":
        Z, cotangent = Z.double(), cotangent.double()
    return CASES[name][side == "rival"], Z, cotangent, Scene(segments, guide, window, window / 4)


def run_pass(function, Z: Tensor, cotangent: Tensor, scene: Scene) -> tuple[Tensor, Tensor, tuple[float, float]]:
    """Runs one pass; returns output, gradient, and milliseconds of forward and backward."""
    leaf, start = Z.detach().requires_grad_(), now(Z.device.type)
    out = function(leaf, scene)
    middle = now(Z.device.type)
    (gradient,) = torch.autograd.grad(out, leaf, cotangent if out.ndim else None)
    return out.detach(), gradient, (1e3 * (middle - start), 1e3 * (now(Z.device.type) - middle))


def measure(name: str, side: str, window: int, options: Options) -> dict:
    """Measures peak memory, times, output and gradient of ours, of the rival, or of ours in float64."""
    run_pass(*prepare(name, side, window, replace(options, size=(2 * window, 2 * window, options.size[2]))))
    arguments, times = prepare(name, side, window, options), []
    if options.device == "cpu":
        ctypes.CDLL(None).malloc_trim(0)  # so that freed memory cannot serve the pass uncounted
        taken = int(Path("/proc/self/status").read_text().split("VmSize:")[1].split()[0]) << 10
        resource.setrlimit(resource.RLIMIT_AS, (taken + int(options.cap_gib * 2**30),) * 2)
    reset_peak(options.device)
    before = peak_mib(options.device)
    tensors = run_pass(*arguments)[:2]
    peak = max(peak_mib(options.device) - before, resource.getpagesize() / 2**20)
    while side != "float64" and len(times) < options.repeats and (len(times) < 2 or sum(map(sum, times)) < MAX_MS):
        times.append(run_pass(*arguments)[2])
    if side == "rival" and name in WINDOWED:
        tensors = [tensor[0].permute(1, 2, 0) for tensor in tensors]
    return {"mib": peak, "times_ms": times, "tensors": [tensor.cpu().numpy() for tensor in tensors]}


def measure_apart(bar: tqdm, *task) -> dict | None:
    """Runs `measure` in a process of its own; returns None if it runs out of memory."""
    bar.set_postfix_str(", ".join(task[:2]))
    with ProcessPoolExecutor(1, get_context("forkserver")) as pool:
        future = pool.submit(measure, *task)
        error = future.exception()
    bar.update()
    if error and not isinstance(error, MemoryError | BrokenExecutor) and "memory" not in str(error):
        raise error
    return None if error else future.result()


def compare(bar: tqdm, name: str, window: int, options: Options) -> list[dict]:
    """The row of a filter, and another one at a smaller size if the rival runs out of memory."""
    ours, rival = (measure_apart(bar, name, side, window, options) for side in ("ours", "rival"))
    if ours is None:
        raise UserError(f"{name} itself takes more than {options.cap_gib:g} GiB: give a larger --cap-gib")
    smaller = replace(options, size=(options.size[0] // 3, options.size[1] // 3, options.size[2]))
    bar.total += 0 if rival else 3
    twin = rival or measure_apart(bar, name, "float64", window, options)
    row = {"filter": name, "rival": CASES[name][2], "size": "x".join(map(str, options.size))}
    row |= {"window": window if name in WINDOWED else None, "compared_with": "rival" if rival else "float64"}
    for side, figures in (("ours", ours), ("rival", rival or {"mib": 1024 * options.cap_gib, "times_ms": []})):
        times = [sum(passes) for passes in figures["times_ms"]] or [0.0]
        row |= {f"{side}_{key}": figures[key] for key in ("mib", "times_ms")} | {f"{side}_ms": median(times)}
        row[f"{side}_text"] = f"{median(times):.4g} ± {(max(times) - min(times)) / 2:.2g} ({len(times)})"
    row |= {"times_faster": row["rival_ms"] / row["ours_ms"], "times_smaller": row["rival_mib"] / row["ours_mib"]}
    if rival is None:
        row |= {"rival_ms": None, "times_faster": None, "rival_text": f"out of memory above {options.cap_gib:g} GiB"}
    crop = (slice(window // 2, -(window // 2) or None),) * 2 if name in WINDOWED else ()
    (out, gradient), (twin_out, twin_gradient) = ours["tensors"], twin["tensors"]
    row["difference"] = float(abs(out[crop] - twin_out[crop]).max())
    row["gradient_difference"] = float(abs(gradient - twin_gradient).max() / abs(twin_gradient).max())
    return [row, *(compare(bar, name, window, smaller) if rival is None else ())]


def cells(row: dict) -> list[str]:
    """The cells of a row under `HEAD`; a rival that runs out of memory takes more than the cap."""
    faster, smaller, above = row["times_faster"], row["times_smaller"], "" if row["times_faster"] else "> "
    in_aim = row["window"] == AIM_WINDOW and row["filter"] != "gaussian_blur"
    aims = ((faster, AIM_FASTER), (smaller, AIM_SMALLER)) if in_aim else ((None, 0), (None, 0))
    verdicts = ("-" if value is None else "met" if value >= aim else "missed" for value, aim in aims)
    return [
        *(row["filter"], row["rival"], row["size"], str(row["window"] or "-"), row["ours_text"], row["rival_text"]),
        *(f"{faster:.1f}" if faster else "-", f"{row['ours_mib']:.3g}", f"{above}{row['rival_mib']:.4g}"),
        *(f"{above}{smaller:.1f}", f"{row['difference']:.1e}", f"{row['gradient_difference']:.1e}"),
        *(row["compared_with"], *verdicts),
    ]


def main() -> None:
    """Measures, and prints and writes the figures."""
    options = tyro.cli(Options, description=Options.__doc__)
    options = replace(options, device=choose_device(options.device).type)
    get_context("forkserver").set_forkserver_preload(["gsdff.smoothing.cpu", "kornia.filters", "tyro", "gsdff.render"])
    facts = machine(options.device) | {"load": os.getloadavg()[0], "segments": options.segments}
    names = [name for name in CASES if not options.only or name in options.only]
    if not names:
        raise UserError(f"--only: expected one of {', '.join(CASES)}")
    tasks = [(name, w) for w in options.windows for name in names if name in WINDOWED or w == options.windows[0]]
    with tqdm(total=2 * len(tasks), desc="processes") as bar:
        rows = [row for task in tasks for row in compare(bar, *task, options)]
    command = " ".join(["python scripts/bench_smoothing.py", *sys.argv[1:]])
    lines = ["# Smoothing filters", f"`{command}`", ", ".join(f"{key} {value}" for key, value in facts.items())]
    lines += [__doc__.split("\n\n")[2], f"The aim: {AIM_FASTER} times faster, {AIM_SMALLER} times smaller.\n"]
    table = [HEAD.split(", "), ["---"] * len(HEAD.split(", ")), *map(cells, rows)]
    text = "\n\n".join(lines) + "".join(f"\n| {' | '.join(row)} |" for row in table) + "\n"
    print(text)
    path = options.out / f"smoothing_{options.device}.json"
    path.write_text(json.dumps({"machine": facts, "command": command, "rows": rows}, indent=1) + "\n")
    path.with_suffix(".md").write_text(text)


if __name__ == "__main__":
    run_door(main)
