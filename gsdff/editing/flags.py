"""Edits in short, as on a command line: `TEXT` or `TEXT:VALUE`, where texts joined by + are alternatives.

A text may hold spaces, and colons where a value follows: what is behind the last one is the value.

    extract, delete   "chair"                 recolor     "table+desk:#2a6fdb", "table:navy", "table:0.2,0.4,0.9"
    move              "lamp:0.5,0,0"          rotate      "lamp:0,90,0" Euler degrees, "lamp:0,0,1,90" axis and degrees
    scale             "lamp:1.5"              duplicate   "lamp:0.5,0,0", "lamp:0.5,0,0,3" three copies
    opacity           "curtain:0.3"               stylize     "chair:a wooden chair, carved"
"""

from collections.abc import Callable

from gsdff.editing.operations import (
    Delete,
    Duplicate,
    EditStep,
    Extract,
    Move,
    Opacity,
    Operation,
    Recolor,
    Rotate,
    Scale,
    Selector,
    Stylize,
    parse_color,
)
from gsdff.errors import UserError


def parse_extract(argument: str) -> EditStep:
    """Of "chair"."""
    return _without_value("extract", argument, Extract())


def parse_delete(argument: str) -> EditStep:
    """Of "chair"."""
    return _without_value("delete", argument, Delete())


def parse_recolor(argument: str) -> EditStep:
    """Of "table:#2a6fdb"."""

    def read(value: str) -> Operation:
        return Recolor(parse_color(_numbers(value, 3) if "," in value else value))

    return _with_value("recolor", argument, "TEXT:COLOR", read)


def parse_move(argument: str) -> EditStep:
    """Of "lamp:0.5,0,0"."""
    return _with_value("move", argument, "TEXT:X,Y,Z", lambda value: Move(tuple(_numbers(value, 3))))


def parse_rotate(argument: str) -> EditStep:
    """Of "lamp:0,90,0", Euler degrees about x, y, z, or "lamp:0,0,1,90", an axis and degrees."""

    def read(value: str) -> Operation:
        numbers = _numbers(value, 3, 4)
        if len(numbers) == 3:
            return Rotate(euler=tuple(numbers))
        return Rotate(axis=tuple(numbers[:3]), degrees=numbers[3])

    return _with_value("rotate", argument, "TEXT:X,Y,Z or TEXT:AXIS_X,AXIS_Y,AXIS_Z,DEGREES", read)


def parse_scale(argument: str) -> EditStep:
    """Of "lamp:1.5"."""
    return _with_value("scale", argument, "TEXT:FACTOR", lambda value: Scale(*_numbers(value, 1)))


def parse_duplicate(argument: str) -> EditStep:
    """Of "lamp:0.5,0,0", or "lamp:0.5,0,0,3" for three copies."""

    def read(value: str) -> Operation:
        *translation, copies = [*_numbers(value, 3, 4), 1.0][:4]
        if not copies.is_integer():
            raise ValueError(f"expected a whole number of copies, got {copies:g}")
        return Duplicate(tuple(translation), int(copies))

    return _with_value("duplicate", argument, "TEXT:X,Y,Z or TEXT:X,Y,Z,COPIES", read)


def parse_opacity(argument: str) -> EditStep:
    """Of "curtain:0.3"."""
    return _with_value("opacity", argument, "TEXT:OPACITY", lambda value: Opacity(*_numbers(value, 1)))


def parse_stylize(argument: str) -> EditStep:
    """Of "chair:a wooden chair"."""
    return _with_value("stylize", argument, "TEXT:PROMPT", Stylize)


PARSERS: dict[str, Callable[[str], EditStep]] = {
    "extract": parse_extract,
    "delete": parse_delete,
    "recolor": parse_recolor,
    "move": parse_move,
    "rotate": parse_rotate,
    "scale": parse_scale,
    "duplicate": parse_duplicate,
    "opacity": parse_opacity,
    "stylize": parse_stylize,
}
"""By the operation's name."""


def _without_value(name: str, argument: str, operation: Operation) -> EditStep:
    if ":" in argument:
        raise UserError(f"--{name} {argument!r}: expected TEXT without a value; thresholds belong in an edit file")
    return EditStep(operation, _selector(argument, f"--{name} {argument!r}: expected TEXT"))


def _with_value(name: str, argument: str, form: str, read: Callable[[str], Operation]) -> EditStep:
    """The step of TEXT:VALUE, or `UserError` with the form."""
    expected = f"--{name} {argument!r}: expected {form}"
    text, colon, value = argument.rpartition(":")
    if not colon:
        raise UserError(f"{expected}, got no colon")
    try:
        operation = read(value.strip())
    except ValueError as error:
        raise UserError(f"{expected}; {error}") from error
    return EditStep(operation, _selector(text, expected))


def _selector(text: str, expected: str) -> Selector:
    texts = tuple(part.strip() for part in text.split("+"))
    if not all(texts):
        raise UserError(f"{expected}, got an empty text")
    return Selector(texts)


def _numbers(value: str, *counts: int) -> list[float]:
    parts = value.split(",")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) not in counts:
        raise ValueError(f"expected {' or '.join(map(str, counts))} numbers with commas between them, got {value!r}")
    return numbers
