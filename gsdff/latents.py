"""Latent features: T-dimensional features stored as K numbers in the subspace of a basis.

A Gaussian stores latents z [K]; its feature is B z, B [T, K] with orthonormal columns (`Basis`).
Blending is linear, so it commutes with B: rendering, averaging and comparing in K dimensions equals doing so in
T dimensions. All functions take B as a plain tensor and any leading shape.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gsdff.errors import UserError
from gsdff.files.reading import read_safetensors
from gsdff.files.writing import save_tensors

log = logging.getLogger("gsdff")

BASIS_FORMAT = "gsdff-basis-1"
MIN_NORM = 1e-8
"""Vectors shorter than this count as zero: their cosine with anything is 0."""


@dataclass(frozen=True)
class Basis:
    """Orthonormal basis B of the subspace that a scene's features live in, and its origin."""

    B: Float[Tensor, "T K"]
    """Orthonormal columns, float32; the identity if K = T."""
    energy: float
    """Share of the maps' second moment that the subspace keeps, in [0, 1]."""
    teacher: str
    """Name of the teacher."""
    fingerprint: str
    """Fingerprint of the teacher, its maps and the settings that gave this basis."""

    def save(self, path: Path) -> None:
        """Writes a .safetensors file with B, and the other fields as metadata; atomically."""
        metadata = {
            "format": BASIS_FORMAT,
            "energy": repr(self.energy),
            "teacher": self.teacher,
            "fingerprint": self.fingerprint,
        }
        save_tensors(path, {"B": self.B.contiguous().cpu()}, metadata)

    @staticmethod
    def load(path: Path) -> "Basis":
        """Reads what `save` wrote; raises `UserError` if the file is missing, damaged or of another kind."""
        if not path.exists():
            raise UserError(f"{path}: missing; it is written when stage 2 of a run with a teacher starts")
        return read_basis(path, "train stage 2 again")[0]


def read_basis(path: Path, remedy: str) -> tuple[Basis, dict[str, Tensor], dict[str, str]]:
    """Reads a .safetensors file that holds a basis; returns all its tensors and metadata too.

    Raises `UserError`, which ends with the remedy, for any other file.
    """
    tensors, metadata = read_safetensors(path, "a basis of features", remedy)
    if metadata.get("format") != BASIS_FORMAT:
        raise UserError(f"{path}: expected a {BASIS_FORMAT} file, got {metadata.get('format')}; {remedy}")
    B = tensors.get("B")
    if B is None or B.ndim != 2 or not B.is_floating_point() or not len(B) >= B.shape[1] >= 1 or not B.isfinite().all():
        got = "none" if B is None else f"{B.dtype} {list(B.shape)}"
        raise UserError(f"{path}: expected a basis B [T, K] of finite numbers, K at most T, got {got}; {remedy}")
    missing = [name for name in ("energy", "teacher", "fingerprint") if name not in metadata]
    if missing:
        raise UserError(f"{path}: has no {' and no '.join(missing)}, which a basis has; {remedy}")
    try:
        energy = float(metadata["energy"])
    except ValueError:
        energy = -1.0
    if not 0 <= energy <= 1 + 1e-6:
        raise UserError(f"{path}: expected an energy from 0 to 1, got {metadata['energy'][:40]!r}; {remedy}")
    return Basis(B.float(), energy, metadata["teacher"], metadata["fingerprint"]), tensors, metadata


def fit_basis(
    moment: Float[Tensor, "T T"],
    dim: int,
    energy: float | None = None,
    *,
    teacher: str = "",
    fingerprint: str = "",
) -> Basis:
    """Basis of the `dim` leading eigenvectors of Σ f fᵀ (float64, uncentred), each with its largest entry positive.

    With `energy`, `dim` is ignored and as many are taken as keep that share of the second moment. T or more of them
    give B = I, the uncompressed mode; a `dim` above T is logged.
    """
    channels = len(moment)
    values, vectors = torch.linalg.eigh(moment)
    shares = values.flip(0).clamp_min(0).cumsum(0) / values.clamp_min(0).sum().clamp_min(1e-300)
    if energy is not None:
        dim = int((shares < energy - 1e-9).sum()) + 1  # r columns keep everything of rank r, up to rounding
    if dim >= channels:
        if dim > channels and energy is None:
            log.info("features.dim %d is more than the teacher's %d channels: using all %d", dim, channels, channels)
        return Basis(torch.eye(channels), 1.0, teacher, fingerprint)
    leading = vectors[:, -dim:].flip(1)
    # The solver may return either sign of an eigenvector; fixing it makes runs comparable.
    pivots = leading.gather(0, leading.abs().argmax(0, keepdim=True))
    B = leading * pivots.sign()
    return Basis(B.float().cpu().contiguous(), float(shares[dim - 1]), teacher, fingerprint)


def decode(latents: Float[Tensor, "*S K"], B: Float[Tensor, "T K"]) -> Float[Tensor, "*S T"]:
    """The T-dimensional features B z."""
    return latents @ B.T


def encode(features: Float[Tensor, "*S T"], B: Float[Tensor, "T K"]) -> Float[Tensor, "*S K"]:
    """The latents Bᵀf: the nearest point to f in the subspace of B."""
    return features @ B


def text_cosine(
    latents: Float[Tensor, "*S K"], text: Float[Tensor, "Q T"], B: Float[Tensor, "T K"]
) -> Float[Tensor, "*S Q"]:
    """Cosines between B z and Q text vectors of any length: z·(Bᵀt) / (‖z‖ ‖t‖), 0 where z is 0."""
    queries = encode(F.normalize(text, dim=-1, eps=MIN_NORM), B)
    return F.normalize(latents, dim=-1, eps=MIN_NORM) @ queries.T


def teacher_cosine(latents: Float[Tensor, "*S K"], projected: Float[Tensor, "*S K"]) -> Float[Tensor, "*S"]:
    """Cosines between B z and unit teacher vectors f, from their projections Bᵀf; 0 where z is 0.

    Not the cosine between z and Bᵀf: the part of f outside the subspace counts against the field.
    """
    return (F.normalize(latents, dim=-1, eps=MIN_NORM) * projected).sum(-1)


def feature_error(
    rendered: Float[Tensor, "H W D"], target: Float[Tensor, "H W D"], weights: Float[Tensor, "H W"], huber: float = 0.0
) -> Float[Tensor, ""]:
    """Weighted mean over pixels of e = Σ_d (rendered - target)²; 0 where every weight is 0.

    In latents it equals the same error in T dimensions up to the constant weighted mean of ‖f - B Bᵀf‖². With `huber`
    δ > 0 the mean is of 2δ² (√(1 + e/δ²) - 1), the pseudo-Huber loss: e where the vectors are closer than δ, growing
    with their distance beyond.
    """
    error = (rendered - target).square().sum(-1)
    if huber:
        error = 2 * huber**2 * ((1 + error / huber**2).sqrt() - 1)
    return (weights * error).sum() / weights.sum().clamp_min(MIN_NORM)


def area_shares(length: int, parts: int) -> Float[Tensor, "parts length"]:
    """Weights that average `length` pixels into `parts` equal parts: row i has the pixels' shares of part i, sum 1."""
    edges = torch.arange(parts + 1, dtype=torch.float64)[:, None] * length / parts
    pixels = torch.arange(length, dtype=torch.float64)
    overlap = (torch.minimum(edges[1:], pixels + 1) - torch.maximum(edges[:-1], pixels)).clamp_min(0)
    return (overlap * parts / length).float()
