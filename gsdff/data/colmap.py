"""COLMAP models: which of several is read, where its photos lie, and what becomes of its poses."""

import logging
import os
from pathlib import Path

import numpy as np

from gsdff.data import colmap_files as files
from gsdff.data.capture import PHOTO_SUFFIXES, Capture, Lens, Shot
from gsdff.data.images import photo_size
from gsdff.data.listed import Place, find_photos, keep_one_each, resolve
from gsdff.data.points import read_points
from gsdff.errors import UserError
from gsdff.files.finder import Finder, subfolders
from gsdff.files.reading import exists

SUFFIXES = (".bin", ".txt")
MODEL, POINTS = "a file of a COLMAP model", "a model's points"
MODEL_FILES = ("cameras", "images", "points3D")
PHOTO_FOLDERS = ("images", "input")
"""Folders of photos. 3DGS's convert.py keeps the originals, of which it has the distorted model, in `input`."""
LEVELS_ABOVE = 3
"""Number of folders above a model in which its photos may lie: distorted/sparse/0 needs three."""
NAMES_TRIED = 20
"""Number of photos by which a folder is recognised."""

logger = logging.getLogger("gsdff")


def find(path: Path) -> Path | None:
    """Folder of the COLMAP model with most photos in `sparse`, in `colmap/sparse`, or at or directly below `path`.

    COLMAP numbers its models, and the first one need not be the largest. None if there is no model.
    """
    for folder in (path / "sparse", path / "colmap" / "sparse", path):
        children = sorted(subfolders(folder), key=lambda child: (len(child.name), child.name))
        if folder == path:
            children = [child for child in children if child.name.isdigit()]
        if models := [model for model in (*children, folder) if model_suffix(model)]:
            return largest(models)
    return None


def model_suffix(model: Path) -> str | None:
    """The encoding of a model: .bin, or .txt if a binary one is not complete; None if there is no model."""
    stored = [
        suffix for suffix in SUFFIXES for stem in MODEL_FILES[:2] if exists(model / f"{stem}{suffix}", MODEL)
    ]  # the suffix of a complete model is there twice
    whole = [suffix for suffix in SUFFIXES if stored.count(suffix) == 2]
    begun = [suffix for suffix in SUFFIXES if exists(model / f"cameras{suffix}", MODEL)]
    return next(iter(whole or begun), None)


def largest(models: list[Path]) -> Path:
    """The model with most photos, the first of equal ones; logs the numbers if there are several."""
    counts = {model: files.count_poses(model / f"images{model_suffix(model)}") for model in models}
    best = max(models, key=lambda model: counts[model])
    if len(models) > 1:
        others = ", ".join(f"{model.name} has {counts[model]}" for model in models if model != best)
        logger.warning("%d COLMAP models: using %s with %d photos (%s); name another to use it",
                       len(models), best, counts[best], others)  # fmt: skip
    return best


