"""Structure from motion: poses and sparse points for a folder of photos, by pycolmap on the CPU."""

import logging
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from tqdm import tqdm

from gsdff.data.capture import Lens, Shot, images_folder
from gsdff.data.colmap import pose_matrix
from gsdff.data.colmap_files import points_bin, poses_bin
from gsdff.data.staging import StagedPhotos, stage_photos
from gsdff.data.worker import run_worker
from gsdff.errors import UserError
from gsdff.stored_photo import is_same_shape

FEWEST_PHOTOS = 3
FEWEST_POINTS = 100
MANY_PHOTOS = 200  # with more, matching every pair takes most of the time

logger = logging.getLogger("gsdff")


@dataclass(frozen=True, eq=False)
class PosedPhotos:
    """Cameras and points of a reconstruction, in any one frame and unit."""

    names: list[str]
    viewmats: Float[np.ndarray, "C 4 4"]
    """World to camera, OpenCV axes."""
    residuals: Float[np.ndarray, "C"]
    """Mean distance in pixels between where a photo shows its points and where they are projected."""
    points: Float[np.ndarray, "P 3"]
    colors: UInt8[np.ndarray, "P 3"]


@dataclass(frozen=True)
class Reconstruction:
    """Result of structure from motion."""

    model: Path
    """Folder of cameras.bin, images.bin and points3D.bin, `sparse/0` in the scene's folder."""
    photos: list[str]
    """Names of all photos, below the images folder."""
    residuals: dict[str, float]
    """Name of every photo that has a pose, and its mean reprojection error in pixels."""
    num_points: int
    reprojection_error: float
    """Mean over the points' observations, in pixels."""

    @property
    def registered(self) -> list[str]:
        """Names of the photos that have a pose."""
        return sorted(self.residuals)

    @property
    def folder(self) -> Path:
        """Folder of the scene, to train on."""
        return self.model.parents[1]

    def read(self) -> PosedPhotos:
        """Reads the cameras and points of the model."""
        poses = poses_bin(self.model / "images.bin")
        viewmats = np.stack([pose_matrix(pose, self.model) for pose in poses])
        residuals = np.array([self.residuals[pose.name] for pose in poses])
        return PosedPhotos([pose.name for pose in poses], viewmats, residuals, *points_bin(self.model / "points3D.bin"))


def run_colmap(images: Path, model: Path, *, matcher: str, max_size: int, camera_model: str) -> Reconstruction:
    """Writes the largest COLMAP model of the photos below `images` to the new folder `model`.

    Photos of one size share one camera of COLMAP's model `camera_model`. `matcher` is exhaustive (every pair) or
    sequential (neighbours in name order, for video frames); features are found at up to `max_size` pixels a side.
    Masks beside the photos are respected, and damaged photos left out. Raises `UserError` for too few photos, photos
    that do not connect, and a crash; a failed attempt leaves no files.
    """
    with _scratch_beside(model) as folder:
        photos = stage_photos(images, folder)
        groups: dict[tuple[int, int], list[str]] = {}
        for name, size in photos.sizes.items():
            groups.setdefault(size, []).append(name)
        request = {"groups": [{"model": camera_model, "params": [], "names": names} for names in groups.values()]}
        request |= {"matcher": matcher, "max_size": max_size}
        answer = _ask_colmap("reconstruct", request, images, photos, folder)
        if answer["model"] is None:
            raise UserError(
                f"{images}: no two of the {len(photos.sizes)} photos could be posed; take them of one still scene, "
                "from many places, each overlapping the next by two thirds"
            )
        return _take_model(answer, model, list(photos.sizes))


def triangulate_points(shots: Sequence[Shot], model: Path, *, matcher: str, max_size: int) -> Reconstruction:
    """Writes a COLMAP model of posed photos, with points triangulated from their matches, to the new folder `model`.

    Lenses and poses stay as they are. Raises `UserError` for photos in several folders, for those of another shape
    than their cameras, and if fewer than `FEWEST_POINTS` points are found.
    """
    folders = {images_folder(shot) for shot in shots}
    if len(folders) > 1:
        raise UserError(
            f"{min(folders)}: expected all photos in one folder, some are in {max(folders)}; put them there"
        )
    (images,) = folders
    with _scratch_beside(model) as folder:
        photos = stage_photos(images, folder)
        posed = {shot.path.relative_to(images).as_posix(): shot for shot in shots}
        posed = {name: shot for name, shot in posed.items() if name in photos.sizes}
        groups: dict[tuple[Lens, tuple[int, int]], list[str]] = {}
        for name, shot in posed.items():
            groups.setdefault((shot.lens, photos.sizes[name]), []).append(name)
        request: dict[str, Any] = {"matcher": matcher, "max_size": max_size}
        request["groups"] = [
            {"model": lens.model, "params": _scaled(lens, size, images / names[0]), "names": names}
            for (lens, size), names in groups.items()
        ]
        request["poses"] = {name: shot.viewmat[:3].tolist() for name, shot in posed.items()}
        photos = replace(photos, sizes={name: photos.sizes[name] for name in posed})
        answer = _ask_colmap("triangulate", request, images, photos, folder)
        if answer["num_points"] < FEWEST_POINTS:
            raise UserError(
                f"{images}: {answer['num_points']} points could be triangulated, expected at least {FEWEST_POINTS}; "
                "do the poses belong to these photos, and do photos overlap? Training can start from random points"
            )
        return _take_model(answer, model, list(posed))


