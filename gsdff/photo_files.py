"""Files made from a photo, such as its label image or teacher map: found by its name, and fitted to its view.

A file that was made from the photo as it is stored is turned and undistorted as the photo was (`View.stored`); one that
has the shape of the view alone is taken as made from the view.
"""

import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from gsdff.errors import UserError
from gsdff.files.reading import check_file
from gsdff.scene import View
from gsdff.stored_photo import is_same_shape, is_transposed

logger = logging.getLogger("gsdff")

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


def is_of_stored_photo(view: View, width: int, height: int) -> bool:
    """Whether a picture of this size was made from the photo as it is stored, before its view was turned or bent."""
    return view.stored is not None and view.stored.is_shape_of_file(width, height)


def as_made(view: View, are_of_views: bool) -> View:
    """The view as files of its photo see it: without steps from the stored photo if they show the view."""
    return replace(view, stored=None) if are_of_views else view


def told_by_shape(view: View, width: int, height: int) -> bool | None:
    """Whether a picture of this size can only be of the view (True) or only of the stored photo (False), or None."""
    if view.stored is None or max(width, height) < COARSEST:
        return None
    is_of_view = is_same_shape((width, height), (view.camera.width, view.camera.height))
    return None if is_of_view == view.stored.is_shape_of_file(width, height) else is_of_view


def told_by_folder(folder: Path, sizes: Iterable[tuple[View, int, int]]) -> bool:
    """Whether those pictures of a folder whose shape does not tell are of views (True) or of the stored photos (False).

    The others tell; `sizes` are widths and heights. If none does, or if they contradict one another, they are taken for
    those of the stored photos, with a warning that names the option if photos are turned. What is said is said once.
    """
    told: dict[bool | None, list[str]] = {True: [], False: [], None: []}
    for view, width, height in sizes:
        answer = told_by_shape(view, width, height)
        if answer is not None or view.is_turned:
            told[answer].append(view.name)
    are_of_views = bool(told[True]) and not told[False]
    if not told[None]:
        return are_of_views
    unclear = f"{len(told[None])} files, such as that of {told[None][0]}"
    if bool(told[True]) != bool(told[False]):
        kind, example = ("upright", told[True][0]) if are_of_views else ("as stored", told[False][0])
        _say_once(logging.INFO, f"{folder}: {unclear}, were made from the photos {kind}, as that of {example}")
        return are_of_views
    reason = f"those of {told[True][0]} and {told[False][0]} differ, and " if told[True] else ""
    _say_once(
        logging.WARNING,
        f"{folder}: {reason}the shape of {unclear}, does not tell whether they were made from the photos as stored "
        "(Pillow's Image.open) or upright, as EXIF turns them (cv2.imread); taking them for those as stored. If they "
        "are upright, set `dataset.made_from` to views",
    )
    return are_of_views


@cache
def _say_once(level: int, message: str) -> None:
    logger.log(level, "%s", message)


def fits_photo(view: View, width: int, height: int) -> bool:
    """Whether a picture of this size has the shape of the view or of the stored photo."""
    is_of_view = is_same_shape((width, height), (view.camera.width, view.camera.height))
    return is_of_view or is_of_stored_photo(view, width, height)


def fit_picture(
    view: View, pixels: Shaped[np.ndarray, "h w"], size: tuple[int, int] | None = None
) -> Shaped[np.ndarray, "H W"]:
    """Ids of a picture that fits the photo, as the view shows them, by nearest neighbour.

    At `size` (width, height), by default the view's.
    """
    width, height = size or (view.camera.width, view.camera.height)
    if is_of_stored_photo(view, pixels.shape[1], pixels.shape[0]):
        assert view.stored is not None, "it is of the stored photo"
        ids = torch.from_numpy(pixels.astype(np.float64))[..., None]  # exact for all ids
        return view.stored.to_view(ids, (height, width), "nearest")[..., 0].numpy().astype(pixels.dtype)
    rows, columns = (
        (np.arange(length) * 2 + 1) * given // (2 * length)
        for length, given in zip((height, width), pixels.shape, strict=True)
    )
    return np.ascontiguousarray(pixels[rows][:, columns])


def finest_size(view: View, width: int, height: int) -> tuple[int, int]:
    """Size (width, height) at which the view shows a picture of this size: its own, but no larger than the view."""
    photo = view.camera
    if is_of_stored_photo(view, width, height):
        assert view.stored is not None, "it is of the stored photo"
        share = min(1.0, width / view.stored.width, height / view.stored.height)
        return max(1, round(photo.width * share)), max(1, round(photo.height * share))
    return min(photo.width, width), min(photo.height, height)


def fit_map(view: View, features: Float[Tensor, "T h w"]) -> Float[Tensor, "T H W"]:
    """A teacher map as the view shows it, bilinear; pixels without a feature stay without, by nearest neighbour.

    A map whose shape says nothing, such as a square one, was made from the photo as it is stored.
    """
    _, height, width = features.shape
    is_of_view = is_same_shape((width, height), (view.camera.width, view.camera.height))
    if view.stored is None or (is_of_view and not is_of_stored_photo(view, width, height)):
        return features
    size = (
        (width, height)
        if is_transposed(view.stored.turn_before) != is_transposed(view.stored.turn_after)
        else (height, width)
    )
    pixels = features.permute(1, 2, 0)
    has_feature = view.stored.to_view(pixels.any(-1, keepdim=True).to(pixels.dtype), size, "nearest")
    return (view.stored.to_view(pixels, size, "bilinear") * has_feature).permute(2, 0, 1).contiguous()


def steps_fingerprint(view: View) -> bytes:
    """Bytes that differ if files of the photo are turned or undistorted in another way; none for plain photos."""
    return b"" if view.stored is None else view.stored.fingerprint


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
    return fits_photo(view, height, width)
