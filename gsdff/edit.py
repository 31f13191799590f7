"""`python -m gsdff.edit RUN --delete chair`: edits the Gaussians that match a text, and writes the edited scene."""

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, make_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import tyro

from gsdff.cli import choose_device, flags_of, run_door
from gsdff.editing.edit import Edit, EditList
from gsdff.editing.operations import OPERATIONS
from gsdff.editing.values import parse_color
from gsdff.errors import UserError

if TYPE_CHECKING:
    from gsdff.cameras import Camera
    from gsdff.editing.context import EditContext
    from gsdff.field.subject import Subject
    from gsdff.gaussians import Gaussians
    from gsdff.io.pictures import Picture
    from gsdff.scene import View

Uses: TypeAlias = Annotated[tuple[tuple[str, ...], ...], tyro.conf.UseAppendAction]
"""Values of an option, for each time that it is given."""


@dataclass(frozen=True)
class SourceArguments:
    """The arguments before the options of the operations."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The run's folder, or a PLY of `python -m gsdff.export` or of this, its .basis.safetensors beside it."""
    edits: Path | None = None
    """A file of edits, .toml or .yaml (`gsdff.editing.toml_file` describes it)."""


OperationArguments: type[SourceArguments] = make_dataclass(
    "OperationArguments",
    [
        (name, Annotated[Uses, tyro.conf.arg(metavar=f"{kind.form} ...", help=kind.help)], ())
        for name, kind in OPERATIONS.items()
    ],
    bases=(SourceArguments,),
    frozen=True,
)
"""With one option per operation."""


@dataclass(frozen=True)
class EditArguments(OperationArguments):
    """Edits what matches texts in a run or an exported PLY; writes a new PLY that can be queried and edited again.

    Edits of a file come first, then those of options, in the order of the command line. TEXT may be A+B: one of them.
    """

    clip_model: str | None = None
    """open_clip model for --stylize; by default that of the run's clip teacher, otherwise ViT-B-16-quickgelu."""
    clip_pretrained: str | None = None
    """Weights of that model: a file, or a tag that open_clip downloads (openai)."""
    negatives: Annotated[tuple[str, ...], tyro.conf.arg(name="negative")] = ()
    """Texts that compete with TEXT, besides object, things, ..., or all other names of a teacher with a class list."""
    threshold: float | None = None
    """Lowest score that is selected; by default suggested from the scores of all Gaussians, and logged."""
    rim: bool = True
    """Delete and extract with the rim: scores of at least 1 % of the threshold, and 4 of the 32 nearest selected."""
    keep_largest: int = 0
    """Keep only this many connected parts of the selection, those with the most opacity; 0 keeps all."""
    grow: int = 0
    """Rounds of adding neighbours to the selection, after --keep-largest."""
    background: str | None = None
    """Background colour of pictures and videos; by default that of the file of edits, then that of the run."""
    dry_run: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Report the selection of every edit, and write nothing."""
    out: Path | None = None
    """PLY to write, and beside it the edits made, as .toml; by default RUN/edited.ply, or beside a PLY."""
    views: tuple[str, ...] = ()
    """Photos, by name or by index in name order, to draw before | after into `<stem of --out>_<view>.png`."""
    all_held_out: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Draw all photos that were held out from training, instead of --views."""
    turntable: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Write `<stem of --out>_turntable.mp4`, before | after: a turn about the scene, or along the photos' path."""
    turntable_seconds: float = 8.0
    """Length of the turntable video."""
    data: Path | None = None
    """Folder of photos, if it is not the run's; a PLY has none."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` uses CUDA if there is a card."""


def main() -> None:
    """Edits as the command line says."""
    arguments = tyro.cli(EditArguments, prog="python -m gsdff.edit")
    edits = collect_edits(arguments, sys.argv[1:])
    out = choose_out(arguments)
    record = choose_record(arguments, edits, out)

    from gsdff.editing.apply import apply_edits
    from gsdff.editing.toml_file import write_edits
    from gsdff.field.subject import open_subject

    asks = any(edit.selection is None for edit in edits.edits)
    subject = open_subject(arguments.run, choose_device(arguments.device), data=arguments.data, asks=asks)
    views = find_views(arguments, subject)
    flight = find_flight(arguments, subject)
    context = find_context(arguments, subject, edits)
    edited = apply_edits(subject.gaussians, edits.edits, subject.select, context=context, dry_run=arguments.dry_run)
    print(*edited.reports, sep="\n")
    if arguments.dry_run:
        return
    subject.save(out, edited.gaussians)
    print(f"scene: {out}")
    if record is not None:
        write_edits(record, edits)
        print(f"edits: {record}")
    for path in save_pictures(out, views, subject, edited.gaussians, edits):
        print(f"picture: {path}")
    if flight:
        print(f"video: {save_turntable(out, flight, subject, edited.gaussians, edits)}")


