"""Questions to a field and its answers, per Gaussian ("3D") or per pixel of a view ("2D").

    query = Query(positives=("mug",), negatives=("table",))
    ask(field, query)                      # scores [N]: every Gaussian's own latents
    ask(field, query, field.view("0003"))  # scores [H, W]: latents rendered first, then scored

2D is what the field was trained to do, and sees what stands before and behind as a photo does. 3D says which Gaussians
are meant, out of sight too, and is what can be cut out; `show` draws it in a view.
"""

import logging
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from gsdff.errors import UserError
from gsdff.field.examples import Exemplar, look_up
from gsdff.field.field import NAME_PLACE, Field
from gsdff.field.relevancy import (
    DEFAULT_NEGATIVES,
    TEMPERATURE,
    classify,
    lerf_relevancy,
    relevancy,
    suggest_likeness,
    suggest_threshold,
)
from gsdff.latents import MIN_NORM, text_cosine
from gsdff.scene import VOID, View
from gsdff.selection import Selection
from gsdff.teachers.texts import fold

log = logging.getLogger("gsdff")

Method = Literal["relevancy", "lerf", "cosine", "argmax"]
Protocol = Literal["2d", "3d"]


@dataclass(frozen=True)
class Query:
    """What is asked for: texts (`positives`), something seen (`like`), or which of `classes` it is.

    Raises `UserError` for a question that makes no sense, before any field is at hand.
    """

    positives: tuple[str, ...] = ()
    """With `classes`, those of them to select."""
    negatives: tuple[str, ...] = ()
    """What texts compete with besides `DEFAULT_NEGATIVES`, or all other names of a field that lacks these; what an
    exemplar competes with."""
    only_negatives: bool = False
    """Leave the default ones out."""
    classes: tuple[str, ...] = ()
    """The best of these wins (argmax)."""
    like: Exemplar | None = None
    prompts: tuple[str, ...] = ()
    """Sentences around a name, such as "a photo of a {}"; their vectors are averaged. Empty: the teacher's own."""
    method: Method | None = None
    """By default argmax given classes, cosine given an exemplar without negatives, relevancy otherwise."""
    temperature: float = TEMPERATURE
    threshold: float | None = None
    """Scores of at least this are selected; None takes a suggestion from the scores of all Gaussians, as a view need
    not show what is asked for: `suggest_likeness` of cosines with an exemplar, Otsu's otherwise."""

    @property
    def way(self) -> Method:
        """The method, chosen where none was."""
        if self.method is not None:
            return self.method
        if self.classes:
            return "argmax"
        return "cosine" if self.like is not None and not self.negatives else "relevancy"

    def __post_init__(self) -> None:
        for name in (*self.positives, *self.negatives, *self.classes):
            _require(name.strip(), f"a text to ask for is empty ({name!r}): expected a word or a phrase")
        for prompt in self.prompts:
            _require(
                prompt.count(NAME_PLACE) == 1,
                f"--prompt {prompt!r}: expected one {NAME_PLACE} for the name, as in 'a photo of a {NAME_PLACE}'",
            )
        _require(
            0 < self.temperature < float("inf"), f"--temperature: expected a positive number, got {self.temperature}"
        )
        _require(
            self.threshold is None or abs(self.threshold) < float("inf"),
            f"--threshold: expected a number, got {self.threshold}",
        )
        if self.classes or self.method == "argmax":
            self._check_classes()
        else:
            self._check_single()

    def _check_classes(self) -> None:
        folded = [fold(name) for name in self.classes]
        _require(self.method in (None, "argmax"), f"--method {self.method}: classes are told apart by argmax")
        _require(
            self.like is None and not self.negatives, "--classes: only --text goes with them, the rest are negatives"
        )
        _require(self.threshold is None, "--threshold: --classes have none, the best class wins")
        _require(
            2 <= len(folded) < VOID and len(set(folded)) == len(folded),
            f"--classes: expected two different names or more, got {', '.join(map(repr, self.classes)) or 'none'}",
        )
        for name in self.positives:
            _require(
                fold(name) in folded, f"--text {name!r}: with --classes, expected some of {', '.join(self.classes)}"
            )

    def _check_single(self) -> None:
        _require(
            bool(self.positives) != (self.like is not None),
            "expected one thing to ask for: --text, --classes, --pixel, --box, --gaussian or --image"
            + (", got a text and an example" if self.positives else ""),
        )
        _require(
            self.way != "cosine" or not self.negatives,
            "--method cosine: compares with nothing; leave --negative away, or take --method relevancy",
        )
        _require(
            self.way == "cosine" or self.like is None or bool(self.negatives),
            f"--method {self.way}: an example needs --negative to be compared with, or --method cosine",
        )
        _require(bool(self.negatives) or not self.only_negatives, "--only-negatives: needs --negative to compare with")
        both = {fold(name) for name in self.positives} & {fold(name) for name in self.negatives}
        _require(not both, f"--negative: {', '.join(sorted(both))} cannot be asked for and against at once")


