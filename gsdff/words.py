"""Words that scenes are searched for, as the user writes them."""

from collections.abc import Iterable


def fold(name: str) -> str:
    """A name as it is looked up: case and outer spaces do not matter."""
    return name.strip().lower()


def as_words(words: str | Iterable[str]) -> tuple[str, ...]:
    """A tuple of words; a single string is one word, not its letters."""
    return (words,) if isinstance(words, str) else tuple(words)
