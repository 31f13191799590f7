"""`python -m gsdff.view RUN`: a scene in the browser, to look at, ask and edit."""

import logging
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from gsdff.cli import choose_device, run_door
from gsdff.errors import UserError

log = logging.getLogger("gsdff")


@dataclass(frozen=True)
class ViewArguments:
    """Shows a run, or any 3DGS PLY, in the browser: colours, depth, features, answers to texts; selects and edits."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The run's folder, or a PLY, with its .basis.safetensors beside it where it is to be asked."""
    data: Path | None = None
    """The folder of photos, where it is not the run's; a PLY has none of its own."""
    host: str = "127.0.0.1"
    """Who may open the page: 127.0.0.1 this machine alone, 0.0.0.0 everyone who can reach it, without a password."""
    port: int = 8080
    """The next free one is taken where this is not."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes CUDA where there is a card."""


def main() -> None:
    """Serves the scene until Ctrl-C."""
    arguments = tyro.cli(ViewArguments, prog="python -m gsdff.view")
    if not 1 <= arguments.port <= 65535:
        raise UserError(f"--port: expected 1 to 65535, got {arguments.port}")
    from gsdff.viewer.server import Server, find_address
    from gsdff.viewer.world import open_world

    address = find_address(arguments.host, arguments.port)
    world = open_world(arguments.run, choose_device(arguments.device), data=arguments.data)
    with Server(world, address):
        print(f"{arguments.run}: open {address.url} (Ctrl-C ends it)", flush=True)
        drawing = {"browser": "the browser draws splats", "server": "this process draws, exactly"}[world.way]
        log.info("%d Gaussians on %s: %s, until the page says otherwise", len(world.gaussians), world.device, drawing)
        if not address.is_private:
            log.warning("%s: everyone who can reach this machine may look, edit their view, and save", arguments.host)
        threading.Event().wait()


if __name__ == "__main__":
    run_door(main)
