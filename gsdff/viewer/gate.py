"""Checks of every request to a page before its server answers it, as any web page can send requests to this machine.

Refused are: other web pages (by their Origin), pages whose domain name was made to lead to this machine (DNS rebinding,
by the Host), frames in other pages, and, if other machines can reach the page, everyone who does not know the token in
its address.
"""

import logging
import re
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any

log = logging.getLogger("gsdff")

HEADERS = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # the token is in the address
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
HOST = re.compile(r"(\[[0-9a-f:.]+\]|[0-9a-z._-]+)(:[0-9]{1,5})?", re.ASCII)
"""A Host header in lower case: a name or an address, and a port, which may be that of a tunnel."""

WRONG_NAME = (
    "this name is not one of this page's; open the address that gsdff has printed, or, if this is the full name of its "
    "machine, start `gsdff view` with --host, or `gsdff train` with --viewer-host, and the name"
)


@dataclass(frozen=True)
class Refusal:
    """Answer to a request that is not let in."""

    status: HTTPStatus
    reason: str


@dataclass
class Gate:
    """Checks the requests to the server of one page."""

    host: str
    """Address or name that the server listens on."""
    policy: str
    """Content-Security-Policy of the page, with {host} for its Host."""
    token: str = ""
    """First part of the path of the page's address; empty if only this machine can reach the page."""
    _logged: set[str] = field(default_factory=set)

    def find_refusal(self, path: str, headers: Any) -> Refusal | None:
        """Reason to refuse a request with this path and these headers (of websockets); None to let it in."""
        hosts = [host.lower() for host in headers.get_all("Host")]
        if len(hosts) != 1 or not self._is_own(hosts[0]):
            return Refusal(HTTPStatus.FORBIDDEN, WRONG_NAME)
        origins = [origin.lower() for origin in headers.get_all("Origin")]
        needs_origin = bool(headers.get_all("Upgrade"))  # browsers always say where such a request comes from
        if origins not in ([f"http://{hosts[0]}"], [f"https://{hosts[0]}"]) and (origins or needs_origin):
            return Refusal(HTTPStatus.FORBIDDEN, "this request comes from another web page or program")
        place = path.partition("?")[0]
        if not secrets.compare_digest(place.strip("/").encode(errors="surrogateescape"), self.token.encode()):
            if self.token:
                return Refusal(HTTPStatus.FORBIDDEN, "open the whole address that gsdff has printed, with its token")
            return Refusal(HTTPStatus.NOT_FOUND, "there is only one page here, /")
        return None

    def _is_own(self, host: str) -> bool:
        """Whether a Host header, in lower case, names this server."""
        found = HOST.fullmatch(host)
        if found is None:
            return False
        name = found[1].strip("[]")
        names = {"localhost", self.host.lower()}
        if self.token:
            machine = socket.gethostname().lower()
            names |= {machine, f"{machine}.local"}
        try:
            address = ip_address(name)
        except ValueError:
            return name in names
        # no domain name leads to a page under a bare address, so all that we listen on are safe
        return address.is_loopback or name in names or self.host in ("0.0.0.0", "::")

    def process(self, answer: Callable[[Any, Any], Any], connection: Any, request: Any) -> Any:
        """Answers a request, None to open a websocket; `answer` is the server's function for one that is let in."""
        refusal = self.find_refusal(request.path, request.headers)
        if refusal is not None:
            self._log(refusal, request.headers)
            response = connection.respond(refusal.status, f"gsdff: {refusal.reason}\n")
        else:
            query = request.path.partition("?")[2]
            response = answer(connection, replace(request, path=f"/?{query}"))
            if response is None:  # a socket, whose Origin has been checked
                assert request.headers.get_all("Upgrade"), "nothing else opens one"
                return None
            host = request.headers["Host"].lower()
            response.headers["Content-Security-Policy"] = self.policy.format(host=host)
        for name, value in HEADERS.items():
            response.headers[name] = value
        return response

    def _log(self, refusal: Refusal, headers: Any) -> None:
        """Logs the first refusal of another web page, and of another name, so that a person hears of the attempt."""
        origins, hosts = headers.get_all("Origin"), headers.get_all("Host")[:1]
        if refusal.status is not HTTPStatus.FORBIDDEN or refusal.reason in self._logged:
            return
        if origins:
            log.warning("a web page was refused, from %r to %r", origins[0][:200], hosts)
        elif refusal.reason == WRONG_NAME:
            log.warning("a request for the name %r was refused; if it is this machine's, give it as `host`", hosts)
        else:
            return
        self._logged.add(refusal.reason)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on this address or name."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def make_token(host: str) -> str:
    """Random token for the page's address; empty if only this machine can reach it."""
    return "" if is_loopback(host) else secrets.token_urlsafe(16)


class _OneLine(logging.Filter):
    """Turns the tracebacks of connections that fail into one line, and drops those that were no connection yet."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if error is None or record.getMessage() != "connection handler failed":
            return False
        record.exc_info, record.levelno = None, logging.WARNING
        record.msg, record.args = "a page sent what is no message of it, and was closed: %s", (repr(error)[:200],)
        return True


def quiet_logger() -> logging.Logger:
    """Logger for the server's library, which logs a traceback whenever a stranger sends garbage."""
    logger = logging.getLogger("gsdff.viewer.connections")
    if not logger.filters:
        logger.addFilter(_OneLine())
    return logger
