"""Files that a page saves into the viewer's folder, and may fetch from there: no name and no path comes from a page."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from jaxtyping import UInt8
from torch import Tensor

from gsdff.editing.edit import Edit, EditList
from gsdff.editing.toml_file import write_edits
from gsdff.errors import UserError, command
from gsdff.field.field import Field
from gsdff.files.places import make_folder
from gsdff.gaussians import Gaussians
from gsdff.io.pictures import save_png
from gsdff.io.sidecar import sidecar_path
from gsdff.selection import Selection
from gsdff.viewer.page.document import PageOptions, write_page
from gsdff.viewer.shared_scene import SharedScene
from gsdff.viewer.wire.answers import Answers
from gsdff.viewer.wire.bits import read_bits
from gsdff.viewer.wire.messages import HandEdits, SaveEdits, SavePage, SaveScene, SaveSelection

PART_BYTES = 4 << 20
"""Bytes of a file that are sent at a time."""

_naming = threading.Lock()


@dataclass(frozen=True)
class SavedFile:
    """What was saved, and how to use it; `files` are those that the page may fetch."""

    path: Path
    hint: str
    files: tuple[Path, ...] = ()


def save_picture(answers: Answers, image: UInt8[Tensor, "H W 3"]) -> SavedFile:
    """Saves an image as a PNG."""
    path = free_path(answers.shared, "screenshot", ".png")
    save_png(path, image)
    return SavedFile(path, f"{image.shape[1]}x{image.shape[0]} pixels", (path,))


def save_selection(answers: Answers, request: SaveSelection) -> SavedFile:
    """Saves a selection of the scene before any edit, for a file of edits; raises `UserError` if it is empty."""
    mask = read_bits(request.selected, len(answers.gaussians))
    if not mask.any():
        raise UserError("nothing is selected")
    path = free_path(answers.shared, "selection", ".safetensors")
    Selection(mask).save(path, source=str(answers.shared.field.source))
    return SavedFile(path, f'in a file of edits: selection = "{path.name}"')


def save_edits(answers: Answers, request: SaveEdits) -> SavedFile:
    """Saves edits as a file that `gsdff edit` replays, with selections beside it."""
    shared = answers.shared
    path = free_path(shared, "edits", ".toml")
    write_edits(path, EditList(_make(answers, request.edits, by_text=True)))
    return SavedFile(path, f"replay: {command('edit', shared.field.source, '--edits', path)}")


def save_scene(answers: Answers, request: SaveScene) -> SavedFile:
    """Saves the scene after its edits, or of it what is selected, as a PLY."""
    edited = edit_field(answers, request.edits)
    if request.selected:
        edited = replace(edited, gaussians=take_selected(answers, edited.gaussians, request))
    path = free_path(answers.shared, "selection" if request.selected else "scene", ".ply")
    edited.save(path)
    files = tuple(file for file in (path, sidecar_path(path)) if file.is_file())
    return SavedFile(path, f"{len(edited):,} Gaussians; look at it: {command('view', path)}", files)


def take_selected(answers: Answers, edited: Gaussians, request: SaveScene) -> Gaussians:
    """The selected ones of edited Gaussians, of which some are no longer there; raises `UserError` for none."""
    num = len(answers.gaussians)
    left = ~read_bits(b"", num)
    for hand_edit in request.edits:
        left &= hand_edit.make(num).kept(hand_edit.mask(num))
    mask = read_bits(request.selected, num)[left].to(edited.means.device)
    if not mask.any():
        raise UserError("nothing of the selection is left after the edits")
    return edited.map(lambda tensor: tensor[mask])


def save_page(answers: Answers, request: SavePage, report: Callable[[float], None]) -> SavedFile:
    """Saves the scene after its edits as a page that needs no server; `report` is told the share that is done."""
    field = edit_field(answers, request.edits)
    options = PageOptions(classes=request.classes, has_features=answers.has_words, start=request.window.camera())
    path = write_page(field, free_path(answers.shared, "page", ".html"), options, report)
    return SavedFile(path, f"{path.stat().st_size / 2**20:.1f} MiB; any browser opens it", (path,))


def edit_field(answers: Answers, edits: HandEdits) -> Field:
    """The field after a page's edits."""
    field = answers.shared.field
    return field.edit(*_make(answers, edits)) if edits else field


def _make(answers: Answers, edits: HandEdits, *, by_text: bool = False) -> list[Edit]:
    """A page's edits in the world of the scene."""
    return [edit.make(len(answers.gaussians), answers.shared.frame, by_text=by_text) for edit in edits]


def free_path(shared: SharedScene, stem: str, suffix: str) -> Path:
    """A numbered path in the viewer's folder that neither exists nor was returned before; makes the folder."""
    make_folder(shared.folder)
    with _naming:
        number = 1
        while (path := shared.folder / f"{stem}_{number:03d}{suffix}").exists() or path in shared.reserved_paths:
            number += 1
        shared.reserved_paths.add(path)
    return path


def read_parts(path: Path) -> Iterator[tuple[bytes, bool]]:
    """A file's bytes in parts, and whether each is the last; raises `UserError` if the file has gone."""
    if not path.is_file():
        raise UserError(f"{path}: is not there any more")
    left = path.stat().st_size
    with path.open("rb") as file:
        while data := file.read(PART_BYTES):
            left -= len(data)
            yield data, left <= 0
