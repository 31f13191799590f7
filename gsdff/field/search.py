"""Search of a field, per Gaussian ("3d") or per pixel of a view ("2d").

    query = Query("mug", negatives="table")
    search(field, query)                           # scores [N]: of every Gaussian's own latents
    search(field, query, field.find_view("0003"))  # scores [H, W]: of latents that are rendered first

2D is what the field was trained for, and takes occlusion into account as a photo does. 3D tells which Gaussians fit,
hidden ones too, and is what can be cut out; `Hit.in_view` draws it in a view.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.editing.selector import Selector
from gsdff.errors import UserError
from gsdff.field.base import FieldBase
from gsdff.field.examples import look_up
from gsdff.field.hit import Hit, is_positive
from gsdff.field.query import TEMPERATURE, Pixel, Query
from gsdff.field.relevancy import (
    DEFAULT_NEGATIVES,
    classify,
    lerf_relevancy,
    relevancy,
    suggest_likeness,
    suggest_threshold,
)
from gsdff.gaussians import Gaussians
from gsdff.latents import MIN_NORM, encode, text_cosine
from gsdff.render import PixelQuery, Scored, render_scores
from gsdff.scene import VOID, View
from gsdff.selection import Selection
from gsdff.words import fold

log = logging.getLogger("gsdff")

RIM_SHARE = 0.01
"""Scores below this share of the threshold are clearly something else, and no part of a rim."""


@dataclass(frozen=True, eq=False)
class PreparedQuery:
    """A query with its words and its example as vectors."""

    query: Query
    positives: Float[Tensor, "P T"]
    """For classes, all of them."""
    negatives: Float[Tensor, "M T"]
    """Empty for classes and cosines."""
    threshold: float | None = None
    """None for classes."""
    score_range: tuple[float, float] = (0.0, 1.0)
    """Lowest and highest score that pictures show: all but the outermost thousandth of the Gaussians'."""
    known: tuple[Tensor, Tensor] | None = None
    """Latents that were scored to find the threshold, and their scores; None for classes."""


def search(field: FieldBase, query: Query, view: View | None = None) -> Hit:
    """Scores of every pixel of `view`, or of every Gaussian without one.

    Raises `UserError` for names that the field does not know and for examples that are not there.
    """
    return find(field, prepare(field, query), view)


@torch.no_grad()
def prepare(field: FieldBase, query: Query) -> PreparedQuery:
    """Looks words and example up once, for any number of views."""
    prepared = prepare_vectors(field, query)
    return prepared if query.classes else _with_threshold(field, prepared)


@torch.no_grad()
def prepare_vectors(field: FieldBase, query: Query) -> PreparedQuery:
    """`prepare` without the threshold and the score range, for which all Gaussians are scored."""
    if query.things:
        raise UserError(f"{' or '.join(query.positives)}: expected words, things have numbers and need no search")
    if query.like is not None:
        positives = look_up(field, query.like)[None]
    else:
        positives = field.encode_text(tuple(query.classes or query.positives), tuple(query.prompts))
    has_negatives = query.chosen_method in ("relevancy", "lerf")
    negatives = _negatives(field, query, positives) if has_negatives else positives.new_zeros(0, positives.shape[1])
    return PreparedQuery(query, positives, negatives)


@torch.no_grad()
def find(field: FieldBase, prepared: PreparedQuery, view: View | None = None) -> Hit:
    """`search` with a query that is prepared."""
    scored = None if view is None else score_camera(field, prepared, field.working, view.camera.to(field.device))
    if scored is not None:
        scores, answered = scored.scores, scored.best >= 0
        labels = label_best(scored) if prepared.query.classes else None
    else:
        latents = field.latents if view is None else field.blend(view)
        answered = _is_something(latents)
        if prepared.known is not None and _is_same(latents, prepared.known[0]):
            scores, cosines = prepared.known[1], None
        else:
            scores, cosines = score_latents(field, prepared, latents)
        labels = None if cosines is None else classify(cosines, answered)
    if not answered.any():
        where = f"in {view.name}; is that a photo of this scene?" if view is not None else "in its Gaussians"
        raise UserError(f"{field.source}: there are no features to score {where}")
    hit = Hit(
        field,
        prepared.query,
        "3d" if view is None else "2d",
        scores,
        answered,
        answered,
        prepared.threshold,
        prepared.score_range,
        view=view,
    )
    if labels is not None:
        return replace(hit, selected=is_positive(prepared.query, labels), labels=labels)
    assert prepared.threshold is not None, "only classes have none"
    return replace(hit, selected=answered & (scores >= prepared.threshold))


def score_camera(field: FieldBase, prepared: PreparedQuery, gaussians: Gaussians, camera: Camera) -> Scored | None:
    """Scores of what a camera shows of the Gaussians, in one pass that writes no features (`render_scores`).

    None where that is not possible: then render the features, and score them.
    """
    method = prepared.query.chosen_method
    if gaussians.features is None or (method in ("relevancy", "lerf") and not len(prepared.negatives)):
        return None
    texts = F.normalize(torch.cat([prepared.positives, prepared.negatives]), dim=-1, eps=MIN_NORM)
    vectors, num_positives = encode(texts, field.B), len(prepared.positives)
    if method in ("cosine", "argmax"):
        return render_scores(gaussians, camera, PixelQuery(vectors, num_positives, "cosine"))
    return render_scores(gaussians, camera, PixelQuery(vectors, num_positives, method, prepared.query.temperature))


def label_best(scored: Scored) -> UInt8[Tensor, "H W"]:
    """Indices of the best classes, VOID where nothing is."""
    return scored.best.masked_fill(scored.best < 0, VOID).byte()


