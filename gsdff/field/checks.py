"""Checks of arguments that methods of a field make, and doors before they load anything; without torch."""

from collections.abc import Sequence
from typing import Any

from gsdff.errors import UserError


def check_views(views: Sequence[Any], all_held_out: bool) -> None:
    """Raises `UserError` for photos that are named although all held-out ones are wanted."""
    if views and all_held_out:
        raise UserError("`views` and `all_held_out`: expected one of them")


def check_segmentation(min_area: int, min_opacity: float) -> None:
    """Raises `UserError` for limits of a segmentation that are out of range, or NaN."""
    if min_area < 1:
        raise UserError(f"`min_area` {min_area}: expected at least 1 pixel")
    if not 0 <= min_opacity <= 1:
        raise UserError(f"`min_opacity` {min_opacity}: expected a number from 0 to 1")
