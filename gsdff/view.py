"""`gsdff view RUN`: a scene in the browser, to look at, query and edit."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from gsdff.cli import flags_of, read_options, run_door
from gsdff.cli.source import PhotoOptions, open_source
from gsdff.errors import UserError
from gsdff.files.writing import check_paths


@dataclass(frozen=True)
class ViewArguments:
    """Shows a run, or any 3DGS PLY or .splat, in the browser: colours, depth, features, queries; selects and edits."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a run, or a PLY, which needs its .basis.safetensors beside it for queries."""
    data: Path | None = None
    """Folder of photos in place of the run's, or for a PLY."""
    host: str = "127.0.0.1"
    """Address to listen on: 127.0.0.1 for this machine alone, 0.0.0.0 for all who know the page's address, with its
    token."""
    port: int = 8080
    """Port of the page; the next free one if it is taken."""
    offset: Annotated[tuple[float, float, float] | None, tyro.conf.arg(metavar="X Y Z")] = None
    """Point of the world that positions are relative to, for a file that does not state it: a .splat cannot."""
    dataset: PhotoOptions = field(default_factory=PhotoOptions)
    """How to read the photos, if not as the run did."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` uses CUDA if there is a card."""


FLAGS = flags_of(ViewArguments)


def main() -> None:
    """Serves the scene until Ctrl-C."""
    arguments = read_options(ViewArguments, "view")
    check_paths({"run": arguments.run, "data": arguments.data})
    if not 1 <= arguments.port <= 65535:
        raise UserError(f"--port: expected 1 to 65535, got {arguments.port}")

    from gsdff.viewer.address import find_address
    from gsdff.viewer.serve import serve

    find_address(arguments.host, arguments.port)  # refused before anything is loaded
    field = open_source(arguments)
    if arguments.data is not None:
        _ = field.scene  # photos that are named must be there
    serve(field, host=arguments.host, port=arguments.port)


if __name__ == "__main__":
    run_door(main, FLAGS)
