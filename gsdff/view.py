"""`python -m gsdff.view RUN`: a scene in the browser, to look at, ask and edit."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from gsdff.cli import choose_device, flags_of, run_door
from gsdff.errors import UserError


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


FLAGS = flags_of(ViewArguments)


def main() -> None:
    """Serves the scene until Ctrl-C."""
    arguments = tyro.cli(ViewArguments, prog="gsdff view")
    if not 1 <= arguments.port <= 65535:
        raise UserError(f"--port: expected 1 to 65535, got {arguments.port}")

    from gsdff.field.field import load
    from gsdff.viewer.serve import serve
    from gsdff.viewer.server import find_address

    find_address(arguments.host, arguments.port)  # refused before anything is loaded
    field = load(arguments.run, data=arguments.data, device=choose_device(arguments.device))
    if arguments.data is not None:
        _ = field.scene  # photos that are named must be there
    serve(field, host=arguments.host, port=arguments.port)


if __name__ == "__main__":
    run_door(main, FLAGS)
