"""Camera poses for a folder of photos or a video, as a scene's folder that can be trained on."""

import os
from pathlib import Path

from gsdff.data.frames import extract_frames
from gsdff.data.sfm import Reconstruction, run_colmap
from gsdff.errors import UserError
from gsdff.files.places import check_place
from gsdff.files.writing import VIDEO_SUFFIXES, check_paths


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
    images, given = Path(os.path.abspath(images)), out
    check_paths({"images": images})
    is_video = not images.is_dir()
    if is_video and images.suffix.lower() not in VIDEO_SUFFIXES:
        raise UserError(
            f"`images` {images}: expected the folder of the photos, or a video ({', '.join(VIDEO_SUFFIXES)})"
        )
    for option, value in (("max_size", max_size), ("frames", frames)):
        if value < 1:
            raise UserError(f"`{option}`: expected at least 1, got {value}")
    beside = (
        images.parent
        if images.name == "images"
        else images.with_name(f"{images.stem if is_video else images.name}_scene")
    )
    folder = Path(os.path.abspath(beside if given is None else given))
    check_place(folder, parameter="out", is_folder=True)
    model, link = folder / "sparse" / "0", folder / "images"
    if model.exists():
        raise UserError(f"{model}: there is a model already; remove it, or choose another folder with `out`")
    if link.exists() and (is_video or not link.samefile(images)):
        raise UserError(f"{link}: holds other photos than {images}; choose another folder with `out`")
    if is_video:
        extract_frames(images, link, frames)
    if matcher == "auto":
        matcher = "sequential" if is_video else "exhaustive"
    photos = link if is_video else images
    found = run_colmap(photos, model, matcher=matcher, max_size=max_size, camera_model=camera_model)
    if not link.exists():
        link.symlink_to(images, target_is_directory=True)
    return found
