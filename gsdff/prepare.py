"""`gsdff prepare --images DIR`: finds the poses of photos, as a scene that `gsdff train` reads."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gsdff.cli import flags_of, read_options, run_door
from gsdff.errors import UserError, command
from gsdff.files import check_paths

SHOWN_NAMES = 10


@dataclass(frozen=True)
class PrepareArguments:
    """Finds the poses of a folder of photos (structure from motion, on the CPU) and writes a COLMAP folder."""

    images: Path
    """Folder of photos of one still scene."""
    out: Path | None = None
    """Folder of the scene, which gets `sparse/0` and `images`; by default beside the photos."""
    matcher: Literal["exhaustive", "sequential"] = "exhaustive"
    """`exhaustive` matches every pair; `sequential` only neighbours in name order, for frames of a video."""
    max_size: int = 1600
    """Longest side, in pixels, of the photos in which features are detected."""
    camera_model: Literal[
        "SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "FULL_OPENCV",
        "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE", "OPENCV_FISHEYE", "THIN_PRISM_FISHEYE",
    ] = "OPENCV"  # fmt: skip
    """COLMAP's name of the camera model that all photos of one size share."""


def main() -> None:
    """Prepares the photos that the command line names."""
    prepare(read_options(PrepareArguments, "prepare"))


def prepare(config: PrepareArguments) -> Path:
    """Writes `sparse/0` and links `images`, prints what was found, and returns the folder of the scene."""
    check_paths({"images": config.images})
    if not config.images.is_dir():
        raise UserError(f"`images` {config.images}: expected the folder of the photos")
    if config.max_size < 1:
        raise UserError(f"`max_size`: expected at least 1, got {config.max_size}")
    images = Path(os.path.abspath(config.images))
    default = images.parent if images.name == "images" else images.with_name(f"{images.name}_scene")
    out = Path(os.path.abspath(config.out or default))
    model, link = out / "sparse" / "0", out / "images"
    if model.exists():
        raise UserError(f"{model}: there is a model already; remove it, or choose another folder with `out`")
    if link.exists() and not link.samefile(images):
        raise UserError(f"{link}: holds other photos than {images}; choose another folder with `out`")

    from gsdff.data.sfm import reconstruct

    found = reconstruct(
        images, model, matcher=config.matcher, max_size=config.max_size, camera_model=config.camera_model
    )
    if not link.exists():
        link.symlink_to(images, target_is_directory=True)
    report(found.photos, found.registered)
    print(f"{found.num_points} points, mean reprojection error {found.reprojection_error:.3f} px")
    print(f"{out}: ready for `{command('train', '--data', out)}`")
    return out


def report(photos: list[str], registered: list[str]) -> None:
    """Prints how many photos have poses, and the names of the first that have none."""
    print(f"{len(registered)} of {len(photos)} photos have poses")
    if missing := sorted(set(photos) - set(registered)):
        more = f" and {len(missing) - SHOWN_NAMES} more" if len(missing) > SHOWN_NAMES else ""
        print(f"without a pose: {', '.join(missing[:SHOWN_NAMES])}{more}")


if __name__ == "__main__":
    run_door(main, flags_of(PrepareArguments))
