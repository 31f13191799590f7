"""`gsdff query RUN --text mug`: scores a scene for words or examples, and writes pictures and selections."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from gsdff.cli import choose_device, flags_of, read_options, run_door
from gsdff.errors import UserError
from gsdff.files import check_paths
from gsdff.vocabulary import check_words

if TYPE_CHECKING:
    from gsdff.field.field import Field
    from gsdff.field.query import Answer, Query
    from gsdff.scene import View

log = logging.getLogger("gsdff")


@dataclass(frozen=True)
class QueryArguments:
    """Queries the features of a run, or of an exported PLY, by words or by an example.

    Prints how many Gaussians are selected and, given a view, how many of its pixels; writes pictures and the selection.
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a run, or a PLY written by `gsdff export` with its .basis.safetensors beside it."""
    text: tuple[str, ...] = ()
    """Words to look for; several are alternatives (`--text mug "red plate"`)."""
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
    protocol: Literal["2d", "3d"] = "2d"
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
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` uses CUDA if there is a card."""


def main() -> None:
    """Queries the scene that the command line names."""
    arguments = read_options(QueryArguments, "query")
    check_paths({"run": arguments.run, "data": arguments.data, "image": arguments.image})
    words = {"`text`": arguments.text, "`negative`": arguments.negative, "`classes`": arguments.classes}
    check_words(arguments.run, words, data=arguments.data)
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
    run_door(main, flags_of(QueryArguments))
