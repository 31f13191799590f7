"""Queries: the words, the example or the classes that a field is searched for, checked before a field is loaded."""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from operator import index
from os import PathLike
from pathlib import Path
from typing import Literal, get_args

from gsdff.config.checks import COLDEST, HOTTEST
from gsdff.errors import UserError, shown
from gsdff.words import ThingNumber, as_words, describe_names, fold, read_thing

Method = Literal["relevancy", "lerf", "cosine", "argmax"]
Space = Literal["2d", "3d"]
"""Scores of pixels from rendered features (2d), or of Gaussians from their own (3d)."""
TEMPERATURE = 0.1
"""Default of the softmax: cosines of image and text features differ by tenths, which at 1 it would hardly separate."""
MAX_CLASSES = 254
"""Largest number of classes: labels are bytes, and 255 is the label of no class."""
MOST_INDEX = 10**12
"""Larger numbers are no pixels and no Gaussians."""
MOST_SCORE = 10
"""Largest threshold that is accepted; scores are shares or cosines, from -1 to 1."""
NAME_PLACE = "{}"
"""Placeholder of the name in a prompt."""


class Example:
    """Something to search for that is shown rather than named."""

    def _read_indices(self, *names: str) -> None:
        """Reads these fields as whole numbers; raises `UserError` for others, which names the kind of example."""
        for name in names:
            value = getattr(self, name)
            try:
                number = index(value)
            except TypeError:
                number = None
            if number is None or abs(number) > MOST_INDEX:
                raise UserError(f"`{type(self).__name__}`: `{name}`: expected a whole number, got {shown(value)}")
            object.__setattr__(self, name, number)


@dataclass(frozen=True)
class Pixel(Example):
    """Feature rendered at one pixel of a photo, at column x and row y from 0 at the top left."""

    view: str | int
    x: int
    y: int

    def __post_init__(self) -> None:
        self._read_indices("x", "y")


@dataclass(frozen=True)
class Box(Example):
    """Mean feature rendered in a box of a photo: columns x0 to x1 - 1, rows y0 to y1 - 1."""

    view: str | int
    x0: int
    y0: int
    x1: int
    y1: int

    def __post_init__(self) -> None:
        self._read_indices("x0", "y0", "x1", "y1")


@dataclass(frozen=True)
class OneGaussian(Example):
    """Feature of the Gaussian of an index."""

    index: int

    def __post_init__(self) -> None:
        self._read_indices("index")


@dataclass(frozen=True)
class PictureFile(Example):
    """Mean feature that the teacher's network gives a picture."""

    path: str | Path

    def __post_init__(self) -> None:
        if not isinstance(self.path, str | PathLike):
            raise UserError(f"`PictureFile`: expected the path of a picture, got {shown(self.path)}")


