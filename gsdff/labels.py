"""The truth of labelled scenes: class lists, which classes compete for a pixel, and which is right."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from gsdff.errors import UserError
from gsdff.scene import VOID, Scene, View

log = logging.getLogger("gsdff")

CLASSES_FILE = "classes.json"


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
        indices = np.full(256, -1, dtype=np.int64)
        indices[[VOID, *(row.id for row in self.ignored)]] = VOID
        indices[[row.id for row in self.competing]] = range(len(self.competing))
        ids = _read_ids(path, (view.camera.width, view.camera.height))
        if (unknown := np.unique(ids[indices[ids] < 0])).size:
            raise UserError(f"{path}: holds id {unknown[0]}, which {CLASSES_FILE} does not list; add it, or use {VOID}")
        return torch.from_numpy(indices[ids]).byte()


def find_truth(scene: Scene, labels: Path | None, knows: Callable[[str], bool]) -> Truth | None:
    """The label images given, or those in the scene's folder; None, said once, where they give nothing to score.

    `knows` tells whether the teacher has a text vector for a query. Labels asked for by name must be there and belong
    to the scene, otherwise `UserError`.
    """
    folder = labels or scene.root / "labels"
    classes_file = next((f for f in (folder / CLASSES_FILE, folder.parent / CLASSES_FILE) if f.is_file()), None)
    problem = None
    if not folder.is_dir():
        problem = "no such folder of label images"
    elif classes_file is None:
        problem = f"no {CLASSES_FILE} in it or beside it names the ids of its images"
    elif not any((folder / f"{scene.views[i].stem}.png").is_file() for i in scene.test_ids):
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


def read_classes(path: Path) -> list[LabelClass]:
    """Classes of a classes.json in the order of their ids.

    Either a list of names, which are ids and queries at once, or {"classes": [{"id", "name", "text_query"?, "moves"?,
    "color"?}]}: without "text_query" the name is asked for, null means the class cannot be asked for.
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


def _read_ids(path: Path, size: tuple[int, int]) -> UInt8[np.ndarray, "H W"]:
    try:
        with Image.open(path) as image:
            if image.mode not in ("L", "P"):
                raise UserError(f"{path}: expected one 8-bit channel of class ids, got mode {image.mode}")
            return np.asarray(image.resize(size, Image.Resampling.NEAREST))
    except (OSError, SyntaxError) as error:  # Pillow's word for a broken PNG
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
    return LabelClass(number, name, query, bool(row.get("moves", False)), color)
