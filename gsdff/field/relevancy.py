"""Relevancy of latents to a query: scores per pixel or per Gaussian, and the thresholds that select.

Latents z stand for B z, B [T, K] with orthonormal columns (`gsdff.latents`). The vectors of a query are projected once,
so a pixel or a Gaussian costs a product in K dimensions. Vectors may be of any length; a latent shorter than
`MIN_NORM`, which means that nothing is there, scores 0; one that is not finite scores NaN.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from gsdff.device import free_bytes
from gsdff.field.query import TEMPERATURE
from gsdff.latents import MIN_NORM, encode
from gsdff.scene import VOID

DEFAULT_NEGATIVES = ("object", "things", "stuff", "texture")
"""Negatives if a query has none of its own: LERF's canonical phrases."""
PART = 16384
"""Rows that are scored at a time: 200,000 rows with 177 negatives take 90 ms this way, 200 ms at once (two cores)."""
CARD_SHARE = 0.25
"""Share of a card's free memory for what is scored at a time."""
TEMPORARIES = 4
"""Arrays of a number per row and text that are there at once."""
NUM_BINS = 256
LIKENESS = 0.25
"""Part of the range from the best score to the lower quartile that is still the same thing. Over 163 clicks into three
scenes, one of them simulated, the median IoU with the thing clicked was 0.88, 0.52, 0.54; Otsu's threshold gave 0.20,
0.09, 0.03."""
MIN_SPREAD = 0.01
"""Lower limit of that range, for scenes in which all features are alike."""


def relevancy(
    latents: Float[Tensor, "*S K"],
    positives: Float[Tensor, "P T"],
    negatives: Float[Tensor, "M T"],
    B: Float[Tensor, "T K"],
    *,
    temperature: float = TEMPERATURE,
) -> Float[Tensor, "*S"]:
    """Share of the positives in a softmax of cosine / temperature over positives and negatives; in [0, 1].

    If all cosines are equal it is P / (P + M), so a good threshold depends on both numbers. Differentiable.
    Raises ValueError without positives or negatives (for a single prompt take its cosine), and for a temperature that
    is not positive.
    """

    def share(rows: Float[Tensor, "*S K"]) -> Float[Tensor, "*S"]:
        cosines, is_there = _cosines(rows, positives, negatives, B, temperature)
        logits = cosines / temperature
        # the positives' part of the softmax, which torch takes four times as long to write out over so short an axis
        margin = logits[..., : len(positives)].logsumexp(-1) - logits[..., len(positives) :].logsumexp(-1)
        return torch.where(is_there, margin.sigmoid(), 0)

    return _in_parts(share, latents, len(positives) + len(negatives))


def lerf_relevancy(
    latents: Float[Tensor, "*S K"],
    positives: Float[Tensor, "P T"],
    negatives: Float[Tensor, "M T"],
    B: Float[Tensor, "T K"],
    *,
    temperature: float = TEMPERATURE,
) -> Float[Tensor, "*S"]:
    """LERF's relevancy, min over negatives of e^(c₊/τ) / (e^(c₊/τ) + e^(c₋/τ)), of the best positive; in [0, 1].

    Kerr et al. 2023, "LERF: Language Embedded Radiance Fields", section 3.4. The paper's formula has τ = 1, its code
    τ = 0.1. Above 0.5 some positive is nearer than all negatives, however many there are. Raises as `relevancy` does.
    """

    def least(rows: Float[Tensor, "*S K"]) -> Float[Tensor, "*S"]:
        cosines, is_there = _cosines(rows, positives, negatives, B, temperature)
        # e^a / (e^a + e^b) is the sigmoid of a - b and only grows with it: the extremes can be taken before
        margin = cosines[..., : len(positives)].amax(-1) - cosines[..., len(positives) :].amax(-1)
        return torch.where(is_there, (margin / temperature).sigmoid(), 0)

    return _in_parts(least, latents, len(positives) + len(negatives))


def classify(scores: Float[Tensor, "*S Q"], answered: Bool[Tensor, "*S"]) -> UInt8[Tensor, "*S"]:
    """Index of the best score, the first among equals; VOID if not `answered`. At most 255 queries."""
    return scores.argmax(-1).masked_fill(~answered, VOID).byte()


