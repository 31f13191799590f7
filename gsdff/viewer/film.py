"""A path for the camera through views that were kept, flown in the page or written as a video."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from jaxtyping import UInt8
from torch import Tensor

from gsdff.camera_paths import interpolate
from gsdff.cameras import Camera
from gsdff.errors import UserError
from gsdff.video import FPS, save_video

FLIGHT_FPS = 30
"""Steps a second of a flight in the page."""


class Film:
    """Views of one tab, in order."""

    def __init__(self) -> None:
        self.keyframes: list[Camera] = []
        self._stopped = threading.Event()

    def drop_last(self) -> None:
        """Forgets the last view; nothing where there is none."""
        del self.keyframes[-1:]

    def stop(self) -> None:
        """Ends what is being flown or written."""
        self._stopped.set()

    def fly(self, cameras: list[Camera], stand_at: Callable[[Camera], None], seconds: float) -> None:
        """Moves the page's camera smoothly through these."""
        self._stopped.clear()
        started = time.perf_counter()
        path = interpolate(cameras, max(2, round(FLIGHT_FPS * seconds)))
        for i, camera in enumerate(path):
            if self._stopped.is_set():
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
        """Writes the path as a video, and says how much of it is done; false where it was stopped, without a file."""
        cameras = interpolate(self.sized(), max(1, round(FPS * seconds)))
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
        return True

    def sized(self) -> list[Camera]:
        """The keyframes at the size of the first, should the window have changed; `UserError` for fewer than two."""
        if len(self.keyframes) < 2:
            raise UserError("a path goes through two views or more; keep some first")
        first = self.keyframes[0]
        return [camera.resized(first.width, first.height) for camera in self.keyframes]


class _StoppedError(Exception):
    """Leaves the video's writer from within."""
