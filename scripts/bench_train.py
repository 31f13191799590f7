"""Time and quality of stage 1 against an earlier commit, in one run.

    python scripts/bench_train.py --scenes fox room_a --against HEAD~1 [--seeds 0 1 2] [--json FILE.json]

Every scene is trained with the preset for the CPU by this checkout and, at the same time, by the other commit, in two
processes that take turns of `block` steps, so that both meet the same load. The ratio is that of all their seconds, or
CPU seconds. PSNR and SSIM are means over the held-out views after the last step. Without `--against` only this checkout
is trained. The scenes are described in scripts/training_scenes.py.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro
from study_tools import markdown_table
from training_scenes import SCENES

from gsdff.cli import run_door
from gsdff.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
WORKER = Path(__file__).with_name("bench_train_worker.py")
HEADER = ("scene", "seed", "commit", "PSNR", "SSIM", "training PSNR", "Gaussians", "ms a step", "CPU ms a step")


@dataclass(frozen=True)
class Options:
    """Times stage 1 against an earlier commit, and scores both."""

    scenes: tuple[str, ...] = ("fox", "room_a", "camvid", "demo")
    """Names of scripts/training_scenes.py."""
    against: str | None = None
    """Commit to compare with."""
    seeds: tuple[int, ...] = (0,)
    """Seeds to train with."""
    steps: int | None = None
    """Number of steps to train; by default as many as the preset has. The schedule is not shortened."""
    block: int = 50
    """Number of steps in a turn."""
    options: dict[str, str] = field(default_factory=dict)
    """Options of the training in both, by their dotted names: `--options stage1.max-gaussians 20000`."""
    own_options: dict[str, str] = field(default_factory=dict)
    """Options of the training in this checkout alone."""
    data: Path = ROOT.parent / "shared" / "assets" / "scenes"
    """Folder with the real scenes."""
    work: Path = ROOT / "build" / "bench_train"
    """Folder for what is made from them."""
    json: Annotated[Path | None, tyro.conf.arg(aliases=("--out",))] = None
    """File for the figures, and those of every turn."""


class Worker:
    """A process that trains one scene with one checkout."""

    def __init__(self, checkout: Path, job: dict[str, Any]):
        environment = os.environ | {"PYTHONPATH": str(checkout)}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([sys.executable, WORKER], env=environment, stdin=pipe, stdout=pipe, text=True)
        self.turns: list[dict[str, Any]] = []
        self.steps = int(self.ask(job)["steps"])

    def ask(self, request: Any) -> dict[str, Any]:
        """Sends a line and returns the answer; raises `UserError` if the process has ended."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        if not (line := self.process.stdout.readline()):
            raise UserError(f"a training ended early, with exit status {self.process.wait()}; see {WORKER.name}")
        return json.loads(line)

    def advance(self, steps: int) -> None:
        """Trains so many steps."""
        self.turns.append(self.ask(steps))

    def row(self) -> dict[str, Any]:
        """Scores after the last turn, and means over all turns."""
        last = self.turns[-1]
        each = {name: sum(turn[name] for turn in self.turns) / last["step"] for name in ("seconds", "cpu_seconds")}
        return last | each


@contextmanager
def checked_out(commit: str | None) -> Iterator[dict[str, Path]]:
    """Checkouts by the name of their commit: this one, and the other in a temporary folder."""
    places = {"this checkout": ROOT}
    if commit is None:
        yield places
        return
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(["git", "archive", commit, "gsdff", "configs"], cwd=ROOT, capture_output=True)
        if done.returncode:
            raise UserError(f"`against` {commit}: {done.stderr.decode(errors='replace').strip()}")
        subprocess.run(["tar", "-x", "-C", folder], input=done.stdout, check=True)
        yield places | {commit: Path(folder)}


def compare(options: Options, scene: str, seed: int, checkouts: dict[str, Path]) -> dict[str, Worker]:
    """Trains a scene with all checkouts, in turns."""
    workers: dict[str, Worker] = {}
    with ExitStack() as stack:
        for commit, place in checkouts.items():
            given = options.options | (options.own_options if place == ROOT else {})
            values = {name.replace("-", "_"): json_value(value) for name, value in given.items()}
            job = {"scene": scene, "seed": seed, "options": values}
            workers[commit] = Worker(place, job | {"scenes": str(options.data), "work": str(options.work)})
            stack.callback(workers[commit].process.wait)
            stack.callback(workers[commit].process.stdin.close)
        last = options.steps or min(worker.steps for worker in workers.values())
        for step in range(0, last, options.block):
            for worker in workers.values():
                worker.advance(min(options.block, last - step))
    return workers


def json_value(text: str) -> Any:
    """A number or a truth value, or else the text itself."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def main(options: Options) -> None:
    """Trains all scenes, and prints a table."""
    if unknown := set(options.scenes) - set(SCENES):
        raise UserError(f"`scenes` {', '.join(sorted(unknown))}: expected some of {', '.join(SCENES)}")
    rows, lines = [], []
    with checked_out(options.against) as checkouts:
        for scene in options.scenes:
            for seed in options.seeds:
                workers = compare(options, scene, seed, checkouts)
                found = {commit: worker.row() for commit, worker in workers.items()}
                for commit, row in found.items():
                    rows.append({"scene": scene, "seed": seed, "commit": commit, **row, "turns": workers[commit].turns})
                    lines.append((scene, seed, commit, *(f"{row[key]:.2f}" for key in ("psnr",)), f"{row['ssim']:.3f}",
                                  f"{row['train_psnr']:.2f}", f"{row['gaussians']:,}", f"{1e3 * row['seconds']:.1f}",
                                  f"{1e3 * row['cpu_seconds']:.1f}"))  # fmt: skip
                if len(found) == 2:
                    own, other = found.values()
                    ratios = [f"x {own[key] / other[key]:.2f}" for key in ("seconds", "cpu_seconds")]
                    gain = f"{own['psnr'] - other['psnr']:+.2f}"
                    lines.append(
                        (scene, seed, "difference", gain, f"{own['ssim'] - other['ssim']:+.3f}", "", "", *ratios)
                    )
                print("\t".join(map(str, lines[-1])), file=sys.stderr, flush=True)
    print(markdown_table(HEADER, lines))
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    run_door(lambda: main(tyro.cli(Options)))
