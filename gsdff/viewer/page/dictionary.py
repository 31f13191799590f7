"""Words that a page can be searched for, as their vectors Bᵀt: a word needs as many numbers as a latent."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gsdff.errors import UserError
from gsdff.field.base import FieldBase
from gsdff.field.query import MAX_CLASSES
from gsdff.field.relevancy import DEFAULT_NEGATIVES
from gsdff.files.reading import read_text
from gsdff.latents import MIN_NORM, encode
from gsdff.words import as_words, fold

NOUNS = tuple(Path(__file__).parent / name for name in ("nouns.txt", "wordnet_nouns.txt"))
"""Words for teachers that encode any: a list by hand, and one from WordNet (scripts/make_nouns.py)."""
BATCH = 64
"""Words that a teacher encodes at a time."""


@dataclass(eq=False)
class Dictionary:
    """Names, each with the row of its vector; equal vectors share a row, None is left to the page's server."""

    names: dict[str, int | None] = field(default_factory=dict)
    """Words that the page offers."""
    negatives: dict[str, int | None] | None = None
    """Words that every query is compared with; None for all but those that are searched for."""
    classes: dict[str, int] = field(default_factory=dict)
    """Classes of the legend."""
    vectors: Float[Tensor, "V K"] = field(default_factory=lambda: torch.zeros(0, 0))


def make_dictionary(
    field: FieldBase,
    words: Sequence[str] | None,
    classes: Sequence[str],
    report: Callable[[float], None] = lambda _share: None,
) -> Dictionary:
    """The words of a page: those given, or else all of a closed vocabulary, or else common nouns.

    `report` is told the share of the words that are encoded. Without `classes` the legend has those of a closed
    vocabulary. Raises `UserError` for words that the field does not know, for one class, and for more than
    `MAX_CLASSES`.
    """
    vocabulary = field.vocabulary
    if vocabulary is not None and not vocabulary.vectors:
        return Dictionary(vectors=torch.zeros(0, field.B.shape[1]))
    known = None if vocabulary is None else list(vocabulary.vectors)
    offered = _unique(words if words is not None else known or [word for path in NOUNS for word in read_words(path)])
    has_defaults = all(map(field.knows, DEFAULT_NEGATIVES))
    needed = list(DEFAULT_NEGATIVES) if has_defaults else known or []
    chosen = _unique(classes)
    names = _unique([*offered, *needed, *chosen])
    encoded = []
    for start in range(0, len(names), BATCH):
        encoded.append(field.encode_text(names[start : start + BATCH]).cpu())
        report(min(1.0, (start + BATCH) / len(names)))
    texts = torch.cat(encoded)
    rows: dict[bytes, int] = {}
    row_of = {name: rows.setdefault(text.numpy().tobytes(), len(rows)) for name, text in zip(names, texts, strict=True)}
    first = {row: name for name, row in reversed(row_of.items())}
    if not chosen and known is not None:
        chosen = [first[row] for row in sorted({row_of[name] for name in known})]
        chosen = chosen if 2 <= len(chosen) <= MAX_CLASSES else []
    elif chosen and not 2 <= len(chosen) <= MAX_CLASSES:
        raise UserError(f"`classes`: expected 2 to {MAX_CLASSES} different names, got {len(chosen)}")
    units = F.normalize(texts[[names.index(first[row]) for row in sorted(first)]], dim=1, eps=MIN_NORM)
    return Dictionary(
        names={name: row_of[name] for name in offered},
        negatives={name: row_of[name] for name in needed} if has_defaults else None,
        classes={name: row_of[name] for name in chosen},
        vectors=encode(units, field.B.cpu()),
    )


def list_words(field: FieldBase) -> Dictionary:
    """The words of a page whose server encodes any: as `make_dictionary`'s, without vectors if the vocabulary is open.

    Nothing is encoded, for which the teacher's network would have to be loaded before the page opens.
    """
    if field.vocabulary is not None:
        return make_dictionary(field, None, ())
    offered = _unique([word for path in NOUNS for word in read_words(path)])
    return Dictionary(
        names=dict.fromkeys(offered),
        negatives=dict.fromkeys(DEFAULT_NEGATIVES),
        vectors=torch.zeros(0, field.B.shape[1]),
    )


def read_words(path: Path) -> list[str]:
    """Words of a text file, one a line; raises `UserError` if there are none."""
    lines = [line.strip() for line in read_text(path, "a list of words, one a line").splitlines()]
    words = [line for line in lines if line and not line.startswith("#")]
    if not words:
        raise UserError(f"{path}: expected words, one a line, found none")
    return list(as_words(words, "words"))


def _unique(words: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(map(fold, words)))
