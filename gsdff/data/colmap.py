"""Reads COLMAP models, binary and text, without pycolmap, whose library may abort a process that also writes PNGs.

File format: colmap.github.io/format.html. Only cameras, images and points3D are read; the rigs and frames of newer
versions add nothing that a set of photos needs.
"""

import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from gsdff.data.capture import Capture, Lens, Shot, pick_file, report_missing
from gsdff.errors import UserError

# Model id: name and number of parameters, as pycolmap.CameraModelId and Camera.params_info give them.
CAMERA_MODELS = {
    0: ("SIMPLE_PINHOLE", 3),
    1: ("PINHOLE", 4),
    2: ("SIMPLE_RADIAL", 4),
    3: ("RADIAL", 5),
    4: ("OPENCV", 8),
    5: ("OPENCV_FISHEYE", 8),
    6: ("FULL_OPENCV", 12),
    7: ("FOV", 5),
    8: ("SIMPLE_RADIAL_FISHEYE", 4),
    9: ("RADIAL_FISHEYE", 5),
    10: ("THIN_PRISM_FISHEYE", 12),
    11: ("RAD_TAN_THIN_PRISM_FISHEYE", 16),
    12: ("SIMPLE_DIVISION", 4),
    13: ("DIVISION", 5),
    14: ("SIMPLE_FISHEYE", 3),
    15: ("FISHEYE", 4),
    16: ("EUCM", 6),
    17: ("EQUIRECTANGULAR", 2),
}
PARAM_COUNTS = dict(CAMERA_MODELS.values())
MODEL_FOLDERS = ("sparse/0", "sparse", "colmap/sparse/0", ".")

Parsed = TypeVar("Parsed")


@dataclass(frozen=True)
class Pose:
    """One row of the images file: world to camera as a quaternion (wxyz) and a translation."""

    name: str
    camera_id: int
    quat: tuple[float, ...]
    translation: tuple[float, ...]


def find(path: Path) -> Path | None:
    """Folder of the COLMAP model in or below `path`, or None."""
    for folder in MODEL_FOLDERS:
        if any((path / folder / f"cameras{suffix}").is_file() for suffix in (".bin", ".txt")):
            return path / folder
    return None


def read(model: Path, downscale: int) -> Capture:
    """Reads the photos, cameras and points of the model in the folder `model`.

    Raises `UserError` naming the file if one is truncated or inconsistent.
    """
    suffix = ".bin" if (model / "cameras.bin").is_file() else ".txt"
    cameras_path, images_path, points_path = (model / f"{stem}{suffix}" for stem in ("cameras", "images", "points3D"))
    if not images_path.is_file():
        raise UserError(f"{images_path}: not there, but {cameras_path.name} is; a COLMAP model needs both")
    lenses = parse(cameras_path, lenses_bin if suffix == ".bin" else lenses_txt)
    poses = parse(images_path, poses_bin if suffix == ".bin" else poses_txt)
    if not poses:
        raise UserError(f"{images_path}: the model is empty, no photo has a pose; run structure from motion again")
    points, colors = np.zeros((0, 3)), np.zeros((0, 3), np.uint8)
    if points_path.is_file():
        points, colors = parse(points_path, points_bin if suffix == ".bin" else points_txt)
    root, images = image_folder(model)
    shots, missing = [], []
    for pose in poses:
        viewmat = pose_matrix(pose, images_path)
        if pose.camera_id not in lenses:
            raise UserError(f"{images_path}: {pose.name} refers to camera {pose.camera_id}, not in {cameras_path.name}")
        if found := pick_file(images, images / pose.name, downscale):
            shots.append(Shot(pose.name, *found, lenses[pose.camera_id], viewmat))
        else:
            missing.append(str(images / pose.name))
    report_missing(missing, len(poses), images_path)
    return Capture(images_path, root, shots, points, colors)


def image_folder(model: Path) -> tuple[Path, Path]:
    """Folder of the dataset and its folder of photos: the nearest `images` (or `images_N`) at or above the model."""
    model = Path(os.path.abspath(model))  # links are not followed: a linked `sparse` belongs to the folder of the link
    for root in (model, *model.parents[:3]):
        if (root / "images").is_dir() or any(root.glob("images_[0-9]")):
            return root, root / "images"
    raise UserError(f"{model}: no folder named images beside this COLMAP model or above it; put the photos there")


