"""`gsdff train --data PATH`: trains 3D Gaussians on photos with poses, and distils a teacher's features into them."""

import logging
import shlex
import sys
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import tyro

from gsdff.cli import HELP_OPTIONS, asks_for_help, flags_of, read_options, run_door
from gsdff.cli.doors import DOORS
from gsdff.cli.help import print_help
from gsdff.config.checks import OptionError
from gsdff.config.file import absolute, flatten, locate, read_presets, to_table
from gsdff.config.options import TrainConfig
from gsdff.config.unread import leave_out_replaced
from gsdff.errors import UserError, command
from gsdff.files.writing import VIDEO_SUFFIXES, check_paths
from gsdff.run_folder import DEMO, RunFolder

if TYPE_CHECKING:
    from gsdff.viewer.address import Address

log = logging.getLogger("gsdff")


@dataclass(frozen=True)
class TrainArguments:
    """Trains a scene of 3D Gaussians on photos with poses, and features if there is a teacher."""

    config: tuple[str, ...] = ()
    """TOML files or names of presets; later ones override earlier ones, and all override the preset of the device."""
    resume: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Continue the run in --out from its newest checkpoint, with its own options."""
    minutes: float | None = None
    """Scale the schedule (steps, Gaussians, size of photos) so that training takes about so many minutes here; loading
    and teacher maps come on top."""
    viewer: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Show the scene in the browser during training and after it, until Ctrl-C."""
    viewer_port: int = 8080
    """Port of the viewer; the next free one if it is taken."""
    viewer_host: str = "127.0.0.1"
    """Address to listen on: 127.0.0.1 for this machine alone, 0.0.0.0 for all who know the page's address, with its
    token."""
    options: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(default_factory=TrainConfig)


FLAGS = flags_of(TrainArguments) | {"host": "--viewer-host", "port": "--viewer-port"}


def main() -> None:
    """Trains the scene that the command line names."""
    arguments = read_arguments(sys.argv[1:])
    arguments.options.check()
    address = find_page(arguments)

    from gsdff.ranks import joined
    from gsdff.training.run import train_run

    watch = None
    if address is not None:
        from gsdff.viewer.wire.live import LiveApp

        watch = partial(LiveApp, address)
    resume = shlex.join(["-m", "gsdff.train", "--out", str(arguments.options.run_folder), "--resume"])
    with joined(arguments.options.device, on_loss=f"continue with: torchrun ... {resume}"):
        train_run(arguments.options, resume=arguments.resume, minutes=arguments.minutes, watch=watch)


def find_page(arguments: TrainArguments) -> "Address | None":
    """Address of the viewer's page; None without --viewer."""
    if not arguments.viewer:
        return None
    if not 1 <= arguments.viewer_port <= 65535:
        raise UserError(f"--viewer-port: expected 1 to 65535, got {arguments.viewer_port}")
    from gsdff.viewer.address import find_address

    address = find_address(arguments.viewer_host, arguments.viewer_port)
    if not address.is_private:
        log.warning(
            "%s: everyone who gets the page's address with its token may look, pause the training, and save",
            address.host,
        )  # fmt: skip
    return address


def read_arguments(argv: list[str]) -> TrainArguments:
    """Options of the command line over those of TOML files over the defaults, completed.

    Mistakes in the command line are found first, as the preset depends on the device, and finding a card loads torch.
    """
    if asks_for_help(argv):
        show_help(argv)
        sys.exit(0)
    try:
        first = read_options(TrainArguments, "train", argv)
        check_places(read_over(argv, read_presets(first.config, TrainConfig())) if first.config else first)

        from gsdff.training.run import complete, options_below

        below = options_below(first.options, resume=first.resume, presets=first.config)
        arguments = read_over(argv, below)
    except OptionError as error:
        raise locate(error) from error
    options = complete(arguments.options)
    if first.config and not first.resume:  # the files may be those of a run with another teacher
        options = leave_out_replaced(options, arguments.options, absolute(below))
    return replace(arguments, options=options)


def read_over(argv: list[str], below: TrainConfig) -> TrainArguments:
    """Options of the command line over others."""
    return read_options(TrainArguments, "train", argv, defaults=TrainArguments(options=below))


def show_help(argv: list[str]) -> None:
    """Prints the help; defaults are those of the device's preset, with the files of --config over it."""
    words = [word for word in argv if word not in HELP_OPTIONS]
    first, _ = tyro.cli(TrainArguments, args=words, add_help=False, return_unknown_args=True)
    presets = {name: read_presets((name, *first.config), TrainConfig()) for name in ("cpu", "cuda")}
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
        RunFolder(options.run_folder).check(resume=True)
    elif options.data != DEMO:
        if options.data.suffix.lower() in VIDEO_SUFFIXES:
            raise UserError(f"`data` {options.data}: is a video; run `{command('prepare', '--images', options.data)}`")
        check_paths({"data": options.data})
    check_paths(paths)


if __name__ == "__main__":
    run_door(main, FLAGS)