def _scaled(lens: Lens, size: tuple[int, int], path: Path) -> list[float]:
    """Parameters of a lens for its photos' real size; raises `UserError` if they have another shape."""
    if not is_same_shape((lens.width, lens.height), size):
        raise UserError(
            f"{path}: is {size[0]}x{size[1]}, but its camera {lens.width}x{lens.height}, which is another shape; "
            "if EXIF turns the photo, save it turned"
        )
    count, (x, y) = lens.num_focals, (size[0] / lens.width, size[1] / lens.height)
    factors = [*([x, y] if count == 2 else [x] * count), x, y]
    rest = lens.params[len(factors) :]
    return [value * factor for value, factor in zip(lens.params, factors, strict=False)] + list(rest)


@contextmanager
def _scratch_beside(model: Path) -> Iterator[Path]:
    """A temporary folder on the disk of the model."""
    model.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".prepare-", dir=model.parent) as folder:
        yield Path(folder)


def _ask_colmap(task: str, request: dict[str, Any], images: Path, photos: StagedPhotos, folder: Path) -> dict[str, Any]:
    """Answer of COLMAP's process for staged photos, with a bar of its progress."""
    num_photos = len(photos.sizes)
    if num_photos < FEWEST_PHOTOS:
        raise UserError(f"{images}: {num_photos} photos, expected {FEWEST_PHOTOS} or more of one scene")
    if request["matcher"] == "exhaustive" and num_photos > MANY_PHOTOS:
        logger.info("matching every pair of %d photos takes long; `matcher` sequential suits video frames",
                    num_photos)  # fmt: skip
    request |= {"images": str(photos.folder), "masks": photos.masks and str(photos.masks)}
    with closing(ColmapProgress(num_photos)) as progress:
        progress.show("features", 0)
        return run_worker(task, request, folder, progress.read)


def _take_model(answer: dict[str, Any], model: Path, names: list[str]) -> Reconstruction:
    """Moves the model that COLMAP has written to its place."""
    os.replace(answer["model"], model)
    return Reconstruction(model, sorted(names), answer["residuals"], answer["num_points"], answer["reprojection_error"])


class ColmapProgress:
    """Progress bar of the three phases, driven by the lines that COLMAP logs; unknown lines are ignored."""

    FEATURES = re.compile(r"Processed file \[\d+/\d+\]")
    BLOCK = re.compile(r"Processing block \[(\d+)/(\d+), (\d+)/(\d+)\]")
    NEIGHBOURS = re.compile(r"Processing image \[(\d+)/(\d+)\]")
    REGISTERED = re.compile(r"num_reg_frames=(\d+)")

    def __init__(self, num_photos: int) -> None:
        self.num_photos, self.num_seen = num_photos, 0
        self.bar: tqdm | None = None
        self.phase = ""

    def read(self, line: str) -> None:
        """Updates the bar from one line of COLMAP's log."""
        if self.FEATURES.search(line):
            self.num_seen += 1
            self.show("features", self.num_seen / self.num_photos)
        elif "Feature matching" in line:
            self.show("matching", 0)
        elif found := self.BLOCK.search(line):
            row, num_rows, column, num_columns = map(int, found.groups())
            self.show("matching", ((row - 1) * num_columns + column - 1) / (num_rows * num_columns))
        elif found := self.NEIGHBOURS.search(line):
            self.show("matching", (int(found[1]) - 1) / int(found[2]))
        elif "Finding good initial image pair" in line:
            self.show("mapping", 0)
        elif found := self.REGISTERED.search(line):
            self.show("mapping", (int(found[1]) + 1) / self.num_photos)

    def show(self, phase: str, share: float) -> None:
        """Draws the bar of `phase` filled to `share`; a new phase begins a new line."""
        if self.bar is None or self.phase != phase:
            self.close()
            self.phase = phase
            self.bar = tqdm(total=1.0, desc=phase, bar_format="{desc:>8} {percentage:3.0f}%|{bar}| {elapsed}")
        self.bar.n = min(share, 1.0)
        self.bar.refresh()

    def close(self) -> None:
        """Closes the bar of the current phase."""
        if self.bar is not None:
            self.bar.close()
