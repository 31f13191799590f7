"""Photos as COLMAP needs them: whole, in a format that it reads, and with its own kind of masks."""

import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from gsdff.data.capture import PHOTO_SUFFIXES, list_photos
from gsdff.data.images import BACK, PhotoHeader, check_photo, read_photo
from gsdff.data.photo_masks import NGP_PREFIX, MaskFile, MaskFinder
from gsdff.errors import UserError
from gsdff.files.reading import HEIF_SUFFIXES, require_heif
from gsdff.files.writing import VIDEO_SUFFIXES
from gsdff.interrupts import worker_threads
from gsdff.stored_photo import is_same_shape, is_transposed, turn

READ_BY_COLMAP = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
SHOWN_NAMES = 5

logger = logging.getLogger("gsdff")


@dataclass(frozen=True)
class StagedPhotos:
    """Photos to find the poses of."""

    folder: Path
    """Folder to read them from."""
    sizes: dict[str, tuple[int, int]]
    """Width and height by name below the folder."""
    masks: Path | None
    """Folder of masks NAME.png, black where no feature is to be found; None without masks."""


def stage_photos(images: Path, scratch: Path) -> StagedPhotos:
    """Checks every file below `images`, and puts what COLMAP cannot read into the folder `scratch` in a form it reads.

    Damaged photos are left out with a warning that names them, and so are other files. Raises `UserError` if nothing is
    left.
    """
    report_others(images)
    photos = [path.relative_to(images).as_posix() for path in list_photos(images)]
    if heif := [name for name in photos if name.lower().endswith(HEIF_SUFFIXES)]:
        require_heif(images / heif[0], len(heif))
    headers = check_photos(images, photos)
    finder = MaskFinder([images.parent])
    masks = {name: mask for name in headers if (mask := finder.find([images / name], name))}
    finder.report_unmatched(len(masks))
    if masks:
        logger.info("%s: %d of %d photos have masks; no feature is taken from what they cover", images, len(masks),
                    len(headers))  # fmt: skip
        for name, mask in tqdm(masks.items(), desc="masks", unit="photo", delay=1):
            stage_mask(mask, headers[name], scratch / "masks" / f"{name}.png")
    folder = images
    if any(Path(name).suffix.lower() not in READ_BY_COLMAP for name in headers):
        folder = scratch / "photos"
        for name in tqdm(headers, desc="converting", unit="photo", delay=1):
            stage_photo(images / name, folder / name, headers[name])
    sizes = {name: (header.width, header.height) for name, header in headers.items()}
    return StagedPhotos(folder, sizes, scratch / "masks" if masks else None)


def report_others(images: Path) -> None:
    """Logs how many files below `images` are no photos, by their endings; hidden files and masks are not counted."""
    others = Counter(
        path.suffix.lower() or path.name
        for path in images.rglob("*")
        if path.is_file() and path.suffix.lower() not in PHOTO_SUFFIXES and not path.name.startswith((".", NGP_PREFIX))
    )
    if others:
        found = ", ".join(f"{number} {suffix}" for suffix, number in others.most_common())
        hint = ""
        if any(suffix in VIDEO_SUFFIXES for suffix in others):
            hint = "; give a video itself as `images` to take its frames"
        logger.warning("%s: %d files are no photos and are left out (%s)%s", images, others.total(), found, hint)


def check_photos(images: Path, names: Sequence[str]) -> dict[str, PhotoHeader]:
    """Decodes every photo; returns the headers of those that are whole, and warns of the others by name."""

    def check(name: str) -> PhotoHeader | UserError:
        try:
            return check_photo(images / name)
        except UserError as error:
            return error

    num_threads = min(8, os.cpu_count() or 1)
    with worker_threads(num_threads) as pool:
        results = list(tqdm(pool.map(check, names), desc="checking", unit="photo", total=len(names), delay=1))
    errors = [result for result in results if isinstance(result, UserError)]
    if errors:
        more = f" and {len(errors) - SHOWN_NAMES} more" if len(errors) > SHOWN_NAMES else ""
        found = "; ".join(map(str, errors[:SHOWN_NAMES]))
        logger.warning("%d of %d photos are left out: %s%s", len(errors), len(names), found, more)
    pairs = zip(names, results, strict=True)
    return {name: result for name, result in pairs if isinstance(result, PhotoHeader)}


def stage_photo(source: Path, target: Path, header: PhotoHeader) -> None:
    """Links a photo, or converts it to PNG under its own name: COLMAP finds out formats by the content."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix.lower() in READ_BY_COLMAP:
        target.symlink_to(source)
    else:
        photo = read_photo(source, header.width, header.height, 0)
        Image.fromarray(photo.image).save(target, format="PNG", compress_level=1)


def stage_mask(mask: MaskFile, header: PhotoHeader, target: Path) -> None:
    """Writes a mask in COLMAP's form, of the size of the stored photo; raises `UserError` if it has another shape."""
    counts = mask.read()
    size, stored = counts.shape[::-1], (header.width, header.height)
    if not is_same_shape(size, stored) and is_transposed(header.orientation):
        counts = turn(counts, BACK.get(header.orientation, header.orientation))  # made from the turned photo
    if not is_same_shape(counts.shape[::-1], stored):
        raise UserError(
            f"{mask.path}: is {size[0]}x{size[1]}, which is not the shape of its photo ({stored[0]}x{stored[1]}); "
            "make it from that photo, or take it out"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(counts.astype(np.uint8) * 255).resize(stored, Image.Resampling.NEAREST).save(target)
