"""Formats that PlayCanvas' splat-transform writes, a program for node: SPZ, SOG, GLB (KHR_gaussian_splatting)."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from gsdff.errors import UserError
from gsdff.gaussians import Gaussians
from gsdff.io.ply import write_ply

PROGRAM = "splat-transform"
PACKAGE = "@playcanvas/splat-transform"
ENDINGS = (".spz", ".sog", ".glb")
SPZ_VERSION = ("--spz-version", "3")
"""Few readers know the fourth version yet."""


def find_splat_transform() -> str:
    """Path of the program; raises `UserError`, with how to install it, if there is none."""
    if found := shutil.which(PROGRAM):
        return found
    missing = "" if shutil.which("node") else "node (nodejs.org), then "
    raise UserError(
        f"{PROGRAM}: not found, it writes {', '.join(ENDINGS)}; install {missing}`npm install -g {PACKAGE}`, or "
        "convert a PLY of `gsdff export` elsewhere"
    )


def convert(gaussians: Gaussians, ending: str, finish: Callable[[Path], None] = lambda made: None) -> bytes:
    """Gaussians without features in the format of an ending; not within a block of `together`.

    `finish` may add to the file. Raises `UserError` without the program, and with its message if it fails.
    """
    program = find_splat_transform()
    with TemporaryDirectory(prefix="gsdff-") as folder:
        source, made = Path(folder) / "scene.ply", Path(folder) / f"made{ending}"
        write_ply(source, gaussians)
        # SOG is made sooner by a graphics card, which is not everywhere where node is; the others need none
        devices = ([], ["--gpu", "cpu"]) if ending == ".sog" else (["--gpu", "cpu"],)
        said = ""
        for device in devices:
            command = [program, "--quiet", "--overwrite", *SPZ_VERSION, *device, str(source), str(made)]
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
            if done.returncode == 0 and made.is_file():
                break
            said = next(iter((done.stderr or done.stdout).strip().splitlines()), "it says nothing")
        else:
            raise UserError(f"{PROGRAM}: could not make a {ending}: {said}")
        finish(made)
        return made.read_bytes()
