"""Loads a `Scene` from a path: finds its format, then loads photos and points into the working frame."""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from gsdff.cameras import WorldFrame
from gsdff.config.options import DataConfig
from gsdff.data import colmap, transforms
from gsdff.data.capture import Capture, Shot, images_folder, list_photos
from gsdff.data.develop import develop
from gsdff.data.photo_masks import find_folder, find_mask
from gsdff.data.points import UNKNOWN_COLOR, random_in_cube, random_in_view
from gsdff.errors import UserError, command
from gsdff.scene import Scene, View

logger = logging.getLogger("gsdff")


@dataclass(frozen=True)
class DatasetFormat:
    """A dataset format: how to find it at a path, and how to read it."""

    name: str
    find: Callable[[Path], Path | None]
    """Returns the file or folder of this format in or at the path, or None."""
    read: Callable[[Path, int], Capture]
    """Reads that file or folder, given the downscale factor."""


FORMATS = (
    DatasetFormat("COLMAP model", colmap.find, colmap.read),
    DatasetFormat("transforms.json", transforms.find, transforms.read),
)  # in order of preference: a COLMAP model has points


def load_scene(path: Path, dataset: DataConfig) -> Scene:
    """Loads the posed photos and points at `path`, undistorted, downscaled, in name order, in the working frame.

    `path` is a COLMAP folder (`sparse/0`, `sparse`, `colmap/sparse/0` or the model itself, with `images`), a folder
    with transforms.json or transforms_train.json, or such a file. Every photo is decoded here, so that a damaged one
    is found before training. Raises `UserError` naming the file for anything missing, damaged or contradictory.
    """
    capture = read_capture(path, dataset.downscale)
    shots = sorted(attach_masks(capture) if dataset.masks else capture.shots, key=lambda shot: shot.name)
    viewmats = np.stack([shot.viewmat for shot in shots])
    centres = -np.einsum("cji,cj->ci", viewmats[:, :3, :3], viewmats[:, :3, 3])
    frame = WorldFrame.around(torch.from_numpy(centres))
    held_out = None
    if capture.held_out is not None:
        held_out = tuple(i for i, shot in enumerate(shots) if shot.name in capture.held_out)
    views = develop(shots, frame, dataset, capture.source)
    points, colors = frame.points_to_working(torch.from_numpy(capture.points)), capture.point_colors
    if len(points) == 0:
        points, colors = draw_points(capture, frame, views, dataset.random_points)
    scene = Scene(
        root=capture.root,
        views=views,
        points=points,
        point_colors=torch.from_numpy(colors),
        frame=frame,
        held_out=held_out,
    )
    if not scene.train_ids:
        raise UserError(f"{capture.source}: no photo is left to train on, all {len(views)} are held out; add photos")
    return scene


def read_capture(path: Path, downscale: int) -> Capture:
    """Reads `path` in the first format that recognises it; leaves out points that are not finite."""
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; give a COLMAP folder or one with transforms.json")
    found = [(kind, place) for kind in FORMATS if (place := kind.find(path))]
    if not found:
        if (path / "config.toml").is_file():
            raise UserError(
                f"{path}: is a run, not a folder of photos; give it as `stage1_from`, or as `out` with `resume`"
            )
        photos = next(list_photos(path), None) if path.is_dir() else None
        if photos:
            folder = path / "images" if (path / "images").is_dir() else path
            raise UserError(f"{path}: photos without poses; run `{command('prepare', '--images', folder)}` first")
        raise UserError(f"{path}: neither a COLMAP model (sparse/0/cameras.bin or .txt) nor transforms.json is there")
    (kind, place), *others = found
    logger.info("reading the %s %s", kind.name, place)
    for _, other in others:
        logger.info("%s is there as well and not used; name it to use it", other)
    capture = kind.read(place, downscale)
    finite = np.isfinite(capture.points).all(1)
    if not finite.all():
        logger.warning("%s: %d points are not finite and are left out", place, (~finite).sum())
        capture = replace(capture, points=capture.points[finite], point_colors=capture.point_colors[finite])
    return capture


def draw_points(
    capture: Capture, frame: WorldFrame, views: list[View], num_points: int
) -> tuple[Float[Tensor, "P 3"], UInt8[np.ndarray, "P 3"]]:
    """Draws random grey points where the scene may be, in the working frame, always the same for the same cameras."""
    logger.info("%s: no points, starting from %d random ones", capture.source, num_points)
    if capture.cube:
        points = frame.points_to_working(torch.from_numpy(random_in_cube(num_points, capture.cube)))
    else:
        viewmats = np.stack([view.camera.viewmat.double().numpy() for view in views])
        Ks = np.stack([view.camera.K.double().numpy() for view in views])
        sizes = np.array([(view.camera.width, view.camera.height) for view in views])
        points = torch.from_numpy(random_in_view(num_points, viewmats, Ks, sizes)).float()
    return points, np.full((num_points, 3), UNKNOWN_COLOR, np.uint8)


def attach_masks(capture: Capture) -> list[Shot]:
    """The photos with their masks: those that the dataset names, or else those that lie beside the photos.

    A folder `masks` of pictures with more than two values (segments, labels) is not used, and a warning says so.
    """
    folder = find_folder([capture.root, *{images_folder(shot).parent for shot in capture.shots}])
    shots = [
        shot if shot.mask else replace(shot, mask=find_mask(shot.path, shot.name, folder)) for shot in capture.shots
    ]
    places = Counter(str(shot.mask.path.parent) for shot in shots if shot.mask)
    if places:
        found = ", ".join(f"{number} in {folder}" for folder, number in places.items())
        logger.info(
            "masks for %d of %d photos (%s); switch `dataset.masks` off to ignore them",
            places.total(),
            len(shots),
            found,
        )
    return shots
