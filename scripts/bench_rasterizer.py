"""Benchmark of the rasteriser on seeded scenes: forward, backward, memory, and difference to a float64 reference.

    python scripts/bench_rasterizer.py --out docs/benchmarks/rasterizer.json --plot docs/benchmarks/rasterizer.png

Scenes are scaled until their bounding boxes intersect a given number of 16x16 tiles, counted as gsplat does. In the
`faint` scene opacities are so low that no pixel stops early: every intersection is blended, as the curve of cost
against intersections x channels requires.
"""

import gsdff  # noqa: F401  # isort: skip  # before torch: it sets how torch's threads wait

import json
import platform
import resource
import subprocess
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Annotated, Literal, TypeAlias

import numpy as np
import torch
import tyro
from bench_scenes import Scene, count_boxes, garden, synthetic, with_boxes
from PIL import Image, ImageDraw
from tqdm import tqdm

from gsdff.cli import run_door
from gsdff.device import choose_device
from gsdff.render import rasterization, reference

DeviceName: TypeAlias = Literal["auto", "cpu", "cuda"]
TENSORS = ("means", "quats", "scales", "opacities", "colors")
SOLID, FAINT = (0.0, 1.0), (0.01, 0.05)
CURVE_ROUNDS = 5


@dataclass(frozen=True)
class Options:
    """Times the rasteriser: forward, backward, memory and accuracy, and cost against intersections x channels."""

    out: Annotated[Path | None, tyro.conf.arg(aliases=("--json",))] = None
    """JSON file for the figures."""
    plot: Path | None = None
    """PNG file for the plot of cost against intersections x channels."""
    device: DeviceName = "auto"
    """Device to measure on; on `cuda` gsplat is timed through the same call."""
    repeats: int = 20
    """Number of timed passes of each scene."""
    large: bool = False
    """Time a million Gaussians at 1920x1080 too, the size of a scene on a card."""
    thin: int = 1
    """Measure scenes with 1 / thin^2 of the Gaussians in images `thin` times smaller, to try this script."""
    threads: int | None = None
    """Number of CPU threads; by default torch's own choice."""
    garden: Path | None = None
    """Point cloud to time too (garden.npz: means3d, colors, viewmats, Ks, width, height)."""
    curve: bool = True
    """Measure the curve of cost against intersections x channels too."""


def reset_peak(device: str) -> None:
    """Starts a new measurement of peak memory."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    elif platform.system() == "Linux":
        Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM


def peak_mib(device: str) -> float:
    """Peak memory since `reset_peak`: of the card, or the resident set (of the whole run if not on Linux)."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    if platform.system() == "Linux":
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def time_passes(scene: Scene, wanted: tuple[str, ...], repeats: int, device: str) -> tuple[list[float], list[float]]:
    """Milliseconds of forward and backward passes with gradients of the `wanted` tensors, if there are any."""
    arguments = scene.arguments(device=device)
    generator = torch.Generator().manual_seed(1)
    shape = (1, scene.height, scene.width, scene.colors.shape[-1])
    cotangents = [torch.randn(*s, generator=generator).to(device) for s in (shape, (*shape[:3], 1))]
    forward, backward = [], []
    for run in range(repeats + 2):  # two to warm up
        leaves = {name: arguments[name].detach().requires_grad_(name in wanted) for name in TENSORS}
        start = now(device)
        renders, alphas, _ = rasterization(**(arguments | leaves))
        middle = now(device)
        outputs = [(o, c) for o, c in zip((renders, alphas), cotangents, strict=True) if o.requires_grad]
        if outputs:
            torch.autograd.backward(*zip(*outputs, strict=True))
        end = now(device)
        if run >= 2:
            forward.append(1e3 * (middle - start))
            backward.append(1e3 * (end - middle))
    return forward, backward


