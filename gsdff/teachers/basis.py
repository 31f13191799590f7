"""The subspace features live in: the leading directions of everything the teacher said about a scene."""

import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor

from gsdff.errors import UserError
from gsdff.files import save_tensors

log = logging.getLogger("gsdff")

FORMAT = "gsdff-basis-1"


@dataclass(frozen=True)
class Basis:
    """B with orthonormal columns, and where it comes from."""

    B: Float[Tensor, "T K"]
    """float32; the identity where K = T."""
    energy: float
    """Share of the maps' second moment that the subspace keeps, in [0, 1]."""
    teacher: str
    """The teacher's name."""
    fingerprint: str
    """Of the teacher, its maps and the settings that gave this basis."""

    def save(self, path: Path) -> None:
        """Writes a .safetensors file with B and, as metadata, the rest; in one step, so never half of it."""
        metadata = {
            "format": FORMAT,
            "energy": repr(self.energy),
            "teacher": self.teacher,
            "fingerprint": self.fingerprint,
        }
        save_tensors(path, {"B": self.B.contiguous().cpu()}, metadata)

    @staticmethod
    def load(path: Path) -> "Basis":
        """Reads what `save` wrote; `UserError` where the file is missing, damaged or of another kind."""
        if not path.is_file():
            raise UserError(f"{path}: missing; it is written when stage 2 of a run with a teacher starts")
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != FORMAT:
                    raise UserError(f"{path}: expected a {FORMAT} file, got {metadata.get('format')}")
                B = file.get_tensor("B")
        except SafetensorError as error:
            raise UserError(f"{path}: not a readable .safetensors basis ({error}); train stage 2 again") from error
        return Basis(B, float(metadata["energy"]), metadata["teacher"], metadata["fingerprint"])


def fit_basis(
    moment: Float[Tensor, "T T"],
    dim: int,
    energy: float | None = None,
    *,
    teacher: str = "",
    fingerprint: str = "",
) -> Basis:
    """The `dim` leading eigenvectors of Σ f fᵀ (float64, uncentred), each with its largest entry positive.

    With `energy`, as many as keep that share of the second moment, whatever `dim` says. T or more of them give B = I,
    the uncompressed mode; it is said where `dim` asked for more.
    """
    channels = len(moment)
    values, vectors = torch.linalg.eigh(moment)
    shares = values.flip(0).clamp_min(0).cumsum(0) / values.clamp_min(0).sum()
    if energy is not None:
        dim = int((shares < energy - 1e-9).sum()) + 1  # of rank r, r keep all but rounding
    if dim >= channels:
        if dim > channels and energy is None:
            log.info("features.dim %d is more than the teacher's %d channels: using all %d", dim, channels, channels)
        return Basis(torch.eye(channels), 1.0, teacher, fingerprint)
    leading = vectors[:, -dim:].flip(1)
    # An eigenvector's sign is the solver's whim; ours is fixed, so that runs compare.
    pivots = leading.gather(0, leading.abs().argmax(0, keepdim=True))
    B = leading * pivots.sign()
    return Basis(B.float().cpu().contiguous(), float(shares[dim - 1]), teacher, fingerprint)
