"""Fields of edits by their types: how a value is read, checked, and written to a file.

Every type has one reader, for values from Python, TOML and YAML alike. It raises ValueError with what was expected and
what came.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cache
from math import inf
from numbers import Integral, Real
from sys import float_info
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeAlias, TypeGuard, Union, get_args, get_origin, get_type_hints

from gsdff.errors import UserError, shown
from gsdff.words import find_complaint

COLOR_NAMES = {
    "black": "#000000", "silver": "#c0c0c0", "gray": "#808080", "grey": "#808080", "white": "#ffffff",
    "maroon": "#800000", "red": "#ff0000", "purple": "#800080", "fuchsia": "#ff00ff", "green": "#008000",
    "lime": "#00ff00", "olive": "#808000", "yellow": "#ffff00", "navy": "#000080", "blue": "#0000ff",
    "teal": "#008080", "aqua": "#00ffff", "orange": "#ffa500",
}  # fmt: skip
"""CSS's basic colours, with "grey" and "orange"."""
FARTHEST = 1e9
"""Largest coordinate of a place, an offset or a direction; positions are stored with seven digits."""
MOST_DEGREES = 36_000
"""Largest angle, a hundred turns."""
LARGEST_FACTOR = 1e6
"""Largest factor of a size or an opacity; the smallest is one millionth."""
MOST_ROUNDS = 100
"""Most rounds of a clean-up, each of which reaches one neighbour further."""
RGB: TypeAlias = tuple[float, float, float]
"""Red, green, blue in 0..1, gamma-encoded as in photos."""


class EditValueError(UserError, ValueError):
    """A value that a field of an edit cannot have; the message names the field in backquotes."""


@dataclass(frozen=True)
class FieldFormat:
    """Reader and writer of one type of field, given in its annotation."""

    read: Callable[[Any], Any]
    """Returns the value to keep; raises ValueError if it cannot be read."""
    write: Callable[[Any], Any] = lambda value: value
    """Returns the value for TOML."""


def parse_color(value: object) -> RGB:
    """Colour of "#rrggbb", "#rgb", a name of `COLOR_NAMES` or three numbers in 0..1; ValueError for others."""
    value = _as_list(value)
    text = COLOR_NAMES.get(value.strip().lower(), value.strip()) if isinstance(value, str) else ""
    if re.fullmatch("#([0-9a-fA-F]{3}){1,2}", text):
        digits = text[1:] if len(text) == 7 else "".join(2 * digit for digit in text[1:])
        red, green, blue = (int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4))
        return red, green, blue
    if _is_triple(value) and all(0 <= number <= 1 for number in value):
        return _as_triple(value)
    names = ", ".join(COLOR_NAMES)
    raise ValueError(f'expected a colour: "#rrggbb", three numbers in 0..1 or one of {names}; got {shown(value)}')


def write_color(color: RGB) -> str | RGB:
    """The colour as "#rrggbb" if that is exact."""
    text = "#" + "".join(f"{round(255 * channel):02x}" for channel in color)
    return text if parse_color(text) == color else color


