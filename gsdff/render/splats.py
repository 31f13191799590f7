"""Values that the steps of the feature pass on CUDA hand on: projected Gaussians and tile lists, queries, scores."""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float, Int32
from torch import Tensor

TILE = 16
PIXELS = TILE * TILE
Precision = Literal["half", "float32"]
"""Precision of the factors of the products; sums and weights are float32 with both."""
ScoreMethod = Literal["relevancy", "lerf", "cosine"]
"""Scores of `gsdff.field.relevancy`; `cosine` is that of the best positive."""


@dataclass(frozen=True)
class ProjectedSplats:
    """N Gaussians as one camera sees them, and the lists of their tiles, as gsplat gives them."""

    means2d: Float[Tensor, "N 2"]
    conics: Float[Tensor, "N 3"]
    opacities: Float[Tensor, "N"]
    bounds: Int32[Tensor, "tiles_and_one"]
    """Places in `pair_ids` at which the tiles' lists start, and that at which the last one ends."""
    pair_ids: Int32[Tensor, "I"]
    width: int
    height: int


@dataclass(frozen=True)
class PixelQuery:
    """Queries that pixels are scored by (`gsdff.field.relevancy`)."""

    vectors: Float[Tensor, "Q K"]
    """Unit vectors, encoded in latent space; the positives first."""
    num_positives: int
    method: ScoreMethod
    temperature: float = 1.0


@dataclass(frozen=True)
class Scored:
    """Scores of the pixels of an image."""

    scores: Float[Tensor, "H W"]
    """0 where nothing is."""
    best: Int32[Tensor, "H W"]
    """Index of the best positive; -1 where nothing is."""
    alpha: Float[Tensor, "H W"]
