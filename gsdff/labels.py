"""Ground-truth labels of a scene: class lists, label images, and the classes that a score compares."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, UInt8
from PIL import Image
from torch import Tensor

from gsdff.errors import UserError
from gsdff.files.reading import exists, open_picture, read_bytes, read_json
from gsdff.files.writing import whole_file, write_text
from gsdff.photo_files import (
    as_made,
    check_picture,
    find_file,
    finest_size,
    fit_picture,
    require_file,
    steps_fingerprint,
    told_by_folder,
)
from gsdff.scene import VOID, Scene, View
from gsdff.words import is_text

log = logging.getLogger("gsdff")

CLASSES_FILE = "classes.json"
INSTANCES_FOLDER = "instances"
"""Folder of instance images, beside the label images."""
LABEL_IMAGE, CLASS_LIST = "a label image", "a list of classes"
SEGMENT = "gsdff.segment"
"""Mark `made_by` in the class lists of `gsdff segment`: its label images show views, and may be replaced."""
ENDINGS = (".png",)
"""Endings of the names of label images and instance images."""
MAX_INSTANCES = 65535
"""Largest id in an instance image."""


@dataclass(frozen=True)
class LabelClass:
    """One class of a classes.json."""

    id: int
    """Value of the class in the label images."""
    name: str
    query: str | None
    """Text that queries the class; None if it cannot be queried."""
    moves: bool = False
    """Whether objects of the class move by themselves, which a static scene cannot fit."""
    color: tuple[int, int, int] | None = None
    counts: bool = True
    """Whether the class's IoU is in the mean; one that a closed teacher cannot see may compete without counting."""


@dataclass(frozen=True)
class LabelImages:
    """A folder of label images, named as `gsdff.photo_files.find_file` says, and the classes of their ids."""

    folder: Path
    classes: list[LabelClass]
    are_of_views: bool = False
    """Whether they show views, which are upright and undistorted, as those of `gsdff segment` do, not the photos."""

    def find(self, view: View) -> Path:
        """Path of the view's label image; raises `UserError` if it has none."""
        return require_file(self.folder, view, ENDINGS, LABEL_IMAGE)

    def check(self, view: View) -> None:
        """Raises `UserError` if the view has no label image, or one of another shape; reads its header only."""
        with _open_ids(self.find(view), as_made(view, self.are_of_views), LABEL_MODES):
            pass

    def fingerprint_of(self, view: View, others: bytes = b"") -> str:
        """Hash of the view's label image, of `others`, of the view's size, and of the way to fit the image into it."""
        size = repr((view.camera.width, view.camera.height)).encode()
        steps = steps_fingerprint(as_made(view, self.are_of_views))
        content = read_bytes(self.find(view), LABEL_IMAGE) + others + size + steps
        return hashlib.blake2b(content, digest_size=16).hexdigest()

    def load(self, view: View) -> UInt8[Tensor, "h w"]:
        """Loads a view's labels as indices into `classes`, VOID where there is no ground truth.

        At the label image's own size, but no larger than the photo (nearest neighbour). Raises `UserError` if the label
        image is missing or damaged, or holds ids of no class.
        """
        path, view = self.find(view), as_made(view, self.are_of_views)
        with _open_ids(path, view, LABEL_MODES) as image:
            ids = fit_picture(view, np.asarray(image), finest_size(view, image.width, image.height))
        return _to_indices(ids, self.classes, [], path)


@dataclass(frozen=True)
class Truth:
    """A folder of label images, and the classes that a score compares."""

    folder: Path
    competing: list[LabelClass]
    """Classes with a text the teacher knows. Predictions and ground truth are indices into this list."""
    ignored: list[LabelClass]
    """All other classes; their pixels do not count."""
    are_of_views: bool = False
    """As of `LabelImages`."""

    def load(self, view: View) -> UInt8[Tensor, "H W"] | None:
        """Loads a view's labels as indices into `competing`, VOID where nothing counts.

        At the photo's size (nearest neighbour). Returns None if the view has no label image; raises `UserError` if it
        is damaged or holds ids of no class.
        """
        path = find_file(self.folder, view, ENDINGS, LABEL_IMAGE)
        if path is None:
            return None
        view = as_made(view, self.are_of_views)
        with _open_ids(path, view, LABEL_MODES) as image:
            ids = fit_picture(view, np.asarray(image))
        return _to_indices(ids, self.competing, self.ignored, path)


