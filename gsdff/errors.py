"""The exception for mistakes that a user can correct, and what its messages are made of."""

import reprlib
import shlex
from collections.abc import Iterable
from difflib import SequenceMatcher


class UserError(Exception):
    """A foreseeable mistake, in one line: what was expected, what came, what to do, and the file's name.

    The message names parameters as Python has them, in backquotes: "`view` 12: expected an index from 0 to 9". A door
    prints them as its options ("--view 12: ...") without a traceback and exits with status 1 (`gsdff.cli.run_door`).
    """


class _Short(reprlib.Repr):
    """`repr` of at most a line, whatever the value's size and nesting."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlist = self.maxtuple = self.maxdict = 10
        self.maxstring = self.maxother = 100

    def repr_int(self, x: int, level: int) -> str:
        """The number, or its size if it is absurd: Python refuses to print more than 4,300 digits."""
        return repr(x) if x.bit_length() < 200 else f"a whole number of about {x.bit_length() * 3 // 10} digits"


_short = _Short()


def shown(value: object) -> str:
    """A value in a message, as `repr` but cut to a line: files hold millions, and lists that hold themselves."""
    return _short.repr(value)


def nearest(name: str, valid: Iterable[str]) -> str:
    """The valid name most like this one, for error messages.

    One that contains it wins, as a whole word before a part of a word; otherwise the most similar spelling. Dotted
    names are compared by their last parts first, as options are easily looked for in the wrong table.
    """
    name = name[-100:]  # of a damaged file it may have millions of letters

    def likeness(other: str) -> tuple[bool, bool, float, float]:
        end, other_end = (text.rpartition(".")[2].casefold() for text in (name, other))
        is_word = f" {end} " in f" {other_end} "
        return is_word, end in other_end, _similarity(end, other_end), _similarity(name, other)

    return max(valid, key=likeness)


def _similarity(a: str, b: str) -> float:
    return SequenceMatcher(None, a, b).ratio()


def command(door: str, *arguments: object) -> str:
    """Command line of a door to paste into a shell: gsdff train --out 'my runs/demo'."""
    return shlex.join(["gsdff", door, *map(str, arguments)])
