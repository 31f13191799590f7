"""Cost of features on this machine: the lift, a step of stage 2 against one of stage 1, and memory.

    python scripts/bench_features.py --run runs/camvid --maps MAPS [--device cpu] [--out FILE.json]

The trainers take turns, step by step, all from the Gaussians of `--run`: radiance alone (stage 1 at a fixed count),
radiance and features (stage 2), features alone (frozen radiance), and smoothing losses. Memory is measured for
`gsdff.train` in a process of its own, with maps of the teacher's T channels, and with maps that a seeded orthonormal
matrix projects to K channels; without `--maps` with those of the run's own teacher. On a card every time is taken once
the card has finished, and the memory is the card's.
"""

import gsdff  # noqa: F401  # isort: skip  # before torch: it sets how torch's threads wait

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
import torch
import tyro
from bench_rasterizer import DeviceName, machine, now, print_table, spread
from tqdm import tqdm

from gsdff.cli import run_door
from gsdff.config.file import lay_over
from gsdff.config.options import FeatureConfig, Stage2Config, TeacherConfig, TrainConfig
from gsdff.config.smoothing import MaskConfig, SmoothingConfig
from gsdff.data import load_scene
from gsdff.device import choose_device
from gsdff.errors import UserError
from gsdff.evaluation.features import evaluate_features
from gsdff.field.load import field_of_run
from gsdff.io.runs import LoadedRun, RunFolder, load_run
from gsdff.render import render_features
from gsdff.scene import Scene
from gsdff.teachers import open_teacher
from gsdff.teachers.store import open_store
from gsdff.training.feature_loss import FeatureTerm
from gsdff.training.initialise import read_splat
from gsdff.training.lift import FeatureTarget, lift_features
from gsdff.training.teacher_targets import enlarge_target
from gsdff.training.trainer import Trainer

ROOT = Path(__file__).resolve().parents[1]
CHILD = (
    "import gsdff; from gsdff.cli import run_door; from gsdff.train import main; run_door(main); "
    "from bench_rasterizer import peak_mib; import sys; print(peak_mib(sys.argv[sys.argv.index('--device') + 1]))"
)
"""Trains, and prints the peak of its own process: the peak that a parent reads of a child includes the parent's."""
KINDS = {
    "stage 1": {},
    "stage 2": {},
    "stage 2, radiance frozen": {"stage2": {"freeze_radiance": True}},
    "stage 2, sam consistency, window 11": {"smoothing": {"sam": {"form": "consistency", "window": 11}}},
    "stage 2, sam consistency, segment mean": {"smoothing": {"sam": {"form": "consistency", "window": 0}}},
    "stage 2, sam target": {"smoothing": {"sam": {"form": "target", "window": 0}}},
    "stage 2, bilateral render": {"smoothing": {"bilateral": {"form": "render"}}},
    "stage 2, tv": {"smoothing": {"tv": {"weight": 1.0}}},
}
"""Kinds of steps, with their options over the defaults."""
LIFTS, WARM_UP, MEMORY_STEPS = 3, 5, 20
"""Numbers of timed lifts, of steps before the timed ones, and of steps of the training whose memory is measured."""


@dataclass(frozen=True)
class Options:
    """Times the lift and the steps of both stages, and measures the peak memory of a short stage 2."""

    run: Path
    """Finished run to start from."""
    maps: Path | None = None
    """Teacher maps of the run's photos, see `--teacher.maps`; by default the run's teacher makes them."""
    device: DeviceName = "auto"
    """Device to measure on."""
    out: Path | None = None
    """JSON file for the figures; by default docs/benchmarks/features_<device>.json."""
    work: Path = Path("runs/bench_features")
    """Folder of the projected maps, which the next benchmark reuses."""
    dim: int = 32
    """K, number of latent channels; also T of the projected maps."""
    steps: int = 40
    """Number of timed steps of every kind."""


