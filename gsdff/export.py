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

ENDINGS = {"ply": ".ply", "splat": ".splat", "compressed": ".compressed.ply", "html": ".html"}


@dataclass(frozen=True)
class ExportArguments:
    """Writes the Gaussians of a run, in the world frame of the photos' poses, or those of a PLY in another format."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a run, made by `gsdff train`, or a 3DGS PLY from anywhere."""
    format: Literal["ply", "splat", "compressed", "html"] = "ply"
    """`ply`: 3DGS's, exact; `splat`: 32 bytes a Gaussian, one colour for all directions; `compressed`: SuperSplat's;
    `html`: a page that shows the scene and answers queries in any browser, without a server or a network."""
    out: Path | None = None
    """File to write; by default RUN/scene.ply, .splat, .compressed.ply or .html, for a PLY beside it under its own
    name."""
    words: Path | None = None
    """Text file of words that an `html` page can be searched for, one a line; by default all names of a closed
    vocabulary, or common nouns if the teacher encodes any words."""
    classes: tuple[str, ...] = ()
    """Classes of the legend of an `html` page; by default those of a closed vocabulary."""
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
    check_paths({"run": arguments.run, "words": arguments.words})
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
    if arguments.words is not None or arguments.classes:
        raise UserError("`words` and `classes` are of a page: expected --format html beside them")

    from gsdff.field.load import load

    options = {"format": arguments.format, "features": arguments.features, "origin": arguments.origin}
    return load(source, offset=arguments.offset, device="cpu").save(path, **options)


def export_page(arguments: ExportArguments, path: Path) -> Path:
    """Writes the scene as one HTML file."""
    if arguments.features == "decoded":
        raise UserError("--features decoded: a page has latent features; expected latent or none")
    check_words(arguments.run, {"`classes`": arguments.classes})

    from gsdff.field.load import load
    from gsdff.viewer.page import write_page
    from gsdff.viewer.page.dictionary import read_words

    words = None if arguments.words is None else read_words(arguments.words)
    field = load(arguments.run, offset=arguments.offset, device="cpu")
    has_features = arguments.features != "none"
    return write_page(field, path, words=words, classes=arguments.classes, has_features=has_features)


if __name__ == "__main__":
    run_door(main, FLAGS)
