"""`gsdff train --data PATH`: trains 3D Gaussians on photos with poses, and distils a teacher's features into them."""

import logging
import os
import shutil
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from gsdff.cli import HELP_OPTIONS, asks_for_help, choose_device, flags_of, read_options, run_door
from gsdff.config.checks import OptionError
from gsdff.config.file import absolute, find_preset, flatten, locate, read_config, to_table, write_config
from gsdff.config.options import DEMO, TrainConfig
from gsdff.doors import DOORS
from gsdff.errors import UserError, command
from gsdff.files import check_paths
from gsdff.help import print_help
from gsdff.vocabulary import RUN_CONFIG

if TYPE_CHECKING:
    from gsdff.io.runs import RunFolder
    from gsdff.scene import Scene
    from gsdff.training.trainer import Trainer
    from gsdff.viewer.live import Live
    from gsdff.viewer.server import Address

log = logging.getLogger("gsdff")

FREE_KEYS = {"device", "log_every", "picture_every", "checkpoint_every"}
"""Options that a resumed run may change."""


@dataclass(frozen=True)
class TrainArguments:
    """Trains a scene of 3D Gaussians on photos with poses, and features if there is a teacher."""

    config: tuple[str, ...] = ()
    """TOML files or names of presets; later ones override earlier ones, and all override the preset of the device."""
    resume: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Continue the run in --out from its newest checkpoint, with its own options."""
    viewer: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Show the scene in the browser during training and after it, until Ctrl-C."""
    viewer_port: int = 8080
    """Port of the viewer; the next free one if it is taken."""
    viewer_host: str = "127.0.0.1"
    """Address to listen on: 127.0.0.1 for this machine alone, 0.0.0.0 for all who can reach it, without a password."""
    options: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(default_factory=TrainConfig)


def main() -> None:
    """Trains the scene that the command line names."""
    arguments = read_arguments(sys.argv[1:])
    config = arguments.options
    config.check()
    address = find_page(arguments)

    from gsdff.data import load_scene
    from gsdff.io.checkpoint import list_checkpoints, load_checkpoint
    from gsdff.io.runs import RunFolder, data_folder
    from gsdff.training.feature_loss import check_features

    folder = RunFolder(run_folder(config))
    config = replace(config, out=None)  # a run does not depend on where it is kept
    check_folder(folder.path, arguments.resume)
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
        log.info("stopped; continue with: %s", command("train", "--out", folder.path, "--resume"))
        raise


def run(
    config: TrainConfig,
    scene: "Scene",
    folder: "RunFolder",
    state: dict[str, Any] | None,
    address: "Address | None" = None,
) -> None:
    """Trains from the start or from a checkpoint's state, writes scene.ply and prints the result; shows the scene at
    `address`, if there is one."""
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
    """Writes scene.ply and prints the result."""
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
        next_stage = command("train", "--stage1-from", folder.path, "--teacher", "clip")
        print(f"no features yet: {next_stage} (or lseg, dino, ...)")
    print(f"next: {command('evaluate', folder.path)}")


def find_page(arguments: TrainArguments) -> "Address | None":
    """Address of the viewer's page; None without --viewer."""
    if not arguments.viewer:
        return None
    if not 1 <= arguments.viewer_port <= 65535:
        raise UserError(f"--viewer-port: expected 1 to 65535, got {arguments.viewer_port}")
    from gsdff.viewer.server import find_address

    address = find_address(arguments.viewer_host, arguments.viewer_port, prefix="viewer-")
    if not address.is_private:
        log.warning("%s: everyone who can reach this machine may look, pause the training, and save", address.host)
    return address


def open_page(address: "Address", trainer: "Trainer", folder: "RunFolder") -> "Live":
    """The viewer of a run that trains, loaded only if there is to be one."""
    from gsdff.viewer.live import Live

    return Live(address, trainer, folder)


def read_arguments(argv: list[str]) -> TrainArguments:
    """Options of the command line over those of TOML files over the defaults; paths are made absolute.

    Mistakes in the command line are found first, as the preset depends on the device, and finding a card loads torch.
    """
    if asks_for_help(argv):
        show_help(argv)
        sys.exit(0)
    try:
        first = read_options(TrainArguments, "train", argv)
        check_places(read_over(argv, read_files(TrainConfig(), first.config)) if first.config else first)
        arguments = read_over(argv, read_files(options_below_files(first), first.config))
    except OptionError as error:
        raise locate(error) from error
    options = replace(absolute(arguments.options), out=arguments.options.out)
    if options.stage1_from is not None:
        options = replace(options, stage1=replace(options.stage1, steps=0))
    teacher = replace(options.teacher, name=choose_teacher(options))
    if teacher.pretrained is not None and Path(teacher.pretrained).is_file():  # otherwise a tag
        teacher = replace(teacher, pretrained=os.path.abspath(teacher.pretrained))
    masks = replace(options.masks, name=choose_masks(options))
    return replace(arguments, options=replace(options, teacher=teacher, masks=masks))


