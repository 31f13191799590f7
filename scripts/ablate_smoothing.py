"""Smoothness study: every filter and form on one scene, from one shared stage 1, with several seeds.

    python scripts/ablate_smoothing.py                                     # the built-in scene and its toy teacher
    python scripts/ablate_smoothing.py --name room_a --data DIR --maps DIR --labels DIR --stage1 runs/room_a

Finished runs in --runs are reused, so that an interrupted study continues, arm by arm. Writes the files
docs/smoothness/<name>.csv, .md and .png, and docs/smoothness.md from all scenes studied so far.
"""

import gsdff  # noqa: F401  # isort: skip  # before torch: it sets how torch's threads wait

import gc
import hashlib
import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import tyro
from ablation_arms import CORE, Arm, all_arms, configure, make_label_masks, seeded
from ablation_report import FOLDER, write_figures, write_page, write_scene
from bench_rasterizer import DeviceName, now
from study_tools import clean_cosine
from tqdm import tqdm

from gsdff.cli import run_door
from gsdff.config.file import to_table
from gsdff.config.options import TeacherConfig, TrainConfig
from gsdff.data import load_scene
from gsdff.device import choose_device
from gsdff.errors import UserError
from gsdff.evaluation.classes import find_classes
from gsdff.evaluation.features import evaluate_features
from gsdff.evaluation.label_metrics import Mean, speckles
from gsdff.evaluation.run import score_images
from gsdff.field.load import field_of_run
from gsdff.files.writing import whole_file
from gsdff.io.runs import LoadedRun, RunFolder, load_run
from gsdff.run_folder import DEMO
from gsdff.scene import Scene
from gsdff.teachers import open_teacher
from gsdff.training.initialise import initial_gaussians
from gsdff.training.trainer import Trainer


@dataclass(frozen=True)
class Options:
    """Trains the arms of the smoothness study on one scene and writes its tables and pictures."""

    name: str = "demo"
    """Name of the scene, for folders and tables."""
    data: Path = DEMO
    """Folder of the scene, which needs label images."""
    maps: Path | None = None
    """Maps of a precomputed teacher; by default the teacher is the simulated toy teacher."""
    labels: Path | None = None
    """Label images for scores and for exact masks; by default the scene's own."""
    stage1: Path | None = None
    """Finished run whose stage 1 is shared; by default one is trained."""
    seeds: int = 3
    """Number of runs of every arm; with the toy teacher each run also has its own noise."""
    seeds_of_others: int | None = None
    """Number of runs of the arms that are not in `ablation_arms.CORE`; by default `seeds`."""
    levels: tuple[float, ...] = (1.0, 0.5, 2.0)
    """Factors on the toy teacher's noise and share of mistakes: the first for all arms, the others for the core; other
    teachers have only level 1."""
    steps: int = 500
    """Number of steps of stage 2."""
    arms: tuple[str, ...] = ()
    """Run only arms whose title contains one of these."""
    device: DeviceName = "auto"
    """Device to train on."""
    report_only: bool = False
    """Train nothing, and report the runs that exist."""
    runs: Path = Path("runs/smoothness")
    """Folder of the runs."""
    docs: Path = Path(__file__).resolve().parents[1] / "docs"
    """Folder of the page."""


def open_study(options: Options) -> tuple[TrainConfig, Scene, Path]:
    """The base config of all arms, the scene, and the folder of the study; trains stage 1 if it is missing."""
    home = options.runs.absolute() / options.name
    stage1 = (options.stage1 or home / "stage1").absolute()
    if not RunFolder(stage1).ply.is_file():
        shutil.rmtree(stage1, ignore_errors=True)
        command = ["--data", options.data, "--teacher", "none", "--device", options.device, "--out", stage1]
        if subprocess.run([sys.executable, "-m", "gsdff.train", *map(str, command)]).returncode:
            raise UserError(f"{stage1}: stage 1 failed, its message is above")
    config = load_run(stage1).config
    teacher = TeacherConfig(name="toy")
    if options.maps is not None:
        teacher = TeacherConfig(name="precomputed", maps=options.maps.absolute())
    config = replace(
        config,
        stage1_from=stage1,
        device=options.device,
        teacher=teacher,
        features=TrainConfig().features,
        stage1=replace(config.stage1, steps=0),
        stage2=replace(TrainConfig().stage2, steps=options.steps),
        masks=TrainConfig().masks,
        smoothing=TrainConfig().smoothing,
    )
    scene = load_scene(config.data, config.dataset)
    make_label_masks(scene, options.labels, home / "masks")
    return config, scene, home


def seconds(device: torch.device) -> float:
    """Seconds of this process on the CPU, which other jobs change little; of the clock on a card."""
    return time.process_time() if device.type == "cpu" else now(device.type)


