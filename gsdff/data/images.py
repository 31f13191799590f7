"""Reads photo files: any image that Pillow opens becomes 8-bit RGB over a background, as the file stores it.

Sizes and pixels are those before EXIF's orientation is applied, as in COLMAP, so that cameras fit them;
`gsdff.data.develop` turns the views upright.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image

from gsdff.files.reading import open_picture
from gsdff.stored_photo import UPRIGHT, is_transposed, turn

WHAT, REMEDY = "a photo", "replace it or take it out"
LARGE = 50_000_000
"""Pixels from which on a JPEG is decoded at a half, a quarter or an eighth of its size if that suffices: its memory."""
BACK = {6: 8, 8: 6}
"""Orientation that undoes an orientation, if it is another one."""


@dataclass(frozen=True)
class Photo:
    """Pixels of one photo."""

    image: UInt8[np.ndarray, "H W 3"]
    """Photo over its background."""
    alpha: UInt8[np.ndarray, "H W"] | None
    """Alpha channel; None if the photo is opaque everywhere."""


@dataclass(frozen=True)
class PhotoHeader:
    """Size and orientation that a photo's file declares."""

    width: int
    """Width of the pixels as stored."""
    height: int
    orientation: int
    """EXIF orientation, 1 to 8."""


def read_header(path: Path) -> PhotoHeader:
    """Reads size and orientation, and no pixel."""
    with open_picture(path, WHAT, REMEDY) as picture:
        orientation = _orientation(picture)
        width, height = picture.size
        if _is_turned(picture) and is_transposed(orientation):
            width, height = height, width
        return PhotoHeader(width, height, orientation)


def photo_size(path: Path) -> tuple[int, int]:
    """Width and height of a photo as stored; reads the header only."""
    header = read_header(path)
    return header.width, header.height


def check_photo(path: Path) -> PhotoHeader:
    """Decodes a photo to find out whether it is whole, a JPEG at an eighth of its size; returns its header.

    Raises `UserError` for a file that is damaged, truncated or not a photo.
    """
    header = read_header(path)
    with open_picture(path, WHAT, REMEDY) as picture:
        picture.draft(None, (max(1, header.width // 8), max(1, header.height // 8)))
        picture.load()
    return header


def read_photo(path: Path, width: int, height: int, background: int) -> Photo:
    """Reads a photo at `width` x `height`, transparent pixels over a grey of value `background` (0 black, 255 white).

    Each pixel of a smaller size is the mean over its area (box filter), as a coarser sensor would record it.
    Raises `UserError` for a file that is damaged, truncated or not a photo.
    """
    with open_picture(path, WHAT, REMEDY) as picture:
        back = BACK.get(_orientation(picture), _orientation(picture)) if _is_turned(picture) else UPRIGHT
        size = (height, width) if is_transposed(back) else (width, height)
        if picture.format == "JPEG" and picture.width * picture.height > LARGE:
            picture.draft(None, size)
        picture = to_rgb(picture)
        if picture.size != size:
            picture = picture.resize(size, Image.Resampling.BOX)
        pixels = turn(np.array(picture), back)
    if pixels.shape[2] == 3:
        return Photo(pixels, None)
    color, alpha = pixels[..., :3], pixels[..., 3]
    if alpha.min() == 255:
        return Photo(np.ascontiguousarray(color), None)
    share = alpha[..., None].astype(np.float32) / 255
    over = color * share + background * (1 - share)
    return Photo(np.round(over).astype(np.uint8), np.ascontiguousarray(alpha))


def to_rgb(picture: Image.Image) -> Image.Image:
    """Decodes an image as RGB, or as RGBA if it has transparency; 16-bit grey keeps its upper byte."""
    if picture.mode == "F":
        raise ValueError("floating-point pixels have no agreed brightness")
    if picture.mode.startswith("I"):
        grey = (np.asarray(picture).astype(np.int64) // 257).clip(0, 255)
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    has_alpha = picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info
    return picture.convert("RGBA" if has_alpha else "RGB")


def _orientation(picture: Image.Image) -> int:
    """EXIF orientation of a picture; upright for values that mean nothing. Pillow forgets a TIFF's when it decodes."""
    # a PNG's own getexif decodes it all, for orientations that are stored after the pixels
    exif = Image.Image.getexif(picture) if picture.format == "PNG" else picture.getexif()
    value = exif.get(ExifTags.Base.Orientation, UPRIGHT)
    return value if value in range(1, 9) else UPRIGHT


def _is_turned(picture: Image.Image) -> bool:
    """Whether Pillow turns the pixels itself."""
    return picture.format == "TIFF"
