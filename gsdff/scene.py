"""Posed photos and sparse points: the output of every loader and the input of everything else."""

from collections import Counter
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import SupportsIndex

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from gsdff.cameras import Camera, WorldFrame
from gsdff.device import send
from gsdff.errors import UserError
from gsdff.stored_photo import StoredPhoto

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
    mask: Bool[Tensor, "H W"] | None = None
    """True for pixels that count; the others, such as people who walk by, are neither learned nor scored. None: all."""
    stored: StoredPhoto | None = None
    """Steps from the photo's file to this view; None if the view has the file's pixels, or smaller ones."""

    shared_names: frozenset[str] = frozenset()
    """Those of `possible_names` that may mean another photo too; set by the scene."""

    @property
    def is_turned(self) -> bool:
        """Whether the view is another way up than the pixels of the photo's file, of which pictures may be made."""
        return self.stored is not None and self.stored.is_turned

    @property
    def stem(self) -> str:
        """File name without folder and suffix."""
        return Path(self.name).stem

    @property
    def possible_names(self) -> tuple[str, ...]:
        """Names that a file made from the photo may have, without that file's own suffix.

        They are the photo's path without suffix (cam0/0001), its folders joined to the name (cam0_0001), the name alone
        (0001), and the path as it is (cam0/0001.jpg).
        """
        path = Path(self.name)
        folders = [part for part in path.parts[:-1] if part not in ("/", "..")]
        names = "/".join([*folders, path.stem]), "_".join([*folders, path.stem]), path.stem
        return tuple(dict.fromkeys([*names, "/".join([*folders, path.name])]))

    @property
    def names(self) -> list[str]:
        """Those of `possible_names` that mean this photo alone, in the order in which its files are looked for."""
        return [name for name in self.possible_names if name not in self.shared_names]

    @property
    def key(self) -> str:
        """Name of files that are written for the photo: its stem, or its path if other photos have that stem."""
        return self.stem if self.stem not in self.shared_names else self.names[0]

    @property
    def target(self) -> Float[Tensor, "H W 3"]:
        """The photo as float32 in [0, 1]."""
        return self.image.float() / 255

    def to(self, device: torch.device | str) -> "View":
        """The same view with its tensors on `device`."""
        alpha = None if self.alpha is None else send(self.alpha, device)
        mask = None if self.mask is None else send(self.mask, device)
        return replace(self, camera=self.camera.to(device), image=send(self.image, device), alpha=alpha, mask=mask)

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
    has_own_points: bool = True
    """Whether the points are the dataset's; those of one without any are drawn where its photos agree."""

    def __post_init__(self) -> None:
        """Notes in every view which of its names mean another photo too; raises `UserError` if all of them do."""
        paths = Counter(view.possible_names[0] for view in self.views)
        others = Counter(name for view in self.views for name in view.possible_names)
        views = []
        for view in self.views:
            path, *rest = view.possible_names  # a path wins over the same name made from another photo's path
            shared = frozenset([name for name in rest if others[name] > 1] + [path] * (paths[path] > 1))
            views.append(view if shared == view.shared_names else replace(view, shared_names=shared))
            if len(shared) > len(rest):
                raise UserError(f"{self.root}: another photo has the same name as {view.name}; rename one")
        object.__setattr__(self, "views", views)

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
        named = [view for view in views if view.name == name]
        named = named or [view for view in views if view.possible_names[0] == name]
        named = named or [view for view in views if name in view.possible_names]
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
    path = view.names[0]
    flat = path.replace("/", "_")
    return flat if flat not in view.shared_names else path.replace("/", "%2F")