def read_over(argv: list[str], below: TrainConfig) -> TrainArguments:
    """Options of the command line over others."""
    return read_options(TrainArguments, "train", argv, defaults=TrainArguments(options=below))


def read_files(below: TrainConfig, names: Sequence[str]) -> TrainConfig:
    """Options of TOML files or presets, later ones over earlier ones, over others."""
    for name in names:
        below = read_config(find_preset(name), below)
    return below


def show_help(argv: list[str]) -> None:
    """Prints the help; defaults are those of the device's preset, with the files of --config over it."""
    words = [word for word in argv if word not in HELP_OPTIONS]
    first, _ = tyro.cli(TrainArguments, args=words, add_help=False, return_unknown_args=True)
    presets = {name: read_files(read_config(find_preset(name)), first.config) for name in ("cpu", "cuda")}
    cpu, cuda = (dict(flatten(to_table(presets[name]))) for name in ("cpu", "cuda"))
    differing = {
        name: f"(default: {cpu[name]} on the CPU, {cuda[name]} with CUDA)" for name in cpu if cpu[name] != cuda[name]
    }
    device = "cuda" if first.options.device == "cuda" else "cpu"
    defaults = TrainArguments(options=presets[device])
    is_full = "--help-all" in argv
    print_help(TrainArguments, DOORS["train"], is_full=is_full, defaults=defaults, hints=differing)
    if is_full:
        print(f"\nDefaults are those of the preset {device}; with --device cpu or cuda, of that preset.")


def check_places(given: TrainArguments) -> None:
    """Raises `UserError` for paths that do not exist, and if there is no run to resume."""
    options = given.options
    paths = {
        "stage1_from": options.stage1_from,
        "teacher.maps": options.teacher.maps,
        "teacher.checkpoint": options.teacher.checkpoint,
        "teacher.labels": options.teacher.labels,
        "masks.folder": options.masks.folder,
        "masks.checkpoint": options.masks.checkpoint,
    }
    if given.resume:
        check_folder(run_folder(options), resume=True)
    else:
        check_paths({"data": None if options.data == DEMO else options.data})
    check_paths(paths)


def options_below_files(first: TrainArguments) -> TrainConfig:
    """Options of the run that is resumed or started from, or the preset of the device."""
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
        raise UserError(f"`stage1_from` {source}: expected a run's folder or a 3DGS PLY")
    device = choose_device(first.options.device)
    preset = find_preset(device)
    log.info("device %s: taking the preset %s (--config lays others over it)", device, preset.name)
    return read_config(preset)


def choose_teacher(config: TrainConfig) -> str:
    """Name of the teacher; `auto` becomes the one whose maps or weights there are."""
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
    """Name of the segmenter; `auto` becomes the one that there is, if masks are needed."""
    from gsdff.masks import choose_segmenter
    from gsdff.training.smoothing_losses import needs_segments

    return choose_segmenter(config.masks) if needs_segments(config.smoothing) else config.masks.name


def run_folder(config: TrainConfig) -> Path:
    """Folder of the run: `--out`, or in `runs/` the name of the data's folder, or of the scene that it starts from."""
    if config.out is not None:
        return config.out
    if config.stage1_from is not None:
        return Path("runs") / f"{config.stage1_from.absolute().stem}_features"
    place = Path(os.path.abspath(config.data))
    return Path("runs") / (place.parent if place.is_file() else place).name


def check_folder(folder: Path, resume: bool) -> None:
    """Raises `UserError` if a run would overwrite another, or if there is none to resume."""
    holds_run = (folder / RUN_CONFIG).is_file()
    if holds_run and not resume:
        raise UserError(f"{folder}: holds a run already; continue it with --resume, or choose another --out")
    if resume and not holds_run:
        check_paths({"out": folder})
        raise UserError(f"{folder}: no run to resume here (no {RUN_CONFIG}); name its folder with --out")


def check_same_config(config: TrainConfig, saved: dict[str, Any], folder: "RunFolder") -> None:
    """Raises `UserError` that names the options in which a resumed run differs from its start."""
    now, before = (dict(flatten(table)) for table in (to_table(config), saved))
    changed = [key for key in sorted(now.keys() | before.keys()) if now.get(key) != before.get(key)]
    changed = [f"{key} was {before.get(key)}, now {now.get(key)}" for key in changed if key not in FREE_KEYS]
    if changed:
        raise UserError(
            f"{folder.path}: a run resumes with the options it was started with ({'; '.join(changed)}); "
            "leave these away, or start another run with --out"
        )


def make_demo_scene(config: TrainConfig, folder: "RunFolder") -> None:
    """Copies the built-in scene into the run's folder, if it is to be trained and is not there yet."""
    if config.data == DEMO and not folder.demo_data.exists():
        from gsdff.data.demo import copy_demo_scene

        partial = folder.demo_data.with_name("data.partial")
        shutil.rmtree(partial, ignore_errors=True)
        copy_demo_scene(partial)
        os.replace(partial, folder.demo_data)


if __name__ == "__main__":
    run_door(main, flags_of(TrainArguments))