@dataclass(frozen=True, eq=False)
class Asked:
    """A query with its words and its exemplar as vectors."""

    query: Query
    positives: Float[Tensor, "P T"]
    """Of classes, all of them."""
    negatives: Float[Tensor, "M T"]
    """None for classes and cosines."""
    threshold: float | None = None
    """None for classes."""
    scale: tuple[float, float] = (0.0, 1.0)
    """The least and the largest score that pictures show, all but the outermost thousandth of the Gaussians'."""
    known: tuple[Tensor, Tensor] | None = None
    """Latents that were scored to find these, and their scores; None for classes."""


@dataclass(frozen=True, eq=False)
class Answer:
    """Scores of all Gaussians [N] or of the pixels of a view [H, W], and what they select; on the field's device."""

    query: Query
    protocol: Protocol
    """`2d` where latents were rendered and scored, `3d` where Gaussians were, also where `show` drew these."""
    scores: Float[Tensor, "*S"]
    """Of classes, the cosine of the best."""
    answered: Bool[Tensor, "*S"]
    """Where there is anything; elsewhere scores are 0 and nothing is selected."""
    selected: Bool[Tensor, "*S"]
    """Of classes, where one of the query's positives is best: nowhere, where it has none."""
    threshold: float | None = None
    """None for classes."""
    scale: tuple[float, float] = (0.0, 1.0)
    """As `Asked` has it."""
    labels: UInt8[Tensor, "*S"] | None = None
    """Indices into the query's classes, VOID where not answered."""

    @property
    def selection(self) -> Selection:
        """The Gaussians selected; of an answer per Gaussian."""
        return Selection(self.selected)


def ask(field: Field, query: Query, view: View | None = None) -> Answer:
    """The answer of every pixel of `view`, or of every Gaussian where there is none.

    Raises `UserError` for names the field does not know and for exemplars that are not there.
    """
    return answer(field, prepare(field, query), view)


@torch.no_grad()
def prepare(field: Field, query: Query) -> Asked:
    """Words and exemplar looked up once, for any number of views."""
    if query.like is not None:
        positives = look_up(field, query.like)[None]
    else:
        positives = field.encode_text(query.classes or query.positives, query.prompts)
    has_negatives = query.way in ("relevancy", "lerf")
    negatives = _negatives(field, query, positives) if has_negatives else positives.new_zeros(0, positives.shape[1])
    asked = Asked(query, positives, negatives)
    return asked if query.classes else _with_threshold(field, asked)


@torch.no_grad()
def answer(field: Field, asked: Asked, view: View | None = None) -> Answer:
    """`ask` with a query that is prepared."""
    latents = field.latents if view is None else field.render(view)
    protocol = "3d" if view is None else "2d"
    answered = _is_something(latents)
    if not answered.any():
        where = f"in {view.name}; is that a photo of this scene?" if view is not None else "in its Gaussians"
        raise UserError(f"{field.source}: there are no features to score {where}")
    is_known = asked.known is not None and latents is asked.known[0]
    scores, cosines = (asked.known[1], None) if is_known else score(field, asked, latents)
    if cosines is not None:
        labels = classify(cosines, answered)
        return Answer(asked.query, protocol, scores, answered, _is_asked_for(asked.query, labels), labels=labels)
    selected = answered & (scores >= asked.threshold)
    return Answer(asked.query, protocol, scores, answered, selected, asked.threshold, asked.scale)


