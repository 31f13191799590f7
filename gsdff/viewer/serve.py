"""The viewer of a loaded field."""

import logging
import threading
from typing import NoReturn

from gsdff.field.field import Field
from gsdff.viewer.page.document import PageOptions, make_page
from gsdff.viewer.server import Address, Server, find_address
from gsdff.viewer.shared_scene import open_shared_scene
from gsdff.viewer.wire.answers import Answers
from gsdff.viewer.wire.server import AppServer

log = logging.getLogger("gsdff")

MANY = 3_000_000
"""Number of Gaussians beyond which a page is slow to open."""


def serve(field: Field, *, host: str = "127.0.0.1", port: int = 8080, old_page: bool = False) -> None:
    """Shows a field in the browser until the process is interrupted; prints the address.

    With `host` 127.0.0.1 only this machine can open the page, with 0.0.0.0 everyone who can reach it and knows the
    address, which then has a random token in it. If `port` is taken the next free one is used. `old_page` is the page
    before, on viser, for which the server draws scenes that are too large for a browser. Raises `UserError` for a host
    that is not this machine's.
    """
    address = find_address(host, port)
    shared = open_shared_scene(field)
    if old_page:
        with Server(shared, address) as server:
            print(f"{field.source}: open {server.url} (Ctrl-C stops it)", flush=True)
            renderer = {"browser": "rendered by the browser", "server": "rendered by the server"}
            log.info("%d Gaussians on %s, %s by default", len(field), shared.device, renderer[shared.default_renderer])
            _stay(address)
    if len(field) > MANY:
        log.warning(
            "%d Gaussians: the page has about 60 MB for each million, and the browser sorts them; with --old-page this "
            "process draws", len(field),
        )  # fmt: skip
    answers = Answers(shared)
    page = make_app_page(answers)
    with AppServer(answers, lambda: page, address) as server:
        print(f"{field.source}: open {server.url} (Ctrl-C stops it)", flush=True)
        _stay(address)


def make_app_page(answers: Answers) -> str:
    """The page of a scene with a server behind it; without words, and with the reason in the log, if it has none."""
    is_training = answers.shared.training is not None
    facts = {"scene": answers.scene, "version": answers.version, "modes": answers.modes, "isTraining": is_training}
    # an older run's things may lie in the folder of one that trains
    return make_page(
        answers.shared.field, PageOptions(has_features=answers.has_words, has_things=not is_training), facts
    )


def _stay(address: Address) -> NoReturn:
    """Waits for Ctrl-C."""
    if not address.is_private:
        log.warning(
            "%s: everyone who gets this address with its token can look, edit their view, and save; on another "
            "machine, put this one's name or address in place of 127.0.0.1", address.host,
        )  # fmt: skip
    threading.Event().wait()
    raise AssertionError("nobody sets it")
