"""Posed photos and sparse points: the output of every loader and the input of everything else."""

from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import SupportsIndex

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from gsdff.cameras import Camera, WorldFrame
from gsdff.errors import UserError

VOID = 255
"""Label of a pixel without ground truth or without a prediction."""
HOLD_OUT_EVERY = 8
"""Every 8th view in name order, from the first, is held out (Mip-NeRF 360's split, and 3DGS's)."""


@dataclass(frozen=True)
class View:
    """One photo and the camera that took it, in the scene's working frame."""

    name: str
    """Path of the image below the images folder, as written in the input."""
    camera: Camera
    image: UInt8[Tensor, "H W 3"]
    alpha: UInt8[Tensor, "H W"] | None = None
    """Alpha channel of a photo with transparency, kept if the background is random; `image` is then over black."""

    @property
    def stem(self) -> str:
        """File name without folder and suffix; teacher maps and label images are matched by it."""
        return Path(self.name).stem

    @property
    def target(self) -> Float[Tensor, "H W 3"]:
        """The photo as float32 in [0, 1]."""
        return self.image.float() / 255

    def to(self, device: torch.device | str) -> "View":
        """The same view with its tensors on `device`."""
        alpha = None if self.alpha is None else self.alpha.to(device)
        return replace(self, camera=self.camera.to(device), image=self.image.to(device), alpha=alpha)

    def over(self, background: Float[Tensor, "3"]) -> Float[Tensor, "H W 3"]:
        """The target composited over `background`; the target itself if the photo has no transparency."""
        if self.alpha is None:
            return self.target
        return self.target + (1 - self.alpha[..., None].float() / 255) * background


@dataclass(frozen=True)
class Scene:
    """Views in name order and the dataset's sparse points, all in the working frame."""

    root: Path
    """The folder the scene was loaded from."""
    views: list[View]
    points: Float[Tensor, "P 3"]
    point_colors: UInt8[Tensor, "P 3"]
    frame: WorldFrame
    held_out: tuple[int, ...] | None = None
    """Indices of the dataset's own test views; None if it has no split, so that every 8th view is held out."""

    @property
    def test_ids(self) -> list[int]:
        """Indices of the held-out views."""
        return list(range(0, len(self.views), HOLD_OUT_EVERY) if self.held_out is None else self.held_out)

    @property
    def train_ids(self) -> list[int]:
        """Indices of the training views."""
        test_ids = set(self.test_ids)
        return [i for i in range(len(self.views)) if i not in test_ids]

    @cached_property
    def extent(self) -> float:
        """Radius of the camera positions times 1.1; 3DGS scales the positions' learning rate and thresholds by it."""
        positions = torch.stack([view.camera.position for view in self.views])
        return 1.1 * float((positions - positions.mean(0)).norm(dim=-1).max()) or 1.0


def find_view(scene: Scene, name: str | SupportsIndex) -> View:
    """The photo of a name, with or without folder and suffix, or of an index in name order.

    Raises `UserError` for a name or an index that the scene lacks, for a stem that several photos have, and for what is
    neither name nor index.
    """
    views = scene.views
    if isinstance(name, str):
        named = [view for view in views if view.name == name] or [view for view in views if view.stem == name]
        if len(named) == 1:
            return named[0]
        if named:
            raise UserError(f"`view` {name}: several photos have this name: {', '.join(view.name for view in named)}")
        index = int(name) if name.isascii() and name.isdigit() and len(name) < 10 else -1
    elif isinstance(name, SupportsIndex) and not isinstance(name, bool):
        index = name.__index__()
    else:
        raise UserError(f"`view` {name!r}: expected the name of a photo or its index")
    if not 0 <= index < len(views):
        near = get_close_matches(str(name), [view.name for view in views], n=3) or [views[0].name]
        raise UserError(
            f"`view` {name}: expected an index from 0 to {len(views) - 1} or the name of a photo of "
            f"{scene.root}, such as {', '.join(near)}"
        )
    return views[index]


def picture_name(view: View) -> str:
    """File stem for a picture of a view: its folders become part of it, so that equal stems in two of them differ."""
    return "_".join(part for part in Path(view.name).with_suffix("").parts if part not in ("/", ".."))
