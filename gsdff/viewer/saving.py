"""What leaves the page, into the world's folder alone: no name and no path comes from a browser."""

from pathlib import Path

from jaxtyping import UInt8
from torch import Tensor

from gsdff.pictures import save_png
from gsdff.viewer.document import Document
from gsdff.viewer.world import World


def save_edits(world: World, document: Document) -> Path:
    """The edits as a file that `python -m gsdff.edit` replays; `UserError` where there are none."""
    path = free_path(world, "edits", ".toml")
    document.save_edits(path)
    return path


def save_scene(world: World, document: Document, *, only_selected: bool) -> Path:
    """The edited scene, or what is selected of it; `UserError` where nothing is."""
    gaussians = document.result(only_selected=only_selected)
    path = free_path(world, "selection" if only_selected else "scene", ".ply")
    world.subject.save(path, gaussians)
    return path


def save_screenshot(world: World, picture: UInt8[Tensor, "H W 3"]) -> Path:
    """A picture."""
    path = free_path(world, "screenshot", ".png")
    save_png(path, picture)
    return path


def free_path(world: World, stem: str, ending: str) -> Path:
    """A name in the folder that is not taken; makes the folder."""
    world.folder.mkdir(parents=True, exist_ok=True)
    number = 1
    while (path := world.folder / f"{stem}_{number:03d}{ending}").exists():
        number += 1
    return path
