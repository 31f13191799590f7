"""The exception for mistakes that a user can mend, and what helps to mend them."""

import shlex
from collections.abc import Iterable
from difflib import SequenceMatcher


class UserError(Exception):
    """A foreseeable mistake, in one line: what was expected, what came, what to do, and the file's name.

    The message names parameters as Python has them, in backquotes: "`view` 12: expected an index from 0 to 9". A door
    prints them as its options ("--view 12: ...") without a traceback and exits with status 1 (`gsdff.cli.run_door`).
    """


def nearest(name: str, valid: Iterable[str]) -> str:
    """Which of the valid names is most like this one, for the complaint about it."""
    return max(valid, key=lambda other: SequenceMatcher(None, name, other).ratio())


def command(door: str, *arguments: object) -> str:
    """Command line of a door to paste into a shell: gsdff train --out 'my runs/demo'."""
    return shlex.join(["gsdff", door, *map(str, arguments)])
