"""Host and port of a page."""

import errno
import logging
import socket
from dataclasses import dataclass

from gsdff.errors import UserError
from gsdff.viewer.gate import is_loopback

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
