"""`gsdff edit RUN --delete chair`: edits the Gaussians that match a text, and writes the edited scene."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, make_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import tyro

from gsdff.cli import flags_of, read_options, run_door
from gsdff.cli.source import PhotoOptions, open_source
from gsdff.cli.vocabulary import check_words
from gsdff.editing.table import OPERATIONS, split_text
from gsdff.editing.values import parse_color
from gsdff.errors import UserError
from gsdff.field.checks import check_views
from gsdff.files.places import check_place
from gsdff.files.writing import check_paths, together
from gsdff.run_folder import refuse_source

if TYPE_CHECKING:
    from gsdff.cameras import Camera
    from gsdff.editing.edit import Edit, EditList
    from gsdff.io.pictures import Picture

LONGEST_TURNTABLE = 3600
"""Largest length of a turntable video in seconds."""
Uses: TypeAlias = Annotated[tuple[tuple[str, ...], ...], tyro.conf.UseAppendAction]
"""Values of an option, for each time that it is given."""


@dataclass(frozen=True)
class SourceArguments:
    """The arguments before the options of the operations."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The run's folder, or a PLY of `gsdff export` or `gsdff edit`, its .basis.safetensors beside it."""
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
    A text with + or : goes in quotes of its own: --recolor '"c++ book"+"a cup: red":navy'.
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
    fill: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Fill the holes of --delete: what shows in them alone goes too, and planes around them, with their colours, are
    continued where no training photo shows what is behind. Needs the photos."""
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
    offset: Annotated[tuple[float, float, float] | None, tyro.conf.arg(metavar="X Y Z")] = None
    """Point of the world that positions are relative to, for a file that does not state it: a .splat cannot."""
    dataset: PhotoOptions = field(default_factory=PhotoOptions)
    """Options of reading the photos, if not as the run did."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` uses CUDA if there is a card."""


FLAGS = flags_of(EditArguments) | {
    "path": "--out",
    "view": "--views",
    "pixel": "click in a file of edits",
    "negatives": "--negative",
    "only_negatives": "only_negatives in a file of edits",
}


def main() -> None:
    """Edits the scene that the command line names."""
    arguments = read_options(EditArguments, "edit")
    check_paths({"run": arguments.run, "edits": arguments.edits, "data": arguments.data})
    check_options(arguments)
    check_words(arguments.run, list_words(arguments), data=arguments.data)
    out = choose_out(arguments)
    edits = collect_edits(arguments, sys.argv[1:])
    record = choose_record(arguments, edits, out)
    needs_clip = any(edit.needs_judge for edit in edits.edits)
    if not needs_clip and (arguments.clip_model is not None or arguments.clip_pretrained is not None):
        raise UserError("--clip-model, --clip-pretrained: no edit stylizes; add --stylize TEXT:PROMPT")

    from tqdm import tqdm

    from gsdff.editing.toml_file import write_edits
    from gsdff.io.camera_paths import orbit
    from gsdff.io.pictures import save_png, titled
    from gsdff.io.video import FPS, save_video
    from gsdff.scene import picture_name

    field = open_source(arguments)
    if any(edit.selection is None for edit in edits.edits):
        field.require_features()
    wants_pictures = arguments.views or arguments.all_held_out
    views = field.choose_views(arguments.views, all_held_out=arguments.all_held_out) if wants_pictures else []
    cameras = [view.camera for view in field.scene.views] if arguments.turntable else []
    clip = {"clip_model": arguments.clip_model, "clip_pretrained": arguments.clip_pretrained}
    edited = field.edit(*edits.edits, dry_run=arguments.dry_run, **clip)
    print(*edited.edits, sep="\n")
    if arguments.dry_run:
        return
    with together(out):
        edited.save(out)
        if record is not None:
            write_edits(record, edits)
    print(f"scene: {out}")
    if record is not None:
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


