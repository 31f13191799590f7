"""A program that poses as a page of the app: it sends whatever it likes over a real connection."""

import base64
import io
import json
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Origin

from gsdff.cameras import Camera
from gsdff.rotation import matrices_to_quats
from gsdff.viewer.address import Address
from gsdff.viewer.page.document import Page
from gsdff.viewer.serve import make_app_page
from gsdff.viewer.shared_scene import SharedScene
from gsdff.viewer.wire.answers import Answers
from gsdff.viewer.wire.server import AppServer

PATIENCE = 60.0
"""Timeout in seconds of every wait."""


@contextmanager
def serve_shared(shared: SharedScene, host: str = "127.0.0.1", *, page: bool = False) -> Iterator[AppServer]:
    """A server of a scene, with its page or an empty one in place of it."""
    answers = Answers(shared)
    empty = {"title": "a page", "server": {"scene": answers.scene, "version": 0}}
    served = make_app_page(answers) if page else Page(empty, b"columns")
    with AppServer(answers, lambda: served, Address(host, 0)) as server:
        yield server


def wait_until(holds: Callable[[], object]) -> None:
    """Waits until a condition holds."""
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, f"waited in vain; running are {threading.enumerate()}"
        time.sleep(0.01)


class AppPage:
    """A connection to a server of the app; a context manager."""

    def __init__(self, server: AppServer, *, origin: str | None = None, path: str | None = None):
        place = f"127.0.0.1:{server.address.port}"
        self.socket = connect(
            f"ws://{place}{f'/{server.gate.token}' if path is None else path}",
            origin=None if origin == "" else Origin(f"http://{place}" if origin is None else origin),
            compression=None,
            max_size=None,
            proxy=None,
        )
        self.last = 0
        self.hello = self.receive()[0]

    def __enter__(self) -> "AppPage":
        return self

    def __exit__(self, *_error: object) -> None:
        self.socket.close()

    def send(self, kind: str, **fields: Any) -> int:
        """Sends a request; returns its number."""
        self.last += 1
        self.socket.send(json.dumps({"type": kind, "id": self.last, **fields}))
        return self.last

    def receive(self) -> tuple[dict[str, Any], bytes]:
        """Next answer, and the bytes after it."""
        data = self.socket.recv(timeout=PATIENCE)
        if isinstance(data, str):
            return json.loads(data), b""
        size = int.from_bytes(data[:4], "little")
        return json.loads(data[4 : 4 + size]), data[4 + size :]

    def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Answer to a request, when it is met."""
        number = self.send(kind, **fields)
        answer, _ = self.receive()
        while answer["type"] == "progressed":
            answer, _ = self.receive()
        assert answer["id"] == number
        return answer

    def draw(self, camera: Camera, mode: str, **scenery: Any) -> Tensor:
        """Whole picture [H, W, 3] in [0, 1] of a camera."""
        return self.receive_picture(self.send("draw", window=window_of(camera), scenery={"mode": mode, **scenery}))

    def draw_beside(self, camera: Camera, left: dict[str, Any], right: dict[str, Any]) -> Tensor:
        """Whole picture of two halves."""
        return self.receive_picture(self.send("draw", window=window_of(camera), scenery=left, beside=right))

    def receive_picture(self, number: int) -> Tensor:
        """The whole picture of a request, whatever comes before it."""
        while True:
            answer, payload = self.receive()
            assert answer["type"] == "pictured", answer
            if answer["id"] == number and answer["is_whole"]:
                break
        with Image.open(io.BytesIO(payload)) as picture:
            return torch.from_numpy(np.array(picture.convert("RGB"))).float() / 255

    def is_closed(self) -> int:
        """Waits until the server closes the connection; returns its reason."""
        try:
            while True:
                self.socket.recv(timeout=PATIENCE)
        except ConnectionClosed as error:
            assert error.rcvd is not None
            return error.rcvd.code


def bits(mask: Tensor) -> str:
    """Gaussians of a mask, as a page names them."""
    return base64.b64encode(np.packbits(mask.numpy()).tobytes()).decode()


def rows(mask: Tensor) -> str:
    """Gaussians of an edit, as a page names them."""
    return base64.b64encode(zlib.compress(np.packbits(mask.numpy()).tobytes())).decode()


def first(count: int) -> Tensor:
    """The first of sixty Gaussians."""
    return torch.arange(60) < count


def window_of(camera: Camera, width: int | None = None, height: int | None = None) -> dict[str, Any]:
    """A camera as a page describes it, in a window of its own size by default."""
    K = camera.K
    return {
        "position": camera.position.tolist(),
        "wxyz": matrices_to_quats(camera.viewmat[:3, :3].T).tolist(),
        "focal": [float(K[0, 0]) / camera.width, float(K[1, 1]) / camera.height],
        "centre": [float(K[0, 2]) / camera.width, float(K[1, 2]) / camera.height],
        "width": width or camera.width,
        "height": height or camera.height,
    }
