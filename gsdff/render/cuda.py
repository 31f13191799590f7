"""The CUDA rasteriser: gsplat's, called with the conventions of the CPU path."""

from typing import Literal

import torch
from gsplat import rasterization
from torch import Tensor


def rasterization_cuda(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
    *,
    backgrounds: Tensor | None,
    render_mode: Literal["RGB", "D", "ED", "RGB+D", "RGB+ED"],
    **options,
) -> tuple[Tensor, Tensor, dict]:
    """`gsdff.render.rasterization` for CUDA tensors.

    Not packed, so that `meta` has the shapes [C, N, ...] of the CPU path. Backgrounds are composed here, because gsplat
    composes them per chunk of channels and accepts none for depth.
    """
    renders, alphas, meta = rasterization(
        means, quats, scales, opacities, colors, viewmats, Ks, width, height,
        render_mode=render_mode, packed=False, **options,
    )  # fmt: skip
    if backgrounds is not None and "RGB" in render_mode:
        num_channels = backgrounds.shape[-1]
        behind = (1 - alphas) * backgrounds[:, None, None, :]
        renders = torch.cat([renders[..., :num_channels] + behind, renders[..., num_channels:]], dim=-1)
    return renders, alphas, meta
