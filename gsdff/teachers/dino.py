"""DINO, DINOv2 and DINOv3: features of patches that know what things are and where they end, but no words."""

from collections.abc import Sequence
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gsdff.config.options import TeacherConfig
from gsdff.errors import UserError
from gsdff.scene import Scene, View
from gsdff.teachers.backbones import find_vit, load_vit, standardize
from gsdff.teachers.network import NetworkTeacher, fit, resize
from gsdff.teachers.texts import TextVectors

MODEL = "vit_small_patch14_dinov2.lvd142m"
SIZE = 518
"""Side of the photos DINOv2 was trained on last; the others see more pixels than their own, for finer maps."""
VERSION = 1
"""Raised where this code makes other maps of the same weights and settings."""


class DinoTeacher(NetworkTeacher):
    """Maps [T, h, w], one pixel a patch: the last block's patch tokens after the final norm, of any plain ViT of timm.

    A photo is seen whole, resized so that its longer side has `size` pixels or the nearest multiple of a patch; the
    position embedding is resampled to its grid.
    """

    name = "dino"
    vocabulary = TextVectors("teacher dino", {})

    def __init__(self, config: TeacherConfig, scene: Scene | None = None, device: torch.device | str = "cpu"):
        super().__init__(config, scene, device)
        self.size = config.size or SIZE
        self.source = find_vit(config.model or MODEL, config.pretrained)

    @cached_property
    def fingerprint(self) -> str:
        """Of the weights (published ones by name), the size and this code."""
        return f"{self.name}-{VERSION}-{self.size}-{self.source.fingerprint}"

    def check(self, view: View) -> None:
        """Fetches weights that are not at hand, so that a missing network is met before training starts."""
        _ = self.source.weights

    def encode(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B T h w"]:
        """Maps of photos in [0, 1]; the network works in half precision on a CUDA card."""
        patch = self._network.patch_embed.patch_size[0]
        published = self._network.pretrained_cfg
        photos = resize(images, *fit(*images.shape[2:], self.size, patch))
        photos = standardize(photos, published["mean"], published["std"])
        with torch.autocast(self.device.type, torch.float16, enabled=self.device.type == "cuda"):
            (features,) = self._network.forward_intermediates(photos, indices=1, norm=True, intermediates_only=True)
        return features

    def knows(self, name: str) -> bool:
        """No name: DINO has seen no text."""
        return False

    def text(self, names: Sequence[str]) -> Float[Tensor, "Q T"]:
        """Always a `UserError`."""
        raise UserError(
            "teacher dino knows no text: query its features by a click or a patch, or distil a teacher that does "
            "(--teacher clip or lseg)"
        )

    @cached_property
    def _network(self) -> nn.Module:
        return load_vit(self.source, self.device)
