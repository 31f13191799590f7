"""`python -m gsdff.export RUN`: a run's scene, or any 3DGS PLY, as a file other programs open."""

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
    """Writes a run's Gaussians in the world frame of the photos' poses, or those of a PLY in another format."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The run's folder, as `python -m gsdff.train` made it, or a 3DGS PLY from anywhere."""
    format: Literal["ply", "splat", "compressed"] = "ply"
    """`ply`: 3DGS's, exact; `splat`: 32 bytes a Gaussian, one colour from all sides; `compressed`: SuperSplat's PLY."""
    out: Path | None = None
    """The file to write; by default RUN/scene.ply, .splat or .compressed.ply, beside a PLY under its own name."""
    features: Literal["latent", "decoded", "none"] = "latent"
    """`latent` adds K `semantic_*` properties and a file with their basis to a `ply`; `decoded` writes all T channels
    as Feature 3DGS does; `none` suits strict viewers."""


def main() -> None:
    """Exports the run named on the command line."""
    path = export_run(tyro.cli(ExportArguments, prog="python -m gsdff.export"))
    print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")


def export_run(arguments: ExportArguments) -> Path:
    """Writes the file and gives its path; the basis of its features goes beside it as `<stem>.basis.safetensors`."""
    import torch

    from gsdff.features import decode
    from gsdff.ply import read_ply, write_compressed_ply, write_ply, write_splat
    from gsdff.runs import RunFolder, load_run
    from gsdff.teachers.basis import Basis

    source = arguments.run
    path = arguments.out or default_path(source, arguments.format)
    ending = ".splat" if arguments.format == "splat" else ".ply"
    if path.suffix != ending:
        raise UserError(f"--out {path}: expected a name ending in {ending} for --format {arguments.format}")
    if source.is_file():
        if path.exists() and path.samefile(source):
            raise UserError(f"{source}: is a PLY already; choose another --format or --out")
        gaussians, basis = read_ply(source), source.with_suffix(BASIS_SUFFIX)
    else:
        run = load_run(source)
        gaussians, basis = run.gaussians.to_input_frame(run.frame), RunFolder(source).basis
    has_features = gaussians.features is not None and arguments.features != "none"
    if has_features and arguments.format != "ply":
        log.info("features are left out: --format %s has no place for them", arguments.format)
        has_features = False
    if not has_features:
        gaussians = replace(gaussians, features=None)
    path.parent.mkdir(parents=True, exist_ok=True)
    if has_features and arguments.features == "decoded":
        known = Basis.load(basis)
        gaussians = replace(gaussians, features=decode(gaussians.features, known.B))
        replace(known, B=torch.eye(len(known.B))).save(path.with_suffix(BASIS_SUFFIX))
    elif has_features and basis.is_file():
        shutil.copyfile(basis, path.with_suffix(BASIS_SUFFIX))
    write = {"ply": write_ply, "splat": write_splat, "compressed": write_compressed_ply}[arguments.format]
    write(path, gaussians)
    return path


def default_path(source: Path, form: str) -> Path:
    """Where an export goes that was given no name."""
    return source.with_suffix(SUFFIXES[form]) if source.is_file() else source / f"scene{SUFFIXES[form]}"


if __name__ == "__main__":
    run_door(main)
