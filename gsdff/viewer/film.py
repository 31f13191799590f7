"""Films along keyframes, written frame by frame until they are stopped."""

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.errors import UserError
from gsdff.io.camera_paths import interpolate
from gsdff.io.video import FPS, save_video


class Film:
    """A flight through keyframes of several windows, at an even speed."""

    def __init__(self, keyframes: Sequence[Camera], seconds: float):
        """Raises `UserError` for fewer than two keyframes."""
        self.cameras = interpolate(in_one_window(keyframes), max(1, round(FPS * seconds)))
        self._is_stopped = threading.Event()

    def stop(self) -> None:
        """Stops the writing after the present frame, also if it is yet to begin."""
        self._is_stopped.set()

    def write(
        self, path: Path, render: Callable[[Camera], UInt8[Tensor, "H W 3"]], report: Callable[[float], None]
    ) -> bool:
        """Writes the film; False if it was stopped, without leaving a file. `report` gets the share that is done."""

        def frames() -> Iterator[Tensor]:
            for i, camera in enumerate(self.cameras):
                if self._is_stopped.is_set():
                    raise _StoppedError
                yield render(camera)
                report((i + 1) / len(self.cameras))

        try:
            save_video(path, frames())
        except _StoppedError:
            return False
        return True


def in_one_window(keyframes: Sequence[Camera]) -> list[Camera]:
    """Keyframes in the window size of the first, with their own vertical angle of view.

    Raises `UserError` for fewer than two.
    """
    if len(keyframes) < 2:
        raise UserError("a camera path needs at least two keyframes; add some first")
    first = keyframes[0]
    return [_resized(camera, first.width, first.height) for camera in keyframes]


def _resized(camera: Camera, width: int, height: int) -> Camera:
    """Camera in a window of another size: the image is scaled by height, and cut or extended at the sides."""
    scale = height / camera.height
    K = camera.K * torch.tensor([[scale], [scale], [1.0]])
    K[0, 2] += (width - scale * camera.width) / 2
    return Camera(camera.viewmat, K, width, height)


class _StoppedError(Exception):
    """Ends the video writer from within."""