def find_truth(scene: Scene, labels: Path | None, knows: Callable[[str], bool]) -> Truth | None:
    """Finds the label images in `labels`, or else in the scene's folder; returns None if nothing can be scored.

    The reason is logged. `knows` returns whether the teacher has a text vector for a query. Raises `UserError` if
    `labels` is given, but missing or of another scene.
    """
    folder, classes_file = _locate(scene, labels)
    problem = _find_problem(folder, classes_file)
    views = [scene.views[i] for i in scene.test_ids]
    if problem is None and not any(find_file(folder, view, ENDINGS, LABEL_IMAGE) for view in views):
        expected = f", such as {views[0].key}.png" if views else ""
        problem = f"has no label image of any held-out view{expected}"
    if problem is not None:
        if labels is not None:
            raise UserError(f"{folder}: {problem}")
        log.info("labels are not scored: %s: %s", folder, problem)
        return None
    classes, is_by_segment = _read_class_list(classes_file)
    competing = [row for row in classes if row.query is not None and knows(row.query)]
    if len(competing) < 2:
        log.warning("labels are not scored: the teacher knows %d of the classes in %s", len(competing), classes_file)
        return None
    ignored = [row for row in classes if row not in competing]
    return Truth(folder, competing, ignored, is_by_segment or _show_views(folder, scene))


def find_label_images(scene: Scene, labels: Path | None) -> LabelImages:
    """Finds the label images in `labels`, or else in the scene's folder; raises `UserError` if there are none."""
    folder, classes_file = _locate(scene, labels)
    if (problem := _find_problem(folder, classes_file)) is not None:
        where = "`teacher.labels` names another folder" if labels is None else "`teacher.labels` must be such a folder"
        raise UserError(f"{folder}: {problem}; {where}")
    classes, is_by_segment = _read_class_list(classes_file)
    return LabelImages(folder, classes, is_by_segment or _show_views(folder, scene))


def read_instances(path: Path, view: View, size: tuple[int, int] | None = None) -> Int[Tensor, "H W"]:
    """Reads object ids of a view from an 8- or 16-bit image, by nearest neighbour.

    At `size` (width, height), by default the photo's. Raises `UserError` if the image is damaged, has another shape
    than the photo, or holds ids that 16 bits cannot.
    """
    with _open_ids(path, view, INSTANCE_MODES) as image:
        ids = fit_picture(view, np.asarray(image), size).astype(np.int64)
    if ids.min() < 0 or ids.max() > MAX_INSTANCES:
        raise UserError(f"{path}: expected ids from 0 to {MAX_INSTANCES}, got {ids.min()} to {ids.max()}")
    return torch.from_numpy(ids)


def read_classes(path: Path) -> list[LabelClass]:
    """Reads the classes of a classes.json, in the order of their ids.

    The file holds either a list of names, which are the queries too and whose positions are the ids, or {"classes":
    [{"id", "name", "text_query"?, "moves"?, "color"?, "counts"?}]}: without "text_query" the query is the name, and
    null means that the class cannot be queried.
    """
    return _read_class_list(path)[0]


def _read_class_list(path: Path) -> tuple[list[LabelClass], bool]:
    """The classes, and whether `gsdff segment` made the label images."""
    try:
        content = read_json(path, CLASS_LIST)
    except FileNotFoundError:
        raise UserError(f"{path}: missing; label images need their class names in this file") from None
    rows = content.get("classes") if isinstance(content, dict) else content
    if not isinstance(rows, list) or not rows:
        raise UserError(f'{path}: expected a list of class names or {{"classes": [{{"id", "name"}}, ...]}}')
    classes = [_read_class(row, index, path) for index, row in enumerate(rows)]
    if len({row.id for row in classes}) < len(classes):
        raise UserError(f"{path}: two classes share an id")
    return sorted(classes, key=lambda row: row.id), _is_by_segment(content)


def write_classes(path: Path, classes: Sequence[LabelClass], about: Mapping[str, str]) -> None:
    """Writes a classes.json, with the entries of `about` before the classes; `read_classes` ignores them."""
    rows = [
        {"id": row.id, "name": row.name, "text_query": row.query}
        | {"color": row.color, "moves": row.moves, "counts": row.counts}
        for row in classes
    ]
    write_text(path, json.dumps({**about, "void": VOID, "classes": rows}, indent=1) + "\n")


def write_label_image(path: Path, ids: UInt8[Tensor, "H W"]) -> None:
    """Writes a label image as one 8-bit channel; makes its folder if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial:
        Image.fromarray(ids.cpu().numpy()).save(partial, format="PNG")


def write_instance_image(path: Path, ids: Int[Tensor, "H W"]) -> None:
    """Writes an instance image as one 16-bit channel, which `read_instances` reads; makes its folder if missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial:
        Image.fromarray(ids.cpu().numpy().astype(np.uint16)).save(partial, format="PNG")


