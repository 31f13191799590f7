"""Sidecar file of a PLY: the basis of its latent features, and how words become vectors in the same space.

`<stem>.basis.safetensors` is a `gsdff.latents.Basis` with entries of its own, so whatever reads a basis reads
this too.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from gsdff.config.choices import TEACHERS
from gsdff.config.options import PosesChoice, TeacherConfig
from gsdff.errors import UserError
from gsdff.files.reading import reading
from gsdff.files.writing import hash_file, save_tensors, written
from gsdff.gaussians import RasterizeMode
from gsdff.latents import BASIS_FORMAT, Basis, read_basis
from gsdff.origin import ZERO, Point, as_point

BASIS_SUFFIX = ".basis.safetensors"
REMEDY = "export the run again"
SETTINGS = ("model", "checkpoint", "pretrained")
"""Fields of a teacher's configuration that decide how it encodes text; all are names or paths."""


@dataclass(frozen=True, eq=False)
class Sidecar:
    """Data that is needed to query a PLY's features."""

    basis: Basis
    teacher: TeacherConfig
    """Name and `SETTINGS` of the teacher, nothing else."""
    texts: dict[str, Float[Tensor, "T"]] | None = None
    """Unit vectors of all names that a closed teacher knows, by folded name; None if the teacher encodes any words, or
    if they were not available."""
    no_texts: str = ""
    """Reason why a closed teacher has no `texts`."""
    rasterize_mode: RasterizeMode = "classic"
    """Rasterisation mode in which the features were trained."""
    downscale: int = 1
    """Downscale factor of the photos in training."""
    poses: PosesChoice = "auto"
    """Option `dataset.poses` of the training."""
    origin: Point = ZERO
    """Origin of the PLY's positions, which its header states too."""
    ply_hash: str = ""
    """Hash of the PLY that this file was written with (`gsdff.files.writing.hash_file`); empty if it was not noted."""

    def save(self, path: Path) -> None:
        """Writes a .safetensors file, atomically."""
        tensors = {"B": self.basis.B.contiguous().cpu()}
        metadata = {
            "format": BASIS_FORMAT,
            "energy": repr(self.basis.energy),
            "teacher": self.basis.teacher,
            "fingerprint": self.basis.fingerprint,
            "settings": json.dumps(
                {name: str(value) for name in SETTINGS if (value := getattr(self.teacher, name)) is not None}
            ),
            "no_texts": self.no_texts,
            "rasterize_mode": self.rasterize_mode,
            "downscale": str(self.downscale),
            "poses": self.poses,
            "ply_hash": self.ply_hash,
        }
        if self.origin != ZERO:
            metadata["origin"] = json.dumps(self.origin)
        if self.texts is not None:
            metadata["texts"] = json.dumps(list(self.texts))
            tensors["texts"] = torch.stack([*self.texts.values()]) if self.texts else torch.zeros(0, len(self.basis.B))
        save_tensors(path, tensors, metadata)

    @staticmethod
    def load(path: Path) -> "Sidecar":
        """Reads what `save` wrote, or a plain basis, which has no texts; raises `UserError` if missing or damaged."""
        if not path.exists():
            raise UserError(
                f"{path}: missing; without it the features of the PLY beside it cannot be queried; "
                "`gsdff export RUN` writes both: keep them together"
            )
        basis, tensors, metadata = read_basis(path, REMEDY)
        downscale, poses = metadata.get("downscale", "1"), metadata.get("poses", "auto")
        mode = metadata.get("rasterize_mode", "classic")
        if not (downscale.isascii() and downscale.isdigit() and 1 <= int(downscale[:9]) < 10**8):
            raise UserError(f"{path}: expected a downscale of 1 or more, got {downscale[:40]!r}; {REMEDY}")
        if poses not in get_args(PosesChoice):
            raise UserError(f"{path}: expected poses of {get_args(PosesChoice)}, got {poses[:40]!r}; {REMEDY}")
        if mode not in get_args(RasterizeMode):
            raise UserError(
                f"{path}: expected a rasterize_mode of {get_args(RasterizeMode)}, got {mode[:40]!r}; {REMEDY}"
            )
        texts = None
        if (vectors := tensors.get("texts")) is not None:
            texts = _texts(path, _parse(path, metadata, "texts", []), vectors, len(basis.B))
        return Sidecar(
            basis,
            _teacher(path, basis.teacher, _parse(path, metadata, "settings", {})),
            texts,
            metadata.get("no_texts", "it was exported before texts were kept"),
            cast(RasterizeMode, mode),
            int(downscale),
            cast(PosesChoice, poses),
            _origin(path, _parse(path, metadata, "origin", list(ZERO))),
            metadata.get("ply_hash", ""),
        )


def sidecar_path(ply: Path) -> Path:
    """Path of a PLY's sidecar."""
    return ply.with_suffix(BASIS_SUFFIX)


def write_sidecar(ply: Path, sidecar: Sidecar, origin: Point) -> None:
    """Writes the sidecar of a PLY that has just been written, in the same block of `together`."""
    replace(sidecar, origin=origin, ply_hash=hash_file(written(ply))).save(sidecar_path(ply))


def _parse(path: Path, metadata: dict[str, str], name: str, default: Any) -> Any:
    """An entry of the metadata that is JSON, of the same type as its default."""
    with reading(path, "the file beside a PLY", REMEDY):
        value = json.loads(metadata[name]) if name in metadata else default
        if type(value) is not type(default):
            raise ValueError(f"{name} is no {type(default).__name__}")
    return value


def _origin(path: Path, values: list[Any]) -> Point:
    if (point := as_point(values)) is None:
        raise UserError(f"{path}: expected an origin of three finite numbers, got {str(values)[:80]}; {REMEDY}")
    return point


def _texts(path: Path, names: list[Any], vectors: Tensor, channels: int) -> dict[str, Float[Tensor, "T"]]:
    if not vectors.is_floating_point() or vectors.shape != (len(names), channels) or not vectors.isfinite().all():
        expected = f"finite text vectors [{len(names)}, {channels}], one per name"
        raise UserError(f"{path}: expected {expected}, got {vectors.dtype} {list(vectors.shape)}; {REMEDY}")
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise UserError(f"{path}: expected different names of its text vectors, got {str(names)[:80]}; {REMEDY}")
    return dict(zip(names, vectors.float(), strict=True))


def _teacher(path: Path, name: str, settings: dict[str, Any]) -> TeacherConfig:
    values = [settings.get(key) for key in SETTINGS]
    if name not in TEACHERS or not all(value is None or isinstance(value, str) for value in values):
        raise UserError(f"{path}: of a teacher {name[:40]!r} that this gsdff does not know; {REMEDY}")
    model, checkpoint, pretrained = values
    return TeacherConfig(
        name, model=model, checkpoint=None if checkpoint is None else Path(checkpoint), pretrained=pretrained
    )
