"""The viewer of a field that is loaded."""

import logging
import threading

from gsdff.field.field import Field
from gsdff.viewer.server import Server, find_address
from gsdff.viewer.world import open_world

log = logging.getLogger("gsdff")


def serve(field: Field, *, host: str = "127.0.0.1", port: int = 8080) -> None:
    """Shows a field in the browser until the process is interrupted; prints the address.

    `host` 127.0.0.1 lets this machine alone open the page, 0.0.0.0 everyone who can reach it, without a password. If
    `port` is taken the next free one is used. Raises `UserError` for a host that is not of this machine.
    """
    address = find_address(host, port)
    world = open_world(field)
    with Server(world, address):
        print(f"{field.source}: open {address.url} (Ctrl-C stops it)", flush=True)
        drawing = {"browser": "the browser draws splats", "server": "this process draws, exactly"}[world.way]
        log.info("%d Gaussians on %s: %s, until the page says otherwise", len(field), world.device, drawing)
        if not address.is_private:
            log.warning("%s: everyone who can reach this machine may look, edit their view, and save", host)
        threading.Event().wait()
