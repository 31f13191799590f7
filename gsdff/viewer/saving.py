"""Files saved from the page, all in the viewer's folder: no name and no path comes from a browser."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from jaxtyping import Bool, UInt8
from torch import Tensor

from gsdff.editing.edit import Edit, EditList
from gsdff.editing.toml_file import write_edits
from gsdff.errors import UserError
from gsdff.files.places import make_folder
from gsdff.io.pictures import save_png
from gsdff.selection import Selection
from gsdff.viewer.session import Session
from gsdff.viewer.shared_scene import SharedScene

_naming = threading.Lock()


def save_edits(shared: SharedScene, session: Session) -> Path:
    """Saves the edits as a file that `gsdff edit` replays, with selections not made by text beside it.

    Raises `UserError` if there are no edits.
    """
    if not session.edits:
        raise UserError("no edits to save")
    return write_edit_file(shared, [made.edit for made in session.edits])


def write_edit_file(shared: SharedScene, edits: Sequence[Edit]) -> Path:
    """Writes edits as a file that `gsdff edit` replays, with selections beside it."""
    path = free_path(shared, "edits", ".toml")
    write_edits(path, EditList(edits))
    return path


def save_scene(shared: SharedScene, session: Session, *, only_selected: bool) -> Path:
    """Saves the edited scene, or its selection, as a PLY; raises `UserError` for an empty selection."""
    gaussians = session.result(only_selected=only_selected)
    path = free_path(shared, "selection" if only_selected else "scene", ".ply")
    replace(shared.field, gaussians=gaussians).save(path)
    return path


def save_selection(shared: SharedScene, mask: Bool[Tensor, "N"]) -> Path:
    """Saves a selection of the scene before any edit, for a file of edits; raises `UserError` if it is empty."""
    if not mask.any():
        raise UserError("nothing is selected")
    path = free_path(shared, "selection", ".safetensors")
    Selection(mask).save(path, source=str(shared.field.source))
    return path


def save_screenshot(shared: SharedScene, image: UInt8[Tensor, "H W 3"]) -> Path:
    """Saves an image as a PNG."""
    path = free_path(shared, "screenshot", ".png")
    save_png(path, image)
    return path


def free_path(shared: SharedScene, stem: str, suffix: str) -> Path:
    """A numbered path in the viewer's folder that neither exists nor was returned before; makes the folder."""
    make_folder(shared.folder)
    with _naming:
        number = 1
        while (path := shared.folder / f"{stem}_{number:03d}{suffix}").exists() or path in shared.reserved_paths:
            number += 1
        shared.reserved_paths.add(path)
    return path