def collect_edits(arguments: EditArguments, argv: Sequence[str]) -> EditList:
    """The edits of the file, then those of the options, in their order in `argv`."""
    from gsdff.editing.toml_file import read_edits

    if arguments.views and arguments.all_held_out:
        raise UserError("--views and --all-held-out: expected one of them")
    if not 0 < arguments.turntable_seconds < math.inf:
        raise UserError(f"--turntable-seconds: expected a time above 0, got {arguments.turntable_seconds:g}")
    edits = EditList() if arguments.edits is None else read_edits(arguments.edits)
    added = read_options(arguments, argv)
    if not (edits.edits or added):
        raise UserError(f"expected something to do: --edits FILE or {', '.join(f'--{name}' for name in OPERATIONS)}")
    edits = replace(edits, edits=(*edits.edits, *added))
    if arguments.background is None:
        return edits
    try:
        return replace(edits, background=parse_color(arguments.background))
    except ValueError as error:
        raise UserError(f"--background: {error}") from error


def read_options(arguments: EditArguments, argv: Sequence[str]) -> list[Edit]:
    """The edits of the options."""
    # tyro keeps the order of one option's values, argv that of the options
    given = {f"--{name}": iter(getattr(arguments, name)) for name in OPERATIONS}
    edits: list[Edit] = []
    for option in (token.partition("=")[0] for token in argv):
        if option in given:
            values = next(given[option])
            if not values:
                raise UserError(f"{option}: expected a text, got nothing")
            edits += [read_option(option, value) for value in values]
    shared = {"negatives": arguments.negatives or None, "threshold": arguments.threshold, "rim": arguments.rim}
    shared |= {"keep_largest": arguments.keep_largest, "grow": arguments.grow}
    if not edits and any(value != getattr(Edit, name) for name, value in shared.items()):
        raise UserError(
            "--negative, --threshold, --no-rim, --keep-largest, --grow: no option edits; set them in the file instead"
        )
    try:
        return [replace(edit, **shared) for edit in edits]
    except ValueError as error:
        raise UserError(str(error)) from error


def read_option(option: str, value: str) -> Edit:
    """The edit of one value of an operation's option."""
    try:
        return OPERATIONS[option.removeprefix("--")].from_text(value)
    except ValueError as error:
        message = str(error).replace("`", "")  # its fields are no options
        raise UserError(f"{option} {value!r}: {message}") from error


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


def choose_record(arguments: EditArguments, edits: EditList, out: Path) -> Path | None:
    """Where to write the edits made; None where that is the file they are from, and it says the same."""
    from gsdff.editing.toml_file import read_edits

    record = out.with_suffix(".toml")
    is_input = arguments.edits is not None and record.resolve() == arguments.edits.resolve()
    if is_input and read_edits(record) == edits:
        return None
    if record.exists() and (is_input or not out.exists()):
        raise UserError(f"--out {out}: the edits made would take the place of {record}; choose another name")
    return record


def find_views(arguments: EditArguments, subject: "Subject") -> list["View"]:
    """The views to draw."""
    from gsdff.field.field import find_view

    names = subject.scene.test_ids if arguments.all_held_out else dict.fromkeys(arguments.views)
    return [find_view(subject.scene, name) for name in names]


def find_context(arguments: EditArguments, subject: "Subject", edits: EditList) -> "EditContext | None":
    """Photos, and CLIP but for a dry run, if an edit needs them."""
    if not any(edit.needs_photos for edit in edits.edits):
        if arguments.clip_model is not None or arguments.clip_pretrained is not None:
            raise UserError("--clip-model, --clip-pretrained: no edit stylizes; add --stylize TEXT:PROMPT")
        return None
    _ = subject.scene  # a PLY without photos is refused before CLIP is looked for
    judge = None if arguments.dry_run else subject.open_judge(arguments.clip_model, arguments.clip_pretrained)
    return subject.edit_context(judge)


def save_pictures(
    out: Path, views: Sequence["View"], subject: "Subject", edited: "Gaussians", edits: EditList
) -> Iterator[Path]:
    """Before | after of every view."""
    from gsdff.evaluation.run import picture_name
    from gsdff.io.pictures import save_png, titled

    for view in views:
        before, after = (
            subject.draw(gaussians, view.camera, edits.background) for gaussians in (subject.gaussians, edited)
        )
        path = out.with_name(f"{out.stem}_{picture_name(view)}.png")
        save_png(path, titled({"before": before, "after": after}))
        yield path


def find_flight(arguments: EditArguments, subject: "Subject") -> list["Camera"]:
    """The cameras of the turntable's frames; none where it is not asked for."""
    if not arguments.turntable:
        return []
    from gsdff.io.camera_paths import orbit
    from gsdff.io.video import FPS

    num_frames = max(1, round(FPS * arguments.turntable_seconds))
    return orbit([view.camera for view in subject.scene.views], num_frames)


def save_turntable(
    out: Path, flight: Sequence["Camera"], subject: "Subject", edited: "Gaussians", edits: EditList
) -> Path:
    """Before | after from every camera, as a video."""
    from tqdm import tqdm

    from gsdff.io.pictures import titled
    from gsdff.io.video import save_video

    def draw(camera: "Camera") -> "Picture":
        scenes = {"before": subject.gaussians, "after": edited}
        return titled({name: subject.draw(scene, camera, edits.background) for name, scene in scenes.items()})

    path = out.with_name(f"{out.stem}_turntable.mp4")
    save_video(path, map(draw, tqdm(flight, desc="turntable", unit="frame", leave=False)))
    return path


if __name__ == "__main__":
    run_door(main, flags_of(EditArguments))
