"""Dense CLIP: a vector of CLIP's text space for every patch of a photo, from any ViT of open_clip."""

from collections.abc import Sequence
from functools import cached_property

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gsdff.config.options import TeacherConfig
from gsdff.scene import Scene, View
from gsdff.teachers.backbones import TEACHER_OPTIONS, find_clip, load_clip, standardize, tokenize
from gsdff.teachers.network import NetworkTeacher, fit, resize, slide

MODEL, PRETRAINED = "ViT-B-16-quickgelu", "openai"
"""OpenAI trained with QuickGELU; a weights file of theirs needs the model that says so."""
ZOOM = 2
"""Windows that the longer side of a photo spans by default."""
PROMPT = "a photo of a {}."
VERSION = 1
"""Raised where this code makes other maps of the same weights and settings."""


class ClipTeacher(NetworkTeacher):
    """Maps [T, h, w], one pixel a patch, and text vectors of the same space.

    A photo is resized so that its longer side has `size` pixels, by default twice those CLIP was trained on: things
    keep about the share of a window that they have in CLIP's own photos, and the map is twice as fine for six passes
    of the network. It is seen through windows of the trained size which overlap by half; their unit vectors are
    averaged, which is to average cosines with any text. A photo smaller than a window is seen whole.
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
        """Of the weights (published ones by name), the size and this code."""
        return f"{self.name}-{VERSION}-{self.config.size or ''}-{self.source.fingerprint}"

    def check(self, view: View) -> None:
        """Fetches weights that are not at hand, so that a missing network is met before training starts."""
        _ = self.source.weights

    def encode(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B T h w"]:
        """Maps of photos in [0, 1], float32; the network works in half precision on a CUDA card."""
        visual, window = self._network.visual, self.side
        patch, grid = visual.patch_size[0], visual.grid_size[0]
        height, width = fit(*images.shape[2:], self.config.size or ZOOM * window, patch)
        photos = standardize(resize(images, height, width), visual.image_mean, visual.image_std)
        if min(height, width) < window:
            return self._see(photos)
        return slide(self._see, photos, window, patch * max(1, grid // 2), patch)

    def knows(self, name: str) -> bool:
        """Any name can be asked for."""
        return True

    def text(self, names: Sequence[str]) -> Float[Tensor, "Q T"]:
        """Unit vectors of "a photo of a NAME.", float32 on the CPU."""
        return self.phrases([PROMPT.format(name) for name in names])

    @torch.no_grad()
    def phrases(self, phrases: Sequence[str]) -> Float[Tensor, "Q T"]:
        """Unit vectors of phrases as they stand, float32 on the CPU."""
        tokens = tokenize(self.source.model, phrases)
        return F.normalize(self._network.encode_text(tokens.to(self.device)).float(), dim=1).cpu()

    @property
    def side(self) -> int:
        """Pixels along each side of the pictures that CLIP was trained on, which are square."""
        return self._network.visual.patch_size[0] * self._network.visual.grid_size[0]

    def see_whole(self, pictures: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B T"]:
        """Unit vectors of whole pictures in [0, 1] of `side` pixels, as CLIP compares them with `phrases`.

        Differentiable, and of single precision on a CUDA card too: half of it has no room for small gradients.
        """
        visual = self._network.visual
        return self._network.encode_image(standardize(pictures, visual.image_mean, visual.image_std), normalize=True)

    @cached_property
    def _network(self) -> nn.Module:
        return load_clip(self.source, self.device)

    def _see(self, photos: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B T h w"]:
        with torch.autocast(self.device.type, torch.float16, enabled=self.device.type == "cuda"):
            features = value_features(self._network.visual, photos)
        return F.normalize(features.float(), dim=1)


def value_features(visual: nn.Module, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B T h w"]:
    """Every patch in the space of the image vector: MaskCLIP (Zhou, Loy, Dai, ECCV 2022).

    Attention of the last block mixes what the whole image is about into every token; in its place a token keeps its own
    value, through the output projection, the last norm and the projection to the text space. As the paper has it, and
    as F3RM (Shen et al., CoRL 2023) found best, neither the residual nor the block's MLP is added, which the authors'
    released code does. `visual` is an open_clip VisionTransformer; sides of the images are multiples of its patch.
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


def position_embedding(visual: nn.Module, height: int, width: int) -> Float[Tensor, "1+h*w C"]:
    """The learned embedding of class token and grid; bicubic, as open_clip's own, where the grid is another one."""
    learned = visual.positional_embedding
    if (height, width) == tuple(visual.grid_size):
        return learned
    grid = learned[1:].unflatten(0, tuple(visual.grid_size)).permute(2, 0, 1)[None]
    grid = F.interpolate(grid, (height, width), mode="bicubic", align_corners=False, antialias=True)
    return torch.cat([learned[:1], grid[0].flatten(1).mT])
