"""Camera poses for a folder of photos, as a scene's folder that can be trained on."""

import os
from pathlib import Path

from gsdff.data.sfm import Reconstruction, run_colmap
from gsdff.errors import UserError
from gsdff.files import check_paths
from gsdff.places import check_place


def reconstruct(
    images: str | Path,
    out: str | Path | None = None,
    *,
    matcher: str = "exhaustive",
    max_size: int = 1600,
    camera_model: str = "OPENCV",
) -> Reconstruction:
    """Finds the camera poses of photos of one still scene by structure from motion (COLMAP, on the CPU).

    Writes `sparse/0` and links `images` in the folder `out`, by default beside the photos; `Reconstruction.folder` is
    that folder, for `gsdff.fit`. `matcher` is exhaustive (every pair) or sequential (neighbours in name order, for
    frames of a video); features are found at up to `max_size` pixels a side; `camera_model` is COLMAP's name of the
    lens model that photos of one size share. Raises `UserError` for a folder without photos, for photos that do not
    connect, and if `out` has a model already.
    """
    images, given = Path(os.path.abspath(images)), out
    check_paths({"images": images})
    if not images.is_dir():
        raise UserError(f"`images` {images}: expected the folder of the photos")
    if max_size < 1:
        raise UserError(f"`max_size`: expected at least 1, got {max_size}")
    default = images.parent if images.name == "images" else images.with_name(f"{images.name}_scene")
    folder = Path(os.path.abspath(default if given is None else given))
    check_place(folder, parameter="out", is_folder=True)
    model, link = folder / "sparse" / "0", folder / "images"
    if model.exists():
        raise UserError(f"{model}: there is a model already; remove it, or choose another folder with `out`")
    if link.exists() and not link.samefile(images):
        raise UserError(f"{link}: holds other photos than {images}; choose another folder with `out`")
    found = run_colmap(images, model, matcher=matcher, max_size=max_size, camera_model=camera_model)
    if not link.exists():
        link.symlink_to(images, target_is_directory=True)
    return found
