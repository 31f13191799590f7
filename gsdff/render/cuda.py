"""The CUDA rasteriser: gsplat's, called with the conventions of the CPU path."""

from typing import Literal

import torch
from gsplat import fully_fused_projection, isect_offset_encode, isect_tiles, rasterization
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.render.splats import TILE, ProjectedSplats


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


def project_cuda(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    camera: Camera,
    *,
    antialiased: bool,
) -> ProjectedSplats:
    """N > 0 Gaussians as one camera sees them, and the lists of its tiles: what gsplat's `rasterization` does first."""
    radii, means2d, depths, conics, compensations = fully_fused_projection(
        means, None, quats, scales, camera.viewmat[None], camera.K[None], camera.width, camera.height,
        opacities=opacities, calc_compensations=antialiased,
    )  # fmt: skip
    tiles_x, tiles_y = -(-camera.width // TILE), -(-camera.height // TILE)
    _, isect_ids, pair_ids = isect_tiles(means2d, radii, depths, TILE, tiles_x, tiles_y)
    offsets = isect_offset_encode(isect_ids, 1, tiles_x, tiles_y)
    seen = opacities * compensations[0] if antialiased else opacities
    return ProjectedSplats(means2d[0], conics[0], seen, offsets.flatten(), pair_ids, camera.width, camera.height)
