"""Labels of open-vocabulary benchmarks as masks: LERF-OVS (LangSplat's labels for LERF's scenes) and 3D-OVS.

lerf_ovs/label/figurines/frame_00041.json, ...   polygons; a category may have several in a frame
sofa/segmentations/classes.txt, 00/<class>.png   a mask per class and labelled view
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from math import floor
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool
from PIL import Image
from torch import Tensor

from gsdff.errors import UserError, shown
from gsdff.evaluation.ovs.polygons import fill_polygon
from gsdff.files.reading import open_picture, read_json, read_text
from gsdff.photo_files import check_picture, fit_picture, is_of_stored_photo
from gsdff.scene import VOID, Scene, View
from gsdff.words import describe_names, find_complaint

CLASSES_FILE = "classes.txt"
SEGMENTATIONS_FOLDER = "segmentations"
"""Folder of the labels in a scene of 3D-OVS."""
MASK = "a mask"
MOST_SIDE = 1_000_000
"""Largest side of a labelled picture."""
FAR_OUT = 10
"""Largest distance of a polygon from its picture, in sides of that picture."""
MOST_NUMBER = 1e9
"""Larger coordinates are no pixels."""
_LISTED = 10
"""Largest number of names in an error message."""

Point = tuple[float, float]
Box = tuple[float, float, float, float]
"""x0, y0, x1, y1; pixels with indices between them, both included, are inside."""


@dataclass(frozen=True)
class LerfFrame:
    """One labelled picture of LERF-OVS."""

    source: Path
    name: str
    """Name of the photo, as in the file."""
    width: int
    height: int
    """Size of the labelled picture."""
    outlines: Mapping[str, Sequence[Sequence[Point]]]
    """Polygons by category, in pixels of that picture."""
    boxes: Mapping[str, Sequence[Box]]
    """Bounding boxes, one per polygon: the file's own or, if it has none, the polygon's."""

    @property
    def names(self) -> list[str]:
        """Categories in the frame."""
        return [*self.outlines]

    def masks(self, width: int, height: int) -> dict[str, Bool[Tensor, "H W"]]:
        """Masks of the categories in a picture of this size: unions of their polygons, each filled as OpenCV does.

        Corners are truncated to whole pixels of the labelled picture first, as in LangSplat.
        """

        def scaled(corner: Point) -> tuple[int, int]:
            x, y = (int(side) + 0.5 for side in corner)
            return floor(x * width / self.width), floor(y * height / self.height)

        masks = {}
        for category, polygons in self.outlines.items():
            filled = [fill_polygon([scaled(corner) for corner in polygon], width, height) for polygon in polygons]
            masks[category] = torch.from_numpy(np.logical_or.reduce(filled))
        return masks

    def scaled_boxes(self, width: int, height: int) -> dict[str, list[Box]]:
        """Bounding boxes in a picture of this size."""
        x_scale, y_scale = width / self.width, height / self.height

        def scaled(side: float, scale: float) -> float:
            return (side + 0.5) * scale - 0.5

        return {
            category: [
                (scaled(x0, x_scale), scaled(y0, y_scale), scaled(x1, x_scale), scaled(y1, y_scale))
                for x0, y0, x1, y1 in boxes
            ]
            for category, boxes in self.boxes.items()
        }


@dataclass(frozen=True)
class MaskFrame:
    """One labelled view of 3D-OVS."""

    source: Path
    name: str
    """Name of the folder: a photo's stem, or its index in name order."""
    width: int
    """Width of the first mask."""
    files: Mapping[str, Path]
    """Files of the masks by class."""

    @property
    def names(self) -> list[str]:
        """All classes, also those not in the view."""
        return [*self.files]

    def masks(self, width: int = 0, height: int = 0) -> dict[str, Bool[Tensor, "H W"]]:
        """Masks of the classes in a picture of this size (nearest neighbour), by default at their own size.

        Raises `UserError` for a damaged file.
        """
        size = (width, height) if width else None
        return {name: _read_mask(path, size) for name, path in self.files.items()}

    def sizes(self) -> dict[Path, tuple[int, int]]:
        """Width and height of every mask, from the headers of the files."""
        sizes = {}
        for path in self.files.values():
            with open_picture(path, MASK) as picture:
                sizes[path] = picture.size
        return sizes


def read_lerf_ovs(folder: Path) -> list[LerfFrame]:
    """Reads the frames of a folder of LERF-OVS labels, in order of file names; raises `UserError` for a damaged one."""
    files = sorted(folder.glob("*.json"))
    if not files:
        what = "has no JSON file in it" if folder.is_dir() else "no such folder"
        raise UserError(f"{folder}: {what}; expected LERF-OVS labels, one frame_00041.json a labelled photo")
    return [_read_frame(path) for path in files]


