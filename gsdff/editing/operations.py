"""Edits as values: which Gaussians a step means, how that selection is cleaned, and what is done with it.

Lengths and positions are in the scene's units, in the world frame of the Gaussians that are edited. Every value is
checked when it is made: ValueError names the key, what was expected and what came.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf, isfinite
from pathlib import Path
from typing import ClassVar, Literal, TypeAlias, get_args

Vector: TypeAlias = tuple[float, float, float]
Color: TypeAlias = tuple[float, float, float]
"""Red, green, blue in 0..1, gamma-encoded as photos are."""
RecolorMode = Literal["hue", "tint", "grey"]

COLOR_NAMES = {
    "black": "#000000", "silver": "#c0c0c0", "gray": "#808080", "grey": "#808080", "white": "#ffffff",
    "maroon": "#800000", "red": "#ff0000", "purple": "#800080", "fuchsia": "#ff00ff", "green": "#008000",
    "lime": "#00ff00", "olive": "#808000", "yellow": "#ffff00", "navy": "#000080", "blue": "#0000ff",
    "teal": "#008080", "aqua": "#00ffff", "orange": "#ffa500",
}  # fmt: skip
"""CSS's basic colours, with "grey" and "orange"."""


@dataclass(frozen=True)
class Click:
    """A pixel of a photo, at column x and row y from 0 at the top left."""

    view: str
    """The photo's name."""
    x: int
    y: int

    def __post_init__(self) -> None:
        _check(min(self.x, self.y) >= 0, "click", "x and y in pixels, at least 0", (self.x, self.y))


@dataclass(frozen=True)
class Selector:
    """Which Gaussians are meant: by texts, by a saved selection, or by a click; exactly one of the three."""

    positives: tuple[str, ...] = ()
    """Texts of which any may fit."""
    negatives: tuple[str, ...] | None = None
    """Texts the positives compete with besides the default ones; () for none at all, which leaves the plain cosine."""
    only_negatives: bool = False
    """Not with the default ones."""
    threshold: float | None = None
    """Least score; None lets the scores suggest one. Of texts with negatives a relevancy in 0..1, otherwise a
    cosine."""
    rim: bool = True
    """What is deleted or extracted by texts goes with its rim: what lies among it and may be part of it."""
    temperature: float | None = None
    """Of the softmax over positives and negatives; None for the default."""
    selection: Path | None = None
    """A file of `gsdff.selection.Selection.save`, of the scene as it is before the first edit."""
    click: Click | None = None

    def __post_init__(self) -> None:
        given = {"positives": self.positives, "selection": self.selection, "click": self.click}
        names = [name for name, value in given.items() if value]
        if len(names) != 1:
            raise ValueError(f"expected one of positives, selection and click, got {' and '.join(names) or 'none'}")
        for key in ("positives", "negatives"):
            _check(all(text.strip() for text in getattr(self, key) or ()), key, "no empty text", getattr(self, key))
        if not self.positives and (self.negatives is not None or self.temperature is not None):
            raise ValueError(f"negatives and temperature belong to positives, not to a {names[0]}")
        if self.only_negatives and not self.negatives:
            raise ValueError("only_negatives needs negatives to compare with")
        if self.selection is not None and self.threshold is not None:
            raise ValueError("threshold belongs to positives or a click; a saved selection was cut when it was made")
        if self.threshold is not None:
            _check(-1 <= self.threshold <= 1, "threshold", "a score in -1..1", self.threshold)
        if self.temperature is not None:
            _check(0 < self.temperature < inf, "temperature", "more than 0 and finite", self.temperature)
            if self.negatives == ():
                raise ValueError("temperature belongs to negatives; without any the score is a plain cosine")

    def __str__(self) -> str:
        if self.positives:
            return " or ".join(f'"{text}"' for text in self.positives)
        if self.click is not None:
            return f"what is at ({self.click.x}, {self.click.y}) in {self.click.view}"
        return f"the selection {self.selection}"


