"""A posed set of photos: what every loader gives and everything else takes."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from gsdff.cameras import Camera, WorldFrame

HOLD_OUT_EVERY = 8
"""Every 8th view in name order, from the first, is held out (Mip-NeRF 360's split, and 3DGS's)."""


@dataclass(frozen=True)
class View:
    """One photo and the camera that took it, in the scene's working frame."""

    name: str
    """The image's path below the images folder, as the input spells it."""
    camera: Camera
    image: UInt8[Tensor, "H W 3"]

    @property
    def stem(self) -> str:
        """The file name without folder and suffix: teacher maps and label images are matched by it."""
        return Path(self.name).stem

    @property
    def target(self) -> Float[Tensor, "H W 3"]:
        """The photo as float32 in [0, 1]."""
        return self.image.float() / 255


@dataclass(frozen=True)
class Scene:
    """Views in name order and the sparse points they came with, all in the working frame."""

    root: Path
    """The folder the scene was loaded from."""
    views: list[View]
    points: Float[Tensor, "P 3"]
    point_colors: UInt8[Tensor, "P 3"]
    frame: WorldFrame

    @property
    def test_ids(self) -> list[int]:
        """Indices of the held-out views."""
        return list(range(0, len(self.views), HOLD_OUT_EVERY))

    @property
    def train_ids(self) -> list[int]:
        """Indices of the training views."""
        return [i for i in range(len(self.views)) if i % HOLD_OUT_EVERY]

    @cached_property
    def extent(self) -> float:
        """Radius of the camera positions times 1.1: 3DGS scales position rates and thresholds by it."""
        positions = torch.stack([view.camera.position for view in self.views])
        return 1.1 * float((positions - positions.mean(0)).norm(dim=-1).max()) or 1.0
