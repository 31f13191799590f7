"""Reads photo files: any image that Pillow opens becomes 8-bit RGB over a background.

EXIF's orientation is ignored, as in COLMAP, so that cameras fit the pixels as they are stored.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from gsdff.errors import UserError

# Raised by Pillow for a damaged file: OSError (also UnidentifiedImageError), SyntaxError and ValueError (PNG chunks),
# DecompressionBombError (a size no photo has).
DAMAGED = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


@dataclass(frozen=True)
class Photo:
    """Pixels of one photo."""

    image: UInt8[np.ndarray, "H W 3"]
    """Photo over its background."""
    alpha: UInt8[np.ndarray, "H W"] | None
    """Alpha channel; None if the photo is opaque everywhere."""


def photo_size(path: Path) -> tuple[int, int]:
    """Width and height of a photo as stored; reads the header only."""
    try:
        with Image.open(path) as picture:
            return picture.size
    except DAMAGED as error:
        raise UserError(f"{path}: cannot be read as a photo ({error}); replace it or take it out") from error


def read_photo(path: Path, width: int, height: int, background: int) -> Photo:
    """Reads a photo at `width` x `height`, transparent pixels over a grey of value `background` (0 black, 255 white).

    Each pixel of a smaller size is the mean over its area (box filter), as a coarser sensor would record it.
    Raises `UserError` for a file that is damaged, truncated or not a photo.
    """
    try:
        with Image.open(path) as picture:
            picture = to_rgb(picture)
            if picture.size != (width, height):
                picture = picture.resize((width, height), Image.Resampling.BOX)
    except DAMAGED as error:
        raise UserError(f"{path}: damaged or truncated photo ({error}); replace it or take it out") from error
    if picture.mode == "RGB":
        return Photo(np.array(picture), None)
    pixels = np.array(picture)
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
