"""Photos from a video: the sharpest frame of each of many equal parts."""

import logging
import os
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from tqdm import tqdm

from gsdff.files.ffmpeg import estimate_frames, read_frames

SCORED_SIDE = 320
"""Longer side, in pixels, at which sharpness is measured: blur by motion is still there, noise is not."""
QUALITY = 95
"""JPEG quality of the frames that are written."""

log = logging.getLogger("gsdff")


def extract_frames(video: Path, folder: Path, num_frames: int) -> int:
    """Writes the sharpest frame of each of `num_frames` equal parts of a video as frame_000123.jpg; returns how many.

    The number in a name is the frame's place in the video. `folder` must not exist, and appears when it is complete.
    Raises `UserError` for a file that is no video.
    """
    frames = read_frames(video, grey_side=SCORED_SIDE)
    bar = tqdm(frames, desc="sharpness", unit="frame", total=estimate_frames(video))
    scores = np.array([sharpness(frame) for frame in bar])
    chosen = pick_sharpest(scores, num_frames)
    log.info("%s: %d of %d frames, the sharpest ones of equal parts", video, len(chosen), len(scores))
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        wanted = set(chosen)
        for index, frame in enumerate(tqdm(read_frames(video), desc="frames", unit="frame", total=len(scores))):
            if index in wanted:
                Image.fromarray(frame).save(partial / f"frame_{index:06d}.jpg", quality=QUALITY, subsampling=0)
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return len(chosen)


def sharpness(frame: UInt8[np.ndarray, "H W"]) -> float:
    """Variance of the Laplacian: blur takes away what it measures (Pech-Pacheco et al. 2000)."""
    grey = frame.astype(np.float32)
    laplacian = grey[1:-1, :-2] + grey[1:-1, 2:] + grey[:-2, 1:-1] + grey[2:, 1:-1] - 4 * grey[1:-1, 1:-1]
    return float(laplacian.var()) if laplacian.size else 0.0


def pick_sharpest(scores: np.ndarray, count: int) -> list[int]:
    """Index of the highest score in each of `count` equal parts; all indices if there are no more."""
    bounds = np.linspace(0, len(scores), min(count, len(scores)) + 1).round().astype(int)
    return [int(start + scores[start:end].argmax()) for start, end in pairwise(bounds)]
