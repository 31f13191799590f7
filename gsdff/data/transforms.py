"""Reads transforms.json as written by nerfstudio, instant-ngp and Blender (NeRF-synthetic).

Poses are camera to world with OpenGL axes (x right, y up, z backward). nerfstudio's `applied_transform` and
`applied_scale` describe how its frame was made from another one; results stay in the file's own frame, so they are not
undone. instant-ngp's `scale` and `offset` belong to its renderer and are not applied either.
"""

import json
import logging
import math
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gsdff.data.capture import Capture, Lens, Shot, find_file, pick_file, report_missing
from gsdff.data.images import photo_size
from gsdff.data.points import read_points
from gsdff.errors import UserError

BLENDER_CUBE = 1.3  # half side of the cube in which 3DGS draws NeRF-synthetic's initial points
UNSUPPORTED = ("ftheta_p0", "latlong", "orthographic", "equirectangular", "quadrilateral_hyperbolic")
PINHOLES = ("SIMPLE_PINHOLE", "PINHOLE")
PERSPECTIVES = (*PINHOLES, "SIMPLE_RADIAL", "RADIAL", "OPENCV", "FULL_OPENCV", "PERSPECTIVE")
FISHEYES = ("OPENCV_FISHEYE", "FISHEYE", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE")

logger = logging.getLogger("gsdff")


@dataclass(frozen=True)
class Frame:
    """One entry of `frames`, with the settings that its file gives for all of them."""

    path: Path
    """Absolute path of the photo; it may lack its suffix or not exist."""
    entry: dict
    shared: dict
    source: Path
    is_test: bool = False

    @property
    def where(self) -> str:
        """Name of file and frame, for messages."""
        return f"{self.source}: frame {self.entry['file_path']}"

    @property
    def settings(self) -> dict:
        """All settings of the frame, its own values over the shared ones."""
        return {**self.shared, **self.entry}


def find(path: Path) -> Path | None:
    """The transforms file in the folder `path` (or `path` itself if it is one), or None."""
    if path.is_file():
        return path if path.suffix == ".json" else None
    return next((p for p in (path / "transforms.json", path / "transforms_train.json") if p.is_file()), None)


def read(source: Path, downscale: int) -> Capture:
    """Reads the photos, cameras and optional points of a transforms file.

    With `transforms_train.json` the test photos (or else the validation ones) come from the file beside it;
    nerfstudio's `train_filenames` and `test_filenames` are respected too. Raises `UserError` naming the file and the
    frame.
    """
    source = Path(os.path.abspath(source))
    shared = load_json(source)
    frames = list_frames(source, shared)
    cube = None
    if source.name == "transforms_train.json":
        frames += held_out_frames(source)
        cube = BLENDER_CUBE if "fl_x" not in shared else None
    else:
        frames = apply_filenames(frames, shared)
    images = Path(os.path.commonpath([frame.path.parent for frame in frames]))
    shots, missing, held_out = [], [], set()
    for frame in frames:
        viewmat = frame_viewmat(frame)
        original = find_file(frame.path)
        picked = pick_file(images if images != source.parent else None, original or frame.path, downscale)
        if not picked:
            missing.append(frame.entry["file_path"])
            continue
        name = (original or frame.path).relative_to(images).as_posix()
        shots.append(Shot(name, *picked, frame_lens(frame, original), viewmat))
        if frame.is_test:
            held_out.add(name)
    report_missing(missing, len(frames), source)
    if any("mask_path" in frame.entry for frame in frames):
        logger.warning("%s: mask_path is ignored, the masked parts of photos are trained too", source)
    return Capture(source, source.parent, shots, *point_cloud(source, shared), frozenset(held_out) or None, cube)


def load_json(path: Path) -> dict:
    """Reads the file's top level; raises UserError if it is not a transforms file."""
    try:
        content = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid JSON ({error}); write it again") from error
    if not isinstance(content, dict) or not isinstance(content.get("frames"), list):
        raise UserError(f"{path}: expected an object with a list of frames, as nerfstudio writes it")
    return content


def photo_path(source: Path, listed: str) -> Path:
    """Resolves a path relative to the file that lists it; instant-ngp on Windows writes backslashes."""
    return Path(os.path.normpath(source.parent / listed.replace("\\", "/")))


def list_frames(source: Path, shared: dict, is_test: bool = False) -> list[Frame]:
    """Frames of the file; raises UserError if there are none or one names no photo."""
    if not shared["frames"]:
        raise UserError(f"{source}: its list of frames is empty, no photo has a pose; make the file again")
    for i, entry in enumerate(shared["frames"]):
        if not isinstance(entry, dict) or not isinstance(entry.get("file_path"), str):
            raise UserError(f"{source}: frame {i} has no file_path; each frame needs one and a transform_matrix")
    return [Frame(photo_path(source, e["file_path"]), e, shared, source, is_test) for e in shared["frames"]]


def held_out_frames(source: Path) -> list[Frame]:
    """The frames of `transforms_test.json`, or else of `transforms_val.json`, as test views; none if neither exists."""
    for stem in ("test", "val"):
        path = source.with_name(f"transforms_{stem}.json")
        if path.is_file():
            return list_frames(path, load_json(path), is_test=True)
    return []


def apply_filenames(frames: list[Frame], shared: dict) -> list[Frame]:
    """Keeps nerfstudio's `train_filenames` and `test_filenames` (or `val_filenames`); the latter become test frames."""
    source = frames[0].source
    train, test, val = (
        {photo_path(source, name) for name in shared.get(f"{split}_filenames") or []}
        for split in ("train", "test", "val")
    )
    if not train:
        return frames
    test = test or val
    return [replace(frame, is_test=frame.path in test) for frame in frames if frame.path in train | test]


def frame_viewmat(frame: Frame) -> np.ndarray:
    """World-to-camera matrix with OpenCV axes, 4x4 float64, from the frame's camera-to-world one with OpenGL axes."""
    try:
        matrix = np.array(frame.entry.get("transform_matrix"), np.float64)
    except (TypeError, ValueError) as error:
        raise UserError(f"{frame.where}: transform_matrix is not a matrix of numbers") from error
    if matrix.shape not in ((3, 4), (4, 4)):
        raise UserError(f"{frame.where}: expected a 4x4 transform_matrix, got shape {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise UserError(f"{frame.where}: transform_matrix is not finite; remove this frame")
    rotation, position = matrix[:3, :3], matrix[:3, 3]
    if np.abs(rotation.T @ rotation - np.eye(3)).max() > 1e-2 or np.linalg.det(rotation) < 0:
        raise UserError(f"{frame.where}: transform_matrix is not rigid; its 3x3 part must be a rotation")
    left, _, right = np.linalg.svd(rotation)
    rotation = (left @ right) * [1, -1, -1]  # the nearest rotation, for files of few digits; y down, z forward
    viewmat = np.eye(4)
    viewmat[:3, :3] = rotation.T
    viewmat[:3, 3] = -rotation.T @ position
    return viewmat


def number(frame: Frame, source: dict, key: str) -> float:
    """Returns `source[key]` as a float; raises UserError if it is not a finite number."""
    value = source[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UserError(f"{frame.where}: {key} must be a number, got {value!r}")
    return float(value)


def optional(frame: Frame, key: str, default: float) -> float:
    """Value of `key` in the frame, or else the one for all frames, or else `default`."""
    return number(frame, frame.settings, key) if key in frame.settings else default


def focal_lengths(frame: Frame, width: int, height: int) -> tuple[float, float]:
    """Focal lengths in pixels from `fl_x`/`fl_y` or the full angles of view, the frame's own before shared ones."""
    for source in (frame.entry, frame.shared):
        focals: dict[str, float] = {}
        for axis, size in (("x", width), ("y", height)):
            if f"fl_{axis}" in source:
                focals[axis] = number(frame, source, f"fl_{axis}")
            elif f"camera_angle_{axis}" in source and "fl_x" not in source:
                focals[axis] = 0.5 * size / math.tan(0.5 * number(frame, source, f"camera_angle_{axis}"))
        if focals:
            fx = focals["x" if "x" in focals else "y"]
            fy = focals.get("y", fx)
            if not (fx > 0 and fy > 0):
                raise UserError(f"{frame.where}: focal lengths must be positive, got {fx} and {fy}")
            return fx, fy
    raise UserError(f"{frame.where}: no intrinsics; expected fl_x or camera_angle_x for all frames or for each")


def frame_lens(frame: Frame, original: Path | None) -> Lens:
    """Lens of the frame; width and height come from the photo if the file does not give them."""
    if "w" in frame.settings and "h" in frame.settings:
        width, height = (round(number(frame, frame.settings, key)) for key in ("w", "h"))
    elif original:
        width, height = photo_size(original)
    else:
        raise UserError(f"{frame.where}: no w and h and no full-size photo, so its size is unknown")
    if width <= 0 or height <= 0:
        raise UserError(f"{frame.where}: w and h must be positive, got {width} and {height}")
    fx, fy = focal_lengths(frame, width, height)
    focal_and_centre = (fx, fy, optional(frame, "cx", width / 2), optional(frame, "cy", height / 2))
    model, distortion = distortion_model(frame)
    return Lens(model, width, height, focal_and_centre + distortion)


def distortion_model(frame: Frame) -> tuple[str, tuple[float, ...]]:
    """COLMAP's model of the frame's lens and its parameters after the focal lengths and the principal point."""
    settings = frame.settings
    model = str(settings.get("camera_model", "FISHEYE" if settings.get("is_fisheye") else "PERSPECTIVE"))
    if model not in (*PERSPECTIVES, *FISHEYES) or any(settings.get(key) for key in UNSUPPORTED):
        raise UserError(f"{frame.where}: camera model {model} cannot be made a pinhole; expected one of "
                        f"{', '.join((*PERSPECTIVES, *FISHEYES))}")  # fmt: skip
    k1, k2, k3, k4, k5, k6, p1, p2 = (
        optional(frame, key, 0.0) for key in ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")
    )
    if model in FISHEYES:
        return "OPENCV_FISHEYE", (k1, k2, k3, k4)
    if model in PINHOLES or not any((k1, k2, k3, k4, k5, k6, p1, p2)):
        return "PINHOLE", ()
    if not any((k3, k4, k5, k6)):
        return "OPENCV", (k1, k2, p1, p2)
    if k4 and model != "FULL_OPENCV":
        # nerfstudio's k4 multiplies r^8, OpenCV's divides by it; nerfstudio refuses it when it undistorts photos, too.
        raise UserError(f"{frame.where}: k4 of a perspective camera has two meanings; undistort the photos first")
    return "FULL_OPENCV", (k1, k2, p1, p2, k3, k4, k5, k6)


def point_cloud(source: Path, shared: dict) -> tuple[np.ndarray, np.ndarray]:
    """Reads points and colours of nerfstudio's `ply_file_path`; none if it is not given or does not exist."""
    listed = shared.get("ply_file_path")
    if isinstance(listed, str):
        path = source.parent / listed
        if path.is_file():
            return read_points(path)
        logger.warning("%s: its ply_file_path %s does not exist; starting from random points", source, listed)
    return np.zeros((0, 3)), np.zeros((0, 3), np.uint8)
