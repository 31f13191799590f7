"""Keeps the selection alone."""

from dataclasses import dataclass

from jaxtyping import Bool
from torch import Tensor

from gsdff.editing import functional
from gsdff.editing.edit import Edit
from gsdff.gaussians import Gaussians


@dataclass(frozen=True)
class Extract(Edit):
    """Keeps the selection and removes everything else."""

    takes_apart = True

    def apply(self, gaussians: Gaussians, mask: Bool[Tensor, "N"]) -> Gaussians:
        """The selected Gaussians."""
        return functional.extract(gaussians, mask)

    def kept(self, mask: Bool[Tensor, "N"]) -> Bool[Tensor, "N"]:
        """The selected Gaussians."""
        return mask
