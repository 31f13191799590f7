"""Teachers: 2D networks whose per-pixel features are distilled. A new one is a file here and a row in `_TEACHERS`."""

from collections.abc import Callable, Sequence
from typing import Protocol

from jaxtyping import Float
from torch import Tensor

from gsdff.config import TeacherConfig
from gsdff.scene import View


class Teacher(Protocol):
    """What every teacher offers."""

    name: str
    fingerprint: str
    """Changes whenever the teacher would answer otherwise for the same input (network, weights, settings)."""

    def check(self, view: View) -> None:
        """Raises `UserError` where the teacher cannot serve this view; cheap enough to ask before training starts."""

    def fingerprint_of(self, view: View) -> str:
        """Changes whenever what the view's map is made from changes."""

    def extract(self, view: View) -> Float[Tensor, "T h w"]:
        """The view's map at the network's own resolution, covering the whole image: float32 on the CPU, unit norm per
        pixel, all zero at pixels the teacher says nothing about."""

    def knows(self, name: str) -> bool:
        """Whether `text` can answer for this name."""

    def text(self, names: Sequence[str]) -> Float[Tensor, "Q T"]:
        """Unit text vectors of these names; `UserError` where a name is unknown or the teacher has no text at all."""


def _open_precomputed(config: TeacherConfig) -> Teacher:
    from gsdff.teachers.precomputed import PrecomputedTeacher

    return PrecomputedTeacher(config.maps)


_TEACHERS: dict[str, Callable[[TeacherConfig], Teacher]] = {"precomputed": _open_precomputed}


def open_teacher(config: TeacherConfig) -> Teacher | None:
    """The teacher the configuration names, None for `none`; `UserError` where what it needs is not there."""
    return None if config.name == "none" else _TEACHERS[config.name](config)
