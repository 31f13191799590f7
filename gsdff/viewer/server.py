"""The page: a server of its own port, a tab for every browser that opens it."""

import errno
import logging
import socket
import threading
import warnings
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any

from gsdff.errors import UserError
from gsdff.viewer.live_panel import LivePanel
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
        return f"http://[{shown}]:{self.port}" if ":" in shown else f"http://{shown}:{self.port}"

    @property
    def is_private(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in ("127.0.0.1", "localhost", "::1")


class Server:
    """Serves a world until it is closed; a context manager."""

    def __init__(self, world: World, address: Address):
        import viser

        self.world = world
        self.address = address
        self.panels: dict[int, Panel] = {}
        self._lock = threading.RLock()
        # what is on its way to a page that closes is lost, and nobody misses it
        warnings.filterwarnings("ignore", "Queued a .* on a closed connection", UserWarning)
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
            panels, self.panels = self.open_panels, {}
        for panel in panels:
            panel.tab.close()
        with redirect_stdout(StringIO()):
            self.viser.stop()

    @property
    def open_panels(self) -> list[Panel]:
        """Of all pages that are open now."""
        return list(self.panels.values())

    def renew(self) -> None:
        """Builds all pages anew where they stand, as the world has become another."""
        with self._lock:
            for client_id, panel in list(self.panels.items()):
                with panel.tab.lock:
                    panel.tab.renew()
                    panel.gui.reset()
                    self.panels[client_id] = renewed = self._make_panel(panel.tab)
                    renewed.history = panel.history
                    panel.tab.refresh()

    def _make_panel(self, tab: Tab) -> Panel:
        return (Panel if self.world.training is None else LivePanel)(tab.client.gui, tab)

    def _open(self, client: Any) -> None:
        with self._lock:
            self.panels[client.client_id] = self._make_panel(Tab(self.world, client))
        if client.client_id not in self.viser.get_clients():  # closed while it was built
            self._close(client)

    def _close(self, client: Any) -> None:
        with self._lock:  # held until its thread has ended, so that the server does not end before
            panel = self.panels.pop(client.client_id, None)
            if panel is not None:
                panel.tab.close()


def find_address(host: str, port: int, *, prefix: str = "") -> Address:
    """The first port from `port` on that is free; `UserError` for a host that is not ours, or where none is free;
    `prefix` is before the names of the options."""
    try:
        # "localhost" is two addresses; the first of version 4, where there is one
        family = min(entry[0] for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except (socket.gaierror, UnicodeError) as error:
        raise UserError(f"--{prefix}host {host}: expected an address or a name of this machine ({error})") from error
    for candidate in range(port, min(port + MAX_TRIES, 65536)):
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, candidate))
            except PermissionError as error:
                raise UserError(f"--{prefix}port {candidate}: not allowed; choose one above 1023") from error
            except OSError as error:
                if error.errno == errno.EADDRNOTAVAIL:
                    raise UserError(f"--{prefix}host {host}: no address of this machine") from error
                continue
        if candidate != port:
            log.info("port %d is taken", port)
        return Address(host, candidate)
    raise UserError(f"--{prefix}port {port}: none of {MAX_TRIES} ports from there is free at {host}")
