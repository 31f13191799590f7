"""Teachers: 2D networks whose per-pixel features are distilled. A new one is a file here and a row in `_TEACHERS`."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from gsdff.config.options import TeacherConfig
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


def _open_lseg(config: TeacherConfig, scene: Scene | None, device: torch.device) -> Teacher:
    from gsdff.teachers.lseg import LSegTeacher

    return LSegTeacher(config, device)


def _open_clip(config: TeacherConfig, scene: Scene | None, device: torch.device) -> Teacher:
    from gsdff.teachers.clip import ClipTeacher

    return ClipTeacher(config, device)


def _open_dino(config: TeacherConfig, scene: Scene | None, device: torch.device) -> Teacher:
    from gsdff.teachers.dino import DinoTeacher

    return DinoTeacher(config, device)


def _open_precomputed(config: TeacherConfig, scene: Scene | None, device: torch.device) -> Teacher:
    from gsdff.teachers.precomputed import PrecomputedTeacher

    return PrecomputedTeacher(config.maps)


def _open_labels(config: TeacherConfig, scene: Scene | None, device: torch.device) -> Teacher:
    from gsdff.teachers.labelled import LabelsTeacher

    return LabelsTeacher(config, scene)


def _open_toy(config: TeacherConfig, scene: Scene | None, device: torch.device) -> Teacher:
    from gsdff.teachers.toy import ToyTeacher

    return ToyTeacher(config, scene)


_TEACHERS: dict[str, Callable[[TeacherConfig, Scene | None, torch.device], Teacher]] = {
    "lseg": _open_lseg,
    "clip": _open_clip,
    "dino": _open_dino,
    "precomputed": _open_precomputed,
    "labels": _open_labels,
    "toy": _open_toy,
}

READS_SCENE = ("labels", "toy")
"""Teachers made from the scene's label images."""
ENCODES_WORDS = ("lseg", "clip")
"""Teachers without a `vocabulary`, known before a network is at hand."""


def open_teacher(config: TeacherConfig, scene: Scene | None, device: torch.device | str = "cpu") -> Teacher | None:
    """The teacher the configuration names, None for `none`; `UserError` where what it needs is not there.

    Only those of `READS_SCENE` need the scene. A network runs on `device`, in half precision where that is a CUDA card.
    """
    return None if config.name == "none" else _TEACHERS[config.name](config, scene, torch.device(device))
