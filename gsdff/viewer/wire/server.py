"""The app's page on this machine: one address that answers with the page, and with a websocket for every tab of it."""

import logging
import socket
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import Any
from weakref import WeakSet

from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from gsdff.viewer.address import Address
from gsdff.viewer.gate import Gate, make_token, quiet_logger
from gsdff.viewer.page.document import POLICY, Page
from gsdff.viewer.wire.answers import Answers
from gsdff.viewer.wire.messages import most_bytes
from gsdff.viewer.wire.tab import AppTab

log = logging.getLogger("gsdff")

MOST_TABS = 32
"""Largest number of open pages; each has two threads."""
MOST_PAGES = 2
"""Pages whose columns are kept, for those that have just been opened."""
CLOSE_SECONDS = 2.0
"""Time in which a page that is closed may say goodbye."""
BROKEN = (CloseCode.PROTOCOL_ERROR, CloseCode.INVALID_DATA, CloseCode.MESSAGE_TOO_BIG)
"""Reasons to close a connection that are no fault of a page of ours."""
FRAMES_POLICY = "; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


class AppServer:
    """Web server of the app; a context manager. Every page has a thread that takes its messages.

    `make_page` gives the page to whoever opens it. A scene that trains has up to `most_gaussians`.
    """

    def __init__(
        self, answers: Answers, make_page: Callable[[], Page], address: Address, *, most_gaussians: int | None = None
    ):
        self.answers = answers
        """Answers for pages that are opened from now on."""
        self.tabs: set[AppTab] = set()
        self._make_page = make_page
        self._pages: deque[Page] = deque(maxlen=MOST_PAGES)
        """The last that were sent, which ask for their columns next."""
        self._connections: WeakSet[ServerConnection] = WeakSet()
        """All that are open, of pages and of browsers that have asked for nothing yet."""
        self._left = threading.Condition()
        """Guards `tabs`, and is notified when one is closed."""
        policy = POLICY.format(sources=" 'self' ws://{host} wss://{host}") + FRAMES_POLICY
        self.gate = Gate(address.host, policy, make_token(address.host))
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        listener = socket.create_server((address.host, address.port), family=family)
        self.address = replace(address, port=listener.getsockname()[1])
        self._server = serve(
            self._talk,
            sock=listener,
            compression=None,
            create_connection=self._connect,  # pyright: ignore[reportArgumentType]  # any function that makes one
            process_request=partial(self.gate.process, self._respond),
            close_timeout=CLOSE_SECONDS,
            max_size=most_bytes(most_gaussians or len(answers.gaussians)),
            logger=quiet_logger(),
        )
        self._thread = threading.Thread(target=self._server.serve_forever, name="gsdff-app", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """URL of the page for a browser on this machine, with its token if it has one."""
        return f"{self.address.url}/{self.gate.token}".rstrip("/")

    @property
    def open_tabs(self) -> list[AppTab]:
        """All open pages."""
        with self._left:
            return list(self.tabs)

    def __enter__(self) -> "AppServer":
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes all pages and the server; their threads have ended afterwards."""
        self._server.shutdown()
        self._thread.join()
        for connection in list(self._connections):
            connection.close_socket()
        with self._left:
            self._left.wait_for(lambda: not self.tabs)

    def _connect(self, *arguments: Any, **options: Any) -> ServerConnection:
        connection = ServerConnection(*arguments, **options)
        self._connections.add(connection)
        return connection

    def _respond(self, connection: Any, request: Request) -> Response | None:
        """The page or its columns, or None for a websocket."""
        if request.headers.get_all("Upgrade"):
            return None
        query = request.path.partition("?")[2]
        if query:
            page = next((page for page in tuple(self._pages) if columns_query(page) == query), None)
            if page is None:
                return connection.respond(HTTPStatus.NOT_FOUND, "gsdff: this page is out of date; load it again\n")
            return _answer("application/octet-stream", page.columns)
        page = self._make_page()
        self._pages.append(page)
        return _answer("text/html; charset=utf-8", page.served().encode())

    def _talk(self, connection: ServerConnection) -> None:
        """Takes the messages of one page until it is closed."""
        with self._left:
            is_full = len(self.tabs) >= MOST_TABS
            tab = None if is_full else AppTab(self.answers, partial(_send, connection))
            if tab is not None:
                self.tabs.add(tab)
        if tab is None:
            connection.close(CloseCode.TRY_AGAIN_LATER, f"{MOST_TABS} pages are open; close one")
            return
        try:
            for data in connection:
                tab.receive(data)
        except ConnectionClosed as error:  # without a goodbye
            if error.sent is not None and error.sent.code in BROKEN:
                log.warning("a page sent what is no message of it, and was closed: %s", error.sent)
        finally:
            tab.close()
            with self._left:
                self.tabs.discard(tab)
                self._left.notify_all()


def columns_query(page: Page) -> str:
    """Query by which a page asks for its columns: the scene and its state."""
    server = page.header["server"]
    return f"columns={server['scene']}.{server['version']}"


def _answer(kind: str, body: bytes) -> Response:
    headers = Headers()
    headers["Content-Type"] = kind
    headers["Content-Length"] = str(len(body))
    headers["Cache-Control"] = "no-store"  # the same address may show another scene tomorrow
    headers["Connection"] = "close"
    return Response(HTTPStatus.OK, "OK", headers, body)


def _send(connection: ServerConnection, data: str | bytes) -> None:
    with suppress(ConnectionClosed):  # nobody misses it
        connection.send(data)