def suggest_threshold(scores: Float[Tensor, "*S"]) -> float:
    """Threshold midway between the two classes of scores that Otsu's method finds; the upper class is scores >= it.

    Otsu 1979, "A Threshold Selection Method from Gray-Level Histograms": of a histogram of `NUM_BINS` equal bins, the
    cut with the most variance between the classes; the lowest among equals. What is not finite does not count; scores
    that are all the same give that value. Raises ValueError where there is no finite score.
    """
    values = scores.detach()[scores.isfinite()].double()
    if not len(values):
        raise ValueError(f"a threshold needs at least one finite score, got none among {scores.numel()}")
    low, high = values.min(), values.max()
    if low == high:
        return float(low)
    bins = ((values - low) / (high - low) * NUM_BINS).long().clamp_max(NUM_BINS - 1)
    counts = torch.bincount(bins, minlength=NUM_BINS).double()
    sums = counts * torch.arange(NUM_BINS).to(counts)
    num_below, sum_below = counts.cumsum(0)[:-1], sums.cumsum(0)[:-1]
    num_above, sum_above = counts.sum() - num_below, sums.sum() - sum_below
    # both classes hold something at every cut: the first bin has the lowest score, the last the highest
    between = num_below * num_above * (sum_above / num_above - sum_below / num_below).square()
    is_below = bins <= between.argmax()
    return float((values[is_below].max() + values[~is_below].min()) / 2)


def suggest_likeness(cosines: Float[Tensor, "*S"]) -> float:
    """Threshold for cosines with an example: `LIKENESS` of the way from the best to the lower quartile.

    Otsu's method takes one thing among many for part of the nearer half of them. What is not finite does not count.
    Raises ValueError where there is no finite cosine.
    """
    values = cosines.detach()[cosines.isfinite()].double()
    if not len(values):
        raise ValueError(f"a threshold needs at least one finite score, got none among {cosines.numel()}")
    best = values.max()
    quartile = values.kthvalue(1 + (len(values) - 1) // 4).values
    return float(best - LIKENESS * (best - quartile).clamp_min(MIN_SPREAD))


def _in_parts(
    score: Callable[[Float[Tensor, "*S K"]], Float[Tensor, "*S"]], latents: Float[Tensor, "*S K"], num_texts: int
) -> Float[Tensor, "*S"]:
    """Scores of all rows, some at a time: cosines with hundreds of texts would not fit the processor's caches.

    On a card, as many at a time as its memory holds: every part takes some twenty launches.
    """
    most = PART
    if latents.is_cuda:
        row_bytes = TEMPORARIES * max(1, num_texts) * latents.element_size()
        most = max(PART, int(CARD_SHARE * free_bytes(latents.device)) // row_bytes)
    if latents.shape[:-1].numel() <= most:
        return score(latents)
    parts = latents.flatten(0, -2).split(most)
    return torch.cat([score(part) for part in parts]).unflatten(0, latents.shape[:-1])


def _cosines(
    latents: Float[Tensor, "*S K"],
    positives: Float[Tensor, "P T"],
    negatives: Float[Tensor, "M T"],
    B: Float[Tensor, "T K"],
    temperature: float,
) -> tuple[Float[Tensor, "*S Q"], Tensor]:
    """Cosines with the positives and, after them, the negatives; and which latents are anything at all.

    `text_cosine`, but one reading of the latents gives their lengths for both, and no unit copy of them is made.
    """
    if not (len(positives) and len(negatives)):
        raise ValueError(f"relevancy needs positives and negatives, got {len(positives)} and {len(negatives)}")
    if not temperature > 0:
        raise ValueError(f"the temperature must be positive, got {temperature}")
    queries = encode(F.normalize(torch.cat([positives, negatives]), dim=-1, eps=MIN_NORM), B)
    lengths = latents.norm(dim=-1)
    # NaN is something: it must be seen in the scores
    return latents @ queries.T / lengths.clamp_min(MIN_NORM)[..., None], ~(lengths < MIN_NORM)
