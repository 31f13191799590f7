"""Whether a dataset's poses belong to its photos as they are stored, or as EXIF turns them: one answer for all photos.

COLMAP makes poses of photos as they are stored, other programs turn the photos first. The sides of the cameras' images
tell which, then the colours of the points, then the cameras' upward directions. Photos that EXIF does not turn, without
an orientation or with 1, tell nothing.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float64, UInt8

from gsdff.cameras import Camera
from gsdff.config.options import PosesChoice
from gsdff.data.capture import Capture, Lens, Shot
from gsdff.data.images import PhotoHeader, read_photo
from gsdff.errors import UserError
from gsdff.stored_photo import UNMIRRORED, UPRIGHT, is_same_shape, is_transposed, turn, turn_camera

NUM_PHOTOS, NUM_POINTS = 16, 4000
"""Photos and points whose colours are compared."""
SIDE = 128
"""Longer side, in pixels, of photos whose colours are compared."""
FEWEST_PHOTOS, FEWEST_POINTS = 3, 30
"""Photos, and points in each, below which colours are not compared."""
NEAR_AXIS = 0.6
"""Largest distance from the axis along each side, per depth, at which a lens with distortion counts as a pinhole."""
LEAST_CORRELATION, LEAST_LEAD, STANDARD_ERRORS = 0.4, 0.2, 3.0
"""Evidence of colours that suffices: a mean correlation over the photos, its lead over that of the other way, and the
lead in standard errors. On three real scenes the right way has 0.52 to 0.90 and leads by 0.46 or more
(scripts/study_way_up.py); points in false colours reach 0.3."""
UPWARD, LEAST_UPWARD_LEAD = 0.8, 0.2
"""Evidence of upward directions that suffices: the length of their mean over the orientations, and its lead."""
MIDDLE, OFF_MIDDLE = 0.02, 0.1
"""Distances of a principal point from the middle of a photo, per side, of which it is the middle, and surely not."""

logger = logging.getLogger("gsdff")


@dataclass(frozen=True)
class PosedPhoto:
    """A photo on disk with its pose, and what its file declares."""

    shot: Shot
    header: PhotoHeader

    @property
    def orientation(self) -> int:
        """EXIF orientation of the file."""
        return self.header.orientation

    def size(self, is_turned: bool) -> tuple[int, int]:
        """Width and height of the photo as stored, or as EXIF turns it."""
        width, height = self.header.width, self.header.height
        return (height, width) if is_turned and is_transposed(self.orientation) else (width, height)

    def lens(self, is_turned: bool) -> Lens:
        """The lens, if the pose belongs to the photo as stored, or as EXIF turns it."""
        return self.shot.turned_lens or self.shot.lens if is_turned else self.shot.lens

    def fits(self, is_turned: bool) -> bool:
        """Whether the photo, as stored or as EXIF turns it, has the shape of its camera's image."""
        lens = self.lens(is_turned)
        return is_same_shape(self.size(is_turned), (lens.width, lens.height))


def are_turned(photos: Sequence[PosedPhoto], capture: Capture, poses: PosesChoice) -> bool:
    """Whether the poses belong to the photos as EXIF turns them, not as they are stored.

    `poses` is the option: stored, turned, or auto to find out. Raises `UserError` for photos that do not have the shape
    of their cameras' images, and if some photos tell the one and some the other. If nothing tells, the answer is
    COLMAP's convention, with a warning: tools that read transforms.json ignore EXIF too.
    """
    shapes = [told_by_shape(photo) for photo in photos]
    if poses != "auto":
        check_choice(photos, is_turned=poses == "turned")
        return poses == "turned"
    for photo in photos:
        check_centre(photo, capture.source)
    stored, turned = ([p.shot.name for p, s in zip(photos, shapes, strict=True) if s is way] for way in (False, True))
    if stored and turned:
        raise UserError(
            f"{capture.source}: the cameras of {len(stored)} photos have the sides of the photos as stored "
            f"({' and '.join(stored[:2])}), those of {len(turned)} the sides of the photos as EXIF turns them "
            f"({' and '.join(turned[:2])}); expected poses of one kind: make them all from the photos in the same way"
        )
    if stored or turned:
        return bool(turned)
    turnable = [photo for photo in photos if photo.orientation != UPRIGHT]
    if not turnable:
        return False
    for told_by, reason in ((told_by_colors, "colours of the points"), (told_by_upward, "cameras' upward directions")):
        if (answer := told_by(photos, capture)) is not None:
            logger.info("%s: the poses are those of the photos %s, by the %s", capture.source,
                        "as EXIF turns them" if answer else "as stored", reason)  # fmt: skip
            return answer
    logger.warning(
        "%s: EXIF turns %d photos, such as %s, and nothing tells whether their poses were made before or after that; "
        "taking them for those of the photos as stored, as COLMAP makes them. If renderings are blurred, set "
        "`dataset.poses` to turned; set it to stored if they are right",
        capture.source, len(turnable), turnable[0].shot.name,
    )  # fmt: skip
    return False


