"""DINO, DINOv2 and DINOv3: patch features that separate objects and follow their borders, without text."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gsdff.config.options import TeacherConfig
from gsdff.errors import UserError
from gsdff.scene import Scene, View
from gsdff.teachers.backbones import find_vit, load_vit, standardize
from gsdff.teachers.network import NetworkTeacher, fit, resize
from gsdff.teachers.texts import TextVectors

MODEL = "vit_small_patch14_dinov2.lvd142m"
SIZE = 518
"""Side of the images that DINOv2 was trained on last, in pixels; larger than those of the others, for finer maps."""
VERSION = 1
"""Raise it when this code makes other maps from the same weights and settings."""


class DinoTeacher(NetworkTeacher):
    """Maps [T, h, w], one pixel a patch: the last block's patch tokens after the final norm, of any plain ViT of timm.

    A photo is encoded whole, resized so that its longer side has `size` pixels or the nearest multiple of a patch; the
    position embedding is resampled to the photo's grid.
    """

    name = "dino"
    vocabulary = TextVectors("dino teacher", {})

    def __init__(self, config: TeacherConfig, scene: Scene | None = None, device: torch.device | str = "cpu"):
        super().__init__(config, scene, device)
        self.size = config.size or SIZE
        self.source = find_vit(config.model or MODEL, config.pretrained)

    @cached_property
    def fingerprint(self) -> str:
        """Text that identifies the weights (published ones by name), the size and this code."""
        return f"{self.name}-{VERSION}-{self.size}-{self.source.fingerprint}"

    def check(self, view: View) -> None:
        """Downloads missing weights, so that a lack of network access is noticed before training starts."""
        _ = self.source.weights

    def encode(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B T h w"]:
        """Maps of photos in [0, 1]; the network runs in half precision on a CUDA card."""
        patch = self._network.patch_embed.patch_size[0]
        published = self._network.pretrained_cfg
        height, width = images.shape[2:]
        photos = resize(images, *fit(height, width, self.size, patch))
        photos = standardize(photos, published["mean"], published["std"])
        with torch.autocast(self.device.type, torch.float16, enabled=self.device.type == "cuda"):
            (features,) = self._network.forward_intermediates(photos, indices=1, norm=True, intermediates_only=True)
        return features

    def knows(self, name: str) -> bool:
        """Always false: DINO was trained without text."""
        return False

    def text(self, names: Sequence[str]) -> Float[Tensor, "Q T"]:
        """Always raises `UserError`."""
        raise UserError(
            "the dino teacher encodes no text: query its features by an example (a pixel, a box, a Gaussian or an "
            "image), or distil a teacher that encodes text (`teacher.name` clip or lseg)"
        )

    @cached_property
    def _network(self) -> Any:
        """The ViT of timm, whose parts carry no types."""
        return load_vit(self.source, self.device)
