"""`python -m gsdff.segment RUN --classes road tree car`: takes a scene apart by classes, into files others read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from gsdff.cli import choose_device, flags_of, run_door
from gsdff.errors import UserError
from gsdff.field.query import Query, Space


@dataclass(frozen=True)
class SegmentArguments:
    """Gives every pixel and every Gaussian of a run, or of an exported PLY, the best of some classes.

    Writes a folder: labels/ (label maps and classes.json, for `evaluate --labels` and the labels teacher), scene.ply
    and points.ply with a `label` property, coco.json, and pictures in preview/.
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The run's folder, or a PLY written by `python -m gsdff.export` with its .basis.safetensors beside it."""
    classes: tuple[str, ...] = ()
    """What to tell apart, two texts or more; everything becomes the best of them, so name what surrounds things, too.
    Labels are their indices, from 0, and 255 where there is nothing."""
    out: Path | None = None
    """The folder to write; by default RUN/segmentation, or <stem of a PLY>_segmentation beside it."""
    views: tuple[str, ...] = ()
    """Photos, by name or by index in name order; by default all."""
    all_held_out: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """All that training did not see, instead of --views."""
    prompt: tuple[str, ...] = ()
    """Sentences to put words in, averaged: "a photo of a {}"; by default the teacher's own way."""
    space: Space = "2d"
    """Scores that label maps show: 2d scores the rendered features of every pixel, 3d renders those of Gaussians."""
    min_area: int = 50
    """Pixels that a connected part needs to be in coco.json; the label maps keep all."""
    min_opacity: float = 0.5
    """Opacity that a Gaussian needs to be in points.ply, from 0 to 1."""
    data: Path | None = None
    """The folder of photos, where it is not the run's; a PLY has none of its own."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes CUDA where there is a card."""


FLAGS = flags_of(SegmentArguments) | {"folder": "--out", "prompts": "--prompt", "view": "--views"}


def main() -> None:
    """Segments as the command line says."""
    arguments = tyro.cli(SegmentArguments, prog="gsdff segment")
    check_options(arguments)

    from gsdff.field.field import load
    from gsdff.field.segmentation import SegmentationFolder, format_segmentation

    SegmentationFolder.choose(arguments.run, arguments.out)  # refused before anything is loaded
    field = load(arguments.run, data=arguments.data, device=choose_device(arguments.device))
    result = field.save_segmentation(
        arguments.classes,
        arguments.out,
        views=arguments.views,
        all_held_out=arguments.all_held_out,
        prompts=arguments.prompt,
        space=arguments.space,
        min_area=arguments.min_area,
        min_opacity=arguments.min_opacity,
    )
    print(format_segmentation(result))
    print(f"segmentation: {result.folder}")


def check_options(arguments: SegmentArguments) -> None:
    """Raises `UserError` for options that make no sense, before anything is loaded."""
    Query(classes=arguments.classes, prompts=arguments.prompt, method="argmax")
    if arguments.views and arguments.all_held_out:
        raise UserError("--views and --all-held-out: expected one of them")
    if arguments.min_area < 1:
        raise UserError(f"--min-area {arguments.min_area}: expected at least 1 pixel")
    if not 0 <= arguments.min_opacity <= 1:
        raise UserError(f"--min-opacity {arguments.min_opacity}: expected a number from 0 to 1")


if __name__ == "__main__":
    run_door(main, FLAGS)
