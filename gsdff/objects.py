"""`gsdff objects RUN`: the things of a scene, by name, place and size, with pictures."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from gsdff.cli import flags_of, read_options, run_door
from gsdff.cli.vocabulary import check_words
from gsdff.field.checks import check_views
from gsdff.files.writing import check_paths


@dataclass(frozen=True)
class ObjectsArguments:
    """Lists the things of a run that was trained with `--config sam`, or another --smoothing.things.form.

    Prints a table, and writes a folder: objects.json, a page of pictures (index.html), and scene.ply with the
    properties `instance_id` and `class_id`. Things are selected by number: `gsdff edit RUN --delete thing:12`.
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a run."""
    classes: tuple[str, ...] = ()
    """Names that compete for every thing; by default all that the teacher knows, if it knows a list of names."""
    out: Path | None = None
    """Folder to write; by default RUN/objects."""
    views: tuple[str, ...] = ()
    """Photos for which label maps of things are written (instances/, 16 bits), by name or by index in name order."""
    all_held_out: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Write such maps of all held-out photos instead of --views."""
    data: Path | None = None
    """Folder of photos in place of the run's."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` uses CUDA if there is a card."""


FLAGS = flags_of(ObjectsArguments) | {"folder": "--out", "view": "--views"}


def main() -> None:
    """Lists the things of the run that the command line names."""
    arguments = read_options(ObjectsArguments, "objects")
    check_paths({"run": arguments.run, "data": arguments.data})
    check_words(arguments.run, {"`classes`": arguments.classes}, data=arguments.data)
    check_views(arguments.views, arguments.all_held_out)

    from gsdff.field.load import load
    from gsdff.field.object_files import check_objects_folder, format_objects, write_objects

    folder = arguments.out or arguments.run / "objects"
    if arguments.run.is_dir():
        check_objects_folder(folder)
    field = load(arguments.run, data=arguments.data, device=arguments.device)
    objects = field.objects(arguments.classes)
    wants_maps = arguments.views or arguments.all_held_out
    views = field.choose_views(arguments.views, all_held_out=arguments.all_held_out) if wants_maps else []
    write_objects(field, objects, folder, views)
    print(format_objects(objects))
    print(f"things: {folder}")


if __name__ == "__main__":
    run_door(main, FLAGS)
