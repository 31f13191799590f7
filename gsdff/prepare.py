"""`gsdff prepare --images DIR`: finds the poses of photos or of a video, or the points of posed photos."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gsdff.cli import flags_of, read_options, run_door
from gsdff.errors import UserError, command
from gsdff.files.writing import check_paths

SHOWN_NAMES = 10


@dataclass(frozen=True)
class PrepareArguments:
    """Finds the poses of photos, or of a video (structure from motion, on the CPU) and writes a COLMAP folder.

    Of photos with poses it finds points alone.
    """

    images: Path | None = None
    """Folder of photos of one still scene, or a video of it."""
    poses: Path | None = None
    """In place of photos: a dataset with poses, COLMAP or transforms.json, for which points are triangulated."""
    out: Path | None = None
    """Folder of the scene, which gets `sparse/0` and `images`; by default beside the photos or the dataset."""
    frames: int = 150
    """Number of frames taken from a video: the sharpest one of each of so many equal parts."""
    matcher: Literal["auto", "exhaustive", "sequential"] = "auto"
    """`exhaustive` matches every pair, `sequential` neighbours in name order; `auto`: photos, and frames of a video."""
    max_size: int = 1600
    """Longest side, in pixels, of the photos in which features are detected."""
    camera_model: Literal[
        "SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "FULL_OPENCV",
        "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE", "OPENCV_FISHEYE", "THIN_PRISM_FISHEYE",
    ] = "RADIAL"  # fmt: skip
    """COLMAP's name of the camera model that all photos of one size share; `RADIAL` has one focal length and two
    numbers of radial distortion, `OPENCV` two of each and two of tangential distortion."""


FLAGS = flags_of(PrepareArguments)


def main() -> None:
    """Prepares the photos that the command line names."""
    prepare(read_options(PrepareArguments, "prepare"))


def prepare(arguments: PrepareArguments) -> Path:
    """Finds the poses, prints the result, and returns the folder of the scene."""
    check_paths({"images": arguments.images, "poses": arguments.poses})
    if (arguments.images is None) == (arguments.poses is None):
        raise UserError("--images, --poses: expected one of them: photos, or a dataset of photos with poses")

    from gsdff.data.poses import reconstruct, triangulate
    from gsdff.io.pictures import save_png
    from gsdff.io.pose_picture import draw_poses

    shared = {"matcher": arguments.matcher, "max_size": arguments.max_size}
    if arguments.poses is not None:
        found = triangulate(arguments.poses, arguments.out, **shared)
    else:
        assert arguments.images is not None, "one of the two is given"
        lens = {"camera_model": arguments.camera_model, "frames": arguments.frames}
        found = reconstruct(arguments.images, arguments.out, **shared, **lens)
    report(found.photos, found.registered)
    print(f"{found.num_points} points, mean reprojection error {found.reprojection_error:.3f} px")
    path = found.folder / "poses.png"
    save_png(path, draw_poses(found.read()))
    print(f"{path}: cameras and points, to be looked at")
    print(f"{found.folder}: ready for `{command('train', '--data', found.folder)}`")
    return found.folder


def report(photos: list[str], registered: list[str]) -> None:
    """Prints how many photos have poses, and the names of the first that have none."""
    print(f"{len(registered)} of {len(photos)} photos have poses")
    if missing := sorted(set(photos) - set(registered)):
        more = f" and {len(missing) - SHOWN_NAMES} more" if len(missing) > SHOWN_NAMES else ""
        print(f"without a pose: {', '.join(missing[:SHOWN_NAMES])}{more}")
        print("training leaves them out; if the scene needs them, take more photos between these and the others")


if __name__ == "__main__":
    run_door(main, FLAGS)