def now(device: str) -> float:
    """Time in seconds, once all work on the device is done."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def accuracy(scene: Scene, device: str) -> dict[str, float]:
    """Largest differences to the float64 reference: of the render, and of gradients relative to their tensor's largest.

    Both with random cotangents that are zero in the boundary band, in which float32 may fall on the other side of the
    alpha cut-off or the transmittance stop; the band's share of the pixels is returned too.
    """
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        margins = reference.rasterization(**scene.arguments(torch.float64))[2]["margins"]
    inside = (margins > torch.tensor([3e-4, 3e-4, 3e-3])).all(-1)
    results = []
    for function, dtype, place in ((reference.rasterization, torch.float64, "cpu"), (rasterization, None, device)):
        arguments = scene.arguments(dtype or torch.float32, place)
        leaves = {name: arguments[name].detach().requires_grad_() for name in TENSORS}
        renders = function(**(arguments | leaves))[0]
        cotangent = torch.randn(renders.shape, generator=generator.manual_seed(3)) * inside[..., None]
        (renders * cotangent.to(renders)).sum().backward()
        results.append(
            (renders.detach().double().cpu(), {name: leaf.grad.double().cpu() for name, leaf in leaves.items()})
        )
    (twin, twin_gradients), (fast, fast_gradients) = results
    return {
        "max_render_difference": float((fast - twin).abs().amax(-1)[inside].max()),
        "max_gradient_difference": max(
            float((fast_gradients[k] - g).abs().max() / g.abs().max()) for k, g in twin_gradients.items()
        ),
        "boundary_share": float((~inside).double().mean()),
    }


def measure(scene: Scene, options: Options) -> tuple[dict, dict[str, list[float]]]:
    """One row of the table, and all its times in milliseconds."""
    device = options.device
    reset_peak(device)
    render, _ = time_passes(scene, (), options.repeats, device)
    forward, backward = time_passes(scene, TENSORS, options.repeats, device)
    peak = peak_mib(device)
    _, colors = time_passes(scene, ("colors",), options.repeats, device)
    times = {"render": render, "forward": forward, "backward": backward, "backward_colors": colors}
    medians = {name: median(values) for name, values in times.items()}
    with torch.no_grad():
        _, alphas, meta = rasterization(**scene.arguments(device=device))
    row = {
        "scene": scene.name,
        "gaussians": len(scene.means),
        "size": f"{scene.width}x{scene.height}",
        "channels": scene.colors.shape[-1],
        "gsplat_intersections": count_boxes(scene),
        "intersections": len(meta["flatten_ids"]),
        "mean_alpha": float(alphas.mean()),
        **{f"{name}_ms": value for name, value in medians.items()},
        **{f"{name}_best_ms": min(values) for name, values in times.items()},
        "spread_percent": 100 * max(spread(values) / median(values) for values in times.values()),
        "backward/forward": medians["backward"] / medians["forward"],
        "backward_colors/forward": medians["backward_colors"] / medians["forward"],
        "peak_mib": peak,
    }
    return row, times


def spread(values: list[float]) -> float:
    """Interquartile range."""
    quarters = quantiles(values, n=4)
    return quarters[2] - quarters[0]


def measure_curve(scale: float, options: Options) -> dict:
    """Best times of faint scenes over sizes and numbers of channels, and straight lines fitted to them.

    All scenes are timed in several rounds, so that other load on the machine for a while spoils no point.
    """
    points = {}
    work = [(n, d) for n in (6250, 12_500, 25_000, 50_000) for d in (1, 3, 8, 16, 32, 64, 128)]
    for n, channels in tqdm(work * CURVE_ROUNDS, desc="curve"):
        scene = synthetic("faint", n, 400, 300, channels, FAINT, scale)
        forward, backward = time_passes(scene, TENSORS, 3, options.device)
        _, colors = time_passes(scene, ("colors",), 3, options.device)
        if (n, channels) not in points:
            intersections = len(rasterization(**scene.arguments(device=options.device))[2]["flatten_ids"])
            points[n, channels] = {"gaussians": n, "channels": channels, "intersections": intersections}
        point = points[n, channels]
        for name, times in (("forward", forward), ("backward", backward), ("backward_colors", colors)):
            point[f"{name}_ms"] = min(point.get(f"{name}_ms", float("inf")), *times)
    fits = {name: fit(list(points.values()), name) for name in ("forward", "backward", "backward_colors")}
    return {"points": list(points.values()), "fits": fits}


def fit(points: list[dict], name: str) -> dict[str, float]:
    """Least-squares fit of time = fixed + per intersection + per channel + per intersection and channel.

    The cost per channel alone is that of the image, whose size is the same in all scenes.
    """
    times = np.array([point[f"{name}_ms"] for point in points])
    pairs = np.array([float(point["intersections"]) for point in points])
    channels = np.array([float(point["channels"]) for point in points])
    terms = np.stack([np.ones_like(pairs), pairs, channels, pairs * channels], axis=1)
    solution = np.linalg.lstsq(terms, times, rcond=None)[0]
    unexplained = ((times - terms @ solution) ** 2).sum() / ((times - times.mean()) ** 2).sum()
    return {
        "fixed_ms": solution[0],
        "ns_per_intersection": 1e6 * solution[1],
        "us_per_channel": 1e3 * solution[2],
        "ns_per_intersection_and_channel": 1e6 * solution[3],
        "r2": 1 - unexplained,
    }


def draw(curve: dict, path: Path) -> None:
    """Plots time against intersections x channels on logarithmic axes; a line joins the points of one scene."""
    names = {"forward": (40, 90, 200), "backward": (200, 60, 40), "backward_colors": (40, 150, 80)}
    points = curve["points"]
    work = [point["intersections"] * point["channels"] for point in points]
    times = [point[f"{name}_ms"] for point in points for name in names]
    x_range, y_range = np.log10([min(work) / 1.5, max(work) * 1.5]), np.log10([min(times) / 1.5, max(times) * 1.5])
    width, height, border = 900, 600, 70

    def place(x: float, y: float) -> tuple[float, float]:
        right = (np.log10(x) - x_range[0]) / (x_range[1] - x_range[0])
        up = (np.log10(y) - y_range[0]) / (y_range[1] - y_range[0])
        return border + right * (width - 2 * border), height - border - up * (height - 2 * border)

    image = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(image)
    for axis, (low, high) in enumerate((x_range, y_range)):
        for power in range(int(np.ceil(low)), int(np.floor(high)) + 1):
            ends = ((10**power, 10 ** y_range[0]), (10**power, 10 ** y_range[1]))
            ends = ends if axis == 0 else ((10 ** x_range[0], 10**power), (10 ** x_range[1], 10**power))
            pen.line([place(*end) for end in ends], fill=(225, 225, 225))
            x, y = place(*ends[0])
            pen.text((x - 12, y + 8) if axis == 0 else (x - 45, y - 6), f"1e{power}", fill="black")
    pen.text((width / 2 - 80, height - 30), "intersections x channels", fill="black")
    pen.text((10, 15), "ms", fill="black")
    for row, (name, color) in enumerate(names.items()):
        fitted = curve["fits"][name]
        for n in sorted({point["gaussians"] for point in points}):
            dots = [
                place(x, point[f"{name}_ms"]) for point, x in zip(points, work, strict=True) if point["gaussians"] == n
            ]
            pen.line(dots, fill=color)
            for u, v in dots:
                pen.ellipse([u - 3, v - 3, u + 3, v + 3], fill=color)
        label = f"{name}: {fitted['ns_per_intersection_and_channel']:.1f} ns each, R2 {fitted['r2']:.4f}"
        pen.text((border + 15, border + 5 + 18 * row), label, fill=color)
    image.save(path)


def print_table(rows: list[dict]) -> None:
    """Prints rows as columns beside their keys, as there are more figures than scenes."""
    width = max(len(key) for row in rows for key in row)
    for key in rows[0]:
        cells = (row[key] for row in rows)
        texts = (f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in cells)
        print(f"{key:{width}}" + "".join(f"{text:>14}" for text in texts))


def machine(device: str = "cpu") -> dict[str, object]:
    """Facts that the figures depend on: the device measured, hardware, versions, commit, date."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if platform.system() == "Linux" else []
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    facts = {
        "device": device,
        "cpu": cpu,
        "threads": torch.get_num_threads(),
        "card": card,
        "torch": torch.__version__,
        "commit": commit,
    }
    return facts | {"date": time.strftime("%Y-%m-%d")}


