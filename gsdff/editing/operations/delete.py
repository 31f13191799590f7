"""Removes the selection."""

from dataclasses import dataclass

from jaxtyping import Bool
from torch import Tensor

from gsdff.editing import functional
from gsdff.editing.edit import Edit
from gsdff.gaussians import Gaussians


@dataclass(frozen=True)
class Delete(Edit):
    """Removes the selection from the scene."""

    takes_apart = True

    def apply(self, gaussians: Gaussians, mask: Bool[Tensor, "N"]) -> Gaussians:
        """All Gaussians but the selected ones."""
        return functional.delete(gaussians, mask)

    def kept(self, mask: Bool[Tensor, "N"]) -> Bool[Tensor, "N"]:
        """All Gaussians but the selected ones."""
        return ~mask
