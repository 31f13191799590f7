"""The viewer of a loaded field."""

import logging
import threading

from gsdff.field.field import Field
from gsdff.viewer.address import find_address
from gsdff.viewer.page.document import Page, PageOptions, make_page
from gsdff.viewer.shared_scene import open_shared_scene
from gsdff.viewer.wire.answers import Answers
from gsdff.viewer.wire.messages import MOST_EDITS, most_bytes
from gsdff.viewer.wire.server import AppServer

log = logging.getLogger("gsdff")


def serve(field: Field, *, host: str = "127.0.0.1", port: int = 8080) -> None:
    """Shows a field in the browser until the process is interrupted; prints the address.

    With `host` 127.0.0.1 only this machine can open the page, with 0.0.0.0 everyone who can reach it and knows the
    address, which then has a random token in it. If `port` is taken the next free one is used. Raises `UserError` for a
    host that is not this machine's.
    """
    address = find_address(host, port)
    answers = Answers(open_shared_scene(field))
    page = make_app_page(answers)
    with AppServer(answers, lambda: page, address) as server:
        print(f"{field.source}: open {server.url} (Ctrl-C stops it)", flush=True)
        if not address.is_private:
            log.warning(
                "%s: everyone who gets this address with its token can look, edit their view, and save; on another "
                "machine, put this one's name or address in place of 127.0.0.1", address.host,
            )  # fmt: skip
        threading.Event().wait()


def make_app_page(answers: Answers) -> Page:
    """The page of a scene with a server behind it; without words, and with the reason in the log, if it has none."""
    shared = answers.shared
    is_training, is_large = shared.training is not None, shared.is_large
    server = {
        "scene": answers.scene,
        "version": answers.version,
        "modes": answers.modes,
        "isTraining": is_training,
        "draws": is_large,
        "folder": str(shared.folder),
        "most": {"edits": MOST_EDITS, "bytes": most_bytes(len(answers.gaussians))},
    }
    # an older run's things may lie in the folder of one that trains
    options = PageOptions(has_features=answers.has_words, has_things=not is_training, has_harmonics=not is_large)
    return make_page(shared.field, options, server)
