"""The phase `bench`: the benchmarks one after the other, those of the card first."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpu_phases.work import ROOT, Options, Phase, open_phase


@dataclass(frozen=True)
class Benchmark:
    """One script with its options, and its figures in the JSON that it writes."""

    words: Sequence[object]
    """Command after the interpreter; `OUT` in it is the file for the figures."""
    rows: Callable[[Mapping[str, Any]], Mapping[str, Sequence[Mapping[str, Any]]]]
    """Tables of the report, by their titles, from the JSON."""
    made_of: str = ""
    """Benchmark that has to end well before."""


LONGEST = 300.0
"""Seconds after which a benchmark counts as hung; one that a phase's end has cut off begins anew in the next call."""
OUT = object()
"""Place of the JSON file in a command."""
RASTERIZER = (
    "scene", "gaussians", "size", "channels", "intersections", "render_ms", "forward_ms", "backward_ms",
    "backward_colors_ms", "spread_percent", "peak_mib", "max_render_difference", "max_gradient_difference",
)  # fmt: skip
FILTERS = ("filter", "rival", "size", "ours_ms", "rival_ms", "ours_mib", "rival_mib", "difference")
"""Figures that the report shows; the files have more."""


def pick(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """Some figures of rows."""
    return [{name: row.get(name) for name in names} for row in rows]


def pick_short(report: Mapping[str, Any]) -> dict[str, Any]:
    """Figures of the whole benchmark, without its rows."""
    return {name: value for name, value in report.items() if name not in ("machine", "rows")}


def list_benchmarks(options: Options) -> dict[str, Benchmark]:
    """All benchmarks; a new one is a row here."""
    quick, scene = options.quick, options.out / "bench" / "scene"
    thin = ["--thin", 8, "--repeats", 3] if quick else []
    size = (200, 64, 48) if quick else (1_000_000, 1920, 1080)
    steps = 20 if quick else 3000
    return {
        "rasteriser, card": Benchmark(
            ["scripts/bench_rasterizer.py", "--device", "cuda", "--no-curve", "--out", OUT,
             *(thin if quick else ["--large"])],
            lambda report: {"Rasteriser, card": pick(report["rows"], RASTERIZER)},
        ),
        "feature pass": Benchmark(
            ["scripts/bench_query.py", "--device", "cuda", "--gaussians", size[0], "--width", size[1],
             "--height", size[2], *(["--repeats", 2, "--dim", 16] if quick else []), "--out", OUT],
            lambda report: {"Feature pass": report["rows"], "Feature pass, in short": [pick_short(report)]},
        ),
        "training step": Benchmark(
            ["scripts/bench_memory.py", "--device", "cuda", "--gaussians", size[0], "--width", size[1],
             "--height", size[2], "--steps", 18 if quick else 90, "--out", OUT],
            lambda report: {"Training step of stage 1": [report]},
        ),
        "filters": Benchmark(
            ["scripts/bench_smoothing.py", "--device", "cuda", "--out", OUT,
             *(["--size", 48, 36, 8, "--segments", 3, "--repeats", 1, "--only", "segment_blur"] if quick else [])],
            lambda report: {"Smoothing filters, forward and backward": pick(report["rows"], FILTERS)},
        ),
        "scene of the features": Benchmark(
            ["-m", "gsdff.train", "--data", "demo", "--teacher", "toy", "--config", "cpu", "--device", "cuda",
             "--stage1.steps", steps, "--stage2.steps", max(steps // 10, 2), "--log-every", 5,
             *(["--downscale", 4] if quick else []), "--out", scene],
            lambda report: {},
        ),
        "features": Benchmark(
            ["scripts/bench_features.py", "--device", "cuda", "--run", scene, "--work", scene.with_name("features"),
             "--steps", 3 if quick else 60, "--out", OUT],
            lambda report: {
                "Features: the lift": [report["scene"]],
                "Features: steps": report["steps"],
                "Features: memory of a training": report["memory"],
            },
            made_of="scene of the features",
        ),
        "rasteriser, CPU": Benchmark(
            ["scripts/bench_rasterizer.py", "--device", "cpu", "--no-curve", "--out", OUT, *thin],
            lambda report: {"Rasteriser, CPU of the same machine": pick(report["rows"], RASTERIZER)},
        ),
    }  # fmt: skip


def file_of(options: Options, name: str) -> Path:
    """JSON file of a benchmark; `bench_smoothing` chooses the name in a folder itself."""
    if name == "filters":
        return options.out / "bench" / "smoothing_cuda.json"
    return options.out / "bench" / f"{name.replace(', ', '_').replace(' ', '_')}.json"


def bench(options: Options) -> Phase:
    """Runs the benchmarks that have no figures yet."""
    phase = open_phase(options, "bench")
    phase.folder.mkdir(parents=True, exist_ok=True)
    for name, benchmark in list_benchmarks(options).items():
        if phase.is_done(name):
            continue
        before = phase.items.get(benchmark.made_of, {"status": "ok"})["status"]
        if before != "ok":
            phase.record(
                name, "unfinished" if before == "unfinished" else "failed", detail=f"{benchmark.made_of}: {before}"
            )
            continue
        out = file_of(options, name)
        words = [(out.parent if name == "filters" else out) if word is OUT else word for word in benchmark.words]
        if "gsdff.train" in words and (words[-1] / "config.toml").is_file():
            words = ["-m", "gsdff.train", "--out", words[-1], "--resume"]
        command = [ROOT / words[0], *words[1:]] if str(words[0]).endswith(".py") else words
        ended = phase.run(name, [sys.executable, *command], limit=LONGEST)
        report = json.loads(out.read_text()) if ended.status == "ok" and out.is_file() else {}
        tables = benchmark.rows(report) if report else {}
        phase.record(name, ended.status, seconds=ended.seconds, detail=ended.fault, tables=tables)
    return phase