def read(model: Path, downscale: int, allow_outside: bool = False) -> Capture:
    """Reads the photos, cameras and points of the model in the folder `model`.

    Raises `UserError` naming the file if one is truncated or inconsistent, and for photos outside the dataset's folder
    unless `allow_outside`.
    """
    suffix = model_suffix(model)
    cameras_path, images_path, points_path = (model / f"{stem}{suffix}" for stem in MODEL_FILES)
    if not images_path.is_file():
        raise UserError(f"{images_path}: not there, but {cameras_path.name} is; a COLMAP model needs both")
    lenses = files.parse(cameras_path, files.lenses_bin if suffix == ".bin" else files.lenses_txt)
    poses = files.parse(images_path, files.poses_bin if suffix == ".bin" else files.poses_txt)
    if not poses:
        raise UserError(f"{images_path}: the model is empty, no photo has a pose; run structure from motion again")
    viewmats = [pose_matrix(pose, images_path) for pose in poses]
    for pose in poses:
        if pose.camera_id not in lenses:
            raise UserError(f"{images_path}: {pose.name} refers to camera {pose.camera_id}, not in {cameras_path.name}")
    points, colors = np.zeros((0, 3)), np.zeros((0, 3), np.uint8)
    if exists(points_path, POINTS):
        points, colors = files.parse(points_path, files.points_bin if suffix == ".bin" else files.points_txt)
    elif exists(cloud := model / "points3D.ply", POINTS):
        points, colors = read_points(cloud)
    root, images = photo_folder(model, [(pose.name, lenses[pose.camera_id]) for pose in poses])
    names = [pose.name for pose in poses]
    found = find_photos(names, Place(images_path, images, root, root, downscale, allow_outside))
    shots, are_exact = [], []
    for pose, viewmat, photo in zip(poses, viewmats, found, strict=True):
        if photo:
            inside = photo.path.is_relative_to(images)
            name = photo.path.relative_to(images).as_posix() if inside else pose.name
            shots.append(Shot(name, photo.file, photo.shrink, lenses[pose.camera_id], viewmat))
            are_exact.append(photo.is_exact)
    shots, _ = keep_one_each(shots, are_exact, set(), images_path)
    return Capture(images_path, root, shots, points, colors)


def photo_folder(model: Path, listed: list[tuple[str, Lens]]) -> tuple[Path, Path]:
    """Folder of the dataset and its folder of photos: the nearest `images` (or `images_N`) at or above the model.

    `input` is taken if its photos have the cameras' size and those of `images` have not, or if there is no `images`. A
    folder that holds the photos directly beside or above the model comes last. Raises `UserError` naming folders with
    these photos if none of this is there.
    """
    model = Path(os.path.abspath(model))  # links are not followed: a linked `sparse` belongs to the folder of the link
    levels = (model, *model.parents[:LEVELS_ABOVE])
    finder = Finder(PHOTO_SUFFIXES)
    listed = listed[:: max(1, len(listed) // NAMES_TRIED)]
    for level in levels:
        paths = [(finder.find_folder(level / name), level / name) for name in PHOTO_FOLDERS]
        folders = [there or path for there, path in paths if there or any(level.glob(f"{path.name}_[0-9]*"))]
        if len(folders) > 1:
            folders = [folder for folder in folders if has_photo_of_size(folder, listed)] or folders
        if folders:
            return level, folders[0]
    names = [name for name, _ in listed]
    if level := next((level for level in levels if holds(level, names)), None):
        return level, level
    near = [folder for level in levels for folder in subfolders(level) if holds(folder, names)]
    hint = (
        f"{near[0]} holds photos of these names; if it is theirs, rename it to images or link it"
        if near
        else "put the photos there"
    )
    raise UserError(f"{model}: no folder named images beside this COLMAP model or above it; {hint}")


def holds(folder: Path, names: list[str]) -> bool:
    """Whether one of the photos is in this folder, under its very name."""
    paths = [resolve(folder, name) for name in names]
    return any(path.is_relative_to(folder) and os.path.isfile(path) for path in paths)


def has_photo_of_size(folder: Path, listed: list[tuple[str, Lens]]) -> bool:
    """Whether the first of the photos that is in this folder has the size of its camera, turned or not."""
    for name, lens in listed:
        if holds(folder, [name]):
            return sorted(photo_size(resolve(folder, name))) == sorted((lens.width, lens.height))
    return False


def pose_matrix(pose: files.Pose, source: Path) -> np.ndarray:
    """World-to-camera matrix of a pose, 4x4 float64; the quaternion may have any usual norm but zero."""
    quat = np.array(pose.quat)
    if not (np.isfinite(pose.translation).all() and 1e-12 < np.abs(quat).max() < 1e12):
        raise UserError(f"{source}: the pose of {pose.name} is not finite; remove this photo from the model")
    w, x, y, z = quat / np.linalg.norm(quat)
    viewmat = np.eye(4)
    viewmat[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    viewmat[:3, 3] = pose.translation
    return viewmat
