"""`python -m gsdff.prepare --images DIR`: photos become a scene with poses, ready for `python -m gsdff.train`."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from gsdff.cli import run_door
from gsdff.errors import UserError

SHOWN_NAMES = 10


@dataclass(frozen=True)
class PrepareConfig:
    """Finds the poses of a folder of photos (structure from motion, on the CPU) and writes a COLMAP folder."""

    images: Path
    """The folder of photos, of one still scene."""
    out: Path | None = None
    """The scene's folder, which gets `sparse/0` and `images`; beside the photos where not given."""
    matcher: Literal["exhaustive", "sequential"] = "exhaustive"
    """`exhaustive` compares every pair; `sequential` only neighbours in name order, for frames of a video."""
    max_size: int = 1600
    """Features are found at no more than this many pixels a side."""
    camera_model: Literal[
        "SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "FULL_OPENCV",
        "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE", "OPENCV_FISHEYE", "THIN_PRISM_FISHEYE",
    ] = "OPENCV"  # fmt: skip
    """COLMAP's name of the lens model that all photos of one size share."""


def main() -> None:
    """Prepares the photos named on the command line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config = tyro.cli(PrepareConfig, prog="python -m gsdff.prepare", description=PrepareConfig.__doc__)
    prepare(config)


def prepare(config: PrepareConfig) -> Path:
    """Writes `sparse/0` and links `images`, says what was found, and gives the scene's folder."""
    if not config.images.is_dir():
        raise UserError(f"{config.images}: no such folder; --images takes the folder of the photos")
    if config.max_size < 1:
        raise UserError(f"--max-size must be 1 or more, got {config.max_size}")
    images = Path(os.path.abspath(config.images))
    default = images.parent if images.name == "images" else images.with_name(f"{images.name}_scene")
    out = Path(os.path.abspath(config.out or default))
    model, link = out / "sparse" / "0", out / "images"
    if model.exists():
        raise UserError(f"{model}: there is a model already; remove it, or choose another folder with --out")
    if link.exists() and not link.samefile(images):
        raise UserError(f"{link}: holds other photos than {images}; choose another folder with --out")

    from gsdff.data.sfm import reconstruct

    found = reconstruct(
        images, model, matcher=config.matcher, max_size=config.max_size, camera_model=config.camera_model
    )
    if not link.exists():
        link.symlink_to(images, target_is_directory=True)
    report(found.photos, found.registered)
    print(f"{found.num_points} points, mean reprojection error {found.reprojection_error:.3f} px")
    print(f"{out}: ready for `python -m gsdff.train --data {out}`")
    return out


def report(photos: list[str], registered: list[str]) -> None:
    """Says how many photos have poses, and names the first of those that have none."""
    print(f"{len(registered)} of {len(photos)} photos have poses")
    if missing := sorted(set(photos) - set(registered)):
        more = f" and {len(missing) - SHOWN_NAMES} more" if len(missing) > SHOWN_NAMES else ""
        print(f"without a pose: {', '.join(missing[:SHOWN_NAMES])}{more}")


if __name__ == "__main__":
    run_door(main)
