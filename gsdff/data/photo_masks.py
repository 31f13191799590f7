"""Masks of photos: pixels that are not to be learned, such as people who walk by, in the conventions of this field."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from gsdff.errors import UserError
from gsdff.reading import open_picture

FOLDER = "masks"
"""Folder beside that of the images: COLMAP's `masks/NAME.jpg.png`, or the photos' own names. Black is left out."""
NGP_PREFIX = "dynamic_mask_"
"""instant-ngp's masks lie beside the photos, as dynamic_mask_NAME.png. White is left out."""
SUFFIXES = (".png", ".jpg", ".jpeg")
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


def find_folder(places: Iterable[Path]) -> Path | None:
    """The first folder `masks` in one of the places; None if there is none, or if its pictures are no masks."""
    folder = next((place / FOLDER for place in places if (place / FOLDER).is_dir()), None)
    if folder is None:
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


def find_mask(photo: Path, name: str, folder: Path | None) -> MaskFile | None:
    """The mask of a photo: instant-ngp's beside it, or one in the folder; None without."""
    beside = photo.with_name(f"{NGP_PREFIX}{photo.stem}.png")
    if beside.is_file():
        return MaskFile(beside, is_inverted=True)
    if folder is None:
        return None
    stem = folder / Path(name).with_suffix("")
    candidates: Iterable[Path] = (folder / f"{name}.png", *(stem.with_name(stem.name + suffix) for suffix in SUFFIXES))
    found = next((path for path in candidates if path.is_file()), None)
    return None if found is None else MaskFile(found)


def read_two_values(path: Path) -> Bool[np.ndarray, "H W"] | None:
    """Reads a black and white picture, True for white; None if it has other values.

    White is 1 or 255, in grey, colours or a palette; transparency is ignored. All pixels may have one value.
    """
    with open_picture(path, "a mask") as picture:
        values = np.asarray(picture.convert("RGB") if picture.mode not in ("1", "L", "P") else picture)
        if picture.mode == "P" and values.max() > 1:
            values = np.asarray(picture.convert("RGB"))
    if values.ndim == 3:
        values = values.max(axis=2)
    if values.dtype == bool or values.max() <= 1:
        return values > 0
    is_two_valued = values.max() >= WHITE and ((values <= BLACK) | (values >= WHITE)).mean() >= TWO_VALUED
    return values >= 128 if is_two_valued else None
