"""The algebra that buys T dimensions at the price of K.

A Gaussian stores latents z [K]; its feature is B z, B [T, K] with orthonormal columns (`gsdff.teachers.basis`).
Blending is linear, so it commutes with B: whatever is rendered, averaged or compared here in K dimensions equals its
counterpart in T. All functions take B as a plain tensor and any leading shape.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

MIN_NORM = 1e-8
"""Vectors shorter than this are no answer: their cosine with anything is 0."""


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
    """Row i: the shares that each of `length` pixels has in the i-th of `parts` equal parts; rows sum to one."""
    edges = torch.arange(parts + 1, dtype=torch.float64)[:, None] * length / parts
    pixels = torch.arange(length, dtype=torch.float64)
    overlap = (torch.minimum(edges[1:], pixels + 1) - torch.maximum(edges[:-1], pixels)).clamp_min(0)
    return (overlap * parts / length).float()
