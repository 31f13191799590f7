"""Checks of arguments that methods of a field make, and doors before they load anything; without torch."""

from collections.abc import Sequence
from numbers import Integral, Real
from os import PathLike
from typing import Any

from gsdff.errors import UserError, shown
from gsdff.files.reading import MOST_PIXELS


def check_views(views: Sequence[Any], all_held_out: bool) -> None:
    """Raises `UserError` for photos that are named although all held-out ones are wanted, and for what is no list."""
    if not isinstance(views, Sequence):
        raise UserError(f"`views`: expected names of photos or indices, got {shown(views)}")
    if not isinstance(all_held_out, bool):
        raise UserError(f"`all_held_out`: expected true or false, got {shown(all_held_out)}")
    if views and all_held_out:
        raise UserError("`views` and `all_held_out`: expected one of them")


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Raises `UserError`, which names the parameter, unless the value is one of these texts."""
    if not (isinstance(value, str) and value in choices):
        raise UserError(f"`{name}` {shown(value)}: expected {', '.join(choices[:-1])} or {choices[-1]}")


def check_path(name: str, value: object) -> None:
    """Raises `UserError`, which names the parameter, for what is no path; None is one that is left out."""
    if not (value is None or isinstance(value, str | PathLike)):
        raise UserError(f"`{name}`: expected a path, got {shown(value)}")


def check_segmentation(min_area: int, min_opacity: float) -> None:
    """Raises `UserError` for limits of a segmentation that are out of range, or NaN."""
    if not (isinstance(min_area, Integral) and 1 <= min_area <= MOST_PIXELS):
        raise UserError(f"`min_area` {shown(min_area)}: expected a whole number of pixels, at least 1")
    if not (isinstance(min_opacity, Real) and 0 <= min_opacity <= 1):
        raise UserError(f"`min_opacity` {shown(min_opacity)}: expected a number from 0 to 1")