@dataclass(frozen=True)
class Query:
    """One search: texts (`positives`), an example (`like`), or classes that compete (`classes`).

    A string is one word. Raises `UserError` for a combination that makes no sense.
    """

    positives: str | Sequence[str] = ()
    """Texts to search for, any of which may fit; with `classes`, the classes to select. "thing:12" is a thing of the
    run by its number in `Field.objects`."""
    negatives: str | Sequence[str] = ()
    """Texts that compete with the positives, besides the default negatives of LERF ("object", "things", "stuff",
    "texture") or, if the field's vocabulary lacks these, all of its other names; an example has no others."""
    only_negatives: bool = False
    """Leave the default negatives out."""
    classes: str | Sequence[str] = ()
    """Names of which the best one wins, per pixel or Gaussian (argmax)."""
    like: Example | None = None
    prompts: str | Sequence[str] = ()
    """Phrases around a name, such as "a photo of a {}", whose vectors are averaged; empty for the teacher's own."""
    method: Method | None = None
    """None takes argmax for classes, cosine for an example without negatives, relevancy otherwise."""
    temperature: float = TEMPERATURE
    threshold: float | None = None
    """Least score that is selected; None derives it from the scores of all Gaussians (a view need not show the thing):
    by `suggest_likeness` for cosines with an example, by Otsu's method otherwise."""

    def __post_init__(self) -> None:
        for key in ("positives", "negatives", "classes", "prompts"):
            object.__setattr__(self, key, as_words(getattr(self, key), key))
        for name in (*self.positives, *self.negatives, *self.classes):
            _require(name.strip(), f"a text to search for is empty ({shown(name)}): expected a word or a phrase")
        for prompt in self.prompts:
            _require(
                prompt.count(NAME_PLACE) == 1,
                f"`prompts` {shown(prompt)}: expected one {NAME_PLACE} for the name, as in 'a photo of a {NAME_PLACE}'",
            )
        _require(
            self.method is None or (isinstance(self.method, str) and self.method in get_args(Method)),
            f"`method` {shown(self.method)}: expected one of {', '.join(get_args(Method))}",
        )
        _require(
            isinstance(self.temperature, Real) and COLDEST <= self.temperature <= HOTTEST,
            f"`temperature`: expected a positive number, {COLDEST:g} to {HOTTEST:g}, got {shown(self.temperature)}",
        )
        _require(
            self.threshold is None or (isinstance(self.threshold, Real) and abs(self.threshold) <= MOST_SCORE),
            f"`threshold`: expected a number from {-MOST_SCORE} to {MOST_SCORE}, got {shown(self.threshold)}",
        )
        _require(
            isinstance(self.only_negatives, bool),
            f"`only_negatives`: expected true or false, got {shown(self.only_negatives)}",
        )
        _require(
            self.like is None or isinstance(self.like, Example),
            f"`like`: expected an example such as Pixel(view, x, y), got {shown(self.like)}",
        )
        if any(read_thing(name) for name in (*self.positives, *self.negatives, *self.classes)):
            self._check_things()
        elif self.classes or self.method == "argmax":
            self._check_classes()
        else:
            self._check_single()

    @property
    def things(self) -> tuple[ThingNumber, ...]:
        """Numbers of the things that are searched for; () for a search by words or by an example."""
        return tuple(thing for name in self.positives if (thing := read_thing(name)))

    @property
    def chosen_method(self) -> Method:
        """The method, or the default for this kind of query."""
        if self.method is not None:
            return self.method
        if self.classes:
            return "argmax"
        return "cosine" if self.like is not None and not self.negatives else "relevancy"

    def _check_things(self) -> None:
        _require(
            len(self.things) == len(self.positives) > 0 and not (self.negatives or self.classes or self.like),
            "expected texts or things by number (thing:12), got both; a thing competes with nothing: leave `negatives` "
            "and `classes` out",
        )
        given = {
            "prompts": bool(self.prompts),
            "method": self.method is not None,
            "threshold": self.threshold is not None,
            "temperature": self.temperature != TEMPERATURE,
            "only_negatives": self.only_negatives,
        }
        for name, is_given in given.items():
            _require(not is_given, f"`{name}`: not used for a thing by its number, its Gaussians are known")

    def _check_classes(self) -> None:
        folded = [fold(name) for name in self.classes]
        _require(self.method in (None, "argmax"), f"`method` {self.method}: classes are assigned by argmax")
        _require(
            self.like is None and not self.negatives,
            "`classes`: expected at most `positives` beside them, the other classes are the negatives",
        )
        _require(self.threshold is None, "`threshold`: not used with `classes`, the best class wins")
        most = f", at most {MAX_CLASSES}" if len(folded) > MAX_CLASSES else ""
        _require(
            2 <= len(folded) <= MAX_CLASSES and len(set(folded)) == len(folded),
            f"`classes`: expected two different names or more{most}, got {describe_names(self.classes)}",
        )
        for name in self.positives:
            _require(
                fold(name) in folded,
                f"`positives` {shown(name)}: expected some of the `classes`, {', '.join(self.classes)}",
            )

    def _check_single(self) -> None:
        _require(
            bool(self.positives) != (self.like is not None),
            "expected one thing to search for: `positives`, `classes`, or one example (`Pixel`, `Box`, `OneGaussian`, "
            "`PictureFile`)" + (", got a text and an example" if self.positives else ""),
        )
        _require(
            self.chosen_method != "cosine" or not self.negatives,
            "`method` cosine: compares with nothing; leave `negatives` out, or use `method` relevancy",
        )
        _require(
            self.chosen_method == "cosine" or self.like is None or bool(self.negatives),
            f"`method` {self.method}: an example needs `negatives` to be compared with, or `method` cosine",
        )
        _require(bool(self.negatives) or not self.only_negatives, "`only_negatives`: needs `negatives` to compare with")
        both = {fold(name) for name in self.positives} & {fold(name) for name in self.negatives}
        _require(not both, f"`negatives`: {', '.join(sorted(both))} cannot be positive and negative at once")


def _require(condition: object, complaint: str) -> None:
    if not condition:
        raise UserError(complaint)
