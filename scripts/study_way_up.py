"""Measures how clearly the colours of a scene's points tell which way up its photos are (gsdff.data.way_up).

Photos are given EXIF orientations; their poses stay those of the photos as stored.

    python scripts/study_way_up.py ../shared/assets/scenes/fox ../shared/assets/scenes/room_a

Orientations 5 to 8 are given to the square middle of the photos, as the sides tell of others. The last columns are of
points in false colours, three ranks of their coordinates: they must not decide.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from gsdff.config.options import DataConfig
from gsdff.data.capture import Capture, Shot
from gsdff.data.images import read_header
from gsdff.data.loader import read_capture
from gsdff.data.way_up import NUM_PHOTOS, PosedPhoto, correlate, told_by_colors
from gsdff.stored_photo import is_transposed


def main() -> None:
    """Prints a table row per scene and orientation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenes", nargs="+", type=Path, help="datasets with points in true colours")
    print("| scene | orientation | right way | other way | smallest lead of a photo | decided | false colours |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for scene in parser.parse_args().scenes:
        capture = read_capture(scene, DataConfig())
        ranks = capture.points.argsort(0).argsort(0) / len(capture.points)
        false = replace(capture, point_colors=(ranks * 255).astype(np.uint8))
        for orientation in range(2, 9):
            with tempfile.TemporaryDirectory() as folder:
                photos = give_orientation(capture, orientation, Path(folder))
                pairs = [correlate(photo, capture.points, capture.point_colors) for photo in photos]
                values = np.array([pair for pair in pairs if pair is not None])
                answers = [told_by_colors(photos, colored) for colored in (capture, false)]
            right, other = values.mean(0)
            words = {False: "right", True: "WRONG", None: "unclear"}
            lead = np.min(values[:, 0] - values[:, 1])
            print(f"| {scene.name} | {orientation} | {right:.2f} | {other:.2f} | {lead:.2f} | {words[answers[0]]} "
                  f"| {words[answers[1]]} |", flush=True)  # fmt: skip


def give_orientation(capture: Capture, orientation: int, folder: Path) -> list[PosedPhoto]:
    """Some of the photos, stored so that their poses are those of the stored photos, with an EXIF orientation."""
    photos = []
    for shot in capture.shots[:: max(1, len(capture.shots) // NUM_PHOTOS)][:NUM_PHOTOS]:
        path = folder / f"{len(photos)}.png"
        exif = Image.Exif()
        exif[0x0112] = orientation
        with Image.open(shot.path) as picture:
            left, upper, side = 0, 0, 0
            if is_transposed(orientation):
                side = min(picture.size)
                left, upper = (picture.width - side) // 2, (picture.height - side) // 2
                picture = picture.crop((left, upper, left + side, upper + side))
            picture.convert("RGB").save(path, exif=exif, compress_level=1)
        posed = cut(shot, left, upper, side) if side else shot
        photos.append(PosedPhoto(replace(posed, path=path), read_header(path)))
    return photos


def cut(shot: Shot, left: int, upper: int, side: int) -> Shot:
    """The shot of a square part of a pinhole's photo."""
    fx, fy, cx, cy = shot.lens.focals_and_centre
    lens = replace(shot.lens, model="PINHOLE", width=side, height=side, params=(fx, fy, cx - left, cy - upper))
    return replace(shot, lens=lens)


if __name__ == "__main__":
    main()
