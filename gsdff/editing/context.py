"""Photos and CLIP for the edits that look at pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from gsdff.cameras import Camera, WorldFrame


@runtime_checkable
class Judge(Protocol):
    """A model that compares pictures with texts: CLIP, or a stand-in in tests."""

    @property
    def side(self) -> int:
        """Pixels along each side of the pictures it takes."""
        ...

    def see_whole(self, pictures: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B T"]:
        """Unit vectors of pictures in [0, 1], differentiable."""
        ...

    def phrases(self, phrases: Sequence[str]) -> Float[Tensor, "Q T"]:
        """Unit vectors of texts, on the CPU."""
        ...


@dataclass(frozen=True, eq=False)
class EditContext:
    """Training cameras and CLIP, as `Edit.perform` gets them."""

    frame: WorldFrame
    """The working frame of the cameras."""
    cameras: Sequence[Camera]
    """Cameras of the training views."""
    judge: Judge | None
    """None if no edit needs one, and for a dry run, in which colours stay as they are."""
