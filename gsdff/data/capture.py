"""Datasets before any photo is opened, the same for every format: photo files, lenses, poses and points."""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, UInt8

from gsdff.data.photo_masks import NGP_PREFIX, MaskFile
from gsdff.errors import UserError

ONE_FOCAL = {
    "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE", "SIMPLE_DIVISION",
    "SIMPLE_FISHEYE",
}  # fmt: skip
"""Models with one focal length; the others begin with two, but for EQUIRECTANGULAR, which has none."""
PHOTO_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp", ".heic", ".heif", ".avif")

logger = logging.getLogger("gsdff")


@dataclass(frozen=True)
class Lens:
    """A camera model and its parameters, in COLMAP's names and order, in pixels of a `width` x `height` photo."""

    model: str
    width: int
    height: int
    params: tuple[float, ...]

    @property
    def num_focals(self) -> int:
        """Number of focal lengths that the parameters begin with; the principal point follows, then the distortion."""
        return {"EQUIRECTANGULAR": 0}.get(self.model, 1 if self.model in ONE_FOCAL else 2)

    @property
    def focals_and_centre(self) -> tuple[float, float, float, float]:
        """Focal lengths and principal point fx, fy, cx, cy; not for EQUIRECTANGULAR, which has none."""
        fx, *_ = self.params
        fy, cx, cy = self.params[self.num_focals - 1 : self.num_focals + 2]
        return fx, fy, cx, cy


@dataclass(frozen=True)
class Shot:
    """One posed photo on disk."""

    name: str
    """Path of the photo below the images folder, as written in the input."""
    path: Path
    """File to read."""
    shrink: int
    """Factor by which the file is still to be downscaled: 1 if it comes from an `images_N` folder."""
    lens: Lens
    viewmat: Float64[np.ndarray, "4 4"]
    """Rigid world-to-camera matrix, OpenCV axes, in the input's world frame."""
    mask: MaskFile | None = None
    """Pixels that count; None if the dataset does not name a mask itself (`attach_masks` finds others)."""
    turned_lens: Lens | None = None
    """The lens if the pose belongs to the photo as EXIF turns it; None if it is the same one."""


@dataclass(frozen=True)
class Capture:
    """A dataset whose photos are not loaded yet. Everything is in the input's world frame."""

    source: Path
    """File or folder that lists the photos; messages name it."""
    root: Path
    """The dataset's folder."""
    shots: list[Shot]
    points: Float64[np.ndarray, "P 3"]
    """Sparse points; P = 0 if the dataset has none."""
    point_colors: UInt8[np.ndarray, "P 3"]
    held_out: frozenset[str] | None = None
    """Names of the test views, if the dataset has a split of its own."""


def report_missing(missing: list[str], total: int, source: Path) -> None:
    """Logs how many listed photos do not exist; raises `UserError` if none does."""
    if not missing:
        return
    if len(missing) == total:
        raise UserError(
            f"{source}: none of the {total} photos it lists exists (first: {missing[0]}); "
            "put the images folder where the file expects it"
        )
    logger.warning("%s: %d of %d listed photos do not exist and are skipped (first: %s)", source, len(missing), total,
                   missing[0])  # fmt: skip


def images_folder(shot: Shot) -> Path:
    """The folder that the photo's name is below: `images`, or `images_4`."""
    depth = len([part for part in Path(shot.name).parts if part not in ("/", "..")])
    return shot.path.parents[min(depth, len(shot.path.parents)) - 1]


def original_of(shot: Shot) -> Path:
    """Path of the photo at full size, which may not exist, if its file is a smaller copy in `images_4`."""
    images = images_folder(shot)
    if not images.name:  # the root of a disk
        return shot.path
    return images.with_name(re.sub(r"_[0-9]{1,3}$", "", images.name)) / shot.path.relative_to(images)


def list_photos(folder: Path) -> Iterator[Path]:
    """Iterates over the photos anywhere below `folder`, in name order; hidden files and masks are none."""
    return (path for path in sorted(folder.rglob("*")) if is_photo(path))


def is_photo(path: Path) -> bool:
    """Whether a file's name is that of a photo. A Mac writes hidden `._IMG.jpg` beside the photos of other disks."""
    is_named_so = path.suffix.lower() in PHOTO_SUFFIXES and not path.name.startswith((".", NGP_PREFIX))
    return is_named_so and path.is_file()
