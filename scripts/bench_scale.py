"""Growth of time and memory with the number of Gaussians and of photos, on the CPU.

    python scripts/bench_scale.py [--gaussians 200000 500000 1000000] [--photos 100 500 2000] [--out FILE.json]

Each size runs in a process of its own, on synthetic scenes (`bench_memory.make_scene`; pictures of `many_photos`, made
smaller). Prints a table with the exponent of each figure's growth between the smallest and the largest size: 1 is
linear. CPU seconds are those of all threads.
"""

import gsdff  # noqa: F401  # isort: skip  # before torch: it sets how torch's threads wait

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import many_photos
import torch
from bench_memory import make_scene
from bench_rasterizer import peak_mib

from gsdff.config.options import DataConfig, Stage1Config, TeacherConfig, TrainConfig
from gsdff.data import load_scene
from gsdff.field.relevancy import lerf_relevancy
from gsdff.io.checkpoint import load_checkpoint, save_checkpoint, snapshot
from gsdff.io.ply import read_ply, write_ply
from gsdff.io.runs import RunFolder
from gsdff.neighbours import nearest_neighbours
from gsdff.render import render_view
from gsdff.training.initialise import initial_gaussians
from gsdff.training.logger import TrainingLogger
from gsdff.training.trainer import Trainer

NUM_STEPS, NUM_NEIGHBOURS, NUM_LATENTS = 4, 16, 32
TOO_STEEP = 1.1
"""Exponent from which on a figure is marked."""


class Clock:
    """CPU seconds of what is done, by name."""

    def __init__(self):
        self.figures: dict[str, float] = {}

    def measure(self, name: str, function: Callable[[], Any], times: int = 1) -> Any:
        """Does it and notes its CPU seconds, those of the fastest of several times."""
        spent = []
        for _ in range(times):
            start = time.process_time()
            result = function()
            spent.append(time.process_time() - start)
        self.figures[f"{name}, CPU s"] = min(spent)
        return result


def measure_gaussians(num: int, folder: Path) -> dict[str, float]:
    """Figures of a scene with so many Gaussians."""
    clock = Clock()
    scene = make_scene(num, 320, 240)
    stage1 = Stage1Config(steps=100, sh_interval=1, refine_start=100, max_gaussians=num)
    config = TrainConfig(stage1=stage1, teacher=TeacherConfig(name="none"), device="cpu")
    imported = peak_mib("cpu")
    initial = clock.measure("start: Gaussians of points", lambda: initial_gaussians(config, scene))
    trainer = Trainer(config, scene, torch.device("cpu"), initial)
    for _ in range(2):
        trainer.advance()
    clock.measure("step of training", trainer.advance, NUM_STEPS)
    gaussians = trainer.gaussians.map(torch.detach)
    clock.measure("picture that is scored", lambda: render_view(gaussians, scene.views[0], (0, 0, 0)), 3)
    clock.measure("check for infinite values", lambda: [bool(t.isfinite().all()) for _, t in gaussians.items()], 3)
    memory = peak_mib("cpu") - imported
    state = clock.measure("checkpoint: copied", lambda: snapshot(trainer.state_dict()))
    path = clock.measure("checkpoint: written", lambda: save_checkpoint(folder, 1, state))
    del state
    clock.measure("checkpoint: read", lambda: load_checkpoint(path))
    path.unlink()
    ply = folder / "scene.ply"
    clock.measure("PLY written", lambda: write_ply(ply, gaussians), 2)
    clock.measure("PLY read", lambda: read_ply(ply), 2)
    ply.unlink()
    clock.measure(f"{NUM_NEIGHBOURS} neighbours", lambda: nearest_neighbours(gaussians.means, NUM_NEIGHBOURS))
    generator = torch.Generator().manual_seed(0)
    latents, basis = torch.randn(num, NUM_LATENTS, generator=generator), torch.eye(NUM_LATENTS)
    words = torch.randn(5, NUM_LATENTS, generator=generator)
    clock.measure("query of all Gaussians", lambda: lerf_relevancy(latents, words[:1], words[1:], basis), 3)
    return {**clock.figures, "training: peak memory, MiB": memory}


def measure_photos(num: int, folder: Path) -> dict[str, float]:
    """Figures of a scene with so many photos."""
    many_photos.WIDTH, many_photos.HEIGHT = 320, 240
    clock = Clock()
    many_photos.write_scene(folder, num)
    imported = peak_mib("cpu")
    config = TrainConfig(
        data=folder, dataset=DataConfig(random_points=5000), stage1=Stage1Config(steps=1000, refine_start=1000),
        teacher=TeacherConfig(name="none"), device="cpu", out=folder / "run",
    )  # fmt: skip
    scene = clock.measure("start: photos read", lambda: load_scene(folder, config.dataset))
    trainer = Trainer(config, scene, torch.device("cpu"), initial_gaussians(config, scene))
    clock.measure("start: summary of photos", lambda: trainer.dataset_summary)
    for _ in range(2):
        trainer.advance()
    clock.measure("step of training", trainer.advance, NUM_STEPS)
    run = RunFolder(folder / "run")
    run.path.mkdir()
    with TrainingLogger(replace(config, out=None), scene, run, 0, 1000) as logger:
        clock.measure("held-out views scored", lambda: logger.score_held_out(1, trainer.gaussians))
    clock.measure("checkpoint: copied", lambda: snapshot(trainer.state_dict()))
    return {**clock.figures, "peak memory, MiB": peak_mib("cpu") - imported}


KINDS = {"gaussians": measure_gaussians, "photos": measure_photos}


def run_apart(kind: str, num: int) -> dict[str, float]:
    """Figures of one size, from a process of its own."""
    command = [sys.executable, __file__, "--worker", kind, str(num)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def exponent(sizes: list[int], values: list[float]) -> float:
    """Power of the size with which a figure grows."""
    return math.log(max(values[-1], 1e-9) / max(values[0], 1e-9)) / math.log(sizes[-1] / sizes[0])


def describe(kind: str, sizes: list[int], rows: list[dict[str, float]]) -> list[str]:
    """A table: a line per figure, a column per size, and the exponent."""
    lines = [f"| {kind} | " + " | ".join(f"{size:,}" for size in sizes) + " | grows as power |"]
    lines.append("| --- " * (len(sizes) + 2) + "|")
    for name in rows[0]:
        values = [row[name] for row in rows]
        power = exponent(sizes, values)
        mark = " **steeper than linear**" if power > TOO_STEEP else ""
        lines.append(f"| {name} | " + " | ".join(f"{value:.3g}" for value in values) + f" | {power:.2f}{mark} |")
    return lines


def main() -> None:
    """Measures all sizes, and prints and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gaussians", type=int, nargs="*", default=[200_000, 500_000, 1_000_000])
    parser.add_argument("--photos", type=int, nargs="*", default=[100, 500, 2000])
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--worker", nargs=2, metavar=("KIND", "SIZE"), help="measure one size, and print it as JSON")
    args = parser.parse_args()
    if args.worker:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(KINDS[args.worker[0]](int(args.worker[1]), Path(folder))))
        return
    figures = {}
    for kind in KINDS:
        sizes = getattr(args, kind)
        rows = [run_apart(kind, size) for size in sizes]
        figures[kind] = dict(zip(map(str, sizes), rows, strict=True))
        print("\n".join([*describe(kind, sizes, rows), ""]) if len(sizes) > 1 else rows, flush=True)
    if args.out:
        args.out.write_text(json.dumps({"threads": torch.get_num_threads(), **figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
