"""Sidecar file of a PLY: the basis of its latent features, and how words become vectors in the same space.

`<stem>.basis.safetensors` is a `gsdff.latents.Basis` with entries of its own, so whatever reads a basis reads
this too.
"""

import json
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import safe_open
from torch import Tensor

from gsdff.config.options import TeacherConfig
from gsdff.errors import UserError
from gsdff.files import hash_file, save_tensors, written
from gsdff.gaussians import RasterizeMode
from gsdff.latents import BASIS_FORMAT, Basis
from gsdff.origin import ZERO, Point

BASIS_SUFFIX = ".basis.safetensors"
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
    origin: Point = ZERO
    """Origin of the PLY's positions, which its header states too."""
    ply_hash: str = ""
    """Hash of the PLY that this file was written with (`gsdff.files.hash_file`); empty if it was not noted."""

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
        if not path.is_file():
            raise UserError(
                f"{path}: missing; without it the features of the PLY beside it cannot be queried; "
                "`gsdff export RUN` writes both: keep them together"
            )
        basis = Basis.load(path)
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            vectors = file.get_tensor("texts") if "texts" in file.keys() else None  # noqa: SIM118
        try:
            names = json.loads(metadata.get("texts", "[]"))
            settings = json.loads(metadata.get("settings", "{}"))
            downscale = int(metadata.get("downscale", "1"))
            x, y, z = map(float, json.loads(metadata.get("origin", "[0, 0, 0]")))
            if not all(map(isfinite, (x, y, z))):
                raise ValueError("its origin is not finite")
            texts = None if vectors is None else dict(zip(names, vectors, strict=True))
            teacher = _teacher(basis.teacher, settings)
        except (ValueError, TypeError, AttributeError) as error:
            raise UserError(f"{path}: damaged ({error}); export the run again") from error
        if vectors is not None and (vectors.ndim != 2 or vectors.shape[1] != len(basis.B)):
            raise UserError(
                f"{path}: damaged, text vectors {list(vectors.shape)} with {len(basis.B)} channels; export again"
            )
        no_texts = metadata.get("no_texts", "it was exported before texts were kept")
        mode = metadata.get("rasterize_mode", "classic")
        return Sidecar(basis, teacher, texts, no_texts, mode, downscale, (x, y, z), metadata.get("ply_hash", ""))


def sidecar_path(ply: Path) -> Path:
    """Path of a PLY's sidecar."""
    return ply.with_suffix(BASIS_SUFFIX)


def write_sidecar(ply: Path, sidecar: Sidecar, origin: Point) -> None:
    """Writes the sidecar of a PLY that has just been written, in the same block of `together`."""
    replace(sidecar, origin=origin, ply_hash=hash_file(written(ply))).save(sidecar_path(ply))


def _teacher(name: str, settings: dict[str, str]) -> TeacherConfig:
    checkpoint = settings.get("checkpoint")
    return TeacherConfig(
        name,
        model=settings.get("model"),
        checkpoint=None if checkpoint is None else Path(checkpoint),
        pretrained=settings.get("pretrained"),
    )
