"""Loads a `Scene` from a path: finds its format, then loads photos and points into the working frame."""

import logging
import os
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
from gsdff.data.agreed_points import points_where_photos_agree
from gsdff.data.capture import Capture, Shot, images_folder, list_photos, original_of
from gsdff.data.develop import develop
from gsdff.data.photo_masks import MaskFinder
from gsdff.data.ranges import in_range
from gsdff.errors import UserError, command
from gsdff.files.finder import subfolders
from gsdff.files.writing import VIDEO_SUFFIXES
from gsdff.scene import Scene

logger = logging.getLogger("gsdff")


@dataclass(frozen=True)
class DatasetFormat:
    """A dataset format: how to find it at a path, and how to read it."""

    name: str
    find: Callable[[Path], Path | None]
    """Returns the file or folder of this format in or at the path, or None."""
    read: Callable[[Path, int, bool], Capture]
    """Reads that file or folder, given the downscale factor and whether photos may lie outside the dataset's folder."""


FORMATS = (
    DatasetFormat("COLMAP model", colmap.find, colmap.read),
    DatasetFormat("transforms.json", transforms.find, transforms.read),
)  # in order of preference: a COLMAP model has points
DEEPEST = 5
"""Number of levels of folders below a path that are searched for a dataset."""
MOST_FOLDERS = 1000
"""Number of folders that are searched."""
SHOWN_DATASETS = 5


def load_scene(path: Path, dataset: DataConfig) -> Scene:
    """Loads the posed photos and points at `path`, undistorted, downscaled, in name order, in the working frame.

    `path` is a COLMAP folder (`sparse/0`, `sparse`, `colmap/sparse/0` or the model itself, with `images`), a folder
    with transforms.json or transforms_train.json, such a file, or a folder with one of these somewhere below. Every
    photo is decoded here, so that a damaged one is found before training. Raises `UserError` naming the file for
    anything missing, damaged or contradictory.
    """
    capture = read_capture(path, dataset)
    shots = attach_masks(capture) if dataset.masks else [replace(shot, mask=None) for shot in capture.shots]
    shots.sort(key=lambda shot: shot.name)
    capture = replace(capture, shots=shots)
    viewmats = np.stack([shot.viewmat for shot in shots])
    centres = -np.einsum("cji,cj->ci", viewmats[:, :3, :3], viewmats[:, :3, 3])
    frame = WorldFrame.around(torch.from_numpy(centres))
    held_out = None
    if capture.held_out is not None:
        held_out = tuple(i for i, shot in enumerate(shots) if shot.name in capture.held_out)
    views = develop(capture, frame, dataset)
    scene = Scene(
        root=capture.root,
        views=views,
        points=frame.points_to_working(torch.from_numpy(capture.points)),
        point_colors=torch.from_numpy(capture.point_colors),
        frame=frame,
        held_out=held_out,
    )
    if not scene.train_ids:
        raise UserError(f"{capture.source}: no photo is left to train on, all {len(views)} are held out; add photos")
    if all(view.mask is not None and not view.mask.any() for view in map(views.__getitem__, scene.train_ids)):
        raise UserError(
            f"{capture.source}: the masks leave no pixel to learn; are they inverted? Black is left out, but white in "
            "instant-ngp's; or switch `dataset.masks` off"
        )
    if len(scene.points) == 0:
        points, colors = draw_points(capture, scene, dataset)
        scene = replace(scene, points=points, point_colors=colors, has_own_points=False)
    return scene


def read_capture(path: Path, dataset: DataConfig) -> Capture:
    """Reads `path` in the first format that recognises it, in it or else below it; checks the ranges of all numbers."""
    try:
        os.fsencode(path)
    except UnicodeEncodeError as error:
        raise UserError(f"{str(path)!r}: no folder can have such a name; expected a path in UTF-8") from error
    if not path.exists():
        hint = "give a COLMAP folder or one with transforms.json"
        if is_video(path):
            hint = f"for a video, run `{command('prepare', '--images', path)}` and give the folder it makes"
        raise UserError(f"{path}: no such file or folder; {hint}")
    found = [(kind, place) for kind in FORMATS if (place := kind.find(path))] or find_below(path)
    if not found:
        raise explain_no_dataset(path)
    (kind, place), *others = found
    logger.info("reading the %s %s", kind.name, place)
    for _, other in others:
        logger.info("%s is there as well and not used; name it to use it", other)
    return in_range(kind.read(place, dataset.downscale, dataset.allow_outside))


