"""The ffmpeg that imageio-ffmpeg brings along: its program, and the frames of a video.

imageio-ffmpeg's own reader leaves its pipes open, and does not say how a damaged video ends.
"""

import logging
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import numpy as np
from jaxtyping import UInt8

from gsdff.errors import UserError
from gsdff.files.reading import check_file

log = logging.getLogger("gsdff")


def find_ffmpeg() -> str:
    """Path of the program. Raises `UserError` if there is none for this system."""
    import imageio_ffmpeg

    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise UserError(f"no ffmpeg for videos: {error}") from error


def estimate_frames(video: Path) -> int | None:
    """Number of frames by length and rate; None if the file does not say, or is no video."""
    check_file(video, "a video")
    # exits with an error, as no output is given; what it says of the input goes to stderr
    command = [find_ffmpeg(), "-hide_banner", "-i", f"file:{video}"]
    said = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace").stderr
    length, rate = re.search(r"Duration: (\d+):(\d+):([\d.]+)", said), re.search(r"([\d.]+) fps", said)
    if not length or not rate:
        return None
    hours, minutes, seconds = map(float, length.groups())
    return round((3600 * hours + 60 * minutes + seconds) * float(rate[1])) or None


def read_frames(video: Path, *, grey_side: int | None = None) -> Iterator[UInt8[np.ndarray, "..."]]:
    """Yields all frames of a video, upright: [H, W, 3] RGB, or [H, W] grey, `grey_side` pixels on the longer side.

    A video that is damaged in the middle ends there, with a warning. Raises `UserError` for a file without any frame.
    """
    check_file(video, "a video")
    codec = ["-c:v", "ppm", "-pix_fmt", "rgb24"]
    if grey_side is not None:
        scale = f"scale={grey_side}:{grey_side}:force_original_aspect_ratio=decrease:flags=area"
        codec = ["-c:v", "pgm", "-pix_fmt", "gray", "-vf", scale]
    # with "file:", as ffmpeg takes a name with a colon for an address
    command = [find_ffmpeg(), "-loglevel", "error", "-i", f"file:{video}", "-an", *codec, "-f", "image2pipe", "-"]
    number = 0
    with TemporaryFile() as messages:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=messages)
        try:
            assert process.stdout is not None, "it is a pipe"
            with process.stdout as pipe:
                while (frame := _read_pnm(pipe)) is not None:
                    number += 1
                    yield frame
            failed = process.wait() != 0
        finally:
            process.kill()  # no effect if it has ended
            process.wait()
        messages.seek(0)
        said = [line for line in messages.read().decode(errors="replace").splitlines() if line.strip()]
    if number == 0:
        raise UserError(f"{video}: cannot be read as a video ({(said or ['no frame'])[-1]}); convert it to MP4")
    if failed or said:
        log.warning("%s: damaged after frame %d (%s)", video, number, (said or ["no message"])[0])


def _read_pnm(pipe: IO[bytes]) -> UInt8[np.ndarray, "..."] | None:
    """Reads the next picture of a stream of PPM or PGM files; None at its end, also in the middle of a picture."""
    kind, size, _ = (pipe.readline() for _ in range(3))
    if not size.endswith(b"\n"):
        return None
    width, height = map(int, size.split())
    shape = (height, width, 3) if kind.startswith(b"P6") else (height, width)
    data = pipe.read(int(np.prod(shape)))
    return np.frombuffer(data, np.uint8).reshape(shape) if len(data) == np.prod(shape) else None