def _is_same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are the same memory, such as the features of Gaussians that an edit has moved."""
    return one is other or (one.data_ptr(), one.shape, one.stride()) == (other.data_ptr(), other.shape, other.stride())


class RepeatedSearch:
    """Searches the Gaussians of a field by many selectors, as edits do: what does not change is not computed again.

    Every query is prepared once. Gaussians are scored again if their features are others than at the last time.
    """

    def __init__(self, field: FieldBase):
        self.field = field
        self.prepared: dict[Query, PreparedQuery] = {}

    def __call__(self, gaussians: Gaussians, selector: Selector) -> Selection:
        """Those of the Gaussians that a selector means; threshold and click are of the field, before edits.

        With their rim (`Selection.with_rim`) if the selector says so, except for cosines: a low cosine does not say
        that something else is shown.
        """
        click = selector.click
        query = Query(
            positives=selector.positives,
            negatives=tuple(selector.negatives or ()),
            only_negatives=selector.only_negatives,
            like=None if click is None else Pixel(click.view, click.x, click.y),
            method="cosine" if selector.negatives == () else None,
            temperature=selector.temperature or TEMPERATURE,
            threshold=selector.threshold,
        )
        prepared = self.prepared.get(query)
        if prepared is None:
            prepared = prepare(self.field, query)
            if query.threshold is None:
                log.info("%s: %s at least %.3f (suggested)", selector, query.chosen_method, prepared.threshold)
        hit = find(replace(self.field, gaussians=gaussians), prepared)
        assert gaussians.features is not None, "they are what has been searched"
        self.prepared[query] = replace(prepared, known=(gaussians.features, hit.scores))
        return _add_rim(hit, prepared) if selector.rim else hit.selection


def _add_rim(hit: Hit, prepared: PreparedQuery) -> Selection:
    if prepared.query.chosen_method == "cosine":
        return hit.selection
    assert prepared.threshold is not None, "only classes have none"
    possible = Selection.from_scores(hit.scores, RIM_SHARE * prepared.threshold)
    return hit.selection.with_rim(hit.field.gaussians.means, possible)


def score_latents(
    field: FieldBase, prepared: PreparedQuery, latents: Float[Tensor, "*S K"]
) -> tuple[Tensor, Tensor | None]:
    """Scores of latents [*S], and the cosines [*S, Q] of classes that compete."""
    query = prepared.query
    if query.chosen_method in ("relevancy", "lerf"):
        score_of = relevancy if query.chosen_method == "relevancy" else lerf_relevancy
        vectors = prepared.positives, prepared.negatives
        return score_of(latents, *vectors, field.B, temperature=query.temperature), None
    cosines = text_cosine(latents, prepared.positives, field.B)
    return cosines.amax(-1), cosines if query.classes else None


def _is_something(latents: Float[Tensor, "*S K"]) -> Bool[Tensor, "*S"]:
    """Whether there is a feature; NaN is one, so that it shows in the scores (`gsdff.field.relevancy`)."""
    return ~(latents.norm(dim=-1) < MIN_NORM)


def _with_threshold(field: FieldBase, prepared: PreparedQuery) -> PreparedQuery:
    scores = score_latents(field, prepared, field.latents)[0]
    counted = scores[_is_something(field.latents) & scores.isfinite()]
    if not len(counted):
        raise UserError(f"{field.source}: none of its {len(field.gaussians):,} Gaussians has features to score")
    threshold = prepared.query.threshold
    if threshold is None:
        is_likeness = prepared.query.like is not None and prepared.query.chosen_method == "cosine"
        threshold = (suggest_likeness if is_likeness else suggest_threshold)(counted)
    left_out = len(counted) // 1000
    low, high = (float(counted.kthvalue(rank).values) for rank in (1 + left_out, len(counted) - left_out))
    return replace(prepared, threshold=threshold, score_range=(low, high), known=(field.latents, scores))


def _negatives(field: FieldBase, query: Query, positives: Float[Tensor, "P T"]) -> Float[Tensor, "M T"]:
    prompts = tuple(query.prompts)
    named = field.encode_text(tuple(query.negatives), prompts) if query.negatives else positives[:0]
    if query.only_negatives or query.like is not None:
        return named
    return torch.cat([named, _default_negatives(field, query, positives, prompts)]).unique(dim=0)


def _default_negatives(
    field: FieldBase, query: Query, positives: Float[Tensor, "P T"], prompts: Sequence[str]
) -> Float[Tensor, "M T"]:
    asked = {fold(name) for name in query.positives}
    if all(map(field.knows, DEFAULT_NEGATIVES)):
        names = [name for name in DEFAULT_NEGATIVES if name not in asked]
        if not (names or query.negatives):
            raise UserError(f"`negatives`: expected some, as all of {', '.join(DEFAULT_NEGATIVES)} are searched for")
        return field.encode_text(names, prompts) if names else positives[:0]
    vocabulary = field.vocabulary
    assert vocabulary is not None, "a field without a vocabulary knows all words"
    vectors = torch.stack([*vocabulary.vectors.values()]).to(field.device).unique(dim=0)
    # two names of one thing have one vector
    others = vectors[~(vectors[:, None] == positives).all(-1).any(1)]
    if not (len(others) or query.negatives):
        raise UserError(
            f"{field.source}: knows nothing else to compare with; name fewer of them, or score by cosine (`method`)"
        )
    _log_once(
        f"{field.source}: compared with its other {len(others)} names, as it does not know "
        f"{', '.join(DEFAULT_NEGATIVES)}",
        "`only_negatives` leaves them out",
    )
    return others


@cache
def _log_once(message: str, hint: str) -> None:
    """Logs a line; a door that has the hint's parameter adds the hint."""
    log.info("%s", message, extra={"hint": hint})
