"""A program that poses as a page: it speaks viser's protocol over a real connection, and sends whatever it likes."""

import time
from typing import Any

import msgspec
import viser
import zstandard
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from gsdff.viewer.server import Server
from gsdff.viewer.tab import Tab

PATIENCE = 30.0
"""Timeout in seconds of every wait."""


class WirePage:
    """A connection to a server's page, of a window of 64 x 48 pixels; a context manager."""

    def __init__(self, server: Server, *, origin: str | None = None, path: str | None = None):
        self.server = server
        self._before = set(server.panels)
        place = f"127.0.0.1:{server.address.port}"
        self.notes: list[str] = []
        """Bodies of all notifications so far."""
        self.socket = connect(
            f"ws://{place}{f'/{server.gate.token}' if path is None else path}",
            origin=None if origin == "" else Origin(f"http://{place}" if origin is None else origin),
            subprotocols=[Subprotocol(f"viser-v{viser.__version__}")],
            compression=None,
            max_size=None,
            proxy=None,
        )

    def __enter__(self) -> "WirePage":
        self.move()
        deadline = time.monotonic() + PATIENCE
        while not (new := set(self.server.panels) - self._before):
            assert time.monotonic() < deadline, "the page does not open"
            time.sleep(0.01)
        (self.client_id,) = new
        return self

    def __exit__(self, *_error: object) -> None:
        self.socket.close()

    @property
    def tab(self) -> Tab:
        """Tab of the page on the server."""
        return self.server.panels[self.client_id].tab

    def control(self, name: str) -> Any:
        """Handle of a control, by its name in the panel."""
        return getattr(self.server.panels[self.client_id], name)

    def send(self, kind: str, **fields: Any) -> None:
        """Sends a message of one of viser's classes."""
        self.socket.send(msgspec.msgpack.encode({"type": kind, **fields}))

    def move(self, **changes: Any) -> None:
        """Sends a camera."""
        camera = {
            "wxyz": (1.0, 0.0, 0.0, 0.0), "position": (0.0, 0.0, -2.0), "fov": 0.8, "near": 0.01, "far": 1000.0,
            "image_height": 48, "image_width": 64, "look_at": (0.0, 0.0, 0.0), "up_direction": (0.0, -1.0, 0.0),
        }  # fmt: skip
        self.send("ViewerCameraMessage", **(camera | changes))

    def set(self, name: str, value: object) -> None:
        """Sends a new value of a control, by its name in the panel."""
        self.send("GuiUpdateMessage", uuid=self.control(name)._impl.uuid, updates={"value": value})

    def wait_for_note(self, text: str) -> str:
        """Waits for a notification with this text in its title or body."""
        deadline = time.monotonic() + PATIENCE
        while not (found := [note for note in self.notes if text in note]):
            assert time.monotonic() < deadline, f"no notification says {text}, but {self.notes}"
            self._read(self.socket.recv(timeout=PATIENCE, decode=False))
        return found[0]

    def wait_until(self, holds: Any) -> None:
        """Waits until a condition holds."""
        deadline = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.01)

    def _read(self, data: bytes) -> None:
        size = int.from_bytes(data[8:16], "little")
        for message in msgspec.msgpack.decode(zstandard.decompress(data[16 : 16 + size]))["messages"]:
            if message["type"] == "NotificationShowMessage":
                props = message["props"]
                self.notes.append(f"{props['title']}: {props['body']}")
