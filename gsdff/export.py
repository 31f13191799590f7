"""`python -m gsdff.export RUN`: a run's scene as a file other programs open."""

import logging
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from gsdff.cli import run_door
from gsdff.errors import UserError

log = logging.getLogger("gsdff")

SUFFIXES = {"ply": ".ply", "splat": ".splat", "compressed": ".compressed.ply"}
BASIS_SUFFIX = ".basis.safetensors"


@dataclass(frozen=True)
class ExportArguments:
    """Writes a run's Gaussians in the world frame of the photos' poses."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The run's folder, as `python -m gsdff.train` made it."""
    format: Literal["ply", "splat", "compressed"] = "ply"
    """`ply`: 3DGS's, exact; `splat`: 32 bytes a Gaussian, one colour from all sides; `compressed`: SuperSplat's PLY."""
    out: Path | None = None
    """The file to write; by default RUN/scene.ply, RUN/scene.splat or RUN/scene.compressed.ply."""
    features: Literal["latent", "none"] = "latent"
    """`latent` adds `semantic_*` properties and a file with their basis to a `ply`; `none` suits strict viewers."""


def main() -> None:
    """Exports the run named on the command line."""
    path = export_run(tyro.cli(ExportArguments, prog="python -m gsdff.export"))
    print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")


def export_run(arguments: ExportArguments) -> Path:
    """Writes the file and gives its path; the basis of its features goes beside it as `<stem>.basis.safetensors`."""
    from gsdff.distill import BASIS_FILE
    from gsdff.ply import write_compressed_ply, write_ply, write_splat
    from gsdff.runs import load_run

    path = arguments.out or arguments.run / f"scene{SUFFIXES[arguments.format]}"
    ending = ".splat" if arguments.format == "splat" else ".ply"
    if path.suffix != ending:
        raise UserError(f"--out {path}: expected a name ending in {ending} for --format {arguments.format}")
    run = load_run(arguments.run)
    gaussians = run.gaussians.to_input_frame(run.frame)
    has_features = gaussians.features is not None and arguments.features == "latent"
    if has_features and arguments.format != "ply":
        log.info("features are left out: --format %s has no place for them", arguments.format)
        has_features = False
    if not has_features:
        gaussians = replace(gaussians, features=None)
    path.parent.mkdir(parents=True, exist_ok=True)
    write = {"ply": write_ply, "splat": write_splat, "compressed": write_compressed_ply}[arguments.format]
    write(path, gaussians)
    if has_features:
        shutil.copyfile(run.folder / BASIS_FILE, path.with_suffix(BASIS_SUFFIX))
    return path


if __name__ == "__main__":
    run_door(main)
