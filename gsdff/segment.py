"""`python -m gsdff.segment RUN --classes road tree car`: takes a scene apart by classes, into files others read."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from gsdff.cli import choose_device, run_door
from gsdff.errors import UserError

if TYPE_CHECKING:
    from gsdff.scene import Scene, View


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
    protocol: Literal["2d", "3d"] = "2d"
    """What label maps show: 2d scores the rendered features of every pixel, 3d renders the Gaussians' own answers."""
    min_area: int = 50
    """Pixels that a connected part needs to be in coco.json; the label maps keep all."""
    min_opacity: float = 0.5
    """Opacity that a Gaussian needs to be in points.ply, from 0 to 1."""
    data: Path | None = None
    """The folder of photos, where it is not the run's; a PLY has none of its own."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes CUDA where there is a card."""


def main() -> None:
    """Segments as the command line says."""
    arguments = tyro.cli(SegmentArguments, prog="python -m gsdff.segment")
    check_options(arguments)

    from gsdff.field.field import open_field
    from gsdff.field.query import Query
    from gsdff.field.segmentation import SegmentationFolder, export_segmentation, format_segmentation

    query = Query(classes=arguments.classes, prompts=arguments.prompt, method="argmax")
    folder = SegmentationFolder(arguments.out or default_folder(arguments.run))
    folder.check(arguments.run)
    field = open_field(arguments.run, choose_device(arguments.device), data=arguments.data)
    result = export_segmentation(
        field,
        query,
        find_views(arguments, field.scene),
        folder,
        protocol=arguments.protocol,
        min_area=arguments.min_area,
        min_opacity=arguments.min_opacity,
    )
    print(format_segmentation(result))
    print(f"segmentation: {folder.path}")


def check_options(arguments: SegmentArguments) -> None:
    """Raises `UserError` for options that make no sense, before anything is loaded."""
    if arguments.views and arguments.all_held_out:
        raise UserError("--views and --all-held-out: expected one of them")
    if arguments.min_area < 1:
        raise UserError(f"--min-area {arguments.min_area}: expected at least 1 pixel")
    if not 0 <= arguments.min_opacity <= 1:
        raise UserError(f"--min-opacity {arguments.min_opacity}: expected a number from 0 to 1")


def default_folder(source: Path) -> Path:
    """Where a segmentation goes that was given no folder."""
    return source.with_name(f"{source.stem}_segmentation") if source.is_file() else source / "segmentation"


def find_views(arguments: SegmentArguments, scene: "Scene") -> list["View"]:
    """The views to write label maps of; each once."""
    from gsdff.field.field import find_view

    if arguments.all_held_out:
        if not scene.test_ids:
            raise UserError(f"--all-held-out: {scene.root} holds none out; name some with --views")
        return [scene.views[i] for i in scene.test_ids]
    views = [find_view(scene, name) for name in arguments.views] or scene.views
    return list({view.name: view for view in views}.values())


if __name__ == "__main__":
    run_door(main)
