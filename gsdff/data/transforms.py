"""Reads transforms.json as written by nerfstudio, instant-ngp and Blender (NeRF-synthetic).

Poses are camera to world with OpenGL axes (x right, y up, z backward). nerfstudio's `applied_transform` and
`applied_scale` describe how its frame was made from another one; results stay in the file's own frame, so they are not
undone. instant-ngp's `scale` and `offset` belong to its renderer and are not applied either.
"""

import logging
import math
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gsdff.data.capture import PHOTO_SUFFIXES, Capture, Lens, Shot
from gsdff.data.images import read_header
from gsdff.data.listed import Found, Place, check_name, find_other, find_photos, keep_one_each, resolve
from gsdff.data.photo_masks import SUFFIXES as MASK_SUFFIXES
from gsdff.data.photo_masks import MaskFile
from gsdff.data.points import read_points
from gsdff.errors import UserError, shown
from gsdff.files.finder import Finder
from gsdff.files.reading import exists, read_json
from gsdff.stored_photo import is_transposed

UNSUPPORTED = ("ftheta_p0", "latlong", "orthographic", "equirectangular", "quadrilateral_hyperbolic")
PINHOLES = ("SIMPLE_PINHOLE", "PINHOLE")
PERSPECTIVES = (*PINHOLES, "SIMPLE_RADIAL", "RADIAL", "OPENCV", "FULL_OPENCV", "PERSPECTIVE")
FISHEYES = ("OPENCV_FISHEYE", "FISHEYE", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE")
ROUNDING = 1e-2
"""Share by which a matrix of few digits may differ from a rotation."""
MISFIT = 0.1
"""Largest misfit (`size_misfit`) of a size that the numbers of a frame mean; that of the other one must be larger."""
SMALLEST_SCALE = 1e-6
"""Smallest factor of a rotation that is divided out; the largest is its inverse."""

logger = logging.getLogger("gsdff")


@dataclass(frozen=True)
class Frame:
    """One entry of `frames`, with the settings that its file gives for all of them."""

    entry: dict
    shared: dict
    source: Path
    is_test: bool = False

    @property
    def name(self) -> str:
        """Path of the photo as it is listed."""
        return self.entry["file_path"]

    @property
    def where(self) -> str:
        """Name of file and frame, for messages."""
        return f"{self.source}: frame {self.name}"

    @property
    def settings(self) -> dict:
        """All settings of the frame, its own values over the shared ones."""
        return {**self.shared, **self.entry}


def find(path: Path) -> Path | None:
    """The transforms file in the folder `path` (or `path` itself if it is one), or None."""
    if path.is_file():
        return path if path.suffix.lower() == ".json" else None
    names = (path / "transforms.json", path / "transforms_train.json")
    return next((name for name in names if exists(name, "a transforms file")), None)


def read(source: Path, downscale: int, allow_outside: bool = False) -> Capture:
    """Reads the photos, cameras and optional points of a transforms file.

    With `transforms_train.json` the test photos (or else the validation ones) come from the file beside it;
    nerfstudio's `train_filenames` and `test_filenames` are respected too. Raises `UserError` naming the file and the
    frame, and for files farther away than in the folder above the file's own, unless `allow_outside`.
    """
    source = Path(os.path.abspath(source))
    root, above = source.parent, source.parent.parent
    shared = load_json(source)
    frames = list_frames(source, shared)
    if source.name == "transforms_train.json":
        frames += held_out_frames(source)
    else:
        frames = apply_filenames(frames, shared)
    # instant-ngp writes ../images if its output is in a folder of its own; the whole disk is never the folder above
    place = Place(source, root, root, root if above == above.parent else above, downscale, allow_outside)
    found = find_photos([frame.name for frame in frames], place)
    images = common_folder(root, frames, found)
    masks = Finder(MASK_SUFFIXES)
    shots, are_exact, held_out, scales = [], [], set(), []
    for frame, photo in zip(frames, found, strict=True):
        viewmat, scale = frame_viewmat(frame)
        scales.append(scale)
        if photo:
            name = photo.path.relative_to(images).as_posix()
            original = photo.path if photo.path.is_file() else None
            (lens, turned), mask = frame_lenses(frame, original), frame_mask(frame, place, masks)
            shots.append(Shot(name, photo.file, photo.shrink, lens, viewmat, mask, turned))
            are_exact.append(photo.is_exact)
            held_out |= {name} if frame.is_test else set()
    shots, held_out = keep_one_each(shots, are_exact, held_out, source)
    report_scales(source, scales)
    report_lost_split(source, frames, held_out)
    points = point_cloud(place, shared)
    return Capture(source, root, shots, *points, frozenset(held_out) or None)


def frame_mask(frame: Frame, place: Place, finder: Finder) -> MaskFile | None:
    """The frame's mask, nerfstudio's `mask_path`; None if it has none.

    Raises `UserError` if the file is missing, or outside of the place.
    """
    listed = frame.settings.get("mask_path")
    if listed is None:
        return None
    if not isinstance(listed, str):
        raise UserError(f"{frame.where}: expected the path of a picture as mask_path, got {shown(listed)}")
    path = find_other(listed, frame.source.parent, place, finder)
    if path is None:
        raise UserError(f"{frame.where}: mask_path {shown(listed)} does not exist; put it there, or remove mask_path")
    return MaskFile(path)


def common_folder(root: Path, frames: list[Frame], found: list[Found | None]) -> Path:
    """The folder that all photos are below, also those that do not exist but should be in the dataset's folder."""
    paths = [photo.path if photo else resolve(root, frame.name) for frame, photo in zip(frames, found, strict=True)]
    inside = [path.parent for path, photo in zip(paths, found, strict=True) if photo or path.is_relative_to(root)]
    return Path(os.path.commonpath(inside))


def load_json(path: Path) -> dict:
    """Reads the file's top level; raises UserError if it is not a transforms file."""
    content = read_json(path, "a transforms file", "write it again")
    if not isinstance(content, dict) or not isinstance(content.get("frames"), list):
        raise UserError(f"{path}: expected an object with a list of frames, as nerfstudio writes it")
    return content


def list_frames(source: Path, shared: dict, is_test: bool = False) -> list[Frame]:
    """Frames of the file; raises UserError if there are none or one names no photo."""
    if not shared["frames"]:
        raise UserError(f"{source}: its list of frames is empty, no photo has a pose; make the file again")
    for i, entry in enumerate(shared["frames"]):
        if not isinstance(entry, dict) or not isinstance(entry.get("file_path"), str):
            raise UserError(f"{source}: frame {i} has no file_path; each frame needs one and a transform_matrix")
        check_name(entry["file_path"], source)
    return [Frame(entry, shared, source, is_test) for entry in shared["frames"]]


def held_out_frames(source: Path) -> list[Frame]:
    """The frames of `transforms_test.json`, or else of `transforms_val.json`, as test views; none if neither exists."""
    for stem in ("test", "val"):
        path = source.with_name(f"transforms_{stem}.json")
        if path.is_file():
            return list_frames(path, load_json(path), is_test=True)
    return []


def apply_filenames(frames: list[Frame], shared: dict) -> list[Frame]:
    """Keeps nerfstudio's `train_filenames` and `test_filenames` (or `val_filenames`); the latter become test frames.

    A frame in both is a test frame, which is logged. Without test photos the frames that are not to be trained on are
    test frames, without training photos those that are in no list are trained on.
    """
    source = frames[0].source
    train, test, val = (listed_frames(frames, shared, f"{split}_filenames") for split in ("train", "test", "val"))
    if not (train or test or val):
        return frames
    everything = set(range(len(frames)))
    if not test | val and train != everything:
        logger.warning("%s: lists photos to train on and none to test; the other %d are held out", source,
                       len(everything - train))  # fmt: skip
    test = test or val or everything - train
    if both := train & test:
        logger.warning("%s: %d photos are listed for training and for testing, they are held out (first: %s)", source,
                       len(both), frames[min(both)].name)  # fmt: skip
    train = train or everything - val
    return [replace(frame, is_test=i in test) for i, frame in enumerate(frames) if i in train | test]


def listed_frames(frames: list[Frame], shared: dict, key: str) -> set[int]:
    """Indices of the frames in a list of file names; raises `UserError` if it is no such list or matches none."""
    names = shared.get(key) or []
    source, spelling = frames[0].source, Finder(PHOTO_SUFFIXES)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{source}: {key}: expected a list of file paths as in the frames, got {repr(names)[:60]}")
    exact: dict[Path, set[int]] = {}
    similar: dict[str, set[int]] = {}
    for i, frame in enumerate(frames):
        path = resolve(source.parent, frame.name)
        exact.setdefault(path, set()).add(i)
        similar.setdefault(spelling.key(str(path)), set()).add(i)
    found, unknown = set(), []
    for name in names:
        check_name(name, source)
        path = resolve(source.parent, name)
        ids = exact.get(path) or similar.get(spelling.key(str(path)), set())
        found |= ids
        unknown += [] if ids else [name]
    if unknown and not found:
        raise UserError(f"{source}: {key}: none of its {len(names)} photos is in the frames (first: {unknown[0]!r}); "
                        "write them as the frames' file_path")  # fmt: skip
    if unknown:
        logger.warning("%s: %s: %d of %d photos are not in the frames (first: %r)", source, key, len(unknown),
                       len(names), unknown[0])  # fmt: skip
    return found


def report_lost_split(source: Path, frames: list[Frame], held_out: set[str]) -> None:
    """Logs that there are no photos of the dataset's own test views."""
    if not held_out and any(frame.is_test for frame in frames):
        logger.warning("%s: none of its test photos exists, every 8th photo is held out in their place", source)


def report_scales(source: Path, scales: list[float]) -> None:
    """Logs how many matrices are scaled, and by how much."""
    scaled = [scale for scale in scales if abs(scale - 1) > ROUNDING]
    if scaled:
        logger.warning("%s: %d of %d transform_matrix are rotations scaled by %.4g to %.4g, the scale is divided out",
                       source, len(scaled), len(scales), min(scaled), max(scaled))  # fmt: skip


def frame_viewmat(frame: Frame) -> tuple[np.ndarray, float]:
    """World-to-camera matrix with OpenCV axes, 4x4 float64, from the frame's camera-to-world one with OpenGL axes.

    The second value is the scale of its rotation, which the camera is without.
    """
    try:
        matrix = np.array(frame.entry.get("transform_matrix"), np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{frame.where}: transform_matrix is not a matrix of numbers") from error
    if matrix.shape not in ((3, 4), (4, 4)):
        raise UserError(f"{frame.where}: expected a 4x4 transform_matrix, got shape {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise UserError(f"{frame.where}: transform_matrix is not finite; remove this frame")
    if matrix.shape == (4, 4) and np.abs(matrix[3] - [0, 0, 0, 1]).max() > 1e-6:
        last = ", ".join(f"{value:g}" for value in matrix[3])
        hint = "; it may be transposed" if not matrix[:3, 3].any() else ""
        raise UserError(f"{frame.where}: expected 0, 0, 0, 1 in the last row of transform_matrix, got {last}{hint}")
    left, sizes, right = np.linalg.svd(matrix[:3, :3])
    if problem := rotation_problem(left, sizes, right):
        raise UserError(f"{frame.where}: transform_matrix {problem}; its 3x3 part must be a rotation, which one scale "
                        "may multiply")  # fmt: skip
    rotation = (left @ right) * [1, -1, -1]  # the nearest rotation, for files of few digits; y down, z forward
    viewmat = np.eye(4)
    viewmat[:3, :3] = rotation.T
    with np.errstate(over="ignore", invalid="ignore"):
        viewmat[:3, 3] = -rotation.T @ matrix[:3, 3]
    return viewmat, float(sizes.mean())


def rotation_problem(left: np.ndarray, sizes: np.ndarray, right: np.ndarray) -> str | None:
    """Why the matrix of this singular value decomposition is no scaled rotation, or None."""
    if not (sizes[2] > SMALLEST_SCALE and sizes[0] < 1 / SMALLEST_SCALE):
        return f"is flat or scaled by {sizes[2]:.3g} to {sizes[0]:.3g}"
    if np.linalg.det(left) * np.linalg.det(right) < 0:
        return "mirrors"
    if sizes[0] - sizes[2] < ROUNDING * sizes[1]:
        return None
    matrix = left * (sizes / sizes.mean()) @ right
    grams = (matrix.T @ matrix, matrix @ matrix.T)  # diagonal if the camera's or the world's axes are scaled
    if min(np.abs(gram - np.diag(np.diag(gram))).max() for gram in grams) < ROUNDING:
        return f"is scaled differently along its axes, by {sizes[2]:.4g} to {sizes[0]:.4g}"
    return "is sheared"


def number(frame: Frame, source: dict, key: str) -> float:
    """Returns `source[key]` as a float; raises UserError if it is not a finite number."""
    value = source[key]
    if not isinstance(value, bool) and isinstance(value, int | float) and abs(value) <= sys.float_info.max:
        return float(value)
    raise UserError(f"{frame.where}: {key} must be a number, got {repr(value)[:40]}")


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
                focals[axis] = 0.5 * size / math.tan(0.5 * angle_of_view(frame, source, f"camera_angle_{axis}"))
        if focals:
            fx = focals["x" if "x" in focals else "y"]
            return fx, focals.get("y", fx)
    raise UserError(f"{frame.where}: no intrinsics; expected fl_x or camera_angle_x for all frames or for each")


def angle_of_view(frame: Frame, source: dict, key: str) -> float:
    """Returns an angle of view in radians; raises UserError if no pinhole has it."""
    angle = number(frame, source, key)
    if not 0 < angle < math.pi:
        raise UserError(f"{frame.where}: {key}: expected more than 0 and less than pi radians, got {angle:g}")
    return angle


def frame_lenses(frame: Frame, original: Path | None) -> tuple[Lens, Lens | None]:
    """Lens of the frame; if the file does not give width and height, with those of the photo.

    If EXIF turns that photo by 90 degrees, the other numbers tell which way up it is meant. The second lens is that of
    the turned photo if they do not, otherwise None.
    """
    if "w" in frame.settings and "h" in frame.settings:
        width, height = (round(number(frame, frame.settings, key)) for key in ("w", "h"))
        return lens_of_size(frame, width, height), None
    if not original:
        raise UserError(f"{frame.where}: no w and h and no full-size photo, so its size is unknown")
    header = read_header(original)
    stored, turned = (header.width, header.height), (header.height, header.width)
    if not is_transposed(header.orientation) or stored == turned:
        return lens_of_size(frame, *stored), None
    misfits = size_misfit(frame, *stored), size_misfit(frame, *turned)
    if min(misfits) > MISFIT or max(misfits) < 2 * min(misfits) + MISFIT:
        return lens_of_size(frame, *stored), lens_of_size(frame, *turned)
    return lens_of_size(frame, *(stored if misfits[0] < misfits[1] else turned)), None


def size_misfit(frame: Frame, width: int, height: int) -> float:
    """Misfit of a size with the frame's other numbers: 0 for a principal point in the middle, equal focal lengths
    along both axes, and angles of view that give them; about the relative difference of the sides for wrong ones."""
    fx, fy = focal_lengths(frame, width, height)
    misfits = [abs(math.log(fx) - math.log(fy))] if fx > 0 and fy > 0 else []
    for axis, side, focal in (("x", width, fx), ("y", height, fy)):
        if f"c{axis}" in frame.settings:
            misfits.append(abs(number(frame, frame.settings, f"c{axis}") / side - 0.5))
        if f"camera_angle_{axis}" in frame.settings:  # the focal length may be given as well
            angle = angle_of_view(frame, frame.settings, f"camera_angle_{axis}")
            misfits.append(abs(2 * focal * math.tan(angle / 2) / side - 1))
    for key, side in (("w", width), ("h", height)):
        if key in frame.settings:
            misfits.append(abs(number(frame, frame.settings, key) / side - 1))
    return max(misfits, default=0.0)


def lens_of_size(frame: Frame, width: int, height: int) -> Lens:
    """Lens of the frame for a photo of this size."""
    fx, fy = focal_lengths(frame, width, height)
    focal_and_centre = (fx, fy, optional(frame, "cx", width / 2), optional(frame, "cy", height / 2))
    model, distortion = distortion_model(frame)
    return Lens(model, width, height, focal_and_centre + distortion)


def distortion_model(frame: Frame) -> tuple[str, tuple[float, ...]]:
    """COLMAP's model of the frame's lens and its parameters after the focal lengths and the principal point."""
    settings = frame.settings
    model = str(settings.get("camera_model", "FISHEYE" if settings.get("is_fisheye") else "PERSPECTIVE"))
    if model not in (*PERSPECTIVES, *FISHEYES) or any(settings.get(key) for key in UNSUPPORTED):
        raise UserError(f"{frame.where}: camera model {model[:40]!r} cannot be made a pinhole; expected one of "
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


def point_cloud(place: Place, shared: dict) -> tuple[np.ndarray, np.ndarray]:
    """Reads points and colours of nerfstudio's `ply_file_path`; none if it is not given or does not exist."""
    listed, source = shared.get("ply_file_path"), place.source
    if listed is not None:
        if not isinstance(listed, str):
            raise UserError(f"{source}: ply_file_path: expected the path of a point cloud, got {repr(listed)[:40]}")
        path = find_other(listed, place.base, place, Finder((".ply",)))
        if path:
            return read_points(path)
        logger.warning("%s: its ply_file_path %r does not exist; starting from random points", source, listed)
    return np.zeros((0, 3)), np.zeros((0, 3), np.uint8)