def pose_matrix(pose: Pose, source: Path) -> np.ndarray:
    """World-to-camera matrix of a pose, 4x4 float64; the quaternion may have any norm but zero."""
    quat = np.array(pose.quat)
    norm = np.linalg.norm(quat)
    if not np.isfinite([*pose.quat, *pose.translation]).all() or norm < 1e-12:
        raise UserError(f"{source}: the pose of {pose.name} is not finite; remove this photo from the model")
    w, x, y, z = quat / norm
    viewmat = np.eye(4)
    viewmat[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    viewmat[:3, 3] = pose.translation
    return viewmat


def parse(path: Path, reader: Callable[[Path], Parsed]) -> Parsed:
    """Returns `reader(path)`; raises `UserError` if the file is truncated or malformed."""
    try:
        return reader(path)
    except (struct.error, ValueError, IndexError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: truncated or damaged COLMAP file ({error}); copy it again or rebuild it") from error


def make_lens(model: str, width: int, height: int, params: tuple[float, ...]) -> Lens:
    """Makes a lens; raises ValueError if the numbers cannot be a camera's."""
    if width <= 0 or height <= 0 or not np.isfinite(params).all() or len(params) != PARAM_COUNTS[model]:
        raise ValueError(f"camera {model} {width}x{height} with parameters {list(params)}")
    return Lens(model, width, height, params)


class Cursor:
    """Reads a binary file field by field; raises struct.error or ValueError past its end."""

    def __init__(self, path: Path) -> None:
        self.data, self.at = path.read_bytes(), 0

    def take(self, layout: str) -> tuple:
        """Reads the next fields, little-endian, in `struct`'s format."""
        values = struct.unpack_from("<" + layout, self.data, self.at)
        self.at += struct.calcsize("<" + layout)
        return values

    def text(self) -> str:
        """Reads the next zero-terminated string."""
        end = self.data.index(b"\0", self.at)
        start, self.at = self.at, end + 1
        return self.data[start:end].decode()

    def skip(self, num_bytes: int) -> None:
        """Skips bytes, which must exist."""
        self.at += num_bytes
        if self.at > len(self.data):
            raise ValueError(f"ends at byte {len(self.data)}, expected at least {self.at}")


def lenses_bin(path: Path) -> dict[int, Lens]:
    """Reads the lenses by camera id."""
    cursor, lenses = Cursor(path), {}
    for _ in range(cursor.take("Q")[0]):
        camera_id, model_id, width, height = cursor.take("IiQQ")
        if model_id not in CAMERA_MODELS:
            raise ValueError(f"camera {camera_id} has the unknown model id {model_id}")
        model, num_params = CAMERA_MODELS[model_id]
        lenses[camera_id] = make_lens(model, width, height, cursor.take(f"{num_params}d"))
    return lenses


def poses_bin(path: Path) -> list[Pose]:
    """Reads the poses in file order."""
    cursor, poses = Cursor(path), []
    for _ in range(cursor.take("Q")[0]):
        _, *pose, camera_id = cursor.take("I7dI")
        poses.append(Pose(cursor.text(), camera_id, tuple(pose[:4]), tuple(pose[4:])))
        cursor.skip(cursor.take("Q")[0] * 24)
    return poses


def points_bin(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Reads positions [P, 3] float64 and colours [P, 3] uint8."""
    cursor, positions, colors = Cursor(path), [], []
    for _ in tqdm(range(cursor.take("Q")[0]), desc="points", unit="point", leave=False, delay=1):
        _, x, y, z, red, green, blue, _, track = cursor.take("Q3d3BdQ")
        positions.append((x, y, z))
        colors.append((red, green, blue))
        cursor.skip(track * 8)
    return np.array(positions, np.float64).reshape(-1, 3), np.array(colors, np.uint8).reshape(-1, 3)


def lines(path: Path) -> Iterator[str]:
    """Lines without comments; empty ones are kept, since an image without 2D points has one."""
    return (line.strip() for line in path.read_text().splitlines() if not line.startswith("#"))


def lenses_txt(path: Path) -> dict[int, Lens]:
    """Reads the lenses by camera id."""
    lenses = {}
    for line in filter(None, lines(path)):
        camera_id, model, width, height, *params = line.split()
        if model not in PARAM_COUNTS:
            raise ValueError(f"camera {camera_id} has the unknown model {model}")
        lenses[int(camera_id)] = make_lens(model, int(width), int(height), tuple(map(float, params)))
    return lenses


def poses_txt(path: Path) -> list[Pose]:
    """Reads the poses in file order; skips every second line, which holds 2D points."""
    poses, remaining = [], lines(path)
    for line in remaining:
        if not line:
            continue
        _, *pose, camera_id, name = line.split(maxsplit=9)
        values = tuple(map(float, pose))
        poses.append(Pose(name, int(camera_id), values[:4], values[4:]))
        if len(next(remaining, "").split()) % 3:
            raise ValueError(f"the 2D points of {name} are not triples")
    return poses


def points_txt(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Reads positions [P, 3] float64 and colours [P, 3] uint8."""
    rows = [line.split(maxsplit=7)[1:7] for line in lines(path) if line]
    table = np.array(rows, np.float64).reshape(-1, 6)
    return table[:, :3], table[:, 3:].astype(np.uint8)
