"""Changes the opacity of the selection."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxtyping import Bool
from torch import Tensor

from gsdff.editing import functional
from gsdff.editing.edit import Edit
from gsdff.editing.values import EditValueError, Number, check, check_factor, parse_numbers
from gsdff.gaussians import Gaussians

LEAST = 1e-6
"""Least opacity that can be set; a picture shows none below 1/255."""


@dataclass(frozen=True)
class Opacity(Edit):
    """Sets the selection's opacities, or multiplies them by a factor."""

    opacity: Number | None = None
    factor: Number | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.opacity is None) == (self.factor is None):
            got = "neither" if self.factor is None else "both"
            raise EditValueError(f"`opacity`, `factor`: expected one of them, got {got}")
        if self.opacity is not None:
            check(LEAST <= self.opacity <= 1, "opacity", f"{LEAST:g} to 1 (delete removes)", self.opacity)
        if self.factor is not None:
            check_factor(self, "factor")

    def apply(self, gaussians: Gaussians, mask: Bool[Tensor, "N"]) -> Gaussians:
        """The scene with other opacities of the selected Gaussians."""
        return functional.set_opacity(gaussians, mask, opacity=self.opacity, factor=self.factor)

    @classmethod
    def parse_value(cls, value: str) -> Mapping[str, Any]:
        """An opacity: "0.3"."""
        return {"opacity": parse_numbers(value, 1)[0]}
