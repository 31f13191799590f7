"""`gsdff query RUN --text mug`: scores a scene for words or examples, and writes pictures and selections."""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from gsdff.cli import flags_of, read_options, run_door
from gsdff.cli.source import PhotoOptions, open_source
from gsdff.cli.vocabulary import check_words
from gsdff.errors import UserError
from gsdff.field.query import Box, OneGaussian, PictureFile, Pixel, Query, Space
from gsdff.files.places import check_place
from gsdff.files.writing import check_paths
from gsdff.words import read_thing

log = logging.getLogger("gsdff")


@dataclass(frozen=True)
class QueryArguments:
    """Queries the features of a run, or of an exported PLY, by words or by an example.

    Prints how many Gaussians are selected and, given a view, how many of its pixels; writes pictures and the selection.
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a run, or a PLY written by `gsdff export` with its .basis.safetensors beside it."""
    text: tuple[str, ...] = ()
    """Words to look for; several are alternatives (`--text mug "red plate"`). `thing:12` is a thing that
    `gsdff objects` lists."""
    negative: tuple[str, ...] = ()
    """Words to compare with, besides object, things, stuff and texture, or all other names of a closed vocabulary."""
    only_negatives: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Compare with --negative alone."""
    classes: tuple[str, ...] = ()
    """Classes that compete for every pixel and Gaussian; with --text, those of them are selected."""
    pixel: Annotated[tuple[str, int, int] | None, tyro.conf.arg(metavar="VIEW X Y")] = None
    """Query by the pixel of a photo at column X, row Y (from 0 at the top left)."""
    box: Annotated[tuple[str, int, int, int, int] | None, tyro.conf.arg(metavar="VIEW X0 Y0 X1 Y1")] = None
    """Query by the mean over a box in a photo, which excludes column X1 and row Y1."""
    gaussian: int | None = None
    """Query by the Gaussian of this index."""
    image: Path | None = None
    """Query by the mean over a picture from anywhere (teachers lseg, clip and dino)."""
    prompt: tuple[str, ...] = ()
    """Sentences around a word, such as "a photo of a {}", whose vectors are averaged; by default the teacher's own."""
    method: Literal["relevancy", "lerf", "cosine", "argmax"] | None = None
    """relevancy: softmax over words and negatives; lerf: softmax against the nearest negative; cosine: no negatives;
    argmax: best class. By default relevancy for words, cosine for examples, argmax for classes."""
    temperature: float = 0.1
    """Temperature of the softmax of relevancy and lerf; lower is sharper."""
    threshold: float | None = None
    """Least score to be selected; by default suggested by the scores of all Gaussians (Otsu's method; for examples, a
    score clearly above the rest)."""
    space: Space = "2d"
    """Scores in pictures: 2d renders features and scores every pixel, 3d scores Gaussians and renders the scores."""
    view: str | None = None
    """Photo to show, by name or by index in name order; by default that of --pixel or --box, or the first held out."""
    data: Path | None = None
    """Folder of photos in place of the run's; needed for pictures of a PLY."""
    out: Path | None = None
    """PNG to write: the view's scores with a colour bar, or its classes with a legend. Beside `heat.png` are written
    `heat_mask.png`, white if selected, and `heat_overlay.png`, the photo, dark if not selected."""
    selection: Path | None = None
    """File to write the selected Gaussians to (.safetensors)."""
    offset: Annotated[tuple[float, float, float] | None, tyro.conf.arg(metavar="X Y Z")] = None
    """Point of the world that positions are relative to, for a file that does not state it: a .splat cannot."""
    dataset: PhotoOptions = field(default_factory=PhotoOptions)
    """Options of reading the photos, if not as the run did."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` uses CUDA if there is a card."""


FLAGS = flags_of(QueryArguments) | {
    "positives": "--text",
    "negatives": "--negative",
    "prompts": "--prompt",
    "Pixel": "--pixel",
    "Box": "--box",
    "OneGaussian": "--gaussian",
    "PictureFile": "--image",
}


def main() -> None:
    """Searches as the command line says."""
    arguments = read_options(QueryArguments, "query")
    check_paths({"run": arguments.run, "data": arguments.data, "image": arguments.image})
    texts = tuple(text for text in arguments.text if not read_thing(text))
    words = {"`text`": texts, "`negative`": arguments.negative, "`classes`": arguments.classes}
    check_words(arguments.run, words, data=arguments.data)
    query = read_query(arguments)
    check_files(arguments)

    from gsdff.field.hit import default_view

    field = open_source(arguments)
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
        if path is not None:
            check_place(path, parameter=option)
    if arguments.selection is not None and arguments.classes and not arguments.text:
        raise UserError("--selection: name those of --classes that are to be selected with --text")


if __name__ == "__main__":
    run_door(main, FLAGS)
