"""Cameras of the page: those of the photos, and a flight about them or through the cameras of a file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32

from gsdff.cameras import Camera
from gsdff.data.transforms import Frame, frame_viewmat
from gsdff.errors import UserError, shown
from gsdff.field.field import Field
from gsdff.files.reading import read_json
from gsdff.io.camera_paths import interpolate, orbit

ORBIT = "orbit"
FRAMES_PER_SECOND = 10
"""Frames that are stored; the page moves evenly between them."""
WIDTH, HEIGHT = 400, 300
"""Size of the cameras of a file, in which only their vertical field of view counts."""
DIGITS = 5


def make_tour(field: Field, path: str | Path, seconds: float, start: Camera) -> dict[str, Any]:
    """The flight as the page takes it, in the working frame.

    `path` is "orbit", which is the turntable of `gsdff edit` about the photos, or a file of cameras, which are flown
    through smoothly. `start` gives the field of view of cameras that state none. Raises `UserError` for a file that is
    wrong and, for "orbit", without photos.
    """
    num_frames = max(2, round(FRAMES_PER_SECOND * seconds))
    if path == ORBIT:
        flown = orbit([view.camera for view in field.scene.views], num_frames)
    else:
        flown = interpolate(read_cameras(Path(path), field, start), num_frames)
    return {"seconds": seconds, "frames": describe_flight(flown)}


def describe_flight(cameras: Sequence[Camera]) -> list[list[float]]:
    """Cameras of a flight as the page takes them."""
    return [list(_describe(camera)) for camera in cameras]


def read_cameras(path: Path, field: Field, start: Camera) -> list[Camera]:
    """Cameras of a JSON file, in the working frame.

    Either `frames` with `transform_matrix`, as in the transforms.json of nerfstudio and instant-ngp, or "camera_path"
    with `camera_to_world` (16 numbers) and `fov` (vertical, in degrees), as the viewer of nerfstudio exports it. Both
    are camera to world with OpenGL axes, in the world of the photos' poses. Raises `UserError` for anything else.
    """
    content = read_json(path, "a camera path", "expected the JSON of a camera path")
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a JSON object with 'frames' or 'camera_path', got {shown(content)}")
    entries = content.get("camera_path", content.get("frames"))
    if not isinstance(entries, list) or len(entries) < 2 or not all(isinstance(entry, dict) for entry in entries):
        raise UserError(f"{path}: expected 'frames' or 'camera_path' with two cameras or more, got {shown(entries)}")
    return [_read_camera(path, number, entry, content, field, start) for number, entry in enumerate(entries, 1)]


def _read_camera(path: Path, number: int, entry: dict, shared: dict, field: Field, start: Camera) -> Camera:
    matrix = entry.get("transform_matrix", entry.get("camera_to_world"))
    if isinstance(matrix, list) and len(matrix) == 16:
        matrix = [matrix[i : i + 4] for i in (0, 4, 8, 12)]
    frame = Frame({"file_path": str(number), "transform_matrix": matrix}, shared, path)
    viewmat, _ = frame_viewmat(frame)
    viewmat = field.frame.viewmats_to_working(torch.from_numpy(viewmat))
    focal = HEIGHT / 2 / np.tan(_field_of_view(path, number, {**shared, **entry}, start) / 2)
    K = torch.tensor([[focal, 0, WIDTH / 2], [0, focal, HEIGHT / 2], [0, 0, 1]], dtype=torch.float32)
    return Camera(viewmat, K, WIDTH, HEIGHT)


def _field_of_view(path: Path, number: int, entry: dict, start: Camera) -> float:
    """Vertical field of view in radians: of `fov`, `camera_angle_y`, `fl_y` and `h`, or else of the start view."""
    if "fov" in entry:
        angle = np.radians(_number(path, number, entry, "fov"))
    elif "camera_angle_y" in entry:
        angle = _number(path, number, entry, "camera_angle_y")
    elif "fl_y" in entry and "h" in entry:
        angle = 2 * np.arctan2(_number(path, number, entry, "h") / 2, _number(path, number, entry, "fl_y"))
    else:
        angle = start.fov_y
    if not 0.01 < angle < 3:
        raise UserError(f"{path}: camera {number}: expected a field of view between 1 and 170 degrees, got {angle:.3g}")
    return float(angle)


def _number(path: Path, number: int, entry: dict, key: str) -> float:
    value = entry[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"{path}: camera {number}: expected a number as {key}, got {shown(value)}")
    return float(value)


def describe_cameras(cameras: Sequence[Camera]) -> Float32[np.ndarray, "C 11"]:
    """Position, looking and up direction, vertical field of view, and width by height of every camera."""
    return np.array([[*_describe(camera), camera.width / camera.height] for camera in cameras], dtype="<f4")


def _describe(camera: Camera) -> Sequence[float]:
    """Position, looking direction, up direction and vertical field of view."""
    right_down_forward = F.normalize(camera.viewmat[:3, :3], dim=1)
    values = [
        *camera.position.tolist(),
        *right_down_forward[2].tolist(),
        *(-right_down_forward[1]).tolist(),
        camera.fov_y,
    ]
    return [round(value, DIGITS) for value in values]
