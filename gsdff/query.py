"""`python -m gsdff.query RUN --text mug`: asks a field, and shows what answers."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from gsdff.cli import choose_device, flags_of, run_door
from gsdff.errors import UserError
from gsdff.field.query import Box, OneGaussian, PictureFile, Pixel, Query, Space

log = logging.getLogger("gsdff")


@dataclass(frozen=True)
class QueryArguments:
    """Asks the features of a run, or of an exported PLY, for words or for what is seen somewhere.

    Says how many Gaussians are selected and, given a view, how many of its pixels; writes pictures and the selection.
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The run's folder, or a PLY written by `python -m gsdff.export` with its .basis.safetensors beside it."""
    text: tuple[str, ...] = ()
    """What to look for; several words are alternatives (`--text mug "red plate"`)."""
    negative: tuple[str, ...] = ()
    """What it is not, besides object, things, stuff, texture, or all other names of a teacher with a class list."""
    only_negatives: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Nothing besides."""
    classes: tuple[str, ...] = ()
    """Every pixel and Gaussian becomes the best of these; with --text, those of them are selected."""
    pixel: Annotated[tuple[str, int, int] | None, tyro.conf.arg(metavar="VIEW X Y")] = None
    """What this photo shows at column X, row Y (from 0, top left)."""
    box: Annotated[tuple[str, int, int, int, int] | None, tyro.conf.arg(metavar="VIEW X0 Y0 X1 Y1")] = None
    """What this photo shows there on average, without column X1 and row Y1."""
    gaussian: int | None = None
    """What the Gaussian of this index is."""
    image: Path | None = None
    """What this picture shows on average (teachers lseg, clip and dino)."""
    prompt: tuple[str, ...] = ()
    """Sentences to put words in, averaged: "a photo of a {}"; by default the teacher's own way."""
    method: Literal["relevancy", "lerf", "cosine", "argmax"] | None = None
    """relevancy: share of a softmax with the negatives; lerf: against the nearest of them; cosine: without any;
    argmax: the best class. By default relevancy for words, cosine for examples, argmax for classes."""
    temperature: float = 0.1
    """Of relevancy and lerf; less is more decided."""
    threshold: float | None = None
    """Select scores of at least this; by default one is suggested by the scores of all Gaussians (Otsu's method, of
    examples what is clearly nearer than the rest)."""
    space: Space = "2d"
    """Scores that pictures show: 2d scores the rendered features of every pixel, 3d renders the scores of Gaussians."""
    view: str | None = None
    """A photo's name, or its index in name order; by default that of --pixel or --box, or the first held-out one."""
    data: Path | None = None
    """The folder of photos, where it is not the run's; a PLY has none of its own."""
    out: Path | None = None
    """A PNG of the view's scores with a colour bar, or of its classes with a legend; for `heat.png` also
    `heat_mask.png`, white where selected, and `heat_overlay.png`, the photo, dark where not."""
    selection: Path | None = None
    """Write the Gaussians selected to this .safetensors file."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes CUDA where there is a card."""


FLAGS = flags_of(QueryArguments) | {"positives": "--text", "negatives": "--negative", "prompts": "--prompt"}


def main() -> None:
    """Searches as the command line says."""
    arguments = tyro.cli(QueryArguments, prog="gsdff query")
    query = read_query(arguments)
    check_files(arguments)

    from gsdff.field.field import load
    from gsdff.field.hit import default_view

    field = load(arguments.run, data=arguments.data, device=choose_device(arguments.device))
    hit = field.query(query)
    print(f"3D: {hit.describe('Gaussians')}")
    if arguments.selection is not None:
        print(f"selection: {hit.save(arguments.selection)[0]}")
    place = arguments.pixel or arguments.box
    view = arguments.view if arguments.view is not None else place and place[0]
    if view is None and arguments.out is None:
        return
    if view is None:
        log.info("--out without --view: showing %s", default_view(field).name)
    shown = field.query(query, view=view if view is not None else default_view(field), space=arguments.space)
    drawn = "3D drawn" if arguments.space == "3d" else "2D"
    assert shown.view is not None
    print(f"{drawn} in {shown.view.name}: {shown.describe('pixels')}")
    if arguments.out is not None:
        print("pictures: " + ", ".join(map(str, shown.save(arguments.out))))


def read_query(arguments: QueryArguments) -> Query:
    """The query of the options; raises `UserError` if it makes no sense."""
    examples = {
        "--pixel": arguments.pixel and Pixel(*arguments.pixel),
        "--box": arguments.box and Box(*arguments.box),
        "--gaussian": None if arguments.gaussian is None else OneGaussian(arguments.gaussian),
        "--image": arguments.image and PictureFile(arguments.image),
    }
    given = {name: example for name, example in examples.items() if example is not None}
    if len(given) > 1:
        raise UserError(f"{' and '.join(given)}: expected one example to search for")
    if not (given or arguments.text or arguments.classes):
        raise UserError(f"expected one thing to search for: --text, --classes, {', '.join(examples)}")
    return Query(
        positives=arguments.text,
        negatives=arguments.negative,
        only_negatives=arguments.only_negatives,
        classes=arguments.classes,
        like=next(iter(given.values()), None),
        prompts=arguments.prompt,
        method=arguments.method,
        temperature=arguments.temperature,
        threshold=arguments.threshold,
    )


def check_files(arguments: QueryArguments) -> None:
    """Raises `UserError` for file names that will not do, before anything is loaded."""
    for option, path, ending in (("out", arguments.out, ".png"), ("selection", arguments.selection, ".safetensors")):
        if path is not None and path.suffix != ending:
            raise UserError(f"--{option} {path}: expected a name ending in {ending}")
    if arguments.selection is not None and arguments.classes and not arguments.text:
        raise UserError("--selection: name those of --classes that are to be selected with --text")


if __name__ == "__main__":
    run_door(main, FLAGS)
