"""Study of the number of latent channels: quality and cost of K = 8 ... T on the built-in scene.

    python scripts/study_dimensions.py [--runs runs/dimensions] [--maps DIR=WHAT_THEY_ARE ...]

One stage 1 is trained and shared; every K then trains stage 2 on it with the simulated (toy) teacher, whose noise fills
all T channels, and is scored on the held-out views. Finished runs in --runs are reused. For `--maps`, folders of
precomputed maps, only the energy that each K keeps is reported. Writes docs/dimensions.md and its JSON.
"""

import gsdff  # noqa: F401  # isort: skip  # before torch: it sets how torch's threads wait

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from typing import Annotated

import torch
import tyro
from bench_rasterizer import DeviceName, machine, name_device
from study_tools import clean_cosine, markdown_table, mean_and_spread
from tqdm import tqdm

from gsdff.cameras import Camera
from gsdff.cli import run_door
from gsdff.config.options import TeacherConfig
from gsdff.data import load_scene
from gsdff.device import choose_device
from gsdff.errors import UserError
from gsdff.io.runs import RunFolder, load_run
from gsdff.latents import fit_basis
from gsdff.scene import View
from gsdff.teachers.precomputed import PrecomputedTeacher

DOCS = Path(__file__).resolve().parents[1] / "docs"
MARGINS = {"miou": 0.005, "cosine": 0.001}
"""Largest distance of a sufficient K from the best of all K, in each of these scores."""
SCORES = {"energy": "kept energy", "cosine": "cosine to teacher", "clean": "cosine to clean field", "miou": "mIoU"}
COSTS = {"step_ms": "ms a step", "start_s": "maps + lift, s", "features_mb": "features, MB", "maps_mb": "maps, MB"}