def find_below(path: Path) -> list[tuple[DatasetFormat, Path]]:
    """The dataset somewhere in the folders below `path`, by its formats; none if there is none.

    Hidden folders are skipped, and no folder is entered twice, so that links may lead back. Raises `UserError` naming
    them if there are several datasets.
    """
    found: dict[Path, list[tuple[DatasetFormat, Path]]] = {}
    level, entered = [path], {os.path.realpath(path)}
    for _ in range(DEEPEST):
        folders = [folder for parent in level if parent not in found for folder in subfolders(parent)]
        level = []
        for folder in folders:
            if len(entered) < MOST_FOLDERS and (real := os.path.realpath(folder)) not in entered:
                entered.add(real)
                level.append(folder)
                if formats := [(kind, place) for kind in FORMATS if (place := kind.find(folder))]:
                    found[folder] = formats
    if len(found) > 1:
        names = ", ".join(str(folder.relative_to(path)) for folder in list(found)[:SHOWN_DATASETS])
        more = f" and {len(found) - SHOWN_DATASETS} more" if len(found) > SHOWN_DATASETS else ""
        raise UserError(f"{path}: {len(found)} datasets lie below ({names}{more}); give one of them")
    return next(iter(found.values()), [])


def explain_no_dataset(path: Path) -> UserError:
    """The error for a path that no format recognises, with what to do about it."""
    if (path / "config.toml").is_file():
        return UserError(
            f"{path}: is a run, not a folder of photos; give it as `stage1_from`, or as `out` with `resume`"
        )
    if is_video(path):
        return UserError(f"{path}: is a video; run `{command('prepare', '--images', path)}` first")
    photos = next(list_photos(path), None) if path.is_dir() else None
    if photos:
        folder = path / "images" if (path / "images").is_dir() else path
        return UserError(f"{path}: photos without poses; run `{command('prepare', '--images', folder)}` first")
    videos = [p for p in sorted(path.iterdir()) if is_video(p)] if path.is_dir() else []
    if videos:
        return UserError(f"{path}: holds a video; run `{command('prepare', '--images', videos[0])}` first")
    return UserError(f"{path}: neither a COLMAP model (sparse/0/cameras.bin or .txt) nor transforms.json is there")


def is_video(path: Path) -> bool:
    """Whether a path has the suffix of a video."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def draw_points(
    capture: Capture, scene: Scene, dataset: DataConfig
) -> tuple[Float[Tensor, "P 3"], UInt8[Tensor, "P 3"]]:
    """Draws random points where training photos agree, in the working frame; the same for the same photos."""
    num_points, hint = dataset.random_points, command("prepare", "--poses", capture.root)
    logger.info("%s: no points, starting from %d random ones; `%s` finds some", capture.source, num_points, hint)
    background = torch.tensor(dataset.solid_background)
    return points_where_photos_agree([scene.views[i] for i in scene.train_ids], num_points, background)


def attach_masks(capture: Capture) -> list[Shot]:
    """The photos with their masks: those that the dataset names, or else those that lie beside the photos.

    A folder `masks` of pictures with more than two values (segments, labels) is not used, and a warning says so.
    """
    finder = MaskFinder([capture.root, *{images_folder(shot).parent for shot in capture.shots}])
    shots = [
        shot if shot.mask else replace(shot, mask=finder.find((shot.path, original_of(shot)), shot.name))
        for shot in capture.shots
    ]
    finder.report_unmatched(sum(shot.mask is not None for shot in shots))
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
