"""Reads the files of a COLMAP model, binary and text, without pycolmap, whose library may abort a process that also
writes PNGs.

File format: colmap.github.io/format.html. Only cameras, images and points3D are read; the rigs and frames of newer
versions add nothing that a set of photos needs.
"""

import logging
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from gsdff.data.capture import Lens
from gsdff.data.points import to_bytes
from gsdff.errors import UserError
from gsdff.files.reading import read_bytes, read_text

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
SMALLEST_POSE = 73
"""Bytes of a photo in images.bin: ids, pose, an empty name and no 2D points."""
HEADER = re.compile(r"#\s*Number of (?:cameras|images|points):\s*(\d+)\b")
"""Comment in which COLMAP writes how many rows follow."""
POINTS_2D = re.compile(r"[-+.\deE \t]+")


Parsed = TypeVar("Parsed")

logger = logging.getLogger("gsdff")


@dataclass(frozen=True)
class Pose:
    """One row of the images file: world to camera as a quaternion (wxyz) and a translation."""

    name: str
    camera_id: int
    quat: tuple[float, ...]
    translation: tuple[float, ...]


def count_poses(path: Path) -> int:
    """Number of photos of an images file, as far as it can be read; 0 if there is no such file."""
    if not path.is_file():
        return 0
    if path.suffix == ".bin":
        with path.open("rb") as file:
            declared = int.from_bytes(file.read(8), "little")
        return min(declared, path.stat().st_size // SMALLEST_POSE)
    num_poses = 0
    with suppress(ValueError, UserError):  # its reader tells of the damage, if it is the one to read
        for _ in iterate_poses(read_rows(path)[0]):
            num_poses += 1
    return num_poses


def parse(path: Path, reader: Callable[[Path], Parsed]) -> Parsed:
    """Returns `reader(path)`; raises `UserError` if the file is truncated or malformed."""
    try:
        return reader(path)
    except (struct.error, ValueError, IndexError, OverflowError) as error:
        raise UserError(f"{path}: truncated or damaged COLMAP file ({error}); copy it again or rebuild it") from error


def make_lens(model: str, width: int, height: int, params: tuple[float, ...]) -> Lens:
    """Makes a lens; raises ValueError if its model has another number of parameters."""
    if len(params) != PARAM_COUNTS[model]:
        raise ValueError(f"camera {model} with {len(params)} parameters, expected {PARAM_COUNTS[model]}")
    return Lens(model, width, height, params)


class Cursor:
    """Reads a binary file field by field; raises struct.error or ValueError past its end."""

    def __init__(self, path: Path) -> None:
        self.data, self.at = read_bytes(path, "a COLMAP file"), 0

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

    def end(self) -> None:
        """Raises ValueError unless everything has been read."""
        if self.at < len(self.data):
            raise ValueError(f"its number of rows ends at byte {self.at} of {len(self.data)}")


def lenses_bin(path: Path) -> dict[int, Lens]:
    """Reads the lenses by camera id."""
    cursor, lenses = Cursor(path), {}
    for _ in range(cursor.take("Q")[0]):
        camera_id, model_id, width, height = cursor.take("IiQQ")
        if model_id not in CAMERA_MODELS:
            raise ValueError(f"camera {camera_id} has the unknown model id {model_id}")
        model, num_params = CAMERA_MODELS[model_id]
        lenses[camera_id] = make_lens(model, width, height, cursor.take(f"{num_params}d"))
    cursor.end()
    return lenses


def poses_bin(path: Path) -> list[Pose]:
    """Reads the poses in file order."""
    cursor, poses = Cursor(path), []
    for _ in range(cursor.take("Q")[0]):
        _, *pose, camera_id = cursor.take("I7dI")
        poses.append(Pose(cursor.text(), camera_id, tuple(pose[:4]), tuple(pose[4:])))
        cursor.skip(cursor.take("Q")[0] * 24)
    cursor.end()
    return poses


def points_bin(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Reads positions [P, 3] float64 and colours [P, 3] uint8."""
    cursor, positions, colors = Cursor(path), [], []
    for _ in tqdm(range(cursor.take("Q")[0]), desc="points", unit="point", leave=False, delay=1):
        _, x, y, z, red, green, blue, _, track = cursor.take("Q3d3BdQ")
        positions.append((x, y, z))
        colors.append((red, green, blue))
        cursor.skip(track * 8)
    cursor.end()
    return np.array(positions, np.float64).reshape(-1, 3), np.array(colors, np.uint8).reshape(-1, 3)


def read_rows(path: Path) -> tuple[list[str], int | None]:
    """Reads the lines that are neither empty nor comments, and the number of rows that a comment declares, if any."""
    rows, declared = [], None
    for line in read_text(path, "a COLMAP file").split("\n"):
        row = line.strip(" \t\r")
        if row.startswith("#"):
            found = HEADER.match(row)
            declared = int(found[1]) if found else declared
        elif row:
            rows.append(row)
    return rows, declared


def warn_cut(path: Path, declared: int | None, num_rows: int) -> None:
    """Logs that a file holds another number of rows than it declares: it may be cut, or rows were taken out by hand."""
    if declared in (None, num_rows):
        return
    advice = "if none was taken out, the file is cut: copy it again"
    if declared is not None and num_rows > declared:
        advice = "all are read; if none was added, copy it again"
    logger.warning("%s: says that it holds %d, and holds %d; %s", path, declared, num_rows, advice)


def whole(text: str) -> int:
    """Returns a whole number, which some tools write as 128.0; raises ValueError for anything else."""
    value = float(text)
    if value != int(value):
        raise ValueError(f"expected a whole number, got {text}")
    return int(value)


def lenses_txt(path: Path) -> dict[int, Lens]:
    """Reads the lenses by camera id."""
    lenses: dict[int, Lens] = {}
    rows, declared = read_rows(path)
    for row in rows:
        camera_id, model, width, height, *params = row.split()
        if model not in PARAM_COUNTS:
            raise ValueError(f"camera {camera_id} has the unknown model {model[:40]!r}")
        lens = make_lens(model, whole(width), whole(height), tuple(map(float, params)))
        if lenses.setdefault(whole(camera_id), lens) != lens:
            raise ValueError(f"camera {camera_id} is there twice")
    warn_cut(path, declared, len(rows))
    return lenses


def poses_txt(path: Path) -> list[Pose]:
    """Reads the poses in file order."""
    rows, declared = read_rows(path)
    poses = list(iterate_poses(rows))
    warn_cut(path, declared, len(poses))
    return poses


def iterate_poses(rows: list[str]) -> Iterator[Pose]:
    """Iterates over the poses of images.txt; raises ValueError for a row that is none.

    The row after a pose holds its 2D points. COLMAP writes an empty one for a photo without, other tools none at all.
    """
    may_be_points = False
    for row in rows:
        if may_be_points and holds_points(row):
            may_be_points = False
            continue
        pose = as_pose(row)
        if pose is None:
            raise ValueError(f"neither a pose with a name nor 2D points in triples: {row[:80]!r}")
        yield pose
        may_be_points = True


def as_pose(row: str) -> Pose | None:
    """The pose that a row holds: id, quaternion, translation, camera id and a name, which may have spaces; or None."""
    try:
        number, *pose, camera_id, name = row.split(maxsplit=9)
        whole(number)
        values = tuple(map(float, pose))
        return Pose(name, whole(camera_id), values[:4], values[4:]) if len(values) == 7 else None
    except (ValueError, OverflowError):
        return None


def holds_points(row: str) -> bool:
    """Whether a row holds 2D points: triples of two numbers and the whole number of a 3D point."""
    words = row.split() if POINTS_2D.fullmatch(row) else []
    return bool(words) and len(words) % 3 == 0 and all("." not in word for word in words[2:9:3])


def points_txt(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Reads positions [P, 3] float64 and colours [P, 3] uint8."""
    rows, declared = read_rows(path)
    words = [row.split(maxsplit=8) for row in rows]
    if short := next((row for row, some in zip(rows, words, strict=True) if len(some) < 8), None):
        raise ValueError(f"expected an id, a position, a colour and an error, got {short[:80]!r}")
    table = np.array([some[1:7] for some in words], np.float64).reshape(-1, 6)
    warn_cut(path, declared, len(rows))
    colors = table[:, 3:]
    is_whole = bool(((np.floor(colors) == colors) & (np.abs(colors) <= 65535)).all())
    return table[:, :3], to_bytes(colors.astype(np.int64) if is_whole else colors, path)