@dataclass(frozen=True)
class Options:
    """Quality and cost of stage 2 for several numbers of latent channels, on the built-in scene."""

    runs: Path = Path("runs/dimensions")
    """Folder of the runs; finished ones are reused."""
    dims: tuple[int, ...] = (8, 16, 32, 64, 128, 256)
    """Values of K to compare."""
    channels: int = 256
    """T, number of channels of the simulated teacher."""
    steps: int = 200
    """Number of steps of stage 2."""
    seeds: int = 2
    """Number of runs of every K, each with its own seed for training and for the teacher's errors."""
    device: DeviceName = "auto"
    """Device to train on."""
    maps: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Folder of precomputed maps, also as DIR=WHAT_THEY_ARE; repeatable."""


def find_knee(rows: Sequence[Mapping[str, float]], margins: Mapping[str, float]) -> int | None:
    """Smallest `dim` whose scores are all within their margin of the largest of all rows; None if there is none."""
    least = {name: max(row[name] for row in rows) - margin for name, margin in margins.items()}
    return min((row["dim"] for row in rows if all(row[name] >= least[name] for name in least)), default=None)


def call(door: str, *arguments: object) -> None:
    """Runs `python -m gsdff.DOOR`; its log goes to our stderr, its output is dropped."""
    tqdm.write(f"$ python -m gsdff.{door} {shlex.join(map(str, arguments))}", file=sys.stderr)
    command = [sys.executable, "-m", f"gsdff.{door}", *map(str, arguments)]
    if subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
        raise UserError(f"gsdff.{door}: failed, its message is above; finished runs are kept, so just try again")


def measure(options: Options, stage1: Path, dim: int, seed: int) -> dict[str, float]:
    """Trains and evaluates one K if it is not finished, and returns its figures."""
    folder = options.runs / f"K{dim}_of_{options.channels}_steps{options.steps}_seed{seed}"
    result = folder / "evaluation" / "metrics.json"
    if not result.is_file() or "features" not in json.loads(result.read_text()):
        shutil.rmtree(folder, ignore_errors=True)
        call(
            "train", "--stage1-from", stage1, "--out", folder, "--teacher", "toy", "--device", options.device, "--seed",
            seed, "--teacher.toy.channels", options.channels, "--teacher.toy.seed", seed, "--features.dim", dim,
            "--stage2.steps", options.steps, "--log-every", 10,
        )  # fmt: skip
        call("evaluate", folder, "--device", options.device)
    features = json.loads(result.read_text())["features"]
    return {
        **{"dim": dim, "energy": features["features"]["kept_energy"], "cosine": features["cosine_to_teacher"]},
        "miou": features["labels"]["field"]["miou"],
        "classes": len(features["labels"]["competing"]),
        "teacher_miou": features["labels"]["teacher"]["miou"],
        **read_times(RunFolder(folder).metrics),
        **compare_with_clean(folder),
        "maps_mb": sum(path.stat().st_size for path in (folder / "features").rglob("*.npy")) / 1e6,
    }


def read_times(metrics: Path) -> dict[str, float]:
    """Median time of a step, without the last line of metrics.jsonl, which includes pictures; seconds before step 1."""
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    pace = median((b["seconds"] - a["seconds"]) / (b["step"] - a["step"]) for a, b in pairwise(lines[:-1]))
    return {"step_ms": 1e3 * pace, "start_s": lines[0]["seconds"] - lines[0]["step"] * pace}


def compare_with_clean(folder: Path) -> dict[str, float]:
    """Mean cosine of the field to a teacher without errors, and the size of its features."""
    run = load_run(folder)
    scene = load_scene(run.config.data, run.config.dataset)
    return {"clean": clean_cosine(run, scene), "features_mb": run.gaussians.features.nbytes / 1e6}


def energy_curve(argument: str, dims: Sequence[int]) -> dict:
    """The share of the energy of a folder of precomputed maps that every K keeps."""
    place, _, words = argument.partition("=")
    folder, teacher = Path(place), PrecomputedTeacher(TeacherConfig("precomputed", Path(place)))
    stems = {path.stem.removesuffix("_fmap_CxHxW") for path in [*folder.glob("*.pt"), *folder.glob("*.npy")]}
    if not stems:
        raise UserError(f"--maps {folder}: expected maps named *_fmap_CxHxW.pt or *.npy, there are none")
    photo = Camera(torch.eye(4), torch.eye(3), 1, 1), torch.zeros(1, 1, 3, dtype=torch.uint8)
    views = [View(f"{stem}.png", *photo) for stem in sorted(stems)]  # maps are found by their stem alone
    maps = tqdm(teacher.extract(views), desc=f"energy of {folder.name}", total=len(views), leave=False)
    moment = sum((flat @ flat.T).double() for flat in (features.flatten(1) for features in maps))
    curve = {dim: fit_basis(moment, min(dim, len(moment))).energy for dim in dims}
    return {"name": words or folder.name, "channels": len(moment), "maps": len(views), "energy": curve}


def show(group: Sequence[Mapping[str, float]], name: str) -> str:
    """Formats a figure of several runs: the median of a cost, mean ± half the range of a score."""
    values = [run[name] for run in group]
    return f"{median(values):.1f}" if name in COSTS else mean_and_spread(values, 4)


def write_page(options: Options, runs: Mapping[int, list[dict]], curves: Sequence[dict], knee: int | None) -> str:
    """Formats docs/dimensions.md."""
    facts, every = machine(options.device), [run for group in runs.values() for run in group]
    rows = [[k, *(show(runs[k], name) for name in (*SCORES, *COSTS))] for k in runs]
    rule = " and ".join(f"at most {margin} below the best {SCORES[name]}" for name, margin in MARGINS.items())
    parts = [
        "# How many latent channels?",
        f"Written on {facts['date']} by `python scripts/study_dimensions.py {shlex.join(sys.argv[1:])}` on "
        f"{name_device(facts)}; other jobs may have shared them, so times are rough.",
        f"The teacher is **simulated** from the demo scene's labels: {options.channels} channels, a random unit vector "
        f"for each of {every[0]['classes']} classes, blurred at borders, wrong about some objects, with noise in all "
        "channels. No network looked at a photo; how far the features of a real one can be compressed is another "
        "question. The clean field is this teacher without its errors. For every K: "
        f"{options.steps} steps of stage 2 on one shared stage 1, scored on held-out views; mean ± half the range over "
        f"{options.seeds} seeds, costs are medians.",
        markdown_table(["K", *SCORES.values(), *COSTS.values()], rows, first="---:"),
        f"The teacher's own mIoU: {show(every, 'teacher_miou')}.",
        f"**The knee: {f'K = {knee}' if knee else 'none'}**, the smallest K whose means are {rule}.",
    ]
    if curves:
        header = ["K", *(f"{curve['name']} (T = {curve['channels']}, {curve['maps']} maps)" for curve in curves)]
        rows = [[dim, *(f"{curve['energy'][dim]:.5f}" for curve in curves)] for dim in runs]
        parts += ["## Kept energy of other teachers' maps", markdown_table(header, rows, first="---:")]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Trains the missing runs, and prints and writes the page and the figures."""
    options = tyro.cli(Options, description=Options.__doc__)
    options = replace(options, device=choose_device(options.device).type)
    if options.seeds < 1 or options.steps < 40:
        raise UserError("--seeds, --steps: expected at least 1 seed and, for a pace, 40 steps")
    curves = [energy_curve(argument, options.dims) for argument in options.maps]  # first, to find a wrong folder early
    stage1 = options.runs.absolute() / "stage1"
    if not RunFolder(stage1).ply.is_file():
        shutil.rmtree(stage1, ignore_errors=True)
        call("train", "--data", "demo", "--teacher", "none", "--device", options.device, "--out", stage1)
    runs: dict[int, list[dict]] = {dim: [] for dim in options.dims}
    for dim in tqdm(sorted(options.dims * options.seeds), desc="runs"):
        runs[dim].append(measure(options, stage1, dim, seed=len(runs[dim])))
    means = [{"dim": k} | {name: fmean(run[name] for run in runs[k]) for name in MARGINS} for k in runs]
    knee = find_knee(means, MARGINS)
    print(text := write_page(options, runs, curves, knee))
    report = {
        "machine": machine(options.device),
        "command": sys.argv[1:],
        "margins": MARGINS,
        "knee": knee,
        "runs": runs,
    }
    (DOCS / "benchmarks" / "dimensions.json").write_text(
        json.dumps(report | {"runs": runs, "maps": curves}, indent=1) + "\n"
    )
    (DOCS / "dimensions.md").write_text(text)


if __name__ == "__main__":
    run_door(main)
