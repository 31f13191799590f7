"""Writes videos from frames that are made one by one."""

import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import torch
from jaxtyping import UInt8
from torch import Tensor

from gsdff.errors import UserError
from gsdff.files.ffmpeg import find_ffmpeg
from gsdff.files.places import free_space, make_folder
from gsdff.files.writing import whole_file

FPS = 24
"""Frames per second."""
_QUALITY = 18
"""x264's constant rate factor: 0 is lossless, at 18 no difference is visible."""


def save_video(path: Path, frames: Iterable[UInt8[Tensor, "H W 3"]], *, fps: int = FPS) -> None:
    """Writes frames as an MP4 that every browser plays (H.264, yuv420p), atomically; makes its folder if missing.

    Frames are consumed one by one and not kept. Colours are stored for blocks of 2 x 2 pixels: an odd width or height
    grows by one, repeating the last column or row. Raises ValueError for no frames, and for one that is not uint8 or
    not of the first one's size; `UserError` if the encoder fails. On any error, an existing file stays as it was.
    """
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise ValueError("a video must have frames, got none")
    make_folder(path.parent)
    height, width = (side + side % 2 for side in first.shape[:2])
    with whole_file(path) as partial, _encoder(path, _command(partial, width, height, fps)) as pipe:
        for number, frame in enumerate(chain([first], frames)):
            if frame.shape != first.shape or frame.dtype != torch.uint8:
                expected, got = f"uint8 {tuple(first.shape)}", f"{frame.dtype} {tuple(frame.shape)}"
                raise ValueError(f"frame {number} of a video: expected {expected}, got {got}")
            pipe.write(_even(frame).cpu().numpy().tobytes())


def _even(frame: UInt8[Tensor, "H W 3"]) -> UInt8[Tensor, "h w 3"]:
    """Repeats the frame's last row and column if their number is odd."""
    height, width = frame.shape[:2]
    frame = torch.cat([frame, frame[height - height % 2 :]])
    return torch.cat([frame, frame[:, width - width % 2 :]], dim=1)


def _command(path: Path, width: int, height: int, fps: int) -> list[str]:
    """Command of the encoder, which takes raw RGB frames from its standard input."""
    source = f"-f rawvideo -pix_fmt rgb24 -video_size {width}x{height} -framerate {fps} -i pipe:0"
    # browsers guess the meaning of untagged colours; these are converted to HD video's (BT.709) and tagged
    colors = "scale=out_color_matrix=bt709:out_range=tv,setparams=color_primaries=bt709:color_trc=bt709"
    target = f"-vf {colors} -c:v libx264 -crf {_QUALITY} -pix_fmt yuv420p -movflags +faststart -f mp4"
    return [find_ffmpeg(), "-y", "-loglevel", "error", *source.split(), *target.split(), f"file:{path}"]


@contextmanager
def _encoder(path: Path, command: list[str]) -> Iterator[IO[bytes]]:
    """Yields the encoder's input; waits for the encoder if the block ends without an error, and stops it otherwise.

    imageio-ffmpeg's own writer ignores the encoder's exit status: a full disk would go unnoticed.
    """
    with TemporaryFile() as messages:
        try:
            # a session of its own: Ctrl-C reaches us alone, and we stop it
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=messages, start_new_session=True
            )
        except OSError as error:
            raise UserError(f"{path}: the encoder {command[0]} does not start: {error.strerror}") from error
        pipe = process.stdin
        assert pipe is not None, "it is a pipe"
        try:
            is_complete = False
            with suppress(BrokenPipeError):  # it ended early; its messages give the reason
                yield pipe
                pipe.close()
                is_complete = True
            if process.wait() or not is_complete:
                messages.seek(0)
                reason = " ".join(messages.read().decode(errors="replace").split()) or "no message"
                status = f"status {process.returncode}, {free_space(path)}"
                raise UserError(f"{path}: the encoder failed ({status}): {reason}")
        finally:
            process.kill()  # no effect if it has ended
            process.wait()
            with suppress(BrokenPipeError):
                pipe.close()
