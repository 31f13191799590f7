"""A path for the camera through views that were kept, flown in the page or written as a video."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.errors import UserError
from gsdff.io.camera_paths import interpolate
from gsdff.io.video import FPS, save_video

FLIGHT_FPS = 30
"""Steps a second of a flight in the page."""


class Film:
    """Views of one tab, in order."""

    def __init__(self) -> None:
        self.keyframes: list[Camera] = []
        self._landed, self._stopped = threading.Event(), threading.Event()
        """Set when the flight, and the writing, that began last are to end."""
        self._writing = threading.Lock()

    def drop_last(self) -> None:
        """Forgets the last view; nothing where there is none."""
        del self.keyframes[-1:]

    def stop(self) -> None:
        """Ends what is being flown or written."""
        self._landed.set()
        self._stopped.set()

    def fly(self, cameras: list[Camera], stand_at: Callable[[Camera], None], seconds: float) -> None:
        """Moves the page's camera smoothly through these; ends a flight that is under way."""
        self._landed.set()
        self._landed = landed = threading.Event()
        started = time.perf_counter()
        path = interpolate(cameras, max(2, round(FLIGHT_FPS * seconds)))
        for i, camera in enumerate(path):
            if landed.is_set():
                return
            stand_at(camera)
            time.sleep(max(0.0, started + (i + 1) / FLIGHT_FPS - time.perf_counter()))

    def save(
        self,
        path: Path,
        seconds: float,
        draw: Callable[[Camera], UInt8[Tensor, "H W 3"]],
        report: Callable[[float], None],
    ) -> bool:
        """Writes the path as a video, and says how much of it is done; false where it was stopped, without a file.

        `UserError` for fewer than two views, and while another is written.
        """
        cameras = interpolate(self.sized(), max(1, round(FPS * seconds)))
        if not self._writing.acquire(blocking=False):
            raise UserError("a video is being written; wait for it, or stop it")
        self._stopped.clear()

        def frames() -> Iterator[Tensor]:
            for i, camera in enumerate(cameras):
                if self._stopped.is_set():
                    raise _StoppedError
                yield draw(camera)
                report((i + 1) / len(cameras))

        try:
            save_video(path, frames())
        except _StoppedError:
            return False
        finally:
            self._writing.release()
        return True

    def sized(self) -> list[Camera]:
        """The keyframes at the size of the first, as high an angle, should the window have changed.

        `UserError` for fewer than two.
        """
        if len(self.keyframes) < 2:
            raise UserError("a path goes through two views or more; keep some first")
        first = self.keyframes[0]
        return [_fitted(camera, first.width, first.height) for camera in self.keyframes]


def _fitted(camera: Camera, width: int, height: int) -> Camera:
    """A camera in a window of another size: what is more or less of it is so at the sides."""
    scale = height / camera.height
    K = camera.K * torch.tensor([[scale], [scale], [1.0]])
    K[0, 2] += (width - scale * camera.width) / 2
    return Camera(camera.viewmat, K, width, height)


class _StoppedError(Exception):
    """Leaves the video's writer from within."""
