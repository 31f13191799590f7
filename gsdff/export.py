"""`gsdff export RUN`: a run's scene, or any 3DGS PLY, as a file that other programs open."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from gsdff.cli import flags_of, read_options, run_door
from gsdff.errors import UserError
from gsdff.files import check_paths

log = logging.getLogger("gsdff")

SUFFIXES = {"ply": ".ply", "splat": ".splat", "compressed": ".compressed.ply"}


@dataclass(frozen=True)
class ExportArguments:
    """Writes the Gaussians of a run, in the world frame of the photos' poses, or those of a PLY in another format."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a run, made by `gsdff train`, or a 3DGS PLY from anywhere."""
    format: Literal["ply", "splat", "compressed"] = "ply"
    """`ply`: 3DGS's, exact; `splat`: 32 bytes a Gaussian, one colour for all directions; `compressed`: SuperSplat's."""
    out: Path | None = None
    """File to write; by default RUN/scene.ply, .splat or .compressed.ply, for a PLY beside it under its own name."""
    features: Literal["latent", "decoded", "none"] = "latent"
    """`latent` adds K `semantic_*` properties to a `ply`, and a file beside it with their basis and the data of text
    queries; `decoded` writes all T channels as Feature 3DGS does; `none` suits strict viewers."""


def main() -> None:
    """Exports the scene that the command line names."""
    arguments = read_options(ExportArguments, "export")
    check_paths({"run": arguments.run})
    path = export_run(arguments)
    print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")


def export_run(arguments: ExportArguments) -> Path:
    """Writes the file and gives its path; what its features mean goes beside it as `<stem>.basis.safetensors`."""
    import torch

    from gsdff.field.field import describe_run
    from gsdff.io.ply import read_ply, write_compressed_ply, write_ply, write_splat
    from gsdff.io.runs import load_run
    from gsdff.io.sidecar import Sidecar, sidecar_path
    from gsdff.latents import decode

    source = arguments.run
    path = arguments.out or default_path(source, arguments.format)
    ending = ".splat" if arguments.format == "splat" else ".ply"
    if path.suffix != ending:
        raise UserError(f"--out {path}: expected a name ending in {ending} for --format {arguments.format}")
    run = None if source.is_file() else load_run(source)
    if run is None:
        if path.exists() and path.samefile(source):
            raise UserError(f"{source}: is a PLY already; choose another --format or --out")
        gaussians = read_ply(source)
    else:
        gaussians = run.gaussians.to_input_frame(run.frame)
    has_features = gaussians.features is not None and arguments.features != "none"
    if has_features and arguments.format != "ply":
        log.info("features are left out: --format %s has no place for them", arguments.format)
        has_features = False
    path.parent.mkdir(parents=True, exist_ok=True)
    if not has_features:
        gaussians = replace(gaussians, features=None)
    # a PLY of other software may have features and nothing that says what they are
    elif run is not None or arguments.features == "decoded" or sidecar_path(source).is_file():
        sidecar = Sidecar.load(sidecar_path(source)) if run is None else describe_run(run)
        if arguments.features == "decoded":
            B = sidecar.basis.B
            gaussians = replace(gaussians, features=decode(gaussians.features, B))
            sidecar = replace(sidecar, basis=replace(sidecar.basis, B=torch.eye(len(B))))
        sidecar.save(sidecar_path(path))
    write = {"ply": write_ply, "splat": write_splat, "compressed": write_compressed_ply}[arguments.format]
    write(path, gaussians)
    return path


def default_path(source: Path, form: str) -> Path:
    """Where an export goes that was given no name."""
    return source.with_suffix(SUFFIXES[form]) if source.is_file() else source / f"scene{SUFFIXES[form]}"


if __name__ == "__main__":
    run_door(main, flags_of(ExportArguments))
