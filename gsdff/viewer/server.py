"""The page: a web server with a tab for every browser that opens it."""

import errno
import logging
import socket
import threading
import warnings
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from typing import Any

from gsdff.errors import UserError
from gsdff.viewer.failures import FAILURES, describe_failure
from gsdff.viewer.gate import Gate, is_loopback, make_token
from gsdff.viewer.live_panel import LivePanel
from gsdff.viewer.messages import guard
from gsdff.viewer.panel import Panel
from gsdff.viewer.shared_scene import SharedScene
from gsdff.viewer.tab import Tab

log = logging.getLogger("gsdff")

MAX_TRIES = 20
"""Number of successive ports that are tried."""


@dataclass(frozen=True)
class Address:
    """Host and port of the page."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """URL for a browser on this machine, without the token that is needed if others can reach it."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def is_private(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)


class Server:
    """Web server of a scene; a context manager."""

    def __init__(self, shared: SharedScene, address: Address):
        import viser

        self.shared = shared
        self.panels: dict[int, Panel] = {}
        self._lock = threading.RLock()
        self._is_closed = False
        # messages to a page that has just been closed are lost, and nobody misses them
        warnings.filterwarnings("ignore", "Queued a .* on a closed connection", UserWarning)
        self.gate = Gate(address.host, make_token(address.host))
        with redirect_stdout(StringIO()), self.gate.installed():  # viser prints a table
            self.viser = viser.ViserServer(address.host, address.port, label="gsdff", verbose=False)
        if not self.gate.is_installed:
            self.viser.stop()
            raise RuntimeError("this version of viser starts its server in another way; install the locked version")
        guard(self.viser)
        # a later port if another process has taken this one since it was found free
        self.address = replace(address, port=self.viser.get_port())
        gui = self.viser.gui
        # the share button would publish the scene on the internet
        gui.configure_theme(show_logo=False, show_share_button=False, dark_mode=True, brand_color=(255, 158, 13))
        self.viser.scene.set_up_direction(tuple(shared.up.tolist()))
        self.viser.on_client_connect(self._open)
        self.viser.on_client_disconnect(self._close)
        self.gate.is_open = True

    @property
    def url(self) -> str:
        """URL of the page for a browser on this machine, with its token if it has one."""
        return f"{self.address.url}/{self.gate.token}".rstrip("/")

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes all tabs and the server."""
        with self._lock:
            self._is_closed = True
            panels, self.panels = self.open_panels, {}
        for panel in panels:
            panel.tab.close()
        with redirect_stdout(StringIO()):
            self.viser.stop()

    @property
    def open_panels(self) -> list[Panel]:
        """Panels of all open pages."""
        return list(self.panels.values())

    def rebuild_pages(self) -> None:
        """Rebuilds the panels of all pages after the scene was replaced; cameras and queries stay."""
        with self._lock:
            for client_id, panel in list(self.panels.items()):
                with panel.tab.lock:
                    panel.tab.reload_scene()
                    panel.gui.reset()
                    self.panels[client_id] = rebuilt = self._make_panel(panel.tab)
                    rebuilt.history = panel.history
                    panel.tab.refresh()

    def _make_panel(self, tab: Tab) -> Panel:
        return (Panel if self.shared.training is None else LivePanel)(tab.client.gui, tab)

    def _open(self, client: Any) -> None:
        with self._lock:
            if self._is_closed:
                return
            try:
                self._open_panel(client)
            except FAILURES as error:
                client.add_notification("Error", describe_failure(error), color="red")
        if client.client_id not in self.viser.get_clients():  # closed while the panel was built
            self._close(client)

    def _open_panel(self, client: Any) -> None:
        tab = Tab(self.shared, client)
        try:
            self.panels[client.client_id] = self._make_panel(tab)
        except BaseException:
            tab.close()  # otherwise its thread would go on drawing for nobody
            raise

    def _close(self, client: Any) -> None:
        with self._lock:  # held until the render thread has ended, so that the server does not end before it
            panel = self.panels.pop(client.client_id, None)
            if panel is not None:
                panel.tab.close()


def find_address(host: str, port: int) -> Address:
    """Address with the first free port from `port` on; raises `UserError` for a foreign host, and if none is free."""
    try:
        # "localhost" may have two addresses; the IPv4 one is preferred
        family = min(entry[0] for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except (socket.gaierror, UnicodeError) as error:
        raise UserError(f"`host` {host}: expected an address or a name of this machine ({error})") from error
    for candidate in range(port, min(port + MAX_TRIES, 65536)):
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, candidate))
            except PermissionError as error:
                raise UserError(f"`port` {candidate}: not permitted; choose one above 1023") from error
            except OSError as error:
                if error.errno == errno.EADDRNOTAVAIL:
                    raise UserError(f"`host` {host}: expected an address of this machine") from error
                continue
        if candidate != port:
            log.info("port %d is taken", port)
        return Address(host, candidate)
    raise UserError(f"`port` {port}: none of the {MAX_TRIES} ports from there is free on {host}; choose another")