def read_texts(value: object) -> tuple[str, ...]:
    """One text or several, without white space around them; one text is one word, not its letters."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"expected a text or a list of texts, got {shown(value)}")
    if not all(text.strip() for text in texts):
        raise ValueError(f"expected no empty text, got {shown(value)}")
    if complaint := find_complaint(texts):
        raise ValueError(complaint)
    return tuple(text.strip() for text in texts)


def read_text(value: object) -> str:
    """A string."""
    if not isinstance(value, str):
        raise ValueError(f"expected a text, got {shown(value)}")
    if complaint := find_complaint([value]):
        raise ValueError(complaint)
    return value


def parse_numbers(value: str, *counts: int) -> list[float]:
    """Numbers with commas between them, as many as one of the counts."""
    try:
        numbers = [float(part) for part in value.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in counts:
        expected = f"{' or '.join(map(str, counts))} numbers with commas between them"
        raise ValueError(f"expected {expected}, got {shown(value)}")
    return numbers


def _read_vector(value: object) -> tuple[float, float, float]:
    value = _as_list(value)
    if not _is_triple(value):
        raise ValueError(f"expected three numbers [x, y, z], got {shown(value)}")
    if not all(abs(number) <= FARTHEST for number in value):
        raise ValueError(f"expected three numbers from {-FARTHEST:g} to {FARTHEST:g}, got {shown(value)}")
    return _as_triple(value)


def _read_number(value: object) -> float:
    if not _is_number(value):
        raise ValueError(f"expected a number, got {shown(value)}")
    if abs(value) > float_info.max:
        return inf if value > 0 else -inf  # which the field's own range refuses
    return float(value)


def _read_count(value: object) -> int:
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise ValueError(f"expected a whole number, got {shown(value)}")
    return int(value)


def _read_flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"expected true or false, got {shown(value)}")
    return value


def _as_list(value: Any) -> object:
    """Arrays and tensors as lists; other values stay themselves."""
    return value.tolist() if hasattr(value, "tolist") else value


def _is_number(value: object) -> TypeGuard[float | int]:
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_triple(value: object) -> TypeGuard[Sequence[float | int]]:
    return isinstance(value, Sequence) and len(value) == 3 and all(map(_is_number, value))


def _as_triple(value: Sequence[float | int]) -> tuple[float, float, float]:
    x, y, z = map(float, value)
    return x, y, z


Number: TypeAlias = Annotated[float | int, FieldFormat(_read_number)]
"""A float once it is read."""
Vector: TypeAlias = Annotated[Sequence[float | int], FieldFormat(_read_vector)]
"""x, y and z, finite; a tuple of floats once it is read."""
COLOR = FieldFormat(parse_color, write_color)
Color: TypeAlias = Annotated[Sequence[float | int] | str, COLOR]
"""An `RGB` once it is read; `parse_color` lists what else may be given."""
Texts: TypeAlias = Annotated[Sequence[str], FieldFormat(read_texts)]
"""A tuple once it is read; a single string is one text."""
FORMATS = {bool: FieldFormat(_read_flag), int: FieldFormat(_read_count), str: FieldFormat(read_text)}
"""By type, for annotations without a `FieldFormat` of their own."""


def read_fields(record: Any) -> None:
    """Reads every field of a dataclass by its annotation (`read_field`), in place; for its `__post_init__`."""
    for entry in fields(record):
        object.__setattr__(record, entry.name, read_field(type(record), entry.name, getattr(record, entry.name)))


def read_field(kind: type, name: str, value: object) -> Any:
    """The value of a field of a dataclass, read by its annotation; raises `EditValueError`."""
    format_, may_be_none = _formats(kind)[name]
    if value is None and may_be_none:
        return None
    try:
        return format_.read(value)
    except ValueError as error:
        raise EditValueError(f"`{name}`: {error}") from error


def write_field(record: Any, name: str) -> Any:
    """The value of a field for TOML; it may not be None."""
    return _formats(type(record))[name][0].write(getattr(record, name))


def check(is_fine: bool, name: str, expected: str, got: object) -> None:
    """Raises `EditValueError`, which names the field, unless `is_fine`."""
    if not is_fine:
        raise EditValueError(f"`{name}`: expected {expected}, got {shown(got)}")


def check_between(low: float, record: object, name: str, high: float) -> None:
    """Raises `EditValueError` unless this field of an edit is a number from `low` to `high`."""
    value = getattr(record, name)
    check(low <= value <= high, name, f"{low:.9g} to {high:.9g}", value)


def check_factor(record: object, name: str) -> None:
    """Raises `EditValueError` unless this field of an edit is a factor that keeps what it scales drawable."""
    check_between(1 / LARGEST_FACTOR, record, name, LARGEST_FACTOR)


@cache
def _formats(kind: type) -> dict[str, tuple[FieldFormat, bool]]:
    """FieldFormat of every field, and whether it may be None."""
    hints = get_type_hints(kind, include_extras=True)
    return {entry.name: _format_of(hints[entry.name]) for entry in fields(kind)}


def _format_of(hint: Any) -> tuple[FieldFormat, bool]:
    may_be_none = get_origin(hint) in (Union, UnionType) and NoneType in get_args(hint)
    (kind,) = [part for part in get_args(hint) if part is not NoneType] if may_be_none else [hint]
    if get_origin(kind) is Annotated:
        return next(extra for extra in get_args(kind) if isinstance(extra, FieldFormat)), may_be_none
    if get_origin(kind) is Literal:
        return FieldFormat(lambda value: _read_choice(value, get_args(kind))), may_be_none
    return FORMATS[kind], may_be_none


def _read_choice(value: object, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise ValueError(f"expected one of {', '.join(choices)}, got {shown(value)}")
    return read_text(value)
