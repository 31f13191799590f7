"""The truth of labelled scenes: class lists, which classes compete for a pixel, and which is right."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int, Shaped, UInt8
from PIL import Image
from torch import Tensor

from gsdff.errors import UserError
from gsdff.files import whole_file
from gsdff.scene import VOID, Scene, View

log = logging.getLogger("gsdff")

CLASSES_FILE = "classes.json"
INSTANCES_FOLDER = "instances"
"""Beside the label images."""


@dataclass(frozen=True)
class LabelClass:
    """One row of a classes.json."""

    id: int
    """Its value in the label images."""
    name: str
    query: str | None
    """The text it is asked for by; None where it cannot be asked for."""
    moves: bool = False
    """Whether it has motion of its own, which a static scene cannot fit."""
    color: tuple[int, int, int] | None = None
    counts: bool = True
    """Whether its own IoU is in the mean; one that a closed teacher cannot see may compete without counting."""


@dataclass(frozen=True)
class LabelImages:
    """A folder of label images `<stem>.png`, and the classes their ids stand for."""

    folder: Path
    classes: list[LabelClass]

    def find(self, view: View) -> Path:
        """The view's label image; `UserError` where it has none."""
        path = self.folder / f"{view.stem}.png"
        if not path.is_file():
            raise UserError(f"{path}: missing; photo {view.name} needs this label image in {self.folder}")
        return path

    def load(self, view: View) -> UInt8[Tensor, "h w"]:
        """Indices into `classes`, VOID where there is no truth, at the label image's own size but no finer than the
        photo (nearest neighbour).

        `UserError` where the view has no label image, where that is damaged or holds ids of no class.
        """
        path = self.find(view)
        ids = _read_pixels(path, ("L", "P"), (view.camera.width, view.camera.height), may_enlarge=False)
        return _to_indices(ids, self.classes, [], path)


@dataclass(frozen=True)
class Truth:
    """A folder of label images, and the classes that compete in this score."""

    folder: Path
    competing: list[LabelClass]
    """Those with a text the teacher knows. Answers and truth are indices into this list."""
    ignored: list[LabelClass]
    """The others: their pixels do not count."""

    def load(self, view: View) -> UInt8[Tensor, "H W"] | None:
        """Indices into `competing` at the photo's size (nearest neighbour), VOID where nothing counts.

        None where the view has no label image; `UserError` where that is damaged or holds ids of no class.
        """
        path = self.folder / f"{view.stem}.png"
        if not path.is_file():
            return None
        ids = _read_pixels(path, ("L", "P"), (view.camera.width, view.camera.height))
        return _to_indices(ids, self.competing, self.ignored, path)


def find_truth(scene: Scene, labels: Path | None, knows: Callable[[str], bool]) -> Truth | None:
    """The label images given, or those in the scene's folder; None, said once, where they give nothing to score.

    `knows` tells whether the teacher has a text vector for a query. Labels asked for by name must be there and belong
    to the scene, otherwise `UserError`.
    """
    folder, classes_file = _locate(scene, labels)
    problem = _what_is_missing(folder, classes_file)
    if problem is None and not any((folder / f"{scene.views[i].stem}.png").is_file() for i in scene.test_ids):
        problem = "has no <stem>.png for any held-out view"
    if problem is not None:
        if labels is not None:
            raise UserError(f"{folder}: {problem}")
        log.info("labels are not scored: %s: %s", folder, problem)
        return None
    classes = read_classes(classes_file)
    competing = [row for row in classes if row.query is not None and knows(row.query)]
    if len(competing) < 2:
        log.warning("labels are not scored: the teacher knows %d of the classes in %s", len(competing), classes_file)
        return None
    return Truth(folder, competing, [row for row in classes if row not in competing])


def find_label_images(scene: Scene, labels: Path | None) -> LabelImages:
    """The label images given, or those in the scene's folder; `UserError` where there are none."""
    folder, classes_file = _locate(scene, labels)
    if (problem := _what_is_missing(folder, classes_file)) is not None:
        where = "--teacher.labels names another folder" if labels is None else "--teacher.labels must be such a folder"
        raise UserError(f"{folder}: {problem}; {where}")
    return LabelImages(folder, read_classes(classes_file))


def read_instances(path: Path, size: tuple[int, int]) -> Int[Tensor, "H W"]:
    """Object ids of an 8- or 16-bit image at `size` (width, height), by nearest neighbour."""
    return torch.from_numpy(_read_pixels(path, ("L", "P", "I;16", "I"), size).astype(np.int64))


