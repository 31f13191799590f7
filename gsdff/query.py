"""Asking a field, or its teacher: from scores to an answer per pixel or per Gaussian."""

from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from gsdff.scene import VOID


def classify(scores: Float[Tensor, "*S Q"], answered: Bool[Tensor, "*S"]) -> UInt8[Tensor, "*S"]:
    """The index of the best score, the first among equals; VOID where not `answered`. At most 255 queries."""
    return scores.argmax(-1).masked_fill(~answered, VOID).byte()
