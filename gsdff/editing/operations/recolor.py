"""Changes the colour of the selection."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxtyping import Bool
from torch import Tensor

from gsdff.editing import functional
from gsdff.editing.edit import Edit
from gsdff.editing.functional import RecolorMode
from gsdff.editing.values import Color, EditValueError, parse_color, parse_numbers
from gsdff.gaussians import Gaussians


@dataclass(frozen=True)
class Recolor(Edit):
    """Changes the colour and keeps the luminance (`gsdff.editing.functional.recolor`)."""

    color: Color | None = None
    """None for mode "grey", and only there."""
    mode: RecolorMode = "hue"

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.color is None) != (self.mode == "grey"):
            expected = "none with mode grey" if self.mode == "grey" else f"one for mode {self.mode}"
            raise EditValueError(f"`color`: expected {expected}, got {self.color or 'none'}")
        if self.color is not None and max(parse_color(self.color)) < 1 / 255:
            raise EditValueError("`color`: black has no hue to give; expected another colour, or mode grey")

    def apply(self, gaussians: Gaussians, mask: Bool[Tensor, "N"]) -> Gaussians:
        """The scene with other colours of the selected Gaussians."""
        color = None if self.color is None else parse_color(self.color)
        return functional.recolor(gaussians, mask, color, self.mode)

    @classmethod
    def parse_value(cls, value: str) -> Mapping[str, Any]:
        """A colour: "#2a6fdb", "navy", "0.2,0.4,0.9"."""
        return {"color": parse_numbers(value, 3) if "," in value else value}