def read_classes(path: Path) -> list[LabelClass]:
    """Classes of a classes.json in the order of their ids.

    Either a list of names, which are ids and queries at once, or {"classes": [{"id", "name", "text_query"?, "moves"?,
    "color"?, "counts"?}]}: without "text_query" the name is asked for, null means the class cannot be asked for.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: missing; label images need their class names in this file") from None
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error})") from error
    rows = content.get("classes") if isinstance(content, dict) else content
    if not isinstance(rows, list) or not rows:
        raise UserError(f'{path}: expected a list of class names or {{"classes": [{{"id", "name"}}, ...]}}')
    classes = [_read_class(row, index, path) for index, row in enumerate(rows)]
    if len({row.id for row in classes}) < len(classes):
        raise UserError(f"{path}: two classes share an id")
    return sorted(classes, key=lambda row: row.id)


def write_classes(path: Path, classes: Sequence[LabelClass], about: Mapping[str, str]) -> None:
    """Writes what `read_classes` reads, and before it facts about the labels that it ignores."""
    rows = [
        {"id": row.id, "name": row.name, "text_query": row.query}
        | {"color": row.color, "moves": row.moves, "counts": row.counts}
        for row in classes
    ]
    with whole_file(path) as partial:
        partial.write_text(json.dumps({**about, "void": VOID, "classes": rows}, indent=1) + "\n", encoding="utf-8")


def write_label_image(path: Path, ids: UInt8[Tensor, "H W"]) -> None:
    """Writes a label image as one 8-bit channel."""
    with whole_file(path) as partial:
        Image.fromarray(ids.cpu().numpy()).save(partial, format="PNG")


def _locate(scene: Scene, labels: Path | None) -> tuple[Path, Path | None]:
    """The folder of label images, and its class list, which lies in it or beside it."""
    folder = labels or scene.root / "labels"
    return folder, next((f for f in (folder / CLASSES_FILE, folder.parent / CLASSES_FILE) if f.is_file()), None)


def _what_is_missing(folder: Path, classes_file: Path | None) -> str | None:
    if not folder.is_dir():
        return "no such folder of label images"
    if classes_file is None:
        return f"no {CLASSES_FILE} in it or beside it names the ids of its images"
    return None


def _to_indices(
    ids: UInt8[np.ndarray, "h w"], counted: list[LabelClass], ignored: list[LabelClass], path: Path
) -> UInt8[Tensor, "h w"]:
    """Ids as indices into `counted`, VOID for those of `ignored`."""
    indices = np.full(256, -1, dtype=np.int64)
    indices[[VOID, *(row.id for row in ignored)]] = VOID
    indices[[row.id for row in counted]] = range(len(counted))
    if (unknown := np.unique(ids[indices[ids] < 0])).size:
        raise UserError(f"{path}: holds id {unknown[0]}, which {CLASSES_FILE} does not list; add it, or use {VOID}")
    return torch.from_numpy(indices[ids]).byte()


def _read_pixels(
    path: Path, modes: Sequence[str], size: tuple[int, int], *, may_enlarge: bool = True
) -> Shaped[np.ndarray, "H W"]:
    """The values of a one-channel image at `size` (width, height); no side larger than stored if not `may_enlarge`."""
    try:
        with Image.open(path) as image:
            if image.mode not in modes:
                depth = "8-bit" if "I;16" not in modes else "8- or 16-bit"
                raise UserError(f"{path}: expected one {depth} channel of ids, got mode {image.mode}")
            if not may_enlarge:
                size = min(size[0], image.width), min(size[1], image.height)
            return np.asarray(image.resize(size, Image.Resampling.NEAREST))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # how Pillow says damaged
        raise UserError(f"{path}: not a readable label image ({error})") from error


def _read_class(row: object, index: int, path: Path) -> LabelClass:
    if isinstance(row, str):
        return LabelClass(index, row, row)
    try:
        number, name = row["id"], row["name"]
        color = tuple(row["color"]) if row.get("color") is not None else None
        query = row.get("text_query", name)
    except (TypeError, KeyError, AttributeError):
        raise UserError(f'{path}: class {index} needs an "id" and a "name", got {row!r}') from None
    if not isinstance(number, int) or not 0 <= number < VOID or not isinstance(name, str):
        raise UserError(f"{path}: class {index} needs an id of 0 to {VOID - 1} and a name, got {number!r}, {name!r}")
    if query is not None and not isinstance(query, str):
        raise UserError(f"{path}: class {name}: text_query must be a text or null, got {query!r}")
    if color is not None and (len(color) != 3 or not all(isinstance(c, int) and 0 <= c <= 255 for c in color)):
        raise UserError(f"{path}: class {name}: color must be three numbers of 0 to 255, got {row['color']!r}")
    return LabelClass(number, name, query, bool(row.get("moves", False)), color, bool(row.get("counts", True)))
