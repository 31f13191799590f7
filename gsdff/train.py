"""`python -m gsdff.train --data PATH`: posed photos become a scene of Gaussians, with features given a teacher."""

import logging
import os
import shutil
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from gsdff.cli import run_door
from gsdff.config import DEMO, TrainConfig, check_config, find_preset, flatten, read_config, to_table, write_config
from gsdff.errors import UserError

if TYPE_CHECKING:
    from gsdff.runs import RunFolder
    from gsdff.scene import Scene

log = logging.getLogger("gsdff")

PROG = "python -m gsdff.train"
FREE_KEYS = {"device", "log_every", "picture_every", "checkpoint_every"}
"""Options that a resumed run may change."""


@dataclass(frozen=True)
class TrainArguments:
    """Trains a scene of 3D Gaussians on posed photos, and features with it where --teacher is given."""

    config: str | None = None
    """A TOML file, or the name of a preset (cpu, cuda); by default the preset for the device."""
    resume: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Continue the run in --out from its newest checkpoint, with that run's options."""
    options: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(default_factory=TrainConfig)


def main() -> None:
    """Trains as the command line says."""
    arguments = read_arguments(sys.argv[1:])
    config = arguments.options
    check_config(config)

    from gsdff.checkpoint import list_checkpoints, load_checkpoint
    from gsdff.data import load_scene
    from gsdff.distill import check_features
    from gsdff.runs import RunFolder, data_folder

    folder = RunFolder(run_folder(config))
    config = replace(config, out=None)  # a run does not depend on where it is kept
    check_folder(folder, arguments.resume)
    checkpoints = list_checkpoints(folder.checkpoints)
    state = load_checkpoint(checkpoints[-1]) if checkpoints else None
    if state is not None:
        check_same_config(config, state["config"], folder)
    make_demo_scene(config, folder)
    scene = load_scene(data_folder(config, folder), config.dataset)
    check_features(config, scene)
    folder.path.mkdir(parents=True, exist_ok=True)
    write_config(folder.config, config)
    try:
        run(config, scene, folder, state)
    except OSError as error:
        error.filename = error.filename or str(folder.path)  # a write that fails does not know its file's name
        raise
    except KeyboardInterrupt:
        log.info("stopped; continue with: python -m gsdff.train --out %s --resume", folder.path)
        raise


def run(config: TrainConfig, scene: "Scene", folder: "RunFolder", state: dict[str, Any] | None) -> None:
    """Trains from the start or from a checkpoint's state, writes scene.ply and says how it went."""
    import torch

    from gsdff.ply import write_ply
    from gsdff.report import Report, last_line
    from gsdff.trainer import Trainer, train

    device = torch.device(choose_device(config.device))
    size = f"{scene.views[0].camera.width}x{scene.views[0].camera.height}"
    log.info(
        "%s: %d training views and %d held out, %s pixels, %d points; training on %s into %s",
        scene.root, len(scene.train_ids), len(scene.test_ids), size, len(scene.points), device.type, folder.path,
    )  # fmt: skip
    trainer = Trainer(config, scene, device)
    with Report(config, scene, folder, state["step"] if state else 0, trainer.total_steps) as report:
        if state is not None:
            trainer.load_state_dict(state["step"], state)
            report.load_state_dict(state["report"], device)
            log.info("continuing after step %d of %d", trainer.step, trainer.total_steps)
        train(trainer, report, folder)
    gaussians = trainer.gaussians.map(torch.detach).to("cpu")
    write_ply(folder.ply, gaussians.to_input_frame(scene.frame))
    last = last_line(folder.metrics)
    print(f"{folder.ply}: {len(gaussians):,} Gaussians after {trainer.step:,} steps in {last['seconds']:.0f} s")
    print(f"held-out views: PSNR {last['heldout_psnr']:.2f} dB, pictures in {folder.pictures}")
    print(f"next: python -m gsdff.evaluate {folder.path}")


def read_arguments(argv: list[str]) -> TrainArguments:
    """The command line over a TOML file over the defaults; paths are absolute, so that they hold from anywhere."""
    # first only what decides which file lies below; the second reading sees everything else
    first, _ = tyro.cli(TrainArguments, args=argv, prog=PROG, add_help=False, return_unknown_args=True)
    saved = run_folder(first.options) / "config.toml"
    device = choose_device(first.options.device)
    if first.config is not None:
        below = find_preset(first.config)
    else:
        below = saved if first.resume and saved.is_file() else find_preset(device)
    arguments = tyro.cli(TrainArguments, args=argv, prog=PROG, default=TrainArguments(options=read_config(below)))
    if first.config is None and below != saved:
        log.info("device %s: taking the preset %s (--config takes another)", device, below.name)
    options = arguments.options
    if options.data != DEMO:
        options = replace(options, data=Path(os.path.abspath(options.data)))
    if options.teacher.maps is not None:
        maps = Path(os.path.abspath(options.teacher.maps))
        options = replace(options, teacher=replace(options.teacher, maps=maps))
    return replace(arguments, options=options)


def choose_device(name: str) -> str:
    """`cpu` or `cuda`; `UserError` where CUDA is asked for and there is none."""
    import torch

    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        raise UserError("--device cuda: torch finds no CUDA card here; leave --device away to train on the CPU")
    return "cuda" if has_cuda and name != "cpu" else "cpu"


def run_folder(config: TrainConfig) -> Path:
    """`--out`, or `runs/` and the name of the data's folder (of its parent for a file)."""
    if config.out is not None:
        return config.out
    place = Path(os.path.abspath(config.data))
    return Path("runs") / (place.parent if place.is_file() else place).name


def check_folder(folder: "RunFolder", resume: bool) -> None:
    """Raises `UserError` where a run would overwrite another, or where there is none to resume."""
    holds_run = folder.config.is_file()
    if holds_run and not resume:
        raise UserError(f"{folder.path}: holds a run already; continue it with --resume, or choose another --out")
    if resume and not holds_run:
        raise UserError(f"{folder.path}: no run to resume here (no config.toml); name its folder with --out")


def check_same_config(config: TrainConfig, saved: dict[str, Any], folder: "RunFolder") -> None:
    """Raises `UserError` naming the options in which a resumed run differs from how it was started."""
    now, before = (dict(flatten(table)) for table in (to_table(config), saved))
    changed = [key for key in sorted(now.keys() | before.keys()) if now.get(key) != before.get(key)]
    changed = [f"{key} was {before.get(key)}, now {now.get(key)}" for key in changed if key not in FREE_KEYS]
    if changed:
        raise UserError(
            f"{folder.path}: a run resumes with the options it was started with ({'; '.join(changed)}); "
            "leave these away, or start another run with --out"
        )


def make_demo_scene(config: TrainConfig, folder: "RunFolder") -> None:
    """Writes the built-in scene into the run's folder, where it is asked for and not there yet."""
    if config.data == DEMO and not folder.demo_data.exists():
        from gsdff.data.demo import write_demo_scene

        log.info("making the built-in scene in %s", folder.demo_data)
        partial = folder.demo_data.with_name("data.partial")
        shutil.rmtree(partial, ignore_errors=True)
        write_demo_scene(partial)
        os.replace(partial, folder.demo_data)


if __name__ == "__main__":
    run_door(main)