def read_3d_ovs(folder: Path) -> list[MaskFrame]:
    """Reads the labelled views of a 3D-OVS scene, or of its `segmentations`; classes are in the order of their list.

    Raises `UserError` for a missing mask or class list.
    """
    root = folder if (folder / CLASSES_FILE).is_file() else folder / SEGMENTATIONS_FOLDER
    if not (root / CLASSES_FILE).is_file():
        raise UserError(
            f"{folder}: expected 3D-OVS labels, with {CLASSES_FILE} (a name a line) and a folder of masks for each "
            f"labelled view, in it or in its {SEGMENTATIONS_FOLDER}"
        )
    lines = read_text(root / CLASSES_FILE, "a list of classes, a line each").splitlines()
    classes = [line.strip() for line in lines if line.strip()]
    if not 2 <= len({name.lower() for name in classes}) == len(classes) < VOID:
        most = f", at most {VOID - 1}" if len(classes) >= VOID else ""
        got = describe_names(classes)
        raise UserError(f"{root / CLASSES_FILE}: expected two different names or more{most}, a line each, got {got}")
    for name in classes:
        if complaint := "it is no file name" if set(name) & set("/\\\0") else find_complaint([name]):
            raise UserError(
                f"{root / CLASSES_FILE}: expected the names of masks <class>.png, got {shown(name)}; {complaint}"
            )
    views = sorted(path for path in root.iterdir() if path.is_dir())
    if not views:
        raise UserError(f"{root}: has no folder of masks beside {CLASSES_FILE}; expected 00/<class>.png and so on")
    files = {view: {name: _find_mask(view, name) for name in classes} for view in views}
    return [MaskFrame(view, view.name, _read_mask(found[classes[0]]).shape[1], found) for view, found in files.items()]


def find_views(frames: Sequence[LerfFrame | MaskFrame], scene: Scene) -> list[View]:
    """Finds the photo of each frame: by name, else by stem, else (3D-OVS) by index in name order.

    Raises `UserError`, naming labels and photos, for frames that match no photo, or more than one, and for labels of
    another shape than their photo.
    """
    found = [_find_view(frame, scene) for frame in frames]
    if missing := [frame for frame, view in zip(frames, found, strict=True) if view is None]:
        names = [view.name for view in scene.views]
        stems = {view.stem: view.name for view in scene.views}
        near = [stems[match] for frame in missing for match in get_close_matches(Path(frame.name).stem, stems, n=2)]
        raise UserError(
            f"{missing[0].source}: no photo of {scene.root} goes with labels for {_list([f.name for f in missing])}; "
            f"closest: {_list([*dict.fromkeys(near)]) or 'nothing like it'}; its photos are {_list(names)}"
        )
    views = [view for view in found if view is not None]
    first_frames: dict[str, LerfFrame | MaskFrame] = {}
    for frame, view in zip(frames, views, strict=True):
        if (first := first_frames.setdefault(view.name, frame)) is not frame:
            raise UserError(f"{frame.source}: labels {view.name}, as {first.source} does; expected one of them")
    for frame, view in zip(frames, views, strict=True):
        _check_sizes(frame, view)
    return views


def masks_in_view(frame: LerfFrame | MaskFrame, view: View) -> dict[str, Bool[Tensor, "H W"]]:
    """Masks of a frame as its photo's view shows them, turned and undistorted like the photo."""
    sizes = {frame.source: (frame.width, frame.height)} if isinstance(frame, LerfFrame) else frame.sizes()
    if not any(is_of_stored_photo(view, *size) for size in sizes.values()):
        return frame.masks(view.camera.width, view.camera.height)
    masks = frame.masks(frame.width, frame.height) if isinstance(frame, LerfFrame) else frame.masks()
    return {name: torch.from_numpy(fit_picture(view, mask.numpy())) for name, mask in masks.items()}


def boxes_in_view(frame: LerfFrame, view: View) -> dict[str, list[Box]]:
    """Bounding boxes of a frame as its photo's view shows them; those of an undistorted photo are around what it bends.

    A box of which the view shows nothing is left out.
    """
    if not is_of_stored_photo(view, frame.width, frame.height):
        return frame.scaled_boxes(view.camera.width, view.camera.height)
    shown: dict[str, list[Box]] = {}
    for category, boxes in frame.boxes.items():
        shown[category] = []
        for x0, y0, x1, y1 in boxes:
            inside = np.zeros((frame.height, frame.width), bool)
            inside[max(0, round(y0)) : max(0, round(y1)) + 1, max(0, round(x0)) : max(0, round(x1)) + 1] = True
            rows, columns = fit_picture(view, inside).nonzero()
            if len(rows):
                limits = columns.min(), rows.min(), columns.max(), rows.max()
                shown[category].append((float(limits[0]), float(limits[1]), float(limits[2]), float(limits[3])))
    return shown


def _check_sizes(frame: LerfFrame | MaskFrame, view: View) -> None:
    """Raises `UserError` if labels were made on a picture of another shape, such as one that is turned or cropped."""
    sizes = {frame.source: (frame.width, frame.height)} if isinstance(frame, LerfFrame) else frame.sizes()
    for path, (width, height) in sizes.items():
        check_picture(path, view, width, height)