def open_bench(options: Options) -> tuple[TrainConfig, Scene]:
    """Options and scene of the run; stage 1 has no steps, so that the number of Gaussians is fixed."""
    config, work = load_run(options.run).config, options.work.absolute()
    (work / "run").mkdir(parents=True, exist_ok=True)
    teacher = config.teacher
    if options.maps is not None:
        teacher = TeacherConfig(name="precomputed", maps=options.maps.absolute())
    elif teacher.name == "none":
        raise UserError(f"{options.run}: has no teacher; name a folder of maps, --maps")
    maps_name = teacher.name if options.maps is None else options.maps.name
    config = replace(
        config,
        out=work / "run",
        device=choose_device(options.device).type,
        stage1_from=options.run.absolute(),
        stage1=replace(config.stage1, steps=0),
        stage2=Stage2Config(),
        smoothing=SmoothingConfig(),
        masks=MaskConfig(name="felzenszwalb", cache=work / f"{maps_name}_masks"),
        teacher=teacher,
        features=FeatureConfig(dim=options.dim, cache=work / f"{maps_name}_store"),
    )
    return config, load_scene(config.data, config.dataset)


def make_trainers(config: TrainConfig, scene: Scene) -> dict[str, Trainer]:
    """One trainer of each kind, from the same Gaussians."""
    trainers = {}
    for kind, table in KINDS.items():
        first = read_splat(config.stage1_from, scene)
        trainers[kind] = Trainer(lay_over(config, table, kind), scene, torch.device(config.device), first)
        if kind != "stage 1":
            trainers[kind].start_stage2(RunFolder(config.out))
    return trainers


def feature_term(trainer: Trainer) -> FeatureTerm:
    """The feature loss among a trainer's terms."""
    return next(term for term in trainer.terms if isinstance(term, FeatureTerm))


def time_lift(trainer: Trainer) -> tuple[list[float], torch.Tensor]:
    """Seconds of lifting the plain maps of all training views as in stage 2, and the lifted features."""
    term, train_ids, seconds = feature_term(trainer), trainer.scene.train_ids, []

    def render(features: torch.Tensor, target: FeatureTarget) -> torch.Tensor:
        return render_features(trainer.gaussians, target.camera, features=features).image

    for _ in range(LIFTS):
        start = now(trainer.device.type)
        targets = (enlarge_target(term.targets[view_id]) for view_id in train_ids)
        progress = tqdm(targets, desc="lift", total=len(train_ids), leave=False)
        lifted = lift_features(render, progress, len(trainer.gaussians))
        seconds.append(now(trainer.device.type) - start)
    return seconds, lifted.features


def time_steps(trainers: dict[str, Trainer], count: int) -> dict[str, list[float]]:
    """Milliseconds of every step (forward, backward and optimizers); the kinds take turns, on the same views."""
    times: dict[str, list[float]] = {kind: [] for kind in trainers}
    for _ in tqdm(range(WARM_UP + count), desc="steps"):
        for kind, trainer in trainers.items():
            start = now(trainer.device.type)
            trainer.advance()
            times[kind].append(1e3 * (now(trainer.device.type) - start))
    return {kind: values[WARM_UP:] for kind, values in times.items()}


def heldout_cosine(trainer: Trainer, features: torch.Tensor | None = None) -> float:
    """Mean cosine to the teacher on the held-out views, of the given features or of the trainer's own."""
    gaussians, config = trainer.gaussians.map(torch.detach), trainer.config
    gaussians = replace(gaussians, features=gaussians.features if features is None else features)
    run = LoadedRun(config.out, config, gaussians, trainer.scene.frame, trainer.step)
    field = field_of_run(run, trainer.device, scene=trainer.scene)
    return evaluate_features(field, config.out / "pictures")["cosine_to_teacher"]


