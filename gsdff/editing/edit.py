"""Edits as values: which Gaussians are selected, how the selection is cleaned up, and what is done with it.

Each operation is a subclass of `Edit` with its own fields, in a file of `gsdff.editing.operations`, and a row of
`gsdff.editing.table`; files, the command line and `gsdff.editing.apply` know it through this interface alone. Lengths
and positions are in the scene's units, in the world frame of the Gaussians that are edited.
"""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Any, ClassVar

import torch
from jaxtyping import Bool
from torch import Tensor

from gsdff.editing.context import EditContext
from gsdff.editing.selector import Selector
from gsdff.editing.table import OPERATIONS, split_text
from gsdff.editing.values import COLOR, MOST_ROUNDS, RGB, FieldFormat, check_between, read_fields
from gsdff.gaussians import Gaussians

MOST_PARTS = 1_000_000
"""Most connected parts that a selection may keep."""


@dataclass(frozen=True)
class Edit(Selector):
    """One edit of the Gaussians selected by its target: a subclass says which.

    The selection is cleaned up in space before it is edited, in the order of the fields below; 0 and False leave a
    clean-up out. Raises `EditValueError` for a field that is wrong.
    """

    _: KW_ONLY
    majority: int = 0
    """Rounds in which every Gaussian becomes what most of its neighbours are."""
    drop_floaters: bool = False
    """Leave out selected Gaussians that lie alone."""
    keep_largest: int = 0
    """Keep only this many connected parts of the selection, those with the most opacity."""
    grow: int = 0
    """Rounds of adding neighbours; before `shrink`, so that both together close gaps."""
    shrink: int = 0
    """Rounds of taking the border away."""

    takes_apart: ClassVar[bool] = False
    """Whether the rim of a selection goes with it (`Selector.rim`). It does in edits that take the selection from its
    surroundings, where a rim would be left behind or missed. In others it stays: it is in part its neighbours', and
    another colour shows on them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("majority", "grow", "shrink"):
            check_between(0, self, name, MOST_ROUNDS)
        check_between(0, self, "keep_largest", MOST_PARTS)

    @property
    def name(self) -> str:
        """The operation's name in files and on the command line."""
        return type(self).__name__.lower()

    @property
    def needs_photos(self) -> bool:
        """Whether `extend` or `perform` needs a context, with the photos' cameras."""
        return self.needs_judge

    @property
    def needs_judge(self) -> bool:
        """Whether the context needs a judge."""
        return False

    def extend(self, gaussians: Gaussians, mask: Bool[Tensor, "N"], context: EditContext | None) -> Bool[Tensor, "N"]:
        """The selection with what goes with it; a context is needed if `needs_photos`."""
        return mask

    def apply(self, gaussians: Gaussians, mask: Bool[Tensor, "N"]) -> Gaussians:
        """The scene with the Gaussians of the mask edited; the rest keep their order, and copies are appended."""
        raise NotImplementedError(f"{self.name} needs photos: see `perform`")

    def perform(
        self, gaussians: Gaussians, mask: Bool[Tensor, "N"], context: EditContext | None
    ) -> tuple[Gaussians, str]:
        """The scene after `apply`, and a remark for the report, or ""; a context is needed if `needs_photos`."""
        return self.apply(gaussians, mask), ""

    def kept(self, mask: Bool[Tensor, "N"]) -> Bool[Tensor, "N"]:
        """Which Gaussians are still in the scene after the edit of those of the mask."""
        return torch.ones_like(mask)

    @property
    def num_copies(self) -> int:
        """Number of copies that are added of every selected Gaussian."""
        return 0

    @classmethod
    def from_text(cls, text: str) -> "Edit":
        """The edit written as on a command line (`gsdff.editing.table.split_text`); ValueError names the form."""
        name = cls.__name__.lower()
        texts, value = split_text(name, text)
        try:
            return cls(texts, **cls.parse_value(value))
        except ValueError as error:
            raise ValueError(f"expected {OPERATIONS[name].form}; {error}") from error

    @classmethod
    def parse_value(cls, value: str) -> Mapping[str, Any]:
        """The operation's own fields that the value on a command line sets; ValueError if it cannot be read."""
        return {}

    def __str__(self) -> str:
        return f"{self.name} {super().__str__()}"


@dataclass(frozen=True)
class EditList:
    """Edits in the order they are made."""

    edits: Annotated[Sequence[Edit], FieldFormat(tuple)] = ()
    background: Annotated[RGB, COLOR] | None = None
    """Background of pictures of the result; None leaves it to the scene."""

    def __post_init__(self) -> None:
        read_fields(self)
