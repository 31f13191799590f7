"""LSeg's image network (Li et al., ICLR 2022) without weights: a ViT-L/16 and a DPT head (Ranftl et al., ICCV 2021)."""

import re
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gsdff.teachers.backbones import make_vit

PATCH = 16
"""Side of one token, in pixels."""
MULTIPLE = 32
"""Factor of both sides of an image, since the head halves the grid of tokens once."""
CELL = 2
"""Side of one pixel of the map, in pixels of the image."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of the network, by default the published ones."""

    depth: int = 24
    width: int = 1024
    """Number of channels of a token."""
    heads: int = 16
    grid: int = 24
    """Side of the grid of tokens that the position embedding was learnt for."""
    taps: tuple[int, int, int, int] = (5, 11, 17, 23)
    """Indices of the blocks whose tokens the head reads, shallow to deep."""
    levels: tuple[int, int, int, int] = (256, 512, 1024, 1024)
    """Number of channels of the four maps made of those tokens, fine to coarse."""
    hidden: int = 256
    """Number of channels inside the head."""
    channels: int = 512
    """Number of channels T of the map and of the text vectors."""


class LSegNetwork(nn.Module):
    """Network from images to maps, without published parts that have no effect (classifier, last norm, one unit)."""

    def __init__(self, sizes: Sizes | None = None):
        super().__init__()
        sizes = sizes or Sizes()
        self.taps = sizes.taps
        self.vit: Any = make_vit(
            "vit_large_patch16_384",
            img_size=sizes.grid * PATCH,
            embed_dim=sizes.width,
            depth=sizes.depth,
            num_heads=sizes.heads,
            num_classes=0,
            global_pool="",
            final_norm=False,
        )
        levels = dict(zip("1234", sizes.levels, strict=True))  # fine to coarse, numbered as in the checkpoint
        scales = {"1": 4, "2": 2, "3": 1, "4": 0.5}
        self.reassemble = nn.ModuleDict({n: Reassemble(sizes.width, c, scales[n]) for n, c in levels.items()})
        self.narrow = nn.ModuleDict(
            {n: nn.Conv2d(c, sizes.hidden, 3, padding=1, bias=False) for n, c in levels.items()}
        )
        self.fuse = nn.ModuleDict({n: Fusion(sizes.hidden, is_first=n == "4") for n in levels})
        self.head = nn.Conv2d(sizes.hidden, sizes.channels, 1)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B T H/2 W/2"]:
        """Maps of any norm, of images in [-1, 1] whose sides are multiples of 32."""
        grid = (images.shape[2] // PATCH, images.shape[3] // PATCH)
        coarser = None
        for name, tokens in reversed(list(zip(self.reassemble, self._tapped_tokens(images), strict=True))):
            level = self.narrow[name](self.reassemble[name](tokens, grid))
            coarser = self.fuse[name](level, coarser)
        return self.head(coarser)

    def _tapped_tokens(self, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B 1+hw C"]]:
        """Tokens after each of the tapped blocks, the class token first."""
        patches = self.vit.patch_embed.proj(images)
        place = resize_positions(self.vit.pos_embed, tuple(patches.shape[2:]))
        tokens = torch.cat([self.vit.cls_token.expand(len(images), -1, -1), patches.flatten(2).mT], dim=1) + place
        tapped: list[Tensor] = []
        for number, block in enumerate(self.vit.blocks):
            tokens = block(tokens)
            if number in self.taps:
                tapped.append(tokens)
        return tapped


def resize_positions(positions: Float[Tensor, "1 1+n C"], grid: tuple[int, int]) -> Float[Tensor, "1 1+hw C"]:
    """Resizes a position embedding, learnt on a square grid, bilinearly to `grid` (h, w); the class token's stays."""
    learnt = positions[:, 1:].mT
    side = round(learnt.shape[2] ** 0.5)
    resized = F.interpolate(learnt.unflatten(2, (side, side)), grid, mode="bilinear", align_corners=False)
    return torch.cat([positions[:, :1], resized.flatten(2).mT], dim=1)


class Reassemble(nn.Module):
    """Layer from tokens to a map, `scale` (4, 2, 1 or 0.5) times as fine as their grid (DPT, section 3.1)."""

    def __init__(self, width: int, channels: int, scale: float):
        super().__init__()
        self.readout = nn.Linear(2 * width, width)
        self.project = nn.Conv2d(width, channels, 1)
        if scale > 1:
            self.resize = nn.ConvTranspose2d(channels, channels, int(scale), stride=int(scale))
        else:
            self.resize = nn.Identity() if scale == 1 else nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, tokens: Float[Tensor, "B 1+hw C"], grid: tuple[int, int]) -> Float[Tensor, "B c sh sw"]:
        """Combines every patch's token with the class token and puts it in its place in the map."""
        patches = tokens[:, 1:]
        read = F.gelu(self.readout(torch.cat([patches, tokens[:, :1].expand_as(patches)], dim=2)))
        return self.resize(self.project(read.mT.unflatten(2, grid)))


class Fusion(nn.Module):
    """Level of the head: the output of the coarser level plus this level's map, at twice the resolution."""

    def __init__(self, channels: int, is_first: bool):
        super().__init__()
        self.level_unit = None if is_first else ResidualUnit(channels)
        self.unit = ResidualUnit(channels)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(
        self, level: Float[Tensor, "B C h w"], coarser: Float[Tensor, "B C h w"] | None
    ) -> Float[Tensor, "B C 2h 2w"]:
        """Map of this level; `coarser` is None at the coarsest level, the first of the head."""
        if coarser is not None:
            assert self.level_unit is not None, "only the first level has no coarser one"
            level = coarser + self.level_unit(level)
        return self.out(F.interpolate(self.unit(level), scale_factor=2, mode="bilinear", align_corners=True))


class ResidualUnit(nn.Module):
    """Residual unit: twice ReLU, 3x3 convolution and batch norm, added to the input."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, features: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        """The features with the output of the unit added."""
        inner = self.bn1(self.conv1(F.relu(features)))
        return features + self.bn2(self.conv2(F.relu(inner)))


_PUBLISHED_NAMES = {
    r"^vit\.": "pretrained.model.",
    r"^reassemble\.(\d)\.readout": r"pretrained.act_postprocess\1.0.project.0",
    r"^reassemble\.(\d)\.project": r"pretrained.act_postprocess\1.3",
    r"^reassemble\.(\d)\.resize": r"pretrained.act_postprocess\1.4",
    r"^narrow\.(\d)": r"scratch.layer\1_rn",
    r"^fuse\.(\d)\.level_unit": r"scratch.refinenet\1.resConfUnit1",
    r"^fuse\.(\d)\.unit": r"scratch.refinenet\1.resConfUnit2",
    r"^fuse\.(\d)\.out": r"scratch.refinenet\1.out_conv",
    r"^head": "scratch.head1",
}


def published_name(name: str) -> str:
    """Name in the published checkpoint, after `net.`, of a parameter or buffer of `LSegNetwork`."""
    for pattern, published in _PUBLISHED_NAMES.items():
        name, count = re.subn(pattern, published, name)
        if count:
            break
    return name