def told_by_shape(photo: PosedPhoto) -> bool | None:
    """Whether only the turned photo (True) or only the stored one (False) has its camera's shape; None if both have.

    Raises `UserError` if neither has.
    """
    fits_stored, fits_turned = photo.fits(False), photo.fits(True)
    if fits_stored or fits_turned:
        return None if fits_stored and fits_turned else fits_turned
    width, height, lens = photo.header.width, photo.header.height, photo.shot.lens
    swapped = "they are turned, perhaps by an EXIF orientation that one of them lacks"
    reason = swapped if is_same_shape((height, width), (lens.width, lens.height)) else "not turned, not cropped"
    raise UserError(
        f"{photo.shot.path}: is {width}x{height}, its camera's photos are {lens.width}x{lens.height}; "
        f"the photos must be those the poses were made from ({reason})"
    )


def check_choice(photos: Sequence[PosedPhoto], *, is_turned: bool) -> None:
    """Raises `UserError` for a photo that only fits its camera the other way than `dataset.poses` says."""
    wrong = next((photo for photo in photos if not photo.fits(is_turned)), None)
    if wrong is not None:
        lens, size = wrong.lens(is_turned), wrong.size(is_turned)
        raise UserError(
            f"`dataset.poses` {'turned' if is_turned else 'stored'}: {wrong.shot.path} is then {size[0]}x{size[1]}, "
            f"but its camera's photos are {lens.width}x{lens.height}; leave the option away"
        )


def check_centre(photo: PosedPhoto, source: Path) -> None:
    """Raises `UserError` if the size of a camera's image is that of one way up, its principal point that of the other.

    Only for photos that EXIF turns by 90 degrees.
    """
    lens = photo.shot.lens
    sides = np.array([lens.width, lens.height])
    if not is_transposed(photo.orientation) or photo.shot.turned_lens is not None or lens.num_focals == 0:
        return
    centre = lens.focals_and_centre[2:]
    own, other = (np.abs(np.array(centre) / shape - 0.5).max() for shape in (sides, sides[::-1]))
    if own > OFF_MIDDLE and other < MIDDLE:
        raise UserError(
            f"{source}: {photo.shot.name}: the principal point ({centre[0]:g}, {centre[1]:g}) is the middle of the "
            f"photo turned by 90 degrees, not of the {lens.width}x{lens.height} pixels of its camera; correct its "
            "width and height (w and h), or set `dataset.poses` if they are right"
        )


