"""Loads posed photo files as views: decodes, downscales, undistorts, turns upright, and puts over the background."""

import logging
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from gsdff.cameras import Camera, WorldFrame
from gsdff.config.options import DataConfig
from gsdff.data.capture import Capture, Shot
from gsdff.data.images import read_header, read_photo
from gsdff.data.lens import Pinhole, SizedLens, pinhole_of, rectify, resample
from gsdff.data.pixel_store import PixelStore
from gsdff.data.way_up import PosedPhoto, are_turned
from gsdff.errors import UserError
from gsdff.interrupts import worker_threads
from gsdff.photo_files import check_picture, fit_picture
from gsdff.scene import View
from gsdff.stored_photo import (
    UNMIRRORED,
    UPRIGHT,
    StoredPhoto,
    is_transposed,
    make_lattice,
    turn,
    turn_camera,
)

LENSES_AT_A_TIME = 16  # bounds the disk space of undistortion if every photo has a camera of its own

logger = logging.getLogger("gsdff")


@dataclass(frozen=True)
class Development:
    """Steps by which one photo becomes a view."""

    shot: Shot
    lens: SizedLens
    """The lens, for the photo after `turn_before`."""
    turn_before: int
    """EXIF orientation to apply before the undistortion, for poses of turned photos."""
    turn_after: int
    """EXIF orientation to apply after it, for poses of photos as they are stored."""

    @property
    def stored_size(self) -> tuple[int, int]:
        """Width and height to read the file at."""
        width, height = self.lens.width, self.lens.height
        return (height, width) if is_transposed(self.turn_before) else (width, height)

    @property
    def is_turned(self) -> bool:
        """Whether the view is another way up than the file."""
        return (self.turn_before, self.turn_after) != (UPRIGHT, UPRIGHT)

    @property
    def num_bytes(self) -> int:
        """Estimate of the view's size in memory; undistortion changes it by some percent."""
        return self.lens.width * self.lens.height * (3 if self.shot.mask is None else 4)


def develop(capture: Capture, frame: WorldFrame, dataset: DataConfig) -> list[View]:
    """Loads all photos as views, in order; those with transparency keep their alpha if the background is random.

    Raises `UserError` for photos that cannot be read or do not fit their camera, and for lenses without a pinhole.
    """
    shots, source = capture.shots, capture.source
    photos = [PosedPhoto(shot, read_header(shot.path)) for shot in shots]
    is_turned = are_turned(photos, capture, dataset.poses)
    plans = [plan(photo, is_turned) for photo in photos]
    pixels = PixelStore(sum(plan.num_bytes for plan in plans), dataset.memory * 1e9, source)
    lenses = list(dict.fromkeys(plan.lens for plan in plans))
    plain = {lens: pinhole for lens in lenses if (pinhole := pinhole_of(lens))}
    distorted = [lens for lens in lenses if lens not in plain]
    views: dict[int, View] = {}
    num_threads = min(8, max(2, os.cpu_count() or 1))
    with tqdm(total=len(shots), desc="photos", unit="photo") as bar, worker_threads(num_threads) as pool:

        def develop_with(pinholes: dict[SizedLens, Pinhole]) -> None:
            ids = [i for i, plan in enumerate(plans) if plan.lens in pinholes]
            lattices = {
                lens: None if pinhole.grid is None else make_lattice(pinhole.grid, lens.width, lens.height)
                for lens, pinhole in pinholes.items()
            }

            def make(i: int) -> View:
                lens = plans[i].lens
                return make_view(plans[i], pinholes[lens], lattices[lens], frame, dataset, pixels)

            for i, view in zip(ids, pool.map(make, ids), strict=True):
                views[i] = view
                bar.update()

        develop_with(plain)
        bent: dict[SizedLens, Pinhole] = {}
        for start in range(0, len(distorted), LENSES_AT_A_TIME):
            with tempfile.TemporaryDirectory(prefix="gsdff-lenses-") as folder:
                pinholes = rectify(distorted[start : start + LENSES_AT_A_TIME], Path(folder), source)
                develop_with(pinholes)
            bent |= {
                lens: replace(pinhole, grid=None) for lens, pinhole in pinholes.items() if pinhole.grid is not None
            }
    report_steps(plans, bent, dataset.made_from)
    return [views[i] for i in range(len(shots))]


def report_steps(plans: list[Development], bent: Mapping[SizedLens, Pinhole], made_from: str) -> None:
    """Logs, in one line each, how many photos are turned and undistorted, and what that means for other files."""
    made = "files made from them too, unless `dataset.made_from` is views"
    if made_from == "views":
        made = "files made from them are taken as they are (`dataset.made_from`)"
    if turned := sum(plan.is_turned for plan in plans):
        logger.info("turning %d of %d photos upright, as their EXIF orientation says, and %s", turned, len(plans), made)
    if bent:
        lens, pinhole = next(iter(bent.items()))
        models = "/".join(sorted({lens.lens.model for lens in bent}))
        size = f"{lens.width}x{lens.height} becomes {pinhole.width}x{pinhole.height}"
        number = sum(plan.lens in bent for plan in plans)
        logger.warning("undistorting %d %s photos (%s), and %s", number, models, size, made)


def plan(photo: PosedPhoto, is_turned: bool) -> Development:
    """The steps for a photo, from whether its pose belongs to the photo as EXIF turns it, or as it is stored."""
    shot, orientation = photo.shot, photo.orientation
    width, height = (max(1, round(side / shot.shrink)) for side in photo.size(is_turned))
    lens = SizedLens(photo.lens(is_turned), width, height)
    if is_turned:
        return Development(shot, lens, orientation, UPRIGHT)
    return Development(shot, lens, UPRIGHT, UNMIRRORED.get(orientation, orientation))


def make_view(
    plan: Development,
    pinhole: Pinhole,
    lattice: torch.Tensor | None,
    frame: WorldFrame,
    dataset: DataConfig,
    pixels: PixelStore,
) -> View:
    """Loads one photo as a view."""
    shot = plan.shot
    photo = read_photo(shot.path, *plan.stored_size, 255 if dataset.background == "white" else 0)
    stored = None
    if (plan.is_turned or lattice is not None) and dataset.made_from == "photos":
        stored = StoredPhoto(*plan.stored_size, plan.turn_before, plan.turn_after, lattice)

    def finish(values: np.ndarray) -> torch.Tensor:
        values = turn(values, plan.turn_before)
        if pinhole.grid is not None:
            values = resample(values, pinhole.grid)
        return pixels.keep(np.ascontiguousarray(turn(values, plan.turn_after)))

    viewmat = frame.viewmats_to_working(torch.from_numpy(shot.viewmat))
    camera = Camera(viewmat, torch.from_numpy(pinhole.K).float(), pinhole.width, pinhole.height)
    camera = turn_camera(camera, plan.turn_after)
    alpha = photo.alpha if dataset.background == "random" else None
    alpha = None if alpha is None else finish(alpha[..., None])[..., 0]
    view = View(shot.name, camera, finish(photo.image), alpha, stored=stored)
    if shot.mask is None:
        return view
    counts = shot.mask.read()
    try:
        check_picture(shot.mask.path, view, counts.shape[1], counts.shape[0])
    except UserError as error:
        if dataset.made_from == "photos" or not (plan.is_turned or lattice is not None):
            raise
        raise UserError(f"{error}; by `dataset.made_from` views, masks show upright, undistorted photos too") from error
    return replace(view, mask=pixels.keep(fit_picture(view, counts)))
