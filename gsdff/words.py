"""Words that scenes are searched for, as the user writes them."""

from collections.abc import Iterable, Sequence

from gsdff.errors import UserError, nearest

LISTED = 30
"""Most names that a message lists."""


def fold(name: str) -> str:
    """A name as it is looked up: case and outer spaces do not matter."""
    return name.strip().lower()


def is_text(text: str) -> bool:
    """Whether a string is text; arguments of a command may hold bytes that are none in UTF-8."""
    return text.encode(errors="ignore").decode() == text


def as_words(words: str | Iterable[str], name: str) -> tuple[str, ...]:
    """A tuple of words; a single string is one word, not its letters. Raises `UserError` with the parameter's
    name for anything else."""
    texts = (words,) if isinstance(words, str) else tuple(words) if isinstance(words, Iterable) else (words,)
    if not all(isinstance(text, str) and is_text(text) for text in texts):
        raise UserError(f"`{name}`: expected a text or a list of texts, got {words!r}")
    return texts


def describe_unknown(word: str, names: Sequence[str]) -> str:
    """Message for a word that is none of the names of a vocabulary, with the nearest of them."""
    if not names:
        return f"unknown name {word!r}; there are none"
    more = f", ... ({len(names)} names)" if len(names) > LISTED else ""
    return (
        f"unknown name {word!r}; did you mean {nearest(fold(word), names)!r}? Known: {', '.join(names[:LISTED])}{more}"
    )
