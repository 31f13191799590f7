"""The CUDA rasteriser: gsplat's, called with the conventions of the CPU path."""

from functools import cache
from math import ceil
from typing import Literal

import torch
from gsplat import rasterization
from torch import Tensor

from gsdff.errors import UserError

TILE = 16
"""Side of gsplat's tiles in pixels."""


@cache
def require_kernels() -> None:
    """Compiles gsplat's kernels, unless that has been done; raises `UserError` if this machine cannot."""
    try:
        from gsplat.cuda._backend import _C
    except IndexError as error:  # torch's list of architectures is that of the cards, and there are none
        raise UserError(
            "gsplat compiles its kernels here, and torch finds no card to compile them for; name the card's compute "
            "capability, for example by `export TORCH_CUDA_ARCH_LIST=9.0` for an H100"
        ) from error
    except RuntimeError as error:
        raise UserError(
            f"gsplat's kernels do not compile here: {str(error).splitlines()[0]}; VERBOSE=1 shows the compiler's output"
        ) from error
    if _C is None:
        raise UserError(
            "gsplat compiles its kernels here, and finds no nvcc; install the CUDA toolkit "
            f"{torch.version.cuda or ''} and set CUDA_HOME to its folder, or render on the CPU"
        )


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
    if len(means) == 0:  # gsplat 1.5.3 divides by their number, which ends the process
        num_channels = (colors.shape[-1] if "RGB" in render_mode else 0) + ("D" in render_mode)
        renders, alphas, meta = _rasterize_nothing(
            (means, quats, scales, opacities, colors), len(viewmats), (height, width, num_channels), options["absgrad"]
        )
    else:
        require_kernels()
        renders, alphas, meta = rasterization(
            means, quats, scales, opacities, colors, viewmats, Ks, width, height,
            render_mode=render_mode, packed=False, **options,
        )  # fmt: skip
    if backgrounds is not None and "RGB" in render_mode:
        num_channels = backgrounds.shape[-1]
        behind = (1 - alphas) * backgrounds[:, None, None, :]
        renders = torch.cat([renders[..., :num_channels] + behind, renders[..., num_channels:]], dim=-1)
    return renders, alphas, meta


def _rasterize_nothing(
    gaussians: tuple[Tensor, ...], num_cameras: int, shape: tuple[int, int, int], absgrad: bool
) -> tuple[Tensor, Tensor, dict]:
    """Renders, alphas and meta without any Gaussian: zeros, from which gradients flow to the empty inputs."""
    height, width, num_channels = shape
    means = gaussians[0]
    means2d = means[None, :, :2].expand(num_cameras, -1, -1)
    zero = torch.stack([tensor.sum() for tensor in (means2d, *gaussians)]).sum()
    if absgrad:
        means2d.absgrad = torch.zeros_like(means2d)
    tiles = (num_cameras, ceil(height / TILE), ceil(width / TILE))
    meta = {
        "means2d": means2d,
        "radii": means.new_zeros(num_cameras, 0, 2, dtype=torch.int32),
        "depths": means.new_zeros(num_cameras, 0),
        "conics": means.new_zeros(num_cameras, 0, 3),
        "opacities": gaussians[3].expand(num_cameras, -1),
        "gaussian_ids": None,
        "flatten_ids": means.new_zeros(0, dtype=torch.int32),
        "isect_offsets": means.new_zeros(tiles, dtype=torch.int32),
        "tile_width": tiles[2],
        "tile_height": tiles[1],
        "tile_size": TILE,
        "width": width,
        "height": height,
        "n_cameras": num_cameras,
    }
    return zero.expand(num_cameras, height, width, num_channels), zero.expand(num_cameras, height, width, 1), meta
