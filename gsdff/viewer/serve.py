"""The viewer of a loaded field."""

import logging
import threading

from gsdff.field.field import Field
from gsdff.viewer.server import Server, find_address
from gsdff.viewer.shared_scene import open_shared_scene

log = logging.getLogger("gsdff")


def serve(field: Field, *, host: str = "127.0.0.1", port: int = 8080) -> None:
    """Shows a field in the browser until the process is interrupted; prints the address.

    With `host` 127.0.0.1 only this machine can open the page, with 0.0.0.0 everyone who can reach it and knows the
    address, which then has a random token in it. If `port` is taken the next free one is used. Raises `UserError` for a
    host that is not this machine's.
    """
    address = find_address(host, port)
    shared = open_shared_scene(field)
    with Server(shared, address) as server:
        print(f"{field.source}: open {server.url} (Ctrl-C stops it)", flush=True)
        renderer = {"browser": "rendered by the browser", "server": "rendered by the server"}[shared.default_renderer]
        log.info("%d Gaussians on %s, %s by default", len(field), shared.device, renderer)
        if not address.is_private:
            log.warning(
                "%s: everyone who gets this address with its token can look, edit their view, and save; on another "
                "machine, put this one's name or address in place of 127.0.0.1", host,
            )  # fmt: skip
        threading.Event().wait()
