"""Origin of stored positions: float32 holds seven digits, coordinates of a map take all of them before the decimals.

A position is `origin` + a float32 offset, with the origin in float64. Scenes near zero have the origin (0, 0, 0).
"""

import logging
import math
from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

from gsdff.errors import UserError, shown

log = logging.getLogger("gsdff")

Point: TypeAlias = tuple[float, float, float]
OriginChoice: TypeAlias = Literal["auto", "none"] | Point
"""`auto`: one near the scene if float32 needs it; `none`: (0, 0, 0), whatever is lost; or the origin itself."""

ZERO: Point = (0.0, 0.0, 0.0)
FAR = 16
"""Distance from zero, in sizes of the scene, up to which a float32 is right to a millionth of that size: 2^24 / 1e6."""
FARTHEST_ORIGIN = 1e12
"""Largest coordinate of an origin: float64 has steps of a tenth of a millimetre there."""
COMMENT = "offset"
"""First word of the PLY comment with the origin: `comment offset 500000.0 4649776.0 100.0`."""


def choose_origin(middle: Point, size: float) -> Point:
    """Origin for a scene of this middle and size: (0, 0, 0), or the middle in round numbers if it is too far away."""
    if max(map(abs, middle)) <= FAR * size:
        return ZERO
    digits = -math.floor(math.log10(size))
    x, y, z = (round(value, digits) + 0.0 for value in middle)
    return x, y, z


def resolve_origin(choice: OriginChoice, auto: Point) -> Point:
    """The origin that a choice means; raises `UserError` for anything else."""
    if choice == "auto":
        return auto
    if choice == "none":
        return ZERO
    point = None if isinstance(choice, str) else as_point(choice)
    if point is None:
        raise UserError(
            f"`origin`: expected auto, none or three numbers of at most {FARTHEST_ORIGIN:g}, got {shown(choice)}"
        )
    return point


def as_point(values: Any) -> Point | None:
    """Three numbers of at most `FARTHEST_ORIGIN`, or texts of such, as a position; None for anything else."""
    try:
        x, y, z = map(float, values)
    except (TypeError, ValueError, OverflowError):
        return None
    return (x, y, z) if all(abs(value) <= FARTHEST_ORIGIN for value in (x, y, z)) else None


def warn_if_coarse(middle: Point, size: float, origin: Point) -> None:
    """Warns if positions of a scene, relative to this origin, are not right to a millionth of its size as float32."""
    x, y, z = (value - shift for value, shift in zip(middle, origin, strict=True))
    if choose_origin((x, y, z), size) != ZERO:
        step = max(map(abs, (x, y, z))) * 2.0**-23
        log.warning(
            "`origin` %s: positions are rounded to steps of up to %.2g, in a scene %.3g wide around %s; `origin` auto "
            "keeps them", format_point(origin), step, size, format_point(middle),
        )  # fmt: skip


def find_origin(path: object, comments: Iterable[str]) -> Point | None:
    """The origin that the comments of a PLY state, without the word `comment`; None if they state none.

    Raises `UserError`, with the file, for an offset that is not three finite numbers.
    """
    for comment in comments:
        word, *numbers = comment.split() or [""]
        if word != COMMENT:
            continue
        if (point := as_point(numbers)) is None:
            raise UserError(
                f"{path}: its comment {shown(comment)} is no offset; expected three numbers, or no such comment"
            )
        return point
    return None


def format_point(point: Iterable[float]) -> str:
    """A position with all its digits: (500000.0, 4649776.0, 100.0)."""
    return f"({', '.join(map(repr, point))})"
