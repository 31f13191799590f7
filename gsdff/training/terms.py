"""The form of a term of the loss."""

from typing import Protocol

from torch import Tensor

from gsdff.gaussians import Gaussians


class Term(Protocol):
    """One term of the loss."""

    @property
    def weight(self) -> float:
        """Weight of the term in the loss."""
        ...

    def __call__(self, gaussians: Gaussians, view_id: int, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the term for one training view, unweighted, and scalars to log."""
        ...
