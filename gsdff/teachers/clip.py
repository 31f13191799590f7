"""Dense CLIP: a vector in CLIP's text space for every patch of a photo, from any ViT of open_clip."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gsdff.config.options import TeacherConfig
from gsdff.scene import Scene, View
from gsdff.teachers.backbones import TEACHER_OPTIONS, find_clip, load_clip, standardize, tokenize
from gsdff.teachers.network import NetworkTeacher, fit, resize, slide

MODEL, PRETRAINED = "ViT-B-16-quickgelu", "openai"
"""Default model and weights. OpenAI trained with QuickGELU; a file of their weights needs a model with it."""
ZOOM = 2
"""Number of windows that the longer side of a photo spans by default."""
PROMPT = "a photo of a {}."
VERSION = 1
"""Raise it when this code makes other maps from the same weights and settings."""


class ClipTeacher(NetworkTeacher):
    """Maps [T, h, w], one pixel a patch, and text vectors of the same space.

    A photo is resized so that its longer side has `size` pixels, by default twice those CLIP was trained on: objects
    keep about the share of a window that they have in CLIP's training images, and the map is twice as fine for six
    passes of the network. The network runs on windows of the trained size that overlap by half; their unit vectors are
    averaged, which averages cosines with any text. A photo smaller than a window is encoded whole.
    """

    name = "clip"
    vocabulary = None

    def __init__(
        self,
        config: TeacherConfig,
        scene: Scene | None = None,
        device: torch.device | str = "cpu",
        options: str = TEACHER_OPTIONS,
    ):
        super().__init__(config, scene, device)
        self.source = find_clip(config.model or MODEL, config.pretrained or PRETRAINED, options)

    @cached_property
    def fingerprint(self) -> str:
        """Text that identifies the weights (published ones by name), the size and this code."""
        return f"{self.name}-{VERSION}-{self.config.size or ''}-{self.source.fingerprint}"

    def check(self, view: View) -> None:
        """Downloads missing weights, so that a lack of network access is noticed before training starts."""
        _ = self.source.weights

    def encode(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B T h w"]:
        """Float32 maps of photos in [0, 1]; the network runs in half precision on a CUDA card."""
        visual, window = self._network.visual, self.side
        patch, grid = visual.patch_size[0], visual.grid_size[0]
        height, width = images.shape[2:]
        height, width = fit(height, width, self.config.size or ZOOM * window, patch)
        photos = standardize(resize(images, height, width), visual.image_mean, visual.image_std)
        if min(height, width) < window:
            return self._encode_patches(photos)
        return slide(self._encode_patches, photos, window, patch * max(1, grid // 2), patch)

    def knows(self, name: str) -> bool:
        """Any name can be encoded."""
        return True

    def text(self, names: Sequence[str]) -> Float[Tensor, "Q T"]:
        """Unit vectors of "a photo of a NAME.", float32 on the CPU."""
        return self.phrases([PROMPT.format(name) for name in names])

    @torch.no_grad()
    def phrases(self, phrases: Sequence[str]) -> Float[Tensor, "Q T"]:
        """Unit vectors of unaltered phrases, float32 on the CPU."""
        tokens = tokenize(self.source.model, phrases)
        return self.to_unit(self._network.encode_text(tokens.to(self.device)))

    @property
    def side(self) -> int:
        """Pixels along each side of the square images that CLIP was trained on."""
        return self._network.visual.patch_size[0] * self._network.visual.grid_size[0]

    def see_whole(self, pictures: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B T"]:
        """Unit vectors of whole images in [0, 1] of `side` pixels, which CLIP compares with `phrases`.

        Differentiable, in single precision even on a CUDA card: small gradients would vanish in half precision.
        """
        visual = self._network.visual
        return self._network.encode_image(standardize(pictures, visual.image_mean, visual.image_std), normalize=True)

    @cached_property
    def _network(self) -> Any:
        """The CLIP model of open_clip, whose parts carry no types."""
        return load_clip(self.source, self.device)

    def _encode_patches(self, photos: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B T h w"]:
        with torch.autocast(self.device.type, torch.float16, enabled=self.device.type == "cuda"):
            features = value_features(self._network.visual, photos)
        return F.normalize(features.float(), dim=1)


def value_features(visual: Any, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B T h w"]:
    """Features of every patch in the space of the image vector, by MaskCLIP (Zhou, Loy, Dai, ECCV 2022).

    Attention in the last block mixes information about the whole image into every token. Instead, a token keeps its own
    value, which passes the output projection, the last norm and the projection to the text space. As in the paper, and
    as F3RM (Shen et al., CoRL 2023) found best, neither the residual nor the block's MLP is added; the authors'
    released code adds both. `visual` is an open_clip VisionTransformer; sides of the images are multiples of its patch.
    """
    patches = visual.conv1(images)
    height, width = patches.shape[2:]
    tokens = torch.cat([visual.class_embedding.expand(len(images), 1, -1), patches.flatten(2).mT], dim=1)
    tokens = visual.ln_pre(tokens + position_embedding(visual, height, width))
    *blocks, last = visual.transformer.resblocks
    if not visual.transformer.batch_first:
        tokens = tokens.transpose(0, 1)
    for block in blocks:
        tokens = block(tokens)
    if not visual.transformer.batch_first:
        tokens = tokens.transpose(0, 1)
    weight, bias = last.attn.in_proj_weight.chunk(3)[2], last.attn.in_proj_bias.chunk(3)[2]
    values = last.ls_1(last.attn.out_proj(F.linear(last.ln_1(tokens[:, 1:]), weight, bias)))
    features = visual.ln_post(values) @ visual.proj
    return features.mT.unflatten(2, (height, width))


def position_embedding(visual: Any, height: int, width: int) -> Float[Tensor, "1+{height}*{width} C"]:
    """Position embedding of the class token and a grid, resized bicubically, as open_clip does, to another grid."""
    learned = visual.positional_embedding
    if (height, width) == tuple(visual.grid_size):
        return learned
    grid = learned[1:].unflatten(0, tuple(visual.grid_size)).permute(2, 0, 1)[None]
    grid = F.interpolate(grid, (height, width), mode="bicubic", align_corners=False, antialias=True)
    return torch.cat([learned[:1], grid[0].flatten(1).mT])
