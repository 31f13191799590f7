"""`gsdff edit RUN --delete chair`: edits what words select in a scene, and writes the edited scene."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import tyro

from gsdff.cli import flags_of, read_options, run_door
from gsdff.errors import UserError
from gsdff.files import check_paths
from gsdff.vocabulary import check_words

if TYPE_CHECKING:
    from gsdff.cameras import Camera
    from gsdff.editing.operations import EditList, EditStep
    from gsdff.io.pictures import Picture

Flag: TypeAlias = Annotated[tuple[tuple[str, ...], ...], tyro.conf.UseAppendAction]
"""What one option says: the values of each time that it was given."""


@dataclass(frozen=True)
class EditArguments:
    """Edits what words select in a run, or in an exported PLY; writes a new PLY that can be queried and edited again.

    Edits of a file come first, then the options', in the order of the command line. TEXT may be A+B: either of them.
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a run, or a PLY written by `gsdff export` or `gsdff edit` with its .basis.safetensors beside it."""
    edits: Path | None = None
    """File with a list of edits, .toml or .yaml (`gsdff.editing.toml_file` describes it)."""
    extract: Annotated[Flag, tyro.conf.arg(metavar="TEXT ...")] = ()
    """Take everything else out."""
    delete: Annotated[Flag, tyro.conf.arg(metavar="TEXT ...")] = ()
    """Take it out."""
    recolor: Annotated[Flag, tyro.conf.arg(metavar="TEXT:COLOR ...")] = ()
    """Another hue, as bright as before: "table:#2a6fdb"."""
    move: Annotated[Flag, tyro.conf.arg(metavar="TEXT:X,Y,Z ...")] = ()
    """By so much, in the units and axes of the photos' poses."""
    rotate: Annotated[Flag, tyro.conf.arg(metavar="TEXT:X,Y,Z ...")] = ()
    """By degrees about x, y and z through its centre, or "TEXT:AXIS_X,AXIS_Y,AXIS_Z,DEGREES"."""
    scale: Annotated[Flag, tyro.conf.arg(metavar="TEXT:FACTOR ...")] = ()
    """About its centre."""
    duplicate: Annotated[Flag, tyro.conf.arg(metavar="TEXT:X,Y,Z[,COPIES] ...")] = ()
    """A copy so far away, or more of them in a row."""
    opacity: Annotated[Flag, tyro.conf.arg(metavar="TEXT:OPACITY ...")] = ()
    """From above 0 to 1."""
    stylize: Annotated[Flag, tyro.conf.arg(metavar="TEXT:PROMPT ...")] = ()
    """Colours that CLIP reads as the prompt, by the training views: "chair:a wooden chair"."""
    clip_model: str | None = None
    """For --stylize, an open_clip model; by default that of a clip teacher, otherwise ViT-B-16-quickgelu."""
    clip_pretrained: str | None = None
    """Weights of --clip-model: a file, or a tag that open_clip downloads (openai)."""
    negative: tuple[str, ...] = ()
    """Words to compare with, besides object, things, ..., or all other names of a closed vocabulary."""
    threshold: float | None = None
    """Least score to be selected; by default suggested by the scores of all Gaussians, and printed."""
    rim: bool = True
    """Delete and extract with the rim: Gaussians with 4 of their 32 nearest selected and 1 % of the threshold, too."""
    keep_largest: int = 0
    """Keep this many connected parts of the selection, those with the most opacity; 0 keeps all."""
    grow: int = 0
    """Rounds of adding the neighbours of the selection to it, after --keep-largest."""
    background: str | None = None
    """Colour behind the pictures of --views; by default that of --edits, otherwise the run's."""
    dry_run: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print what every edit would select, and write nothing."""
    out: Path | None = None
    """PLY to write, and the edits beside it as .toml; by default RUN/edited.ply, or <stem of a PLY>_edited.ply."""
    views: tuple[str, ...] = ()
    """Photos, by name or by index in name order, to render before | after into `<stem of --out>_<view>.png`."""
    all_held_out: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Render all held-out photos instead of --views."""
    turntable: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Write `<stem of --out>_turntable.mp4`, before | after: an orbit of the scene, or the path of the photos."""
    turntable_seconds: float = 8.0
    """Length of the turntable."""
    data: Path | None = None
    """Folder of photos in place of the run's; needed for pictures of a PLY."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` uses CUDA if there is a card."""


FLAGS = flags_of(EditArguments) | {"negatives": "--negative", "view": "--views"}


