"""Teachers: 2D networks whose per-pixel features are distilled.

A new one is a file here and a row of `gsdff.config.choices.TEACHERS`.
"""

from collections.abc import Iterator, Sequence
from pkgutil import resolve_name
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from gsdff.config.choices import TEACHERS
from gsdff.config.options import TeacherConfig
from gsdff.errors import UserError
from gsdff.scene import Scene, View
from gsdff.teachers.texts import TextVectors


class Teacher(Protocol):
    """What every teacher offers. Making one is cheap: a network is loaded when its first map or text is asked for."""

    name: str
    fingerprint: str
    """Changes whenever the teacher would answer otherwise for the same input (network, weights, settings)."""
    vocabulary: TextVectors | None
    """All that `text` can answer for; None where any words can be encoded, and only there is `phrases` offered."""

    def check(self, view: View) -> None:
        """Raises `UserError` where the teacher cannot serve this view; cheap enough to ask before training starts."""

    def fingerprint_of(self, view: View) -> str:
        """Changes whenever what the view's map is made from changes."""

    def extract(self, views: Sequence[View]) -> Iterator[Float[Tensor, "T h w"]]:
        """The views' maps, one after the other, each at the network's own resolution and covering its whole image:
        float32 on the CPU, unit norm per pixel, all zero at pixels the teacher says nothing about."""

    def knows(self, name: str) -> bool:
        """Whether `text` can answer for this name."""

    def text(self, names: Sequence[str]) -> Float[Tensor, "Q T"]:
        """Unit text vectors of these names, on the CPU; `UserError` where a name is unknown or there is no text."""

    def phrases(self, phrases: Sequence[str]) -> Float[Tensor, "Q T"]:
        """Unit vectors of whole phrases, without the prompt that `text` may put around a name."""


def open_teacher(config: TeacherConfig, scene: Scene | None, device: torch.device | str = "cpu") -> Teacher | None:
    """Opens the teacher named in the configuration; None for `none`.

    Only teachers with `reads_scene` in their row need the scene. A network runs on `device`, in half precision on a
    CUDA card. Raises `UserError` if something that the teacher needs is missing.
    """
    if config.name == "none":
        return None
    if config.name not in TEACHERS:
        raise UserError(f"`teacher.name`: expected none or one of {', '.join(TEACHERS)}, got {config.name!r}")
    return resolve_name(TEACHERS[config.name].location)(config, scene, device)