def name_device(facts: dict[str, object]) -> str:
    """Names what `machine` measured: the card, or the processor and its threads."""
    return str(facts["card"]) if facts["device"] == "cuda" else f"{facts['cpu']}, {facts['threads']} threads"


def main() -> None:
    """Measures, and prints and writes the figures."""
    options = tyro.cli(Options, description=Options.__doc__)
    options = replace(options, device=choose_device(options.device).type)
    if options.threads:
        torch.set_num_threads(options.threads)
    t = options.thin
    large = partial(synthetic, "50k", 50_000 // t**2, 400 // t, 300 // t)
    faint = partial(synthetic, "faint 50k", 50_000 // t**2, 400 // t, 300 // t)
    small = partial(synthetic, "10k", 10_000 // t**2, 200 // t, 150 // t)
    _, scale = with_boxes(lambda scale: large(1, SOLID, scale), 139_000 // t**2)
    _, faint_scale = with_boxes(lambda scale: faint(1, FAINT, scale), 139_000 // t**2)
    _, small_scale = with_boxes(lambda scale: small(1, SOLID, scale), 31_000 // t**2)
    scenes = [large(d, SOLID, scale) for d in (3, 32)] + [faint(d, FAINT, faint_scale) for d in (3, 32)]
    scenes.append(small(3, SOLID, small_scale))
    if options.garden:
        scenes += [garden(options.garden, d) for d in (3, 32)]
    if options.large:
        scenes += [synthetic("1M", 1_000_000, 1920, 1080, d, SOLID, 1.5) for d in (3, 32)]
    measured = [measure(scene, options) for scene in tqdm(scenes, desc="scenes")]
    # the float64 reference comes last, so that its memory does not count in the peaks
    compared = [scene.thinned() if t == 1 else scene for scene in scenes]
    rows = [row | accuracy(scene, options.device) for (row, _), scene in zip(measured, compared, strict=True)]
    print_table(rows)

    given = {name: str(value) for name, value in asdict(options).items()}
    report = {"machine": machine(options.device), "options": given, "rows": rows}
    report["times_ms"] = [times for _, times in measured]
    if options.curve:
        report["curve"] = measure_curve(faint_scale, options)
        for name, fitted in report["curve"]["fits"].items():
            print(f"{name}: " + ", ".join(f"{key} {value:.4g}" for key, value in fitted.items()))
        if options.plot:
            draw(report["curve"], options.plot)
    if options.out:
        options.out.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    run_door(main)