@dataclass(frozen=True)
class Cleanup:
    """What is done to a selection in space before it is used, in this order; 0 and false leave it out."""

    majority: int = 0
    """So many rounds in which every Gaussian becomes what most of its neighbours are."""
    drop_floaters: bool = False
    """Without those that lie alone."""
    keep_largest: int = 0
    """Only so many connected parts, those with the most opacity."""
    grow: int = 0
    """So many rounds that take neighbours in; before `shrink`, so that both together close gaps."""
    shrink: int = 0
    """So many rounds that take the border away."""

    def __post_init__(self) -> None:
        for key in ("majority", "keep_largest", "grow", "shrink"):
            _check(getattr(self, key) >= 0, key, "0 or more", getattr(self, key))


@dataclass(frozen=True)
class Extract:
    """Takes everything else out of the scene."""


@dataclass(frozen=True)
class Delete:
    """Takes the selection out of the scene."""


@dataclass(frozen=True)
class Recolor:
    """Gives another colour and keeps the luminance (`gsdff.editing.functional.recolor`)."""

    color: Color | None = None
    """None with mode grey, and only there."""
    mode: RecolorMode = "hue"

    def __post_init__(self) -> None:
        _check(self.mode in get_args(RecolorMode), "mode", '"hue", "tint" or "grey"', self.mode)
        if (self.color is None) != (self.mode == "grey"):
            expected = "none with mode grey" if self.mode == "grey" else f"one for mode {self.mode}"
            raise ValueError(f"color: expected {expected}, got {self.color or 'none'}")
        if self.color is not None and not any(self.color):
            raise ValueError('color: black has no hue to give; expected another colour, or mode = "grey"')


@dataclass(frozen=True)
class Move:
    """Moves the selection by `translation`."""

    translation: Vector

    def __post_init__(self) -> None:
        _check_vector("translation", self.translation)


@dataclass(frozen=True)
class Rotate:
    """Turns the selection about `centre`: by `degrees` about `axis`, or by `euler` degrees about x, then y, then z."""

    axis: Vector | None = None
    degrees: float | None = None
    euler: Vector | None = None
    centre: Vector | None = None
    """None for the selection's own."""

    def __post_init__(self) -> None:
        _check_rotation(self.axis, self.degrees, self.euler)
        _check_vector("centre", self.centre)
        if self.axis is None and self.euler is None:
            raise ValueError("axis: expected axis and degrees, or euler, got neither")


@dataclass(frozen=True)
class Scale:
    """Makes the selection `factor` times as large about `centre`."""

    factor: float
    centre: Vector | None = None
    """None for the selection's own."""

    def __post_init__(self) -> None:
        _check(0 < self.factor < inf, "factor", "more than 0 and finite", self.factor)
        _check_vector("centre", self.centre)


@dataclass(frozen=True)
class Duplicate:
    """Adds copies; each is moved, turned and scaled once more than the one before it, about the selection's centre."""

    translation: Vector = (0.0, 0.0, 0.0)
    copies: int = 1
    axis: Vector | None = None
    degrees: float | None = None
    euler: Vector | None = None
    factor: float = 1.0

    def __post_init__(self) -> None:
        _check_vector("translation", self.translation)
        _check_rotation(self.axis, self.degrees, self.euler)
        _check(1 <= self.copies <= 100, "copies", "1 to 100", self.copies)
        _check(0.01 <= self.factor <= 100, "factor", "0.01 to 100", self.factor)  # its 100th power is still a number


@dataclass(frozen=True)
class Opacity:
    """Sets the selection's opacities, or multiplies them."""

    opacity: float | None = None
    factor: float | None = None

    def __post_init__(self) -> None:
        if (self.opacity is None) == (self.factor is None):
            raise ValueError(f"expected opacity or factor, got {'neither' if self.factor is None else 'both'}")
        if self.opacity is not None:
            _check(0 < self.opacity <= 1, "opacity", "above 0 and at most 1 (delete takes out)", self.opacity)
        if self.factor is not None:
            _check(0 < self.factor < inf, "factor", "more than 0 and finite", self.factor)


