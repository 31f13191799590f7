"""`gsdff segment RUN --classes road tree car`: segments photos and Gaussians by classes, for other programs."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from gsdff.cli import flags_of, read_options, run_door
from gsdff.cli.source import PhotoOptions, open_source
from gsdff.cli.vocabulary import check_words
from gsdff.field.checks import check_segmentation, check_views
from gsdff.field.query import Query, Space
from gsdff.files.writing import check_paths


@dataclass(frozen=True)
class SegmentArguments:
    """Labels every pixel and every Gaussian of a run, or of an exported PLY, with the best of some classes.

    Writes a folder: labels/ (label maps and classes.json, for `evaluate --labels` and the labels teacher), scene.ply
    and points.ply with a `label` property, coco.json, and pictures in preview/. With --things also instances/ and
    COCO's panoptic format.
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a run, or a PLY written by `gsdff export` with its .basis.safetensors beside it."""
    classes: tuple[str, ...] = ()
    """Two classes or more, by words; everything gets the best of them, so name the surroundings too. Labels are their
    indices from 0, and 255 for nothing."""
    out: Path | None = None
    """Folder to write; by default RUN/segmentation, or <stem of a PLY>_segmentation beside it."""
    views: tuple[str, ...] = ()
    """Photos to label, by name or by index in name order; by default all."""
    all_held_out: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Label all held-out photos instead of --views."""
    prompt: tuple[str, ...] = ()
    """Sentences around a word, such as "a photo of a {}", whose vectors are averaged; by default the teacher's own."""
    space: Space = "2d"
    """Label maps: 2d renders features and labels every pixel, 3d labels Gaussians and renders the labels."""
    things: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Tell the things of a run apart (`gsdff objects`): writes instances/, panoptic/, panoptic.json, and `instance_id`
    in scene.ply. Needs a run that was trained with `--config sam`."""
    min_area: int = 50
    """Least number of pixels of a connected part in coco.json; label maps keep all parts."""
    min_opacity: float = 0.5
    """Least opacity of a Gaussian in points.ply, from 0 to 1."""
    data: Path | None = None
    """Folder of photos in place of the run's; needed for a PLY."""
    offset: Annotated[tuple[float, float, float] | None, tyro.conf.arg(metavar="X Y Z")] = None
    """Point of the world that positions are relative to, for a file that does not state it: a .splat cannot."""
    dataset: PhotoOptions = field(default_factory=PhotoOptions)
    """How to read the photos, if not as the run did."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` uses CUDA if there is a card."""


FLAGS = flags_of(SegmentArguments) | {"folder": "--out", "prompts": "--prompt", "view": "--views"}


def main() -> None:
    """Segments as the command line says."""
    arguments = read_options(SegmentArguments, "segment")
    check_paths({"run": arguments.run, "data": arguments.data})
    check_words(arguments.run, {"`classes`": arguments.classes}, data=arguments.data)
    check_options(arguments)

    from gsdff.field.segmentation import SegmentationFolder, format_segmentation
    from gsdff.ranks import joined

    SegmentationFolder.choose(arguments.run, arguments.out)  # refused before anything is loaded
    with joined(arguments.device):
        field = open_source(arguments)
        result = field.save_segmentation(
            arguments.classes,
            arguments.out,
            views=arguments.views,
            all_held_out=arguments.all_held_out,
            prompts=arguments.prompt,
            space=arguments.space,
            min_area=arguments.min_area,
            min_opacity=arguments.min_opacity,
            things=arguments.things,
        )
        print(format_segmentation(result))
        print(f"segmentation: {result.folder}")


def check_options(arguments: SegmentArguments) -> None:
    """Raises `UserError` for options that make no sense, before anything is loaded."""
    Query(classes=arguments.classes, prompts=arguments.prompt, method="argmax")
    check_views(arguments.views, arguments.all_held_out)
    check_segmentation(arguments.min_area, arguments.min_opacity)


if __name__ == "__main__":
    run_door(main, FLAGS)
