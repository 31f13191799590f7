"""Ranges that the numbers of a dataset lie in, the same for every format; what lies outside is refused or said."""

import logging
from dataclasses import replace

import numpy as np

from gsdff.data.capture import Capture, Lens, Shot
from gsdff.errors import UserError

FARTHEST = 1e10
"""Largest coordinate. Surveyors' ones reach 1e7 in metres and 1e10 in millimetres; float64 resolves 2e-6 there."""
LARGEST_SIDE = 1_000_000
"""Largest width or height of a photo, in pixels."""
FOCAL_LENGTHS = (0.01, 1000.0)
"""Focal lengths per longer side: from 179 degrees of a pinhole's view to a telescope's 0.06."""
FARTHEST_CENTRE = 10.0
"""Largest distance of the principal point from the middle of the photo, per side; a crop may leave it outside."""
STRONGEST_DISTORTION = 1e4
"""Largest parameter of distortion."""
FAR_AWAY = 1000.0
"""Distance of a camera from the middle of all, per median distance, from which it is said."""
STRAY = 1e4
"""Distance of a point, in radii of the cameras or of half of the points, from which it is left out."""
SAMPLE = 1000
"""Number of points that are tried for whether they lie in front of the cameras."""

logger = logging.getLogger("gsdff")


def in_range(capture: Capture) -> Capture:
    """The capture without points that are out of range or stray, whose number is logged.

    Raises `UserError` naming the photo for a lens or a pose that no camera has, and for points that all lie behind all
    cameras. Logs a camera that is far from all others.
    """
    for shot in capture.shots:
        if problem := lens_problem(shot.lens) or pose_problem(shot):
            raise UserError(f"{capture.source}: {shot.name}: {problem}; correct it, or take this photo out of the list")
    check_far_cameras(capture)
    usable = (np.abs(capture.points) <= FARTHEST).all(1)  # False for NaN
    if not usable.all():
        logger.warning("%s: %d of %d points are left out, they are not finite or farther away than %g",
                       capture.source, int((~usable).sum()), usable.size, FARTHEST)  # fmt: skip
        capture = replace(capture, points=capture.points[usable], point_colors=capture.point_colors[usable])
    capture = without_stray_points(capture)
    if len(capture.points) and not any_in_front(capture):
        raise UserError(
            f"{capture.source}: all points lie behind all cameras; expected points and poses in one frame, and cameras "
            "with the axes and the direction (world to camera, or camera to world) that this format asks for"
        )
    return capture


def lens_problem(lens: Lens) -> str | None:
    """Complaint about parameters of a lens that no camera has, or None."""
    if not (0 < lens.width <= LARGEST_SIDE and 0 < lens.height <= LARGEST_SIDE):
        return f"expected 1 to {LARGEST_SIDE} pixels a side, got {lens.width}x{lens.height}"
    if not np.isfinite(lens.params).all():
        return f"expected finite parameters of the {lens.model} camera, got {list(lens.params)}"
    if lens.num_focals == 0:  # EQUIRECTANGULAR, which is refused when it is to become a pinhole
        return None
    focals, centre, rest = np.split(np.array(lens.params), [lens.num_focals, lens.num_focals + 2])
    sides = np.array([lens.width, lens.height])
    least, most = (share * sides.max() for share in FOCAL_LENGTHS)
    if not ((focals >= least) & (focals <= most)).all():
        values = " and ".join(f"{f:g}" for f in focals)
        return f"expected a focal length of {least:g} to {most:g} pixels, got {values}"
    if (np.abs(centre / sides - 0.5) > FARTHEST_CENTRE).any():
        place = f"({centre[0]:g}, {centre[1]:g})"
        return f"expected the principal point in or near the {lens.width}x{lens.height} pixels, got {place}"
    if (np.abs(rest) > STRONGEST_DISTORTION).any():
        return f"expected distortion parameters of at most {STRONGEST_DISTORTION:g}, got {rest.tolist()}"
    return None


def pose_problem(shot: Shot) -> str | None:
    """Complaint about a pose that no camera has, or None."""
    with np.errstate(over="ignore", invalid="ignore"):
        centre = shot.viewmat[:3, :3].T @ -shot.viewmat[:3, 3]
    if not np.isfinite(shot.viewmat).all():
        return "its pose is not finite"
    if not (np.abs(centre) <= FARTHEST).all():
        return f"expected a camera position of at most {FARTHEST:g}, got ({', '.join(f'{x:g}' for x in centre)})"
    return None


def check_far_cameras(capture: Capture) -> None:
    """Logs the farthest camera if it is a thousand times as far away as most: it would shrink the rest to a point."""
    centres = np.array([shot.viewmat[:3, :3].T @ -shot.viewmat[:3, 3] for shot in capture.shots])
    distances = np.linalg.norm(centres - np.median(centres, axis=0), axis=1)
    farthest, typical = int(distances.argmax()), float(np.median(distances))
    if typical > 0 and distances[farthest] > FAR_AWAY * typical:
        logger.warning("%s: the camera of %s is %.3g times as far away as most; if its pose is wrong, take it out",
                       capture.source, capture.shots[farthest].name, distances[farthest] / typical)  # fmt: skip


def without_stray_points(capture: Capture) -> Capture:
    """The capture without points so far away that photos cannot have placed them; their number is logged.

    From `STRAY` radii on, of the cameras or of half of the points, the cameras see a point from directions that differ
    by a hundredth of a degree: a fifth of a pixel of a photo of 1,000 pixels, which is no depth.
    """
    if not len(capture.points):
        return capture
    centres = np.array([shot.viewmat[:3, :3].T @ -shot.viewmat[:3, 3] for shot in capture.shots])
    middle = np.median(centres, axis=0)
    distances = np.linalg.norm(capture.points - middle, axis=1)
    radius = max(float(np.linalg.norm(centres - middle, axis=1).max()), float(np.median(distances)))
    stays = distances <= STRAY * radius
    if stays.all() or radius == 0:
        return capture
    logger.warning(
        "%s: %d of %d points are left out, they are up to %.3g away, %.2g times as far as most",
        capture.source, int((~stays).sum()), stays.size, distances.max(), distances.max() / radius,
    )  # fmt: skip
    return replace(capture, points=capture.points[stays], point_colors=capture.point_colors[stays])


def any_in_front(capture: Capture) -> bool:
    """Whether one of the points, or of a sample of them, lies in front of a camera."""
    points = capture.points[:: max(1, len(capture.points) // SAMPLE)]
    axes = np.array([shot.viewmat[2] for shot in capture.shots])
    return bool((points @ axes[:, :3].T + axes[:, 3] > 0).any())
