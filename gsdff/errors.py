"""The one exception for mistakes a user can mend, and what helps to mend them."""

from collections.abc import Iterable
from difflib import SequenceMatcher


class UserError(Exception):
    """A foreseeable mistake: one line saying what was expected, what came, and what to do, naming the file.

    Doors print it without a traceback and exit with status 1 (`gsdff.cli.run_door`).
    """


def nearest(name: str, valid: Iterable[str]) -> str:
    """Which of the valid names is most like this one, for the complaint about it."""
    return max(valid, key=lambda other: SequenceMatcher(None, name, other).ratio())