def show_views(folder: Path) -> bool:
    """Whether `gsdff segment` made the label images in a folder, so that they show views; its class list says so."""
    path = folder / CLASSES_FILE
    return exists(path, CLASS_LIST) and _is_by_segment(read_json(path, CLASS_LIST))


def _show_views(folder: Path, scene: Scene) -> bool:
    """Whether those label images show views whose shape does not tell, because photos are turned by 180 degrees."""
    if not any(view.is_turned for view in scene.views):
        return False
    paths = ((view, find_file(folder, view, ENDINGS, LABEL_IMAGE)) for view in scene.views)
    return told_by_folder(folder, ((view, *_read_size(path)) for view, path in paths if path))


def _read_size(path: Path) -> tuple[int, int]:
    with open_picture(path, LABEL_IMAGE) as image:
        return image.size


def _is_by_segment(content: object) -> bool:
    return isinstance(content, dict) and content.get("made_by") == SEGMENT


def _locate(scene: Scene, labels: Path | None) -> tuple[Path, Path]:
    """Paths of the folder of label images and of its class list, in it or beside it; either may not exist."""
    folder = labels or scene.root / "labels"
    inside, beside = folder / CLASSES_FILE, folder.parent / CLASSES_FILE
    return folder, inside if exists(inside, CLASS_LIST) else beside


def _find_problem(folder: Path, classes_file: Path) -> str | None:
    if not folder.is_dir():
        return "no such folder of label images"
    if not exists(classes_file, CLASS_LIST):
        return f"no {CLASSES_FILE} in it or beside it names the ids of its images"
    return None


def _to_indices(
    ids: UInt8[np.ndarray, "h w"], counted: list[LabelClass], ignored: list[LabelClass], path: Path
) -> UInt8[Tensor, "h w"]:
    """Converts ids to indices into `counted`, and the ids of `ignored` to VOID."""
    indices = np.full(256, -1, dtype=np.int64)
    indices[[VOID, *(row.id for row in ignored)]] = VOID
    indices[[row.id for row in counted]] = range(len(counted))
    if (unknown := np.unique(ids[indices[ids] < 0])).size:
        raise UserError(f"{path}: holds id {unknown[0]}, which {CLASSES_FILE} does not list; add it, or use {VOID}")
    return torch.from_numpy(indices[ids]).byte()


LABEL_MODES, INSTANCE_MODES = ("L", "P"), ("L", "P", "I;16", "I")
"""Pillow's modes of images of class ids, and of object ids."""


@contextmanager
def _open_ids(path: Path, view: View, modes: Sequence[str]) -> Iterator[Image.Image]:
    """Opens a one-channel image of ids that has the shape of the view's photo."""
    with open_picture(path, LABEL_IMAGE) as image:
        if image.mode not in modes:
            depth = "8-bit" if modes is LABEL_MODES else "8- or 16-bit"
            raise UserError(f"{path}: expected one {depth} channel of ids, got mode {image.mode}")
        check_picture(path, view, image.width, image.height)
        yield image


def _read_class(row: Any, index: int, path: Path) -> LabelClass:
    row = {"id": index, "name": row} if isinstance(row, str) else row
    try:
        number, name = row["id"], row["name"]
        color = tuple(row["color"]) if row.get("color") is not None else None
        query, moves, counts = row.get("text_query", name), row.get("moves", False), row.get("counts", True)
    except (TypeError, KeyError, AttributeError):
        raise UserError(f'{path}: class {index} needs an "id" and a "name", got {row!r}') from None
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < VOID or not is_text(name):
        raise UserError(f"{path}: class {index} needs an id of 0 to {VOID - 1} and a name, got {number!r}, {name!r}")
    if query is not None and not is_text(query):
        raise UserError(f"{path}: class {name}: text_query must be a text or null, got {query!r}")
    if color is not None and (len(color) != 3 or not all(isinstance(c, int) and 0 <= c <= 255 for c in color)):
        raise UserError(f"{path}: class {name}: color must be three numbers of 0 to 255, got {row['color']!r}")
    if moves not in (True, False) or counts not in (True, False):
        raise UserError(f"{path}: class {name}: moves and counts must be true or false, got {moves!r} and {counts!r}")
    return LabelClass(number, name, query, bool(moves), color, bool(counts))
