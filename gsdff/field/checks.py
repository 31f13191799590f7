"""Checks of arguments that methods of a field make, and doors before they load anything; without torch."""

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

from gsdff.errors import UserError, shown
from gsdff.reading import MOST_PIXELS


def check_views(views: Sequence[Any], all_held_out: bool) -> None:
    """Raises `UserError` for photos that are named although all held-out ones are wanted."""
    if views and all_held_out:
        raise UserError("`views` and `all_held_out`: expected one of them")


def check_segmentation(min_area: int, min_opacity: float) -> None:
    """Raises `UserError` for limits of a segmentation that are out of range, or NaN."""
    if not (isinstance(min_area, Integral) and 1 <= min_area <= MOST_PIXELS):
        raise UserError(f"`min_area` {shown(min_area)}: expected a whole number of pixels, at least 1")
    if not (isinstance(min_opacity, Real) and 0 <= min_opacity <= 1):
        raise UserError(f"`min_opacity` {shown(min_opacity)}: expected a number from 0 to 1")
