"""Masks of photos: pixels that are not to be learned, such as people who walk by, in the conventions of this field."""

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from gsdff.errors import UserError
from gsdff.files.finder import Finder
from gsdff.files.reading import exists, open_picture

FOLDER = "masks"
"""Folder beside that of the images: COLMAP's `masks/NAME.jpg.png`, or the photos' own names. Black is left out."""
NGP_PREFIX = "dynamic_mask_"
"""instant-ngp's masks lie beside the photos, as dynamic_mask_NAME.png. White is left out."""
SUFFIXES = (".png", ".jpg", ".jpeg")
WHAT = "a mask"
BLACK, WHITE = 16, 239
TWO_VALUED = 0.98
"""Share of pixels that must be at most `BLACK` or at least `WHITE`; JPEG blurs the edges."""

logger = logging.getLogger("gsdff")


@dataclass(frozen=True)
class MaskFile:
    """A picture of two values that says which pixels of a photo count."""

    path: Path
    is_inverted: bool = False
    """Whether white pixels are left out instead of black ones."""

    def read(self) -> Bool[np.ndarray, "H W"]:
        """Reads the mask at its own size, True for pixels that count; raises `UserError` if it has other values."""
        counts = read_two_values(self.path)
        if counts is None:
            raise UserError(f"{self.path}: expected a mask of two values, black and white, it has others")
        return ~counts if self.is_inverted else counts


class MaskFinder:
    """Finds the masks of photos: instant-ngp's beside the photo, or those of a folder `masks`."""

    def __init__(self, places: Iterable[Path]):
        self.finder = Finder(SUFFIXES)
        self.folder = self._find_folder(places)

    def find(self, photos: Iterable[Path], name: str) -> MaskFile | None:
        """The mask of a photo of this name, whose file and its original are `photos`; None if it has none.

        Names may differ in case and suffix. Raises `UserError` for a folder, pipe or loop of a mask's name.
        """
        for photo in photos:
            beside = photo.with_name(f"{NGP_PREFIX}{photo.stem}.png")
            if exists(beside, WHAT):
                return MaskFile(beside, is_inverted=True)
        if self.folder is None:
            return None
        stem = self.folder / Path(name).with_suffix("")
        candidates = [self.folder / f"{name}.png", *(stem.with_name(stem.name + suffix) for suffix in SUFFIXES)]
        for path in candidates:
            exists(path, WHAT)  # raises for what is no file
        found = self.finder.find(candidates[0]) or self.finder.find(candidates[1])
        return None if found is None else MaskFile(found)

    def report_unmatched(self, num_found: int) -> None:
        """Warns if the folder has masks and none of them is a photo's."""
        if self.folder is not None and num_found == 0:
            logger.warning("%s: none of its pictures has the name of a photo, so no pixel is left out", self.folder)

    def _find_folder(self, places: Iterable[Path]) -> Path | None:
        """The first folder `masks` in one of the places; None if there is none, or if its pictures are no masks."""
        paths = [place / FOLDER for place in places]
        folder = next((found for path in paths if (found := self.finder.find_folder(path))), None)
        if folder is None:
            for path in filter(os.path.lexists, paths):
                logger.warning("%s: not used to leave out pixels, as it is no folder", path)
            return None
        first = next((path for path in sorted(folder.rglob("*")) if is_mask_file(path)), None)
        if first is None or read_two_values(first) is None:
            found = "it holds no picture" if first is None else f"{first.name} has more than two values"
            logger.warning("%s: not used to leave out pixels, as %s", folder, found)
            return None
        return folder


def is_mask_file(path: Path) -> bool:
    """Whether the name is that of a picture which may be a mask."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def read_two_values(path: Path) -> Bool[np.ndarray, "H W"] | None:
    """Reads a black and white picture, True for white; None if it has other values.

    White is 1 or 255, in grey, colours or a palette; transparency is ignored. All pixels may have one value.
    """
    with open_picture(path, WHAT) as picture:
        values = np.asarray(picture.convert("RGB") if picture.mode not in ("1", "L", "P") else picture)
        if picture.mode == "P" and values.max() > 1:
            values = np.asarray(picture.convert("RGB"))
    if values.ndim == 3:
        values = values.max(axis=2)
    if values.dtype == bool or values.max() <= 1:
        return values > 0
    is_two_valued = values.max() >= WHITE and ((values <= BLACK) | (values >= WHITE)).mean() >= TWO_VALUED
    return values >= 128 if is_two_valued else None