def project_maps(config: TrainConfig, scene: Scene) -> Path:
    """Folder of all views' maps times a seeded orthonormal [T, K] matrix, in float16; made once."""
    partial, folder = config.out.with_name("partial"), config.out.with_name(f"{config.teacher.maps.name}_narrow")
    if folder.is_dir():
        return folder
    partial.mkdir(exist_ok=True)
    teacher, generator, matrix = open_teacher(config.teacher, scene), torch.Generator().manual_seed(0), None
    for view, features in zip(tqdm(scene.views, desc="narrow maps"), teacher.extract(scene.views), strict=True):
        if matrix is None:
            matrix = torch.linalg.qr(torch.randn(len(features), config.features.dim, generator=generator))[0]
        np.save(partial / f"{view.stem}_fmap_CxHxW.npy", torch.einsum("thw,tk->khw", features, matrix).half().numpy())
    return partial.rename(folder)


def peak_of_training(config: TrainConfig, scene: Scene, maps: Path | None) -> dict[str, float]:
    """Peak memory of `gsdff.train` in a process of its own, on maps whose store is made before.

    It is the resident memory, or the card's if it trains there.
    """
    teacher = open_teacher(replace(config.teacher, maps=maps), scene)
    is_own = maps is None or maps == config.teacher.maps
    cache = config.features.cache if is_own else maps.with_name(f"{maps.name}_store")
    basis = open_store(teacher, [scene.views[view_id] for view_id in scene.train_ids], cache, config.features).basis
    places = [str(ROOT), str(ROOT / "scripts"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(places)}
    with tempfile.TemporaryDirectory(prefix="gsdff_bench_") as out:
        command = [
            sys.executable, "-c", CHILD, "--stage1-from", config.stage1_from, "--device", config.device,
            *(["--teacher", "precomputed", "--teacher.maps", maps] if maps else []), "--features.dim",
            config.features.dim, "--features.cache", cache, "--stage2.steps", MEMORY_STEPS, "--out", out,
        ]  # fmt: skip
        done = subprocess.run(list(map(str, command)), env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise UserError(f"{maps or config.teacher.name}: training on these maps failed, the message is above")
    return {**dict(zip("TK", basis.B.shape, strict=True)), "peak_mib": float(done.stdout.split()[-1])}


def main() -> None:
    """Measures, and prints and writes the figures."""
    options = tyro.cli(Options, description=Options.__doc__)
    config, scene = open_bench(options)
    folders = [config.teacher.maps] if options.maps is None else [config.teacher.maps, project_maps(config, scene)]
    memory = [peak_of_training(config, scene, maps) for maps in folders]
    trainers = make_trainers(config, scene)
    lifts, lifted = time_lift(trainers["stage 2"])
    facts = {
        "device": config.device,
        "gaussians": len(trainers["stage 1"].gaussians),
        "photo": "x".join(map(str, scene.views[0].image.shape[1::-1])),
        "map": "x".join(map(str, feature_term(trainers["stage 2"]).targets[scene.train_ids[0]].latents.shape)),
        "training_views": len(scene.train_ids),
        "lift_seconds": median(lifts),
        "lift_spread_seconds": max(lifts) - min(lifts),
        "heldout_cosine_after_lift": heldout_cosine(trainers["stage 2"], lifted),
    }
    times = time_steps(trainers, options.steps)
    steps = [
        {
            "step": kind,
            "median_ms": median(values),
            "spread_ms": spread(values),
            "ratio": median(values) / median(times["stage 1"]),
            "ratio_step_by_step": median(b / a for a, b in zip(times["stage 1"], values, strict=True)),
            "ratio_to_stage_2": median(b / a for a, b in zip(times["stage 2"], values, strict=True)),
            "heldout_cosine": heldout_cosine(trainers[kind]) if kind != "stage 1" else None,
        }
        for kind, values in times.items()
    ]
    for rows in ([facts], steps, memory):
        print_table(rows)
        print()
    report = {
        "machine": machine(config.device),
        "command": sys.argv[1:],
        "scene": facts,
        "steps": steps,
        "memory": memory,
    }
    out = options.out or ROOT / "docs" / "benchmarks" / f"features_{config.device}.json"
    out.write_text(json.dumps(report | {"times_ms": times, "lift_times_s": lifts}, indent=1) + "\n")


if __name__ == "__main__":
    run_door(main)