def _find_view(frame: LerfFrame | MaskFrame, scene: Scene) -> View | None:
    named = [view for view in scene.views if view.name == frame.name]
    named = named or [view for view in scene.views if view.stem == Path(frame.name).stem]
    if len(named) > 1:
        raise UserError(
            f"{frame.source}: several photos are named {frame.name}: {_list([view.name for view in named])}; "
            "name one with its folder"
        )
    if named:
        return named[0]
    is_index = isinstance(frame, MaskFrame) and frame.name.isascii() and frame.name.isdigit()
    return scene.views[int(frame.name)] if is_index and int(frame.name) < len(scene.views) else None


def _read_frame(path: Path) -> LerfFrame:
    content = read_json(path, "labels of LERF-OVS")
    try:
        info, objects = content["info"], content["objects"]
        name, width, height = info["name"], info["width"], info["height"]
    except (KeyError, TypeError) as error:
        raise UserError(
            f'{path}: expected {{"info": {{"name", "width", "height"}}, "objects": [...]}}, misses {error}'
        ) from None
    if not (isinstance(name, str) and name and all(type(s) is int and 0 < s <= MOST_SIDE for s in (width, height))):
        got = f"{shown(name)}, {shown(width)} x {shown(height)}"
        raise UserError(f"{path}: info: expected a photo's name and its size, got {got}")
    if not isinstance(objects, list) or not objects:
        raise UserError(f"{path}: objects: expected a list of one labelled object or more, got {shown(objects)}")
    outlines: dict[str, list[list[Point]]] = {}
    boxes: dict[str, list[Box]] = {}
    for index, entry in enumerate(objects):
        category, polygon, box = _read_object(entry, f"{path}: object {index}", (width, height))
        outlines.setdefault(category, []).append(polygon)
        boxes.setdefault(category, []).append(box)
    return LerfFrame(path, name, width, height, outlines, boxes)


def _read_object(entry: object, where: str, size: tuple[int, int]) -> tuple[str, list[Point], Box]:
    if not isinstance(entry, dict) or not {"category", "segmentation"} <= entry.keys():
        raise UserError(f'{where}: expected {{"category", "segmentation"}}, got {shown(entry)}')
    category, polygon = entry["category"], entry["segmentation"]
    if not isinstance(category, str) or not category.strip():
        raise UserError(f"{where}: expected a category name, got {shown(category)}")
    if complaint := find_complaint([category]):
        raise UserError(f"{where}: {complaint}")
    where = f"{where} ({category})"
    is_list = isinstance(polygon, list) and all(isinstance(point, list) and len(point) == 2 for point in polygon)
    if not (is_list and len(polygon) >= 3 and _are_numbers(side for point in polygon for side in point)):
        raise UserError(f"{where}: expected a polygon [[x, y], ...] of three points or more, got {shown(polygon)}")
    xs, ys = ([point[i] for point in polygon] for i in (0, 1))
    if max(xs) < 0 or max(ys) < 0 or min(xs) >= size[0] or min(ys) >= size[1]:
        raise UserError(f"{where}: its polygon lies outside the picture of {size[0]} x {size[1]}")
    if max(map(abs, (*xs, *ys))) > FAR_OUT * max(size):
        raise UserError(f"{where}: its polygon reaches far out of the picture of {size[0]} x {size[1]}")
    box = entry.get("bbox")
    if box is None:
        box = [min(xs), min(ys), max(xs), max(ys)]
    if isinstance(box, list) and len(box) == 2 and all(isinstance(corner, list) for corner in box):
        box = [*box[0], *box[1]]
    if not (isinstance(box, list) and len(box) == 4 and _are_numbers(box)):
        raise UserError(f"{where}: expected a bbox [x0, y0, x1, y1], got {shown(box)}")
    (x0, x1), (y0, y1) = sorted(box[::2]), sorted(box[1::2])
    return category.strip(), [tuple(point) for point in polygon], (x0, y0, x1, y1)


def _are_numbers(values: Iterable[object]) -> bool:
    return all(isinstance(v, int | float) and not isinstance(v, bool) and abs(v) < MOST_NUMBER for v in values)


def _find_mask(view: Path, name: str) -> Path:
    path = view / f"{name}.png"
    if not path.is_file():
        raise UserError(
            f"{path}: missing; every labelled view needs a mask of every class of {CLASSES_FILE}, black if the "
            "class is not in it"
        )
    return path


def _read_mask(path: Path, size: tuple[int, int] | None = None) -> Bool[Tensor, "H W"]:
    """Reads a mask at its own size, or at another (width, height)."""
    with open_picture(path, MASK) as image:
        picture = image.convert("L").resize(size or image.size, Image.Resampling.NEAREST)
        return torch.from_numpy(np.asarray(picture) > 127)


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:_LISTED]) + (f", ... ({len(names)})" if len(names) > _LISTED else "")