@torch.no_grad()
def show(field: Field, found: Answer, view: View) -> Answer:
    """An answer per Gaussian as the view sees it: scores blended, a pixel selected where most of what it shows is.

    Of classes, the one that shows most wins.
    """
    assert found.scores.ndim == 1, "expected an answer per Gaussian"
    columns = [torch.ones_like(found.scores), found.scores.nan_to_num(), found.selected.float()]
    if found.labels is not None:
        columns += [(found.labels == i).float() for i in range(len(found.query.classes))]
    alpha, scores, selected, *votes = field.render(view, torch.stack(columns, dim=1)).unbind(-1)
    share = alpha.clamp_min(MIN_NORM)
    answered = alpha > 0
    labels = classify(torch.stack(votes, -1), torch.stack(votes, -1).any(-1)) if votes else None
    chosen = answered & (selected >= 0.5 * share) if labels is None else _is_asked_for(found.query, labels)
    return replace(found, scores=scores / share, answered=answered, selected=chosen, labels=labels)


def score(field: Field, asked: Asked, latents: Float[Tensor, "*S K"]) -> tuple[Tensor, Tensor | None]:
    """What latents answer: scores [*S], and the cosines [*S, Q] of classes, where they compete."""
    query = asked.query
    if query.way in ("relevancy", "lerf"):
        score = relevancy if query.way == "relevancy" else lerf_relevancy
        return score(latents, asked.positives, asked.negatives, field.B, temperature=query.temperature), None
    cosines = text_cosine(latents, asked.positives, field.B)
    return cosines.amax(-1), cosines if query.classes else None


def _is_something(latents: Float[Tensor, "*S K"]) -> Bool[Tensor, "*S"]:
    """NaN is something, as `gsdff.field.relevancy` has it."""
    return ~(latents.norm(dim=-1) < MIN_NORM)


def _with_threshold(field: Field, asked: Asked) -> Asked:
    scores = score(field, asked, field.latents)[0]
    counted = scores[_is_something(field.latents) & scores.isfinite()]
    if not len(counted):
        raise UserError(f"{field.source}: none of its {len(field.gaussians):,} Gaussians has features to score")
    threshold = asked.query.threshold
    if threshold is None:
        is_likeness = asked.query.like is not None and asked.query.way == "cosine"
        threshold = (suggest_likeness if is_likeness else suggest_threshold)(counted)
    left_out = len(counted) // 1000
    low, high = (float(counted.kthvalue(rank).values) for rank in (1 + left_out, len(counted) - left_out))
    return replace(asked, threshold=threshold, scale=(low, high), known=(field.latents, scores))


def _negatives(field: Field, query: Query, positives: Float[Tensor, "P T"]) -> Float[Tensor, "M T"]:
    named = field.encode_text(query.negatives, query.prompts) if query.negatives else positives[:0]
    if query.only_negatives or query.like is not None:
        return named
    return torch.cat([named, _default_negatives(field, query, positives)]).unique(dim=0)


def _default_negatives(field: Field, query: Query, positives: Float[Tensor, "P T"]) -> Float[Tensor, "M T"]:
    asked = {fold(name) for name in query.positives}
    if all(map(field.knows, DEFAULT_NEGATIVES)):
        names = [name for name in DEFAULT_NEGATIVES if name not in asked]
        _require(names or query.negatives, f"--negative: needed, all of {', '.join(DEFAULT_NEGATIVES)} are asked for")
        return field.encode_text(names, query.prompts) if names else positives[:0]
    vectors = torch.stack([*field.vocabulary.vectors.values()]).to(field.device).unique(dim=0)
    # one thing may have two names, of one vector
    others = vectors[~(vectors[:, None] == positives).all(-1).any(1)]
    _require(
        len(others) or query.negatives,
        f"{field.source}: knows nothing else to compare with; ask with --method cosine",
    )
    _say_once(
        f"{field.source}: compared with its other {len(others)} names, as it does not know "
        f"{', '.join(DEFAULT_NEGATIVES)}; --negative with --only-negatives chooses"
    )
    return others


def _is_asked_for(query: Query, labels: UInt8[Tensor, "*S"]) -> Bool[Tensor, "*S"]:
    asked = {fold(name) for name in query.positives}
    ids = [i for i, name in enumerate(query.classes) if fold(name) in asked]
    return torch.isin(labels, torch.tensor(ids, dtype=labels.dtype, device=labels.device))


def _require(condition: object, complaint: str) -> None:
    if not condition:
        raise UserError(complaint)


_say_once = cache(log.info)