def told_by_colors(photos: Sequence[PosedPhoto], capture: Capture) -> bool | None:
    """Whether the turned photos (True) or the stored ones (False) show the points in their colours; None if unclear.

    Points that something hides are compared as well: on real scenes the answer stands out all the same.
    """
    turnable = [photo for photo in photos if photo.orientation != UPRIGHT]
    few = turnable[:: max(1, len(turnable) // NUM_PHOTOS)][:NUM_PHOTOS]
    sample = np.random.default_rng(0).permutation(len(capture.points))[:NUM_POINTS]
    points, colors = capture.points[sample], capture.point_colors[sample]
    if len(few) < FEWEST_PHOTOS or len(points) < FEWEST_POINTS:
        return None
    found = [correlate(photo, points, colors) for photo in few]
    pairs = np.array([pair for pair in found if pair is not None]).reshape(-1, 2)
    if len(pairs) < FEWEST_PHOTOS:
        return None
    leads = pairs[:, 1] - pairs[:, 0]
    lead, error = leads.mean(), leads.std(ddof=1) / np.sqrt(len(leads))
    is_clear = pairs.mean(0).max() >= LEAST_CORRELATION and abs(lead) >= max(LEAST_LEAD, STANDARD_ERRORS * error)
    return bool(lead > 0) if is_clear else None


def correlate(
    photo: PosedPhoto, points: Float64[np.ndarray, "P 3"], colors: UInt8[np.ndarray, "P 3"]
) -> tuple[float, float] | None:
    """Correlations of the points' colours with those of the stored and of the turned photo; None if few are in view."""
    width, height = photo.size(False)
    share = min(1.0, SIDE / max(width, height))
    pixels = read_photo(photo.shot.path, max(1, round(width * share)), max(1, round(height * share)), 0).image
    found = []
    for is_turned in (False, True):
        shown = turn(pixels, photo.orientation) if is_turned else pixels
        at, in_view = project(points, photo.shot, photo.lens(is_turned))
        if in_view.sum() < FEWEST_POINTS:
            return None
        columns, rows = (at[in_view] * [shown.shape[1], shown.shape[0]]).astype(int).T
        seen, given = (
            values - values.mean(0) for values in (shown[rows, columns].astype(float), colors[in_view] * 1.0)
        )
        scale = np.sqrt((seen**2).sum() * (given**2).sum())
        found.append(float((seen * given).sum() / scale) if scale > 0 else 0.0)
    return found[0], found[1]


def project(
    points: Float64[np.ndarray, "P 3"], shot: Shot, lens: Lens
) -> tuple[Float64[np.ndarray, "P 2"], np.ndarray]:
    """Positions of points in a photo, as shares of its width and height, and whether they are in it.

    Distortion is not applied; for lenses that have it, points far from the axis count as not in view.
    """
    in_camera = points @ shot.viewmat[:3, :3].T + shot.viewmat[:3, 3]
    is_in_front = in_camera[:, 2] > 0
    if lens.num_focals == 0:
        return np.zeros((len(points), 2)), np.zeros(len(points), bool)
    fx, fy, cx, cy = lens.focals_and_centre
    with np.errstate(over="ignore", invalid="ignore"):  # points may lie on the plane of the camera
        rays = in_camera[:, :2] / np.where(is_in_front, in_camera[:, 2], 1)[:, None]
        at = (rays * [fx, fy] + [cx, cy]) / [lens.width, lens.height]
        is_near = (np.abs(rays) <= NEAR_AXIS).all(1) | (lens.model in ("SIMPLE_PINHOLE", "PINHOLE"))
    return at, is_in_front & is_near & (at >= 0).all(1) & (at < 1).all(1)


def told_by_upward(photos: Sequence[PosedPhoto], capture: Capture) -> bool | None:
    """Whether photos of different orientations have one upward direction in the world if they were turned before their
    poses were made (True), or if they were not (False); None if all have the same orientation, or neither is clear."""
    lengths = []
    for is_turned in (False, True):
        ups: dict[int, list[np.ndarray]] = {}
        for photo in photos:
            ups.setdefault(photo.orientation, []).append(upward(photo, is_turned))
        if len(ups) < 2:
            return None
        lengths.append(float(np.linalg.norm(np.mean([np.mean(group, axis=0) for group in ups.values()], axis=0))))
    is_clear = max(lengths) >= UPWARD and abs(lengths[1] - lengths[0]) >= LEAST_UPWARD_LEAD
    return lengths[1] > lengths[0] if is_clear else None


def upward(photo: PosedPhoto, is_turned: bool) -> Float[np.ndarray, "3"]:
    """Direction of the upright photo's upper side, in the world."""
    orientation = UPRIGHT if is_turned else UNMIRRORED.get(photo.orientation, photo.orientation)
    camera = Camera(torch.from_numpy(photo.shot.viewmat).float(), torch.eye(3), *photo.size(False))
    return -turn_camera(camera, orientation).viewmat[1, :3].double().numpy()
