"""Camera path through keyframes, played in the page or written as a video."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from jaxtyping import UInt8
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.errors import UserError
from gsdff.io.camera_paths import interpolate
from gsdff.viewer.film import Film, in_one_window

PLAYBACK_FPS = 30
"""Camera positions per second of playback in the page."""
MAX_KEYFRAMES = 1000
"""Largest number of keyframes."""


class CameraPath:
    """Keyframes of one tab, in order."""

    def __init__(self) -> None:
        self.keyframes: list[Camera] = []
        self._playback_ended = threading.Event()
        """Set to end the last playback."""
        self._film: Film | None = None
        """The video that is being written."""
        self._writing = threading.Lock()

    def add(self, camera: Camera) -> None:
        """Adds a keyframe; raises `UserError` if there are too many."""
        if len(self.keyframes) >= MAX_KEYFRAMES:
            raise UserError(f"a camera path has at most {MAX_KEYFRAMES:,} keyframes; remove some first")
        self.keyframes.append(camera)

    def remove_last(self) -> None:
        """Removes the last keyframe, if there is one."""
        del self.keyframes[-1:]

    def stop(self) -> None:
        """Stops the playback and the video that is being written."""
        self._playback_ended.set()
        if self._film is not None:
            self._film.stop()

    def play(self, cameras: list[Camera], set_camera: Callable[[Camera], None], seconds: float) -> None:
        """Moves the page's camera smoothly through keyframes; ends a playback under way."""
        self._playback_ended.set()
        self._playback_ended = ended = threading.Event()
        started = time.perf_counter()
        path = interpolate(cameras, max(2, round(PLAYBACK_FPS * seconds)))
        for i, camera in enumerate(path):
            if ended.is_set():
                return
            set_camera(camera)
            time.sleep(max(0.0, started + (i + 1) / PLAYBACK_FPS - time.perf_counter()))

    def save(
        self,
        path: Path,
        seconds: float,
        render: Callable[[Camera], UInt8[Tensor, "H W 3"]],
        report: Callable[[float], None],
    ) -> bool:
        """Writes the path as a video; False if it was stopped, without leaving a file.

        `report` gets the share that is done. Raises `UserError` for fewer than two keyframes, and while another video
        is being written.
        """
        film = Film(self.keyframes, seconds)
        if not self._writing.acquire(blocking=False):
            raise UserError("a video is being written; wait for it, or stop it")
        self._film = film
        try:
            return film.write(path, render, report)
        finally:
            self._film = None
            self._writing.release()

    def resized_keyframes(self) -> list[Camera]:
        """Keyframes in one window (`in_one_window`)."""
        return in_one_window(self.keyframes)
