"""What leaves the page, into the world's folder alone: no name and no path comes from a browser."""

import threading
from dataclasses import replace
from pathlib import Path

from jaxtyping import UInt8
from torch import Tensor

from gsdff.editing.edit import EditList
from gsdff.editing.toml_file import write_edits
from gsdff.errors import UserError
from gsdff.io.pictures import save_png
from gsdff.viewer.document import Document
from gsdff.viewer.world import World

_naming = threading.Lock()


def save_edits(world: World, document: Document) -> Path:
    """The edits as a file that `python -m gsdff.edit` replays, and beside it selections that no text says.

    `UserError` where there are none.
    """
    if not document.edits:
        raise UserError("no edits to save")
    path = free_path(world, "edits", ".toml")
    write_edits(path, EditList([made.edit for made in document.edits]))
    return path


def save_scene(world: World, document: Document, *, only_selected: bool) -> Path:
    """The edited scene, or what is selected of it; `UserError` where nothing is."""
    gaussians = document.result(only_selected=only_selected)
    path = free_path(world, "selection" if only_selected else "scene", ".ply")
    replace(world.field, gaussians=gaussians).save(path)
    return path


def save_screenshot(world: World, picture: UInt8[Tensor, "H W 3"]) -> Path:
    """A picture."""
    path = free_path(world, "screenshot", ".png")
    save_png(path, picture)
    return path


def free_path(world: World, stem: str, ending: str) -> Path:
    """A name in the folder that is not taken and that nobody else was given; makes the folder."""
    world.folder.mkdir(parents=True, exist_ok=True)
    with _naming:
        number = 1
        while (path := world.folder / f"{stem}_{number:03d}{ending}").exists() or path in world.names_given:
            number += 1
        world.names_given.add(path)
    return path