@dataclass(frozen=True)
class Stylize:
    """Lets the selection's colours follow a text, as CLIP reads pictures of it (`gsdff.editing.stylize`)."""

    prompt: str
    """What it is to look like: "a wooden chair"."""
    source: str | None = None
    """What it looks like before; None takes the selector's texts, "" none (`gsdff.editing.stylize` says why)."""
    steps: int = 200
    rate: float = 0.01
    """About how much a colour of the range 0..1 changes in a step."""
    seed: int = 0

    def __post_init__(self) -> None:
        _check(bool(self.prompt.strip()), "prompt", "a text", self.prompt)
        _check(self.steps > 0, "steps", "1 or more", self.steps)
        _check(0 < self.rate <= 1, "rate", "above 0 and at most 1", self.rate)
        _check(0 <= self.seed < 2**63, "seed", "0 or more, in 63 bits", self.seed)


Operation: TypeAlias = Extract | Delete | Recolor | Move | Rotate | Scale | Duplicate | Opacity | Stylize


@dataclass(frozen=True)
class EditStep:
    """One edit."""

    OPERATIONS: ClassVar[dict[str, type[Operation]]] = {kind.__name__.lower(): kind for kind in get_args(Operation)}

    operation: Operation
    selector: Selector
    cleanup: Cleanup = field(default_factory=Cleanup)

    @property
    def name(self) -> str:
        """The operation's, as files and flags spell it."""
        return type(self.operation).__name__.lower()

    def __str__(self) -> str:
        return f"{self.name} {self.selector}"


@dataclass(frozen=True)
class EditList:
    """Edits in the order they are made in."""

    steps: tuple[EditStep, ...]
    background: Color | None = None
    """What pictures of the result are drawn over; None leaves it to the scene."""


def parse_color(value: object) -> Color:
    """The colour of "#rrggbb", "#rgb", a name of `COLOR_NAMES` or three numbers in 0..1; ValueError for others."""
    text = COLOR_NAMES.get(value.strip().lower(), value.strip()) if isinstance(value, str) else ""
    if re.fullmatch("#([0-9a-fA-F]{3}){1,2}", text):
        digits = text[1:] if len(text) == 7 else "".join(2 * digit for digit in text[1:])
        return tuple(int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4))
    is_three = isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 3
    if is_three and all(type(number) in (int, float) and 0 <= number <= 1 for number in value):
        return tuple(float(number) for number in value)
    names = ", ".join(COLOR_NAMES)
    raise ValueError(f'expected a colour: "#rrggbb", three numbers in 0..1 or one of {names}; got {value!r}')


def _check(is_fine: bool, key: str, expected: str, got: object) -> None:
    if not is_fine:
        raise ValueError(f"{key}: expected {expected}, got {got!r}")


def _check_vector(key: str, vector: Vector | None) -> None:
    if vector is not None:
        _check(len(vector) == 3 and all(map(isfinite, vector)), key, "three finite numbers", vector)


def _check_rotation(axis: Vector | None, degrees: float | None, euler: Vector | None) -> None:
    """That there is an axis with its degrees, or euler, or none of them."""
    if (axis is None) != (degrees is None):
        raise ValueError(f"axis and degrees go together, got only {'degrees' if axis is None else 'axis'}")
    if axis is not None and euler is not None:
        raise ValueError("expected axis and degrees, or euler, got both")
    _check_vector("axis", axis)
    _check_vector("euler", euler)
    if axis is not None:
        _check(any(axis), "axis", "a direction", axis)
        _check(isfinite(degrees), "degrees", "a finite number", degrees)