def main() -> None:
    """Edits as the command line says."""
    arguments = read_options(EditArguments, "edit")
    check_paths({"run": arguments.run, "edits": arguments.edits, "data": arguments.data})
    edits = collect_edits(arguments, sys.argv[1:])
    words = {
        f"edit {number} ({step})": (*step.selector.positives, *(step.selector.negatives or ()))
        for number, step in enumerate(edits.steps, 1)
    }
    check_words(arguments.run, words, data=arguments.data)
    out = choose_out(arguments)
    record = choose_record(arguments, edits, out)
    stylizes = any(step.name == "stylize" for step in edits.steps)
    if not stylizes and (arguments.clip_model is not None or arguments.clip_pretrained is not None):
        raise UserError("--clip-model, --clip-pretrained: no edit stylizes; add --stylize TEXT:PROMPT")

    from tqdm import tqdm

    from gsdff.editing.toml_file import write_edits
    from gsdff.field.field import load
    from gsdff.io.camera_paths import orbit
    from gsdff.io.pictures import save_png, titled
    from gsdff.io.video import FPS, save_video
    from gsdff.scene import picture_name

    field = load(arguments.run, data=arguments.data, device=arguments.device)
    if any(step.selector.selection is None for step in edits.steps):
        field.require_features()
    wants_pictures = arguments.views or arguments.all_held_out
    views = field.choose_views(arguments.views, all_held_out=arguments.all_held_out) if wants_pictures else []
    cameras = [view.camera for view in field.scene.views] if arguments.turntable else []
    edited = field.edit(
        *edits.steps,
        dry_run=arguments.dry_run,
        clip_model=arguments.clip_model,
        clip_pretrained=arguments.clip_pretrained,
    )
    print(*edited.edits, sep="\n")
    if arguments.dry_run:
        return
    print(f"scene: {edited.save(out)}")
    if record is not None:
        write_edits(record, edits)
        print(f"edits: {record}")

    def draw(camera: "Camera") -> "Picture":
        scenes = {"before": field, "after": edited}
        return titled({name: scene.draw(camera, edits.background).image for name, scene in scenes.items()})

    for view in views:
        path = out.with_name(f"{out.stem}_{picture_name(view)}.png")
        save_png(path, draw(view.camera))
        print(f"picture: {path}")
    if cameras:
        flight = orbit(cameras, max(1, round(FPS * arguments.turntable_seconds)))
        path = out.with_name(f"{out.stem}_turntable.mp4")
        save_video(path, map(draw, tqdm(flight, desc="turntable", unit="frame", leave=False)))
        print(f"video: {path}")


def collect_edits(arguments: EditArguments, argv: Sequence[str]) -> "EditList":
    """Those of the file, then those of the options, in the order that `argv` has them in."""
    from gsdff.editing.flags import PARSERS
    from gsdff.editing.operations import EditList, parse_color
    from gsdff.editing.toml_file import read_edits

    if arguments.views and arguments.all_held_out:
        raise UserError("--views and --all-held-out: expected one of them")
    if not 0 < arguments.turntable_seconds < math.inf:
        raise UserError(f"--turntable-seconds: expected a time above 0, got {arguments.turntable_seconds:g}")
    edits = EditList(()) if arguments.edits is None else read_edits(arguments.edits)
    if arguments.background is not None:
        try:
            edits = replace(edits, background=parse_color(arguments.background))
        except ValueError as error:
            raise UserError(f"--background: {error}") from error
    added = read_flags(arguments, argv)
    if not (edits.steps or added):
        raise UserError(f"expected something to do: --edits FILE or {', '.join(f'--{name}' for name in PARSERS)}")
    return replace(edits, steps=(*edits.steps, *added))


def read_flags(arguments: EditArguments, argv: Sequence[str]) -> list["EditStep"]:
    """The edits of the options."""
    from gsdff.editing.flags import PARSERS
    from gsdff.editing.operations import Cleanup

    # tyro keeps the order of one option's values, argv that of the options
    given = {f"--{name}": iter(getattr(arguments, name)) for name in PARSERS}
    steps = []
    for option in (token.partition("=")[0] for token in argv):
        if option in given:
            values = next(given[option])
            if not values:
                raise UserError(f"{option}: expected a text, got nothing")
            steps += map(PARSERS[option.removeprefix("--")], values)
    limits = {"negatives": arguments.negative or None, "threshold": arguments.threshold, "rim": arguments.rim}
    cleaning = {"keep_largest": arguments.keep_largest, "grow": arguments.grow}
    if not steps and (limits != {"negatives": None, "threshold": None, "rim": True} or any(cleaning.values())):
        raise UserError(
            "--negative, --threshold, --no-rim, --keep-largest, --grow: no option edits; of a file's, say them there"
        )
    try:
        cleanup = Cleanup(**cleaning)
        return [replace(step, selector=replace(step.selector, **limits), cleanup=cleanup) for step in steps]
    except ValueError as error:  # names the key, as the option is called
        raise UserError(f"--{error}".replace("_", "-", 1)) from error


def choose_out(arguments: EditArguments) -> Path:
    """The PLY to write; `UserError` for the source itself."""
    source = arguments.run
    beside = source.with_name(f"{source.stem}_edited.ply") if source.is_file() else source / "edited.ply"
    out = arguments.out or beside
    if out.suffix != ".ply":
        raise UserError(f"--out {out}: expected a name ending in .ply")
    own = source if source.is_file() else source / "scene.ply"
    if out.resolve() == own.resolve():
        raise UserError(f"--out {out}: is what is edited; choose another name, an edit takes out for good")
    return out


def choose_record(arguments: EditArguments, edits: "EditList", out: Path) -> Path | None:
    """Where to write the edits made; None where that is the file they are from, and it says the same."""
    from gsdff.editing.toml_file import read_edits

    record = out.with_suffix(".toml")
    is_input = arguments.edits is not None and record.resolve() == arguments.edits.resolve()
    if is_input and read_edits(record) == edits:
        return None
    if record.exists() and (is_input or not out.exists()):
        raise UserError(f"--out {out}: the edits made would take the place of {record}; choose another name")
    return record


if __name__ == "__main__":
    run_door(main, FLAGS)