def run_arm(arm: Arm, config: TrainConfig, scene: Scene, folder: Path, labels: Path | None) -> dict[str, Any]:
    """Trains one arm and scores it on the held-out views."""
    folder.mkdir(parents=True, exist_ok=True)
    device = torch.device(config.device)
    trainer = Trainer(config, scene, device, initial_gaussians(config, scene))
    start = seconds(device)
    trainer.start_stage2(RunFolder(folder))
    ready = seconds(device)
    for _step in tqdm(range(config.stage2.steps), desc=arm.title, unit="step", leave=False):
        trainer.advance()
    done = seconds(device)
    run = LoadedRun(folder, config, trainer.gaussians.map(torch.detach), scene.frame, trainer.step)
    field = field_of_run(run, device, scene=scene)
    features = evaluate_features(field, folder / "evaluation", labels)
    shutil.rmtree(RunFolder(folder).filtered, ignore_errors=True)
    scores, maps = features["labels"]["field"], features["label_maps"]
    return {
        "cosine": features["cosine_to_teacher"],
        "clean_error": 1 - clean_cosine(run, scene) if config.teacher.name == "toy" else None,
        "miou": scores["miou"],
        "boundary_3px": scores["boundary_miou"]["3px"],
        "boundary_5px": scores["boundary_miou"]["5px"],
        "speckles": maps["field"]["speckle_share"],
        "gradient_energy": scores["gradient_energy"],
        "consistency": maps["field"]["view_consistency"],
        "start_seconds": ready - start,
        "seconds": done - start,
        "iou": scores["iou"],
        "teacher": features["labels"]["teacher"]
        | {key: maps["teacher"][key] for key in ("speckle_share", "view_consistency")},
    }


def describe(config: TrainConfig, scene: Scene, home: Path, labels: Path | None) -> dict[str, Any]:
    """Facts that all arms share: the scores of the images, and the share of speckles in the ground truth."""
    run = load_run(config.stage1_from)
    run = replace(run, config=replace(run.config, data=config.data))
    images = score_images(field_of_run(run, torch.device(config.device), scene=scene), home / "images", None)["mean"]
    teacher = open_teacher(config.teacher, scene)
    assert teacher is not None, "the study has a teacher"
    scored = find_classes(teacher, scene, labels, ())
    if scored is None:
        raise UserError(f"{labels or scene.root}: expected label images of classes that the teacher knows")
    truths = [truth for view_id in scene.test_ids if (truth := scored.load(scene.views[view_id])) is not None]
    return {
        **images,
        "gaussians": len(run.gaussians),
        "speckles_of_truth": sum((speckles(truth.labels) for truth in truths), Mean()).value,
        "training_views": len(scene.train_ids),
        "held_out_views": len(truths),
        "classes": [entry.name for entry in scored.classes],
        "teacher": config.teacher.name,
        "device": config.device,
    }


def main() -> None:
    """Trains the missing runs, and writes tables, figures and the page."""
    options = tyro.cli(Options, description=Options.__doc__)
    options = replace(options, device=choose_device(options.device).type)
    base, scene, home = open_study(options)
    levels = options.levels if base.teacher.name == "toy" else (1.0,)
    arms = [arm for arm in all_arms() if not options.arms or any(word in arm.title for word in options.arms)]
    others = options.seeds if options.seeds_of_others is None else options.seeds_of_others
    tasks = [
        (level, seed, arm)
        for level in levels
        for seed in range(options.seeds)
        for arm in arms
        if arm.title in CORE or (level == levels[0] and seed < others)
    ]
    rows = []
    for level, seed, arm in tqdm(tasks, desc=options.name, unit="run"):
        config = configure(arm, seeded(base, seed, level), home / "masks")
        store = home / "stores" / f"seed{seed if base.teacher.name == 'toy' else 0}_level{level:g}"
        config = replace(config, features=replace(config.features, cache=store))
        made_of = hashlib.blake2b(json.dumps(to_table(config), sort_keys=True).encode(), digest_size=6).hexdigest()
        folder = home / f"{arm.key}_level{level:g}_seed{seed}_{made_of}"
        result = folder / "result.json"
        if options.report_only and not result.is_file():
            continue
        if not result.is_file():
            scores = run_arm(arm, config, scene, folder, options.labels)
            with whole_file(result) as partial:
                partial.write_text(json.dumps(scores, indent=1) + "\n")
            gc.collect()  # frees the maps and masks of the trainer now, not at some later collection
        rows.append({"arm": arm.title, "level": level, "seed": seed, "folder": str(folder)})
        rows[-1] |= json.loads(result.read_text())
    if not rows:
        raise UserError(f"{home}: no run is finished yet; leave --report-only away")
    command = [word for word in sys.argv[1:] if word != "--report-only"]  # makes the runs that are reported
    facts = describe(base, scene, home, options.labels) | {"steps": options.steps, "command": command}
    write_scene(options.docs, options.name, facts, rows)
    write_figures(options.docs / FOLDER / f"{options.name}.png", scene, rows)
    write_page(options.docs)


if __name__ == "__main__":
    run_door(main)