def check_options(arguments: EditArguments) -> None:
    """Raises `UserError` for options that make no sense together, before anything is loaded."""
    check_views(arguments.views, arguments.all_held_out)
    if not 0 < arguments.turntable_seconds <= LONGEST_TURNTABLE:
        got = f"{arguments.turntable_seconds:g}"
        raise UserError(f"--turntable-seconds: expected a time above 0, at most {LONGEST_TURNTABLE}, got {got}")
    if arguments.background is not None:
        try:
            parse_color(arguments.background)
        except ValueError as error:
            raise UserError(f"--background: {error}") from error
    if arguments.edits is None and not any(getattr(arguments, name) for name in OPERATIONS):
        raise UserError(f"expected something to do: --edits FILE or {', '.join(f'--{name}' for name in OPERATIONS)}")


def list_words(arguments: EditArguments) -> dict[str, tuple[str, ...]]:
    """Texts of the options, by the option they are given to; raises `UserError` for a value of another form."""
    words = {"`negatives`": tuple(arguments.negatives)}
    for name in OPERATIONS:
        for values in getattr(arguments, name):
            if not values:
                raise UserError(f"--{name}: expected a text, got nothing")
            for value in values:
                try:
                    texts, _ = split_text(name, value)
                except ValueError as error:
                    raise UserError(f"--{name} {value!r}: {error}") from error
                # a thing by its number is no word
                texts = [text for text in texts if not text.startswith("thing:")]
                words[f"--{name}"] = (*words.get(f"--{name}", ()), *texts)
    return words


def collect_edits(arguments: EditArguments, argv: Sequence[str]) -> "EditList":
    """The edits of the file, then those of the options, in their order in `argv`."""
    from gsdff.editing.edit import EditList
    from gsdff.editing.toml_file import read_edits

    edits = EditList() if arguments.edits is None else read_edits(arguments.edits)
    edits = replace(edits, edits=(*edits.edits, *read_operations(arguments, argv)))
    return edits if arguments.background is None else replace(edits, background=parse_color(arguments.background))


def read_operations(arguments: EditArguments, argv: Sequence[str]) -> "list[Edit]":
    """The edits of the options."""
    from gsdff.editing.edit import Edit
    from gsdff.editing.operations.delete import Delete

    # tyro keeps the order of one option's values, argv that of the options
    given = {f"--{name}": iter(getattr(arguments, name)) for name in OPERATIONS}
    edits: list[Edit] = []
    for option in (token.partition("=")[0] for token in argv):
        if option in given:
            edits += [read_operation(option, value) for value in next(given[option])]
    shared = {"negatives": arguments.negatives or None, "threshold": arguments.threshold, "rim": arguments.rim}
    shared |= {"keep_largest": arguments.keep_largest, "grow": arguments.grow}
    if not edits and any(value != getattr(Edit, name) for name, value in shared.items()):
        raise UserError(
            "--negative, --threshold, --no-rim, --keep-largest, --grow: no option edits; set them in the file instead"
        )
    edits = [replace(edit, **shared) for edit in edits]
    if not arguments.fill:
        return edits
    if not any(isinstance(edit, Delete) for edit in edits):
        raise UserError("--fill: no option deletes; add --delete TEXT, or set `fill = true` in the file instead")
    return [replace(edit, fill=True) if isinstance(edit, Delete) else edit for edit in edits]


def read_operation(option: str, value: str) -> "Edit":
    """The edit of one value of an operation's option."""
    from gsdff.editing.operations import operation

    try:
        return operation(option.removeprefix("--")).from_text(value)
    except ValueError as error:
        message = str(error).replace("`", "")  # its fields are no options
        raise UserError(f"{option} {value!r}: {message}") from error


def choose_out(arguments: EditArguments) -> Path:
    """PLY to write; raises `UserError` if that is the source itself."""
    source = arguments.run
    beside = source.with_name(f"{source.stem}_edited.ply") if source.is_file() else source / "edited.ply"
    out = arguments.out or beside
    if out.suffix != ".ply":
        raise UserError(f"--out {out}: expected a name ending in .ply")
    refuse_source(out, source)
    for path in (out, out.with_suffix(".toml")):
        check_place(path, parameter="out")
    return out


def choose_record(arguments: EditArguments, edits: "EditList", out: Path) -> Path | None:
    """File to write the edits to; None if that is the file they come from, with the same edits."""
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
