"""The phase `train`: scenes from photos to scores, as long as the time allows, in the shape of the CUDA preset."""

import json
import sys
from pathlib import Path
from typing import Any

from gpu_phases.work import Options, Phase, open_phase

FULL = {"steps": 30_000, "sh_interval": 1000, "refine_start": 500, "refine_stop": 15_000, "reset_every": 3000}
"""Stage 1 of configs/cuda.toml; a shorter training has the same shape."""
STAGE2 = 3000
PILOT = 120
"""Steps whose pace tells how many will fit."""
SLOWER = 2.0
"""How much slower a step of the whole training is than one of the pilot, whose Gaussians are still few."""
FOR_STEPS = 0.6
"""Share of the time for steps; the rest is for starting, maps, pictures and the evaluation."""
LEAST = 300
"""Steps under which a training tells nothing."""
SCORES = ("step", "gaussians", "training_views", "held_out_views")


def train(options: Options) -> Phase:
    """Trains and evaluates the scenes that have no scores yet."""
    phase = open_phase(options, "train")
    phase.folder.mkdir(parents=True, exist_ok=True)
    scenes: dict[str, list[object]] = {"demo": ["--data", "demo", "--teacher", "toy"]}
    if options.quick:
        scenes["demo"] += ["--downscale", 4]
    if options.data is not None:
        scenes[options.data.name] = ["--data", options.data, *teacher_of(options)]
    todo = [name for name in scenes if not phase.is_done(name)]
    for number, name in enumerate(todo):
        share = phase.seconds_left / (len(todo) - number)
        train_scene(phase, name, scenes[name], share)
    return phase


def teacher_of(options: Options) -> list[object]:
    """Teacher of the scene of `--data`: maps, else its label images, else none."""
    assert options.data is not None
    if options.maps is not None:
        return ["--teacher", "precomputed", "--teacher.maps", options.maps]
    return ["--teacher", "labels" if (options.data / "labels").is_dir() else "none"]


def train_scene(phase: Phase, name: str, words: list[object], share: float) -> None:
    """Trains and evaluates one scene, or goes on with it; `share` is its part of the time, in seconds."""
    run = phase.folder / name
    known = phase.items.get(name, {})
    facts: dict[str, Any] = {key: known[key] for key in ("steps", "pilot_ms", "teacher") if key in known}
    facts |= {"teacher": words[words.index("--teacher") + 1]}
    if "steps" not in facts:
        pace = 0.0 if phase.options.quick else measure_pace(phase, name, words)
        if pace is None:
            return
        facts |= {"pilot_ms": 1e3 * pace, "steps": 20 if phase.options.quick else choose_steps(pace, share)}
    command: list[object] = ["--out", run, "--resume"]
    if not (run / "config.toml").is_file():
        command = [*words, "--device", "cuda", "--out", run, *schedule(facts["steps"])]
    if not (run / "scene.ply").is_file():
        phase.record(name, "unfinished", **facts, detail="begun")
        ended = phase.run(name, [sys.executable, "-m", "gsdff.train", *command])
        if ended.status != "ok":
            phase.record(name, ended.status, **facts, seconds=seconds_of(run), detail=ended.detail)
            return
    ended = phase.run(f"{name}_scores", [sys.executable, "-m", "gsdff.evaluate", run, "--device", "cuda"])
    if ended.status == "ok":
        facts |= scores_of(run)
    phase.record(name, ended.status, **facts, seconds=seconds_of(run), evaluation_seconds=ended.seconds,
                 detail=ended.fault)  # fmt: skip


def measure_pace(phase: Phase, name: str, words: list[object]) -> float | None:
    """Seconds of a step near the start of stage 1; None, and a note, if it cannot be had."""
    run = phase.folder / f"{name}_pilot"
    if not (run / "scene.ply").is_file():
        plain = [*words[: words.index("--teacher")], "--teacher", "none", "--device", "cuda", "--log-every", 10]
        command = [*plain, "--stage1.steps", PILOT, "--out", run]
        if (run / "config.toml").is_file():
            command = ["--out", run, "--resume"]
        ended = phase.run(f"{name}_pilot", [sys.executable, "-m", "gsdff.train", *command])
        if ended.status != "ok":
            phase.record(name, ended.status, detail=f"the first {PILOT} steps: {ended.detail}")
            return None
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    first, last = lines[len(lines) // 2], lines[-2]  # the last includes pictures
    return (last["seconds"] - first["seconds"]) / (last["step"] - first["step"])


def choose_steps(pace: float, share: float) -> int:
    """Steps of stage 1 that fit into `share` seconds with those of stage 2, at most those of the preset."""
    fits = FOR_STEPS * share / (SLOWER * max(pace, 1e-6)) / (1 + STAGE2 / FULL["steps"])
    return int(max(LEAST, min(FULL["steps"], fits)) // 100 * 100)


def schedule(steps: int) -> list[object]:
    """Options of a training of that many steps in the shape of the preset."""
    part = steps / FULL["steps"]
    words: list[object] = []
    for key, value in FULL.items():
        words += [f"--stage1.{key.replace('_', '-')}", max(round(value * part), 1)]
    every = max(steps // 10, 1)
    words += ["--stage2.steps", max(round(STAGE2 * part), 1), "--log-every", max(min(50, steps // 20), 1)]
    return [*words, "--checkpoint-every", every, "--picture-every", every]


def seconds_of(run: Path) -> float | None:
    """Seconds of training so far, over all calls, as the run's log counts them."""
    path = run / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.is_file() else []
    return json.loads(lines[-1])["seconds"] if lines else None


def scores_of(run: Path) -> dict[str, Any]:
    """Figures of the evaluation."""
    report = json.loads((run / "evaluation" / "metrics.json").read_text())
    facts = {"scene": Path(report["data"]).name, "size": "x".join(map(str, report["image_size"]))}
    facts |= {key: report[key] for key in SCORES} | report["images"]["mean"]
    if features := report.get("features"):
        facts |= {"cosine_to_teacher": features["cosine_to_teacher"]}
        if labels := features.get("labels"):
            facts |= {"miou": labels["field"]["miou"], "miou_of_teacher": labels["teacher"]["miou"]}
    return facts
