"""The page: a server of its own port, a tab for every browser that opens it."""

import logging
import socket
import threading
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any

from gsdff.errors import UserError
from gsdff.viewer.panel import Panel
from gsdff.viewer.tab import Tab
from gsdff.viewer.world import World

log = logging.getLogger("gsdff")

MAX_TRIES = 20
"""Ports in a row that are looked at."""


@dataclass(frozen=True)
class Address:
    """Where the page is."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """For a browser on this machine."""
        shown = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host
        return f"http://{shown}:{self.port}"


class Server:
    """Serves a world until it is closed; a context manager."""

    def __init__(self, world: World, address: Address):
        import viser

        self.world = world
        self.address = address
        self.tabs: dict[int, Tab] = {}
        self._lock = threading.Lock()
        with redirect_stdout(StringIO()):  # it prints a table of its own
            self.viser = viser.ViserServer(address.host, address.port, label="gsdff", verbose=False)
        gui = self.viser.gui
        # the share button would put the scene on the internet
        gui.configure_theme(show_logo=False, show_share_button=False, dark_mode=True, brand_color=(255, 158, 13))
        self.viser.scene.set_up_direction(tuple(world.up.tolist()))
        self.viser.on_client_connect(self._open)
        self.viser.on_client_disconnect(self._close)

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends all tabs and the server."""
        with self._lock:
            tabs, self.tabs = list(self.tabs.values()), {}
        for tab in tabs:
            tab.close()
        self.viser.stop()

    def _open(self, client: Any) -> None:
        tab = Tab(self.world, client)
        Panel(client.gui, tab)
        with self._lock:
            self.tabs[client.client_id] = tab

    def _close(self, client: Any) -> None:
        with self._lock:
            tab = self.tabs.pop(client.client_id, None)
        if tab is not None:
            tab.close()


def find_address(host: str, port: int) -> Address:
    """The first port from `port` on that is free; `UserError` for a host that is not ours, or where none is free."""
    for candidate in range(port, min(port + MAX_TRIES, 65536)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, candidate))
            except PermissionError as error:
                raise UserError(f"--port {candidate}: not allowed; choose one above 1023") from error
            except socket.gaierror as error:
                raise UserError(f"--host {host}: no address of this machine ({error})") from error
            except OSError:
                continue
        if candidate != port:
            log.info("port %d is taken", port)
        return Address(host, candidate)
    raise UserError(f"--port {port}: none of {MAX_TRIES} ports from there is free at {host}")
