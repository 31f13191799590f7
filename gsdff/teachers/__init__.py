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
    """Interface of every teacher. Constructing one is cheap: a network is loaded for the first map or text."""

    name: str
    fingerprint: str
    """Text that changes whenever the outputs for the same input would change (network, weights, settings)."""
    vocabulary: TextVectors | None
    """All names that `text` can encode; None if it encodes any text, and only then there is a method `phrases`."""

    def check(self, view: View) -> None:
        """Raises `UserError` if the teacher has no features for this view. Cheap enough to run before training."""
        ...

    def fingerprint_of(self, view: View) -> str:
        """Text that changes whenever the inputs of the view's map change."""
        ...

    def extract(self, views: Sequence[View]) -> Iterator[Float[Tensor, "T h w"]]:
        """Yields the views' maps in order, each at the network's own resolution and covering its whole image.

        They are float32, of unit norm per pixel, and zero at pixels without a feature. Those of a network stay on its
        device.
        """
        ...

    def knows(self, name: str) -> bool:
        """Whether `text` can encode this name."""
        ...

    def text(self, names: Sequence[str]) -> Float[Tensor, "Q T"]:
        """Unit text vectors of these names, on the CPU. Raises `UserError` for a name that cannot be encoded."""
        ...

    def phrases(self, phrases: Sequence[str]) -> Float[Tensor, "Q T"]:
        """Unit text vectors of whole phrases, without the prompt that `text` may put around a name."""
        ...


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
