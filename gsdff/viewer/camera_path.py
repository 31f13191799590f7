"""Camera path through keyframes, played in the page or written as a video."""

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

PLAYBACK_FPS = 30
"""Camera positions per second of playback in the page."""
MAX_KEYFRAMES = 1000
"""Largest number of keyframes."""


class CameraPath:
    """Keyframes of one tab, in order."""

    def __init__(self) -> None:
        self.keyframes: list[Camera] = []
        self._playback_ended, self._video_stopped = threading.Event(), threading.Event()
        """Set to end the last playback, and to stop the video that is being written."""
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
        self._video_stopped.set()

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
        cameras = interpolate(self.resized_keyframes(), max(1, round(FPS * seconds)))
        if not self._writing.acquire(blocking=False):
            raise UserError("a video is being written; wait for it, or stop it")
        self._video_stopped.clear()

        def frames() -> Iterator[Tensor]:
            for i, camera in enumerate(cameras):
                if self._video_stopped.is_set():
                    raise _StoppedError
                yield render(camera)
                report((i + 1) / len(cameras))

        try:
            save_video(path, frames())
        except _StoppedError:
            return False
        finally:
            self._writing.release()
        return True

    def resized_keyframes(self) -> list[Camera]:
        """Keyframes in the window size of the first, with their own vertical angle of view.

        Raises `UserError` for fewer than two.
        """
        if len(self.keyframes) < 2:
            raise UserError("a camera path needs at least two keyframes; add some first")
        first = self.keyframes[0]
        return [_resized(camera, first.width, first.height) for camera in self.keyframes]


def _resized(camera: Camera, width: int, height: int) -> Camera:
    """Camera in a window of another size: the image is scaled by height, and cut or extended at the sides."""
    scale = height / camera.height
    K = camera.K * torch.tensor([[scale], [scale], [1.0]])
    K[0, 2] += (width - scale * camera.width) / 2
    return Camera(camera.viewmat, K, width, height)


class _StoppedError(Exception):
    """Ends the video writer from within."""
