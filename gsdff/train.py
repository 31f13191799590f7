"""`python -m gsdff.train --data PATH`: posed photos become a scene of Gaussians with a teacher's features."""

import logging
import os
import shutil
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from gsdff.cli import choose_device, run_door
from gsdff.config.file import absolute, check_config, find_preset, flatten, read_config, to_table, write_config
from gsdff.config.options import DEMO, TrainConfig
from gsdff.errors import UserError

if TYPE_CHECKING:
    from gsdff.io.runs import RunFolder
    from gsdff.scene import Scene
    from gsdff.training.trainer import Trainer
    from gsdff.viewer.live import Live
    from gsdff.viewer.server import Address

log = logging.getLogger("gsdff")

PROG = "python -m gsdff.train"
FREE_KEYS = {"device", "log_every", "picture_every", "checkpoint_every"}
"""Options that a resumed run may change."""


@dataclass(frozen=True)
class TrainArguments:
    """Trains a scene of 3D Gaussians on posed photos, and features with it where --teacher is given."""

    config: tuple[str, ...] = ()
    """TOML files or names of presets, later ones over earlier ones, all over the preset for the device."""
    resume: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Continue the run in --out from its newest checkpoint, with that run's options."""
    viewer: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Show the scene in the browser as it trains, and when it is finished, until Ctrl-C."""
    viewer_port: int = 8080
    """The next free one is taken where this is not."""
    viewer_host: str = "127.0.0.1"
    """Who may open the page: 127.0.0.1 this machine alone, 0.0.0.0 everyone who can reach it, without a password."""
    options: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(default_factory=TrainConfig)


FLAGS = {"host": "--viewer-host", "port": "--viewer-port"}
"""Options by the names that the viewer has for them in its messages."""


def main() -> None:
    """Trains as the command line says."""
    arguments = read_arguments(sys.argv[1:])
    config = arguments.options
    check_config(config)
    address = find_page(arguments)

    from gsdff.data import load_scene
    from gsdff.io.checkpoint import list_checkpoints, load_checkpoint
    from gsdff.io.runs import RunFolder, data_folder
    from gsdff.training.feature_loss import check_features

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
        run(config, scene, folder, state, address)
    except OSError as error:
        error.filename = error.filename or str(folder.path)  # a write that fails does not know its file's name
        raise
    except KeyboardInterrupt:
        log.info("stopped; continue with: python -m gsdff.train --out %s --resume", folder.path)
        raise


def run(
    config: TrainConfig,
    scene: "Scene",
    folder: "RunFolder",
    state: dict[str, Any] | None,
    address: "Address | None" = None,
) -> None:
    """Trains from the start or from a checkpoint's state, writes scene.ply and says how it went; shows it at an
    address, where there is one."""
    import torch

    from gsdff.training.report import Report
    from gsdff.training.start import first_gaussians
    from gsdff.training.trainer import Trainer, train

    device = torch.device(choose_device(config.device))
    size = f"{scene.views[0].camera.width}x{scene.views[0].camera.height}"
    log.info(
        "%s: %d training views and %d held out, %s pixels, %d points; teacher %s; training on %s into %s",
        scene.root, len(scene.train_ids), len(scene.test_ids), size, len(scene.points), config.teacher.name,
        device.type, folder.path,
    )  # fmt: skip
    trainer = Trainer(config, scene, device, first_gaussians(config, scene))
    with ExitStack() as page:
        with Report(config, scene, folder, state["step"] if state else 0, trainer.total_steps) as report:
            if state is not None:
                trainer.load_state_dict(state["step"], state)
                report.load_state_dict(state["report"], device)
                log.info("continuing after step %d of %d", trainer.step, trainer.total_steps)
            live = None if address is None else page.enter_context(open_page(address, trainer, folder))
            train(trainer, report, folder, Trainer.advance if live is None else live.advance)
        finish(trainer, scene, folder)
        if live is not None:
            live.stay()


def finish(trainer: "Trainer", scene: "Scene", folder: "RunFolder") -> None:
    """Writes scene.ply and says how it went."""
    import torch

    from gsdff.io.ply import write_ply
    from gsdff.training.report import last_line

    shutil.rmtree(folder.filtered, ignore_errors=True)  # large, and made anew whenever stage 2 starts
    gaussians = trainer.gaussians.map(torch.detach).to("cpu")
    write_ply(folder.ply, gaussians.to_input_frame(scene.frame))
    last = last_line(folder.metrics)
    print(f"{folder.ply}: {len(gaussians):,} Gaussians after {trainer.step:,} steps in {last['seconds']:.0f} s")
    print(f"held-out views: PSNR {last['heldout_psnr']:.2f} dB, pictures in {folder.pictures}")
    if gaussians.features is None:
        print(f"no features yet: python -m gsdff.train --stage1-from {folder.path} --teacher clip (or lseg, dino, ...)")
    print(f"next: python -m gsdff.evaluate {folder.path}")


def find_page(arguments: TrainArguments) -> "Address | None":
    """Where the page is to be; None where none is wanted."""
    if not arguments.viewer:
        return None
    if not 1 <= arguments.viewer_port <= 65535:
        raise UserError(f"--viewer-port: expected 1 to 65535, got {arguments.viewer_port}")
    from gsdff.viewer.server import find_address

    address = find_address(arguments.viewer_host, arguments.viewer_port)
    if not address.is_private:
        log.warning("%s: everyone who can reach this machine may look, pause the training, and save", address.host)
    return address


def open_page(address: "Address", trainer: "Trainer", folder: "RunFolder") -> "Live":
    """The page of a run, which whoever trains without one does not load."""
    from gsdff.viewer.live import Live

    return Live(address, trainer, folder)


def read_arguments(argv: list[str]) -> TrainArguments:
    """The command line over a TOML file over the defaults; paths are absolute, so that they hold from anywhere."""
    # first only what decides which file lies below; the second reading sees everything else
    first, _ = tyro.cli(TrainArguments, args=argv, prog=PROG, add_help=False, return_unknown_args=True)
    below = options_below(first)
    arguments = tyro.cli(TrainArguments, args=argv, prog=PROG, default=TrainArguments(options=below))
    options = replace(absolute(arguments.options), out=arguments.options.out)
    if options.stage1_from is not None:
        options = replace(options, stage1=replace(options.stage1, steps=0))
    teacher = replace(options.teacher, name=choose_teacher(options))
    if teacher.pretrained is not None and Path(teacher.pretrained).is_file():  # otherwise a tag
        teacher = replace(teacher, pretrained=os.path.abspath(teacher.pretrained))
    masks = replace(options.masks, name=choose_masks(options))
    return replace(arguments, options=replace(options, teacher=teacher, masks=masks))


def options_below(first: TrainArguments) -> TrainConfig:
    """What the command line is laid over: the files of `--config` over what is below them."""
    config = options_below_files(first)
    for name in first.config:
        config = read_config(find_preset(name), config)
    return config


def options_below_files(first: TrainArguments) -> TrainConfig:
    """The options of the run that is resumed or started from, or the preset for the device."""
    from gsdff.io.runs import RunFolder, data_folder

    resumed, source = RunFolder(run_folder(first.options)), first.options.stage1_from
    if first.resume and resumed.config.is_file():
        return read_config(resumed.config)
    if source is not None and (begun := RunFolder(source)).config.is_file():
        log.info("%s: taking its options", source)
        config = read_config(begun.config)
        teacher = TrainConfig().teacher if config.teacher.name == "none" else config.teacher
        return replace(config, data=data_folder(config, begun), teacher=teacher)
    if source is not None and not source.is_file():
        raise UserError(f"--stage1-from {source}: expected a run's folder or a 3DGS PLY, there is none")
    device = choose_device(first.options.device)
    preset = find_preset(device)
    log.info("device %s: taking the preset %s (--config lays others over it)", device, preset.name)
    return read_config(preset)


def choose_teacher(config: TrainConfig) -> str:
    """The teacher's name, and what `auto` stands for: whatever is at hand."""
    from gsdff.weights import is_fetched

    teacher = config.teacher
    if teacher.name != "auto":
        return teacher.name
    if teacher.maps is not None:
        name = "precomputed"
    elif teacher.checkpoint is not None:
        name = "lseg"
    elif config.data == DEMO or (config.data / "demo.json").is_file():
        name = "toy"
    elif is_fetched("lseg"):
        name = "lseg"
    else:
        name = "none"
    return name


def choose_masks(config: TrainConfig) -> str:
    """The segmenter's name, and what `auto` stands for where masks are needed."""
    from gsdff.masks import choose_segmenter
    from gsdff.training.smoothing_losses import needs_segments

    return choose_segmenter(config.masks) if needs_segments(config.smoothing) else config.masks.name


def run_folder(config: TrainConfig) -> Path:
    """`--out`, or `runs/` and the name of the data's folder (of its parent for a file), or of the splat begun with."""
    if config.out is not None:
        return config.out
    if config.stage1_from is not None:
        return Path("runs") / f"{config.stage1_from.absolute().stem}_features"
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
    run_door(main, FLAGS)
