"""Files made from a photo, such as its label image or teacher map: found by its name, compared with its shape."""

import os
from collections.abc import Sequence
from pathlib import Path

from gsdff.errors import UserError
from gsdff.reading import check_file
from gsdff.scene import View

COARSEST = 8
"""Fewest pixels along the longer side of a label image of a large photo, and of a map whose shape says anything."""


def find_file(folder: Path, view: View, endings: Sequence[str], what: str) -> Path | None:
    """Finds the file of a photo in `folder`, with any of its names and one of these endings; None if there is none.

    For cam0/0001.jpg and the ending .png it is the first that exists of cam0/0001.png, cam0_0001.png, 0001.png and
    cam0/0001.jpg.png. A name that another photo of the scene could have too does not count. Raises `UserError` for a
    folder or a pipe of that name.
    """
    candidates = (folder / f"{name}{ending}" for name in view.names for ending in endings)
    path = next((path for path in candidates if os.path.lexists(path)), None)
    if path is not None:
        check_file(path, what)
    return path


def require_file(folder: Path, view: View, endings: Sequence[str], what: str) -> Path:
    """Finds the file of a photo as `find_file` does; raises `UserError` if there is none."""
    path = find_file(folder, view, endings, what)
    if path is None:
        others = [f"{view.key}{ending}" for ending in endings[1:]]
        hint = f" (or {' or '.join(others)})" if others else ""
        if view.stem in view.shared_names:
            hint += f"; other photos are named {view.stem} too, so that name does not count without its folder"
        raise UserError(
            f"{folder / view.key}{endings[0]}: missing; photo {view.name} needs this {what.partition(' ')[2]} in "
            f"{folder}{hint}"
        )
    return path


def fits_photo(view: View, width: int, height: int) -> bool:
    """Whether a picture of this size has the shape of the view's photo, but for a pixel of the coarser of the two."""
    return _are_alike((width, height), (view.camera.width, view.camera.height))


def check_picture(path: Path, view: View, width: int, height: int) -> None:
    """Raises `UserError` if label image or mask `path` of this size cannot cover the whole photo, pixel for pixel."""
    photo = view.camera
    if not fits_photo(view, width, height):
        remedy = (
            "its sides are swapped: only one of the two was turned by its EXIF orientation; turn it by 90 degrees"
            if _is_turned(view, width, height)
            else "expected the photo's shape, at any size (not turned, not cropped, not stretched)"
        )
    elif max(width, height) < min(COARSEST, max(photo.width, photo.height) / COARSEST):
        remedy = "that is too coarse to tell objects apart"
    else:
        return
    raise UserError(f"{path}: is {width}x{height}, its photo {view.name} is {photo.width}x{photo.height}; {remedy}")


def check_map(path: Path, view: View, channels: int, height: int, width: int) -> None:
    """Raises `UserError` if a teacher map of these sizes is turned, or has its sides in another order.

    It may be squeezed: many networks see every photo as a square.
    """
    if width == height or max(height, width) < COARSEST or fits_photo(view, width, height):
        return
    is_last = min(channels, height) >= COARSEST and fits_photo(view, height, channels)
    if is_last or _is_turned(view, width, height):
        guess = (
            "it seems to be [height, width, channels]"
            if is_last
            else "its sides are swapped: it is [channels, width, height], or of a photo turned by its EXIF orientation"
        )
        raise UserError(
            f"{path}: expected [channels, height, width] of photo {view.name}, {view.camera.width}x"
            f"{view.camera.height}, got {[channels, height, width]}; {guess}"
        )


def _is_turned(view: View, width: int, height: int) -> bool:
    return _are_alike((height, width), (view.camera.width, view.camera.height))


def _are_alike(first: tuple[int, int], second: tuple[int, int]) -> bool:
    """Whether two pictures have one shape, but for a pixel of the coarser one."""
    (w, h), (W, H) = sorted((first, second), key=lambda size: size[0] * size[1])
    return min(abs(w * H / W - h), abs(h * W / H - w)) <= 1
