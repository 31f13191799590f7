"""Selectors: which Gaussians are meant, by texts, by a click on a photo, or by a selection made before."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

from gsdff.config.checks import COLDEST, HOTTEST
from gsdff.editing.values import (
    EditValueError,
    FieldFormat,
    Number,
    Texts,
    check,
    check_between,
    read_fields,
    read_texts,
)
from gsdff.errors import shown
from gsdff.selection import Selection


@dataclass(frozen=True)
class Click:
    """A pixel of a photo, at column x and row y from 0 at the top left; it selects whatever looks similar."""

    view: str
    """The photo's name."""
    x: int
    y: int

    def __post_init__(self) -> None:
        read_fields(self)
        if min(self.x, self.y) < 0:
            raise EditValueError(f"expected x and y in pixels, at least 0, got {(self.x, self.y)}")


def _read_target(value: object) -> tuple[str, ...] | Path | Click | Selection:
    if isinstance(value, Path | Click | Selection):
        return value
    if not isinstance(value, Sequence) or (not value and not isinstance(value, str)):
        got = "no text" if isinstance(value, Sequence) and not value else shown(value)
        kinds = "texts, the Path of a saved selection, a Selection or a Click"
        hint = "; a Hit has a Selection, `hit.selection`" if hasattr(value, "selection") else ""
        raise ValueError(f"expected {kinds}, got {got}{hint}")
    return read_texts(value)


Target: TypeAlias = Annotated[Sequence[str] | Path | Click | Selection, FieldFormat(_read_target)]
"""One or several texts, of which any may match; the `Path` of a saved selection; a selection in memory; or a click."""


@dataclass(frozen=True)
class Selector:
    """Which Gaussians of a scene are meant. Raises `EditValueError` for a field that is wrong."""

    target: Target
    """Selections, saved or in memory, are of the scene before the first edit."""
    _: KW_ONLY
    negatives: Texts | None = None
    """Texts that the target's texts compete with besides the default ones; () compares with none, by plain cosine."""
    only_negatives: bool = False
    """Leave the default negatives out."""
    threshold: Number | None = None
    """Lowest score that is selected: a relevancy in 0..1 for texts with negatives, a cosine otherwise. None takes a
    threshold suggested by the scores."""
    rim: bool = True
    """Include the rim of what texts select, if it is deleted or extracted: neighbours that may be part of it."""
    temperature: Number | None = None
    """Temperature of the softmax over the target's texts and the negatives; None for the default."""

    def __post_init__(self) -> None:
        read_fields(self)
        if not self.positives and (self.negatives is not None or self.temperature is not None):
            kind = "click" if self.click else "selection"
            raise EditValueError(f"`negatives` and `temperature`: expected only with texts, got a {kind}")
        if self.only_negatives and not self.negatives:
            raise EditValueError("`only_negatives`: expected negatives to compare with, got none")
        if self.threshold is not None:
            if self.selection is not None:
                raise EditValueError(
                    "`threshold`: expected only with texts or a click, got a selection, which needs none"
                )
            check(-1 <= self.threshold <= 1, "threshold", "a score in -1..1", self.threshold)
        if self.temperature is not None:
            check_between(COLDEST, self, "temperature", HOTTEST)
            if self.negatives == ():
                raise EditValueError("`temperature`: expected only with negatives, a plain cosine has none")

    @property
    def positives(self) -> tuple[str, ...]:
        """Texts of the target; () for a click or a selection."""
        return self.target if isinstance(self.target, tuple) else ()

    @property
    def selection(self) -> Path | Selection | None:
        """The selection that is the target, saved or in memory; None for texts and clicks."""
        return self.target if isinstance(self.target, Path | Selection) else None

    @property
    def click(self) -> Click | None:
        """The click that is the target; None for texts and selections."""
        return self.target if isinstance(self.target, Click) else None

    def __str__(self) -> str:
        match self.target:
            case Click(view, x, y):
                return f"the click at ({x}, {y}) in {view}"
            case Path():
                return f"the selection {self.target}"
            case Selection():
                return f"a selection of {len(self.target)} Gaussians"
            case _:
                return " or ".join(f'"{text}"' for text in self.positives)
