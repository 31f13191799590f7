"""`python -m gsdff.query RUN --text mug`: asks a field, and shows what answers."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from gsdff.cli import choose_device, run_door
from gsdff.errors import UserError

if TYPE_CHECKING:
    from gsdff.field.field import Field
    from gsdff.field.query import Answer, Query
    from gsdff.scene import View

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
    protocol: Literal["2d", "3d"] = "2d"
    """What pictures show: 2d scores the rendered features of every pixel, 3d renders the Gaussians' own answers."""
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


def main() -> None:
    """Asks as the command line says."""
    arguments = tyro.cli(QueryArguments, prog="python -m gsdff.query")
    query = read_query(arguments)
    check_files(arguments)

    from gsdff.field.field import open_field
    from gsdff.field.query import answer, prepare, show
    from gsdff.field.result_pictures import save_answer

    field = open_field(arguments.run, choose_device(arguments.device), data=arguments.data)
    asked = prepare(field, query)
    view = find_view(field, arguments)
    gaussians = answer(field, asked)
    print(f"3D: {describe(gaussians, 'Gaussians')}")
    if arguments.selection is not None:
        arguments.selection.parent.mkdir(parents=True, exist_ok=True)
        gaussians.selection.save(arguments.selection, source=f"{arguments.run}: {say(arguments)}")
        print(f"selection: {arguments.selection}")
    if view is None:
        return
    pixels = show(field, gaussians, view) if arguments.protocol == "3d" else answer(field, asked, view)
    what = "3D drawn" if arguments.protocol == "3d" else "2D"
    print(f"{what} in {view.name}: {describe(pixels, 'pixels')}")
    if arguments.out is not None:
        print("pictures: " + ", ".join(map(str, save_answer(arguments.out, view, pixels))))


def read_query(arguments: QueryArguments) -> "Query":
    """The question; `UserError` where it makes no sense."""
    from gsdff.field.examples import Box, OneGaussian, PictureFile, Pixel
    from gsdff.field.query import Query

    examples = {
        "--pixel": arguments.pixel and Pixel(*arguments.pixel),
        "--box": arguments.box and Box(*arguments.box),
        "--gaussian": None if arguments.gaussian is None else OneGaussian(arguments.gaussian),
        "--image": arguments.image and PictureFile(arguments.image),
    }
    given = {name: example for name, example in examples.items() if example is not None}
    if len(given) > 1:
        raise UserError(f"{' and '.join(given)}: expected one example to ask for")
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
    """Raises `UserError` for names of files that will not do, before anything is loaded."""
    for option, path, ending in (("out", arguments.out, ".png"), ("selection", arguments.selection, ".safetensors")):
        if path is not None and path.suffix != ending:
            raise UserError(f"--{option} {path}: expected a name ending in {ending}")
    if arguments.selection is not None and arguments.classes and not arguments.text:
        raise UserError("--selection: name those of --classes that are to be selected with --text")


def find_view(field: "Field", arguments: QueryArguments) -> "View | None":
    """The view to show; None where nothing asks for one."""
    place = arguments.pixel or arguments.box
    if arguments.view is not None:
        return field.view(arguments.view)
    if place is not None:
        return field.view(place[0])
    if arguments.out is None:
        return None
    scene = field.scene
    view = scene.views[(scene.test_ids or [0])[0]]
    log.info("--out without --view: showing %s", view.name)
    return view


def describe(answer: "Answer", things: str) -> str:
    """How many are selected, or of which class they are."""
    total = answer.scores.numel()
    if answer.labels is not None and not answer.query.positives:
        counts = [int((answer.labels == i).sum()) for i in range(len(answer.query.classes))]
        named = zip(answer.query.classes, counts, strict=True)
        return ", ".join(f"{name} {count:,}" for name, count in named) + f" of {total:,} {things}"
    count = int(answer.selected.sum())
    line = f"{count:,} of {total:,} {things} selected ({count / total:.1%})"
    if answer.threshold is not None:
        source = "suggested" if answer.query.threshold is None else "given"
        line += f", {answer.query.way} at least {answer.threshold:.3f} ({source})"
    return line


def say(arguments: QueryArguments) -> str:
    """What was asked for, in few words."""
    options = {"text": arguments.text, "classes": arguments.classes, "negative": arguments.negative}
    options |= {"pixel": arguments.pixel or (), "box": arguments.box or ()}
    options |= {"gaussian": () if arguments.gaussian is None else (arguments.gaussian,)}
    options |= {"image": () if arguments.image is None else (arguments.image,)}
    return " ".join(f"--{name} {' '.join(map(str, values))}" for name, values in options.items() if values)


if __name__ == "__main__":
    run_door(main)
