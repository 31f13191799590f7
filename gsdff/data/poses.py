"""Camera poses for a folder of photos or a video, or points for poses, as a scene's folder that can be trained on."""

import logging
import os
from pathlib import Path

from gsdff.config.options import DataConfig
from gsdff.data.capture import images_folder
from gsdff.data.frames import extract_frames
from gsdff.data.loader import read_capture
from gsdff.data.sfm import Reconstruction, run_colmap, triangulate_points
from gsdff.errors import UserError
from gsdff.files.places import check_place
from gsdff.files.writing import VIDEO_SUFFIXES, check_paths

logger = logging.getLogger("gsdff")


def reconstruct(
    images: str | Path,
    out: str | Path | None = None,
    *,
    matcher: str = "auto",
    max_size: int = 1600,
    camera_model: str = "RADIAL",
    frames: int = 150,
) -> Reconstruction:
    """Finds the camera poses of photos of one still scene by structure from motion (COLMAP, on the CPU).

    `images` is the folder of the photos, or a video, of which the sharpest frames of `frames` equal parts are used.
    Writes `sparse/0` and links `images` in the folder `out`, by default beside the photos; `Reconstruction.folder` is
    that folder, for `gsdff.fit`. `matcher` is exhaustive (every pair), sequential (neighbours in name order), or auto:
    sequential for a video and exhaustive for photos. Features are found at up to `max_size` pixels a side;
    `camera_model` is COLMAP's name of the lens model that photos of one size share. Raises `UserError` for a folder
    without photos, for photos that do not connect, and if `out` has a model already.
    """
    images = Path(os.path.abspath(images))
    check_paths({"images": images})
    is_video = not images.is_dir()
    if is_video and images.suffix.lower() not in VIDEO_SUFFIXES:
        raise UserError(
            f"`images` {images}: expected the folder of the photos, or a video ({', '.join(VIDEO_SUFFIXES)})"
        )
    _check_positive({"max_size": max_size, "frames": frames})
    beside = (
        images.parent
        if images.name == "images"
        else images.with_name(f"{images.stem if is_video else images.name}_scene")
    )
    model, link = _choose_places(beside if out is None else Path(out), images)
    if is_video:
        extract_frames(images, link, frames)
    if matcher == "auto":
        matcher = "sequential" if is_video else "exhaustive"
    photos = link if is_video else images
    found = run_colmap(photos, model, matcher=matcher, max_size=max_size, camera_model=camera_model)
    if not link.exists():
        link.symlink_to(images, target_is_directory=True)
    return found


def triangulate(
    dataset: str | Path, out: str | Path | None = None, *, matcher: str = "auto", max_size: int = 1600
) -> Reconstruction:
    """Finds points for posed photos without any, from what their photos have in common; lenses and poses stay.

    `dataset` is what `gsdff train` reads, a COLMAP folder or transforms.json. Writes `sparse/0` and links `images` in
    the folder `out`, by default `<dataset>_points` beside it. `matcher` auto is exhaustive. Raises `UserError` for
    photos in several folders, for poses that fit no photos, and if `out` has a model already.
    """
    dataset = Path(dataset)
    check_paths({"poses": dataset})
    _check_positive({"max_size": max_size})
    capture = read_capture(dataset, DataConfig())
    beside = capture.root.with_name(f"{capture.root.name}_points")
    images = images_folder(capture.shots[0])
    model, link = _choose_places(beside if out is None else Path(out), images)
    matcher = "exhaustive" if matcher == "auto" else matcher
    found = triangulate_points(capture.shots, model, matcher=matcher, max_size=max_size)
    if capture.held_out is not None:
        logger.warning(
            "%s: its own split into training and test photos is not kept; every 8th photo of %s will be held out",
            capture.source, found.folder,
        )  # fmt: skip
    if not link.exists():
        link.symlink_to(images, target_is_directory=True)
    return found


def _check_positive(options: dict[str, int]) -> None:
    for option, value in options.items():
        if value < 1:
            raise UserError(f"`{option}`: expected at least 1, got {value}")


def _choose_places(folder: Path, images: Path) -> tuple[Path, Path]:
    """Places of the model and of the link to the photos; raises `UserError` if they are taken by others.

    A video's frames are written where the link would be.
    """
    folder = Path(os.path.abspath(folder))
    check_place(folder, parameter="out", is_folder=True)
    model, link = folder / "sparse" / "0", folder / "images"
    if model.exists():
        raise UserError(f"{model}: there is a model already; remove it, or choose another folder with `out`")
    if link.exists() and not link.samefile(images):
        raise UserError(f"{link}: holds other photos than {images}; choose another folder with `out`")
    return model, link
