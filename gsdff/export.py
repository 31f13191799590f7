"""`gsdff export RUN`: a run's scene, or any 3DGS PLY, as a file that other programs open."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from gsdff.cli import flags_of, read_options, run_door
from gsdff.cli.vocabulary import check_words
from gsdff.errors import UserError
from gsdff.files.places import check_place
from gsdff.files.writing import check_paths
from gsdff.origin import OriginChoice

ENDINGS = {
    "ply": ".ply",
    "splat": ".splat",
    "compressed": ".compressed.ply",
    "spz": ".spz",
    "sog": ".sog",
    "glb": ".glb",
    "html": ".html",
}
LONGEST_TOUR = 3600
"""Largest length of a tour in seconds."""


@dataclass(frozen=True)
class ExportArguments:
    """Writes the Gaussians of a run, in the world frame of the photos' poses, or those of a PLY in another format."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a run, made by `gsdff train`, or a 3DGS PLY from anywhere."""
    format: Literal["ply", "splat", "compressed", "spz", "sog", "glb", "html"] = "ply"
    """`ply`: 3DGS's, exact; `splat`: 32 bytes a Gaussian, one colour for all directions; `compressed`: SuperSplat's;
    `spz`, `sog`, `glb` (glTF, KHR_gaussian_splatting): by PlayCanvas' splat-transform, which needs node; `html`: a page
    that shows the scene and answers queries in any browser, without a server or a network."""
    out: Path | None = None
    """File to write; by default RUN/scene with the ending of the format, for a PLY beside it under its own name."""
    words: Path | None = None
    """Text file of words that an `html` page can be searched for, one a line; by default all names of a closed
    vocabulary, or common nouns if the teacher encodes any words."""
    classes: tuple[str, ...] = ()
    """Classes of the legend of an `html` page, by default those of a closed vocabulary; of a `ply` or `glb` the classes
    of its property `class_id`."""
    scores: tuple[str, ...] = ()
    """Words of which a `ply` has the relevancy of every Gaussian, as its property `score_<word>`."""
    instances: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Write the thing of every Gaussian: `instance_id` of a `ply`, `_FEATURE_ID_0` of a `glb`."""
    edits: Path | None = None
    """File of edits, .toml or .yaml, that an `html` page shows before | after; the edits are those of `gsdff edit`."""
    tour: str | None = None
    """Tour of an `html` page: `orbit`, a turn about the photos, or a JSON file of cameras that are flown through."""
    tour_seconds: float = 12.0
    """Length of the tour."""
    features: Literal["latent", "decoded", "none"] = "latent"
    """`latent` adds K `semantic_*` properties to a `ply`, and a file beside it with their basis and the data of text
    queries; `decoded` writes all T channels as Feature 3DGS does; `none` suits strict viewers."""
    origin: OriginChoice = "auto"
    """Point of the world that positions are relative to: `auto` is zero, or a point near the scene if its coordinates
    are too large for float32 (a map's), which the PLY states; `none` is zero; or X Y Z."""
    offset: Annotated[tuple[float, float, float] | None, tyro.conf.arg(metavar="X Y Z")] = None
    """Point of the world that positions in RUN are relative to, for a file that does not state it: a .splat cannot."""


FLAGS = flags_of(ExportArguments) | {"path": "--out"}


def main() -> None:
    """Exports the run named on the command line."""
    arguments = read_options(ExportArguments, "export")
    files = {"run": arguments.run, "words": arguments.words, "edits": arguments.edits}
    check_paths(files if arguments.tour in (None, "orbit") else {**files, "tour": Path(arguments.tour)})
    path = export_run(arguments)
    print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")


def export_run(arguments: ExportArguments) -> Path:
    """Writes the file and returns its path; the basis of its features goes beside it as `<stem>.basis.safetensors`."""
    source, ending = arguments.run, ENDINGS[arguments.format]
    default = source.with_suffix(ending) if source.is_file() else source / f"scene{ending}"
    path = arguments.out or default
    if path.suffix != (ending := ".ply" if arguments.format == "compressed" else ending):
        raise UserError(f"--out {path}: expected a name ending in {ending} for --format {arguments.format}")
    if source.is_file() and path.exists() and path.samefile(source):
        raise UserError(f"{source}: is a PLY already; choose another --format or --out")
    check_place(path, parameter="out")
    if arguments.format == "html":
        return export_page(arguments, path)
    if any((arguments.words, arguments.edits, arguments.tour)):
        raise UserError("`words`, `edits` and `tour` are of a page: expected --format html beside them")
    check_words(arguments.run, {"`classes`": arguments.classes, "`scores`": arguments.scores})

    from gsdff.field.load import load

    options = {"format": arguments.format, "features": arguments.features, "origin": arguments.origin}
    options |= {"classes": arguments.classes, "scores": arguments.scores, "instances": arguments.instances}
    return load(source, offset=arguments.offset, device="cpu").save(path, **options)


def export_page(arguments: ExportArguments, path: Path) -> Path:
    """Writes the scene as one HTML file."""
    if arguments.features == "decoded":
        raise UserError("--features decoded: a page has latent features; expected latent or none")
    if arguments.scores or arguments.instances:
        raise UserError("`scores` and `instances` are columns of a file: expected --format ply beside them")
    check_words(arguments.run, {"`classes`": arguments.classes})

    if not 0 < arguments.tour_seconds <= LONGEST_TOUR:
        raise UserError(
            f"`tour_seconds`: expected a time above 0, at most {LONGEST_TOUR}, got {arguments.tour_seconds}"
        )

    from gsdff.editing.toml_file import read_edits
    from gsdff.field.load import load
    from gsdff.viewer.page import PageOptions, write_page
    from gsdff.viewer.page.dictionary import read_words

    options = PageOptions(
        words=None if arguments.words is None else read_words(arguments.words),
        classes=arguments.classes,
        has_features=arguments.features != "none",
        edits=None if arguments.edits is None else read_edits(arguments.edits),
        tour=arguments.tour,
        tour_seconds=arguments.tour_seconds,
    )
    return write_page(load(arguments.run, offset=arguments.offset, device="cpu"), path, options)


if __name__ == "__main__":
    run_door(main, FLAGS)
