"""Loads posed photo files as views: decodes, downscales, undistorts and puts them over their background."""

import logging
import os
import tempfile
from pathlib import Path

import torch
from tqdm import tqdm

from gsdff.cameras import Camera, WorldFrame
from gsdff.data.capture import Shot
from gsdff.data.images import photo_size, read_photo
from gsdff.data.lens import Pinhole, SizedLens, pinhole_of, rectify, resample
from gsdff.errors import UserError
from gsdff.interrupts import worker_threads
from gsdff.scene import View

LENSES_AT_A_TIME = 16  # bounds the disk space of undistortion if every photo has a camera of its own

logger = logging.getLogger("gsdff")


def develop(shots: list[Shot], frame: WorldFrame, background: str, source: Path) -> list[View]:
    """Loads all shots as views, in order. `background` is black, white or random; random keeps each photo's alpha.

    Raises `UserError` for photos that cannot be read or do not fit their camera, and for lenses without a pinhole.
    """
    sized = [SizedLens(shot.lens, *stored_size(shot)) for shot in shots]
    plain = {lens: pinhole for lens in sized if (pinhole := pinhole_of(lens))}
    distorted = list(dict.fromkeys(lens for lens in sized if lens not in plain))
    views: dict[int, View] = {}
    num_threads = min(8, max(2, os.cpu_count() or 1))
    with tqdm(total=len(shots), desc="photos", unit="photo") as bar, worker_threads(num_threads) as pool:

        def develop_with(pinholes: dict[SizedLens, Pinhole]) -> None:
            ids = [i for i, lens in enumerate(sized) if lens in pinholes]
            jobs = pool.map(lambda i: make_view(shots[i], sized[i], pinholes[sized[i]], frame, background), ids)
            for i, view in zip(ids, jobs, strict=True):
                views[i] = view
                bar.update()

        develop_with(plain)
        warned = False
        for start in range(0, len(distorted), LENSES_AT_A_TIME):
            with tempfile.TemporaryDirectory(prefix="gsdff-lenses-") as folder:
                pinholes = rectify(distorted[start : start + LENSES_AT_A_TIME], Path(folder), source)
                warned = warned or warn_undistorting(pinholes)
                develop_with(pinholes)
    return [views[i] for i in range(len(shots))]


def warn_undistorting(pinholes: dict[SizedLens, Pinhole]) -> bool:
    """Warns if photos are undistorted, as label images and maps must be made from those; returns whether it did."""
    changed = {lens: pinhole for lens, pinhole in pinholes.items() if pinhole.grid is not None}
    if changed:
        lens, pinhole = next(iter(changed.items()))
        logger.warning(
            "undistorting %s photos (%dx%d becomes %dx%d); label images and feature maps must be made from undistorted "
            "photos to fit them", "/".join(sorted({lens.lens.model for lens in changed})), lens.width, lens.height,
            pinhole.width, pinhole.height,
        )  # fmt: skip
    return bool(changed)


def stored_size(shot: Shot) -> tuple[int, int]:
    """Width and height to read the photo at; raises UserError if its shape is not that of its camera's image."""
    width, height = photo_size(shot.path)
    lens = shot.lens
    if min(abs(width * lens.height / lens.width - height), abs(height * lens.width / lens.height - width)) > 1:
        raise UserError(
            f"{shot.path}: is {width}x{height}, its camera's photos are {lens.width}x{lens.height}; "
            "the photos must be those the poses were made from (not turned, not cropped)"
        )
    return max(1, round(width / shot.shrink)), max(1, round(height / shot.shrink))


def make_view(shot: Shot, lens: SizedLens, pinhole: Pinhole, frame: WorldFrame, background: str) -> View:
    """Loads one photo as a view."""
    photo = read_photo(shot.path, lens.width, lens.height, 255 if background == "white" else 0)
    alpha = photo.alpha if background == "random" else None
    image = photo.image
    if pinhole.grid is not None:
        image = resample(image, pinhole.grid)
        alpha = alpha if alpha is None else resample(alpha[..., None], pinhole.grid)[..., 0]
    viewmat = frame.viewmats_to_working(torch.from_numpy(shot.viewmat))
    camera = Camera(viewmat, torch.from_numpy(pinhole.K).float(), pinhole.width, pinhole.height)
    return View(shot.name, camera, torch.from_numpy(image), None if alpha is None else torch.from_numpy(alpha))
