"""Words that scenes are searched for, as the user writes them."""

import re
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

from gsdff.errors import UserError, nearest, shown

LONGEST = 1000
"""Most characters of a text; CLIP reads fewer than a hundred words."""
MOST = 10_000
"""Most texts in one list."""
LISTED = 30
"""Most names that a message lists."""
_THING = re.compile(r"thing:\s*(\d{1,9})(?:\.(\d{1,9}))?")


class ThingNumber(NamedTuple):
    """A thing by its number, or one of its parts."""

    number: int
    part: int | None = None

    def __str__(self) -> str:
        return f"thing:{self.number}" + ("" if self.part is None else f".{self.part}")


def fold(name: str) -> str:
    """A name as it is looked up: case and outer spaces do not matter."""
    return name.strip().lower()


def as_words(words: str | Iterable[str], name: str) -> tuple[str, ...]:
    """A tuple of words; a single string is one word, not its letters. Raises `UserError` with the parameter's
    name for anything else."""
    try:
        texts: tuple[Any, ...] = (words,) if isinstance(words, str) else tuple(islice(words, MOST + 1))
    except TypeError:  # not to be iterated over
        texts = (words,)
    if not all(isinstance(text, str) for text in texts):
        raise UserError(f"`{name}`: expected a text or a list of texts, got {shown(words)}")
    if complaint := find_complaint(texts):
        raise UserError(f"`{name}`: {complaint}")
    return texts


def read_thing(text: str) -> ThingNumber | None:
    """The thing that a text such as "thing:12" names, or the part that "thing:12.2" does; None for words."""
    match = _THING.fullmatch(text.strip())
    return None if match is None else ThingNumber(int(match[1]), None if match[2] is None else int(match[2]))


def is_text(value: object) -> bool:
    """Whether a value is a text that can be encoded (`find_complaint`)."""
    return isinstance(value, str) and not find_complaint([value])


def find_complaint(texts: Sequence[str]) -> str:
    """Reason why these texts cannot be encoded, or "" if they can."""
    if len(texts) > MOST:
        return f"expected at most {MOST:,} texts, got more"
    for text in texts:
        if len(text) > LONGEST:
            return f"expected a text of at most {LONGEST:,} characters, got one of {len(text):,}"
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            return f"expected a text in UTF-8, got {shown(text)}, which has bytes or halves of characters that are none"
    return ""


def describe_names(names: Sequence[str]) -> str:
    """Some names in a message, with their number if they are many."""
    more = f", ... ({len(names)} names)" if len(names) > LISTED else ""
    return ", ".join(map(shown, names[:LISTED])) + more or "none"


def describe_unknown(word: str, names: Sequence[str]) -> str:
    """Message for a word that is none of the names of a vocabulary, with the nearest of them."""
    if not names:
        return f"unknown name {word!r}; there are none"
    more = f", ... ({len(names)} names)" if len(names) > LISTED else ""
    return (
        f"unknown name {word!r}; did you mean {nearest(fold(word), names)!r}? Known: {', '.join(names[:LISTED])}{more}"
    )
