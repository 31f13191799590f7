"""Moves, turns, scales and copies the selection."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float64
from torch import Tensor

from gsdff.editing import functional
from gsdff.editing.edit import Edit
from gsdff.editing.values import (
    MOST_DEGREES,
    EditValueError,
    Number,
    Vector,
    check,
    check_between,
    check_factor,
    parse_numbers,
)
from gsdff.gaussians import Gaussians
from gsdff.rotation import axis_angle_to_matrix, euler_to_matrix

SHORTEST_AXIS = 1e-9
"""Shorter axes are no direction."""


@dataclass(frozen=True)
class Move(Edit):
    """Moves the selection."""

    translation: Vector

    def apply(self, gaussians: Gaussians, mask: Bool[Tensor, "N"]) -> Gaussians:
        """The scene with the selected Gaussians moved."""
        return functional.transform(gaussians, mask, translation=self.translation)

    @classmethod
    def parse_value(cls, value: str) -> Mapping[str, Any]:
        """A translation: "0.5,0,0"."""
        return {"translation": parse_numbers(value, 3)}


@dataclass(frozen=True)
class Rotate(Edit):
    """Turns the selection about `centre`: by `degrees` about `axis`, or by `euler` degrees about x, then y, then z."""

    axis: Vector | None = None
    degrees: Number | None = None
    euler: Vector | None = None
    centre: Vector | None = None
    """None for the selection's own: its mean weighted by opacity."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_rotation(self)
        if self.axis is None and self.euler is None:
            raise EditValueError("`axis`: expected axis and degrees, or euler, got neither")

    def apply(self, gaussians: Gaussians, mask: Bool[Tensor, "N"]) -> Gaussians:
        """The scene with the selected Gaussians turned."""
        return functional.transform(gaussians, mask, rotation=_rotation(self), centre=self.centre)

    @classmethod
    def parse_value(cls, value: str) -> Mapping[str, Any]:
        """Euler angles, "0,90,0", or an axis and degrees, "0,0,1,90"."""
        numbers = parse_numbers(value, 3, 4)
        return {"euler": numbers} if len(numbers) == 3 else {"axis": numbers[:3], "degrees": numbers[3]}


@dataclass(frozen=True)
class Scale(Edit):
    """Makes the selection `factor` times as large about `centre`."""

    factor: Number
    centre: Vector | None = None
    """None for the selection's own: its mean weighted by opacity."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_factor(self, "factor")

    def apply(self, gaussians: Gaussians, mask: Bool[Tensor, "N"]) -> Gaussians:
        """The scene with the selected Gaussians scaled."""
        return functional.transform(gaussians, mask, scale=self.factor, centre=self.centre)

    @classmethod
    def parse_value(cls, value: str) -> Mapping[str, Any]:
        """A factor: "1.5"."""
        return {"factor": parse_numbers(value, 1)[0]}


@dataclass(frozen=True)
class Duplicate(Edit):
    """Adds copies: each is moved, turned and scaled once more than the one before, about the selection's centre."""

    translation: Vector = (0.0, 0.0, 0.0)
    copies: int = 1
    axis: Vector | None = None
    degrees: Number | None = None
    euler: Vector | None = None
    factor: Number = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_rotation(self)
        check_between(1, self, "copies", 100)
        check_between(0.01, self, "factor", 100)  # its 100th power is still a number

    @property
    def num_copies(self) -> int:
        """Number of copies that are added of every selected Gaussian."""
        return self.copies

    def apply(self, gaussians: Gaussians, mask: Bool[Tensor, "N"]) -> Gaussians:
        """The scene followed by the copies, the i-th moved, turned and scaled i times."""
        rotation = _rotation(self)
        result = gaussians
        for i in range(1, self.copies + 1):
            result = functional.duplicate(
                result,
                F.pad(mask, (0, len(result) - len(mask))),
                rotation=None if rotation is None else torch.linalg.matrix_power(rotation, i),
                translation=[i * value for value in self.translation],
                scale=self.factor**i,
            )
        return result

    @classmethod
    def parse_value(cls, value: str) -> Mapping[str, Any]:
        """A translation, "0.5,0,0", and how many copies, "0.5,0,0,3"."""
        *translation, copies = [*parse_numbers(value, 3, 4), 1.0][:4]
        if not copies.is_integer():
            raise ValueError(f"expected a whole number of copies, got {copies:g}")
        return {"translation": translation, "copies": int(copies)}


def _check_rotation(edit: Rotate | Duplicate) -> None:
    """Raises `EditValueError` unless there is an axis with its degrees, or euler, or none of them."""
    if (edit.axis is None) != (edit.degrees is None):
        raise EditValueError(f"`axis`, `degrees`: expected both, got only {'degrees' if edit.axis is None else 'axis'}")
    for angle in edit.euler or ():
        check(abs(angle) <= MOST_DEGREES, "euler", f"angles from {-MOST_DEGREES} to {MOST_DEGREES} degrees", edit.euler)
    if edit.axis is None or edit.degrees is None:
        return
    if edit.euler is not None:
        raise EditValueError("`axis`, `euler`: expected axis and degrees, or euler, got both")
    check(max(map(abs, edit.axis)) >= SHORTEST_AXIS, "axis", "a direction", edit.axis)
    check_between(-MOST_DEGREES, edit, "degrees", MOST_DEGREES)


def _rotation(edit: Rotate | Duplicate) -> Float64[Tensor, "3 3"] | None:
    """Rotation matrix of the edit; None if it does not turn."""
    if edit.axis is not None and edit.degrees is not None:
        return axis_angle_to_matrix(edit.axis, edit.degrees)
    return None if edit.euler is None else euler_to_matrix(edit.euler)
