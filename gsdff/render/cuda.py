"""The CUDA rasteriser: gsplat's projection, tile lists and blending, with the conventions of the CPU path."""

from functools import cache
from importlib import import_module
from inspect import signature
from math import ceil
from typing import Any, Literal

import torch
import torch.nn.functional as F
from gsplat import fully_fused_projection, isect_offset_encode, isect_tiles, rasterize_to_pixels, spherical_harmonics
from jaxtyping import Float
from torch import Tensor

from gsdff.errors import UserError
from gsdff.render.splats import TILE, ProjectedSplats

CHUNK = 32
"""Channels that are blended at a time; gsplat's kernel is slow with more."""
CHANNELS = (1, 2, 3, 4, 5, 8, 9, 16, 17, 32)
"""Numbers of channels up to `CHUNK` that gsplat compiles; 1.5.3 fills up others itself, newer versions refuse them."""


@cache
def require_kernels() -> None:
    """Compiles gsplat's kernels, unless that has been done; raises `UserError` if this machine cannot."""
    try:
        backend = import_module("gsplat.cuda._backend")
    except IndexError as error:  # torch's list of architectures is that of the cards, and there are none
        raise UserError(
            "gsplat compiles its kernels here, and torch finds no card to compile them for; name the card's compute "
            "capability, for example by `export TORCH_CUDA_ARCH_LIST=9.0` for an H100"
        ) from error
    except RuntimeError as error:
        raise UserError(
            f"gsplat's kernels do not compile here: {str(error).splitlines()[0]}; VERBOSE=1 shows the compiler's output"
        ) from error
    if backend._C is None:
        raise UserError(
            "gsplat compiles its kernels here, and finds no nvcc; install the CUDA toolkit "
            f"{torch.version.cuda or ''} and set CUDA_HOME to its folder, or render on the CPU"
        )


@cache
def takes_ellipses() -> bool:
    """Whether gsplat's tile lists look at the ellipses of Gaussians (after 1.5.3), not only at squares around them."""
    return {"conics", "opacities"} <= signature(isect_tiles).parameters.keys()


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
    sh_degree: int | None,
    backgrounds: Tensor | None,
    render_mode: Literal["RGB", "D", "ED", "RGB+D", "RGB+ED"],
    absgrad: bool,
    **options: Any,
) -> tuple[Tensor, Tensor, dict]:
    """`gsdff.render.rasterization` for CUDA tensors; the host waits once, for the number of intersections.

    gsplat's own `rasterization` also waits for an inverse of the poses, and projects anew for every set of colours.
    """
    if len(means) == 0:  # gsplat 1.5.3 divides by their number, which ends the process
        num_channels = (colors.shape[-1] if "RGB" in render_mode else 0) + ("D" in render_mode)
        renders, alphas, meta = _rasterize_nothing(
            (means, quats, scales, opacities, colors), len(viewmats), (height, width, num_channels), absgrad
        )
    else:
        meta = add_lists(see(means, quats, scales, opacities, viewmats, Ks, width, height, **options), width, height)
        if sh_degree is not None:
            colors = shade(means, colors, viewmats, sh_degree, meta["radii"])
        elif colors.dim() == 2:
            colors = colors.expand(len(viewmats), -1, -1)
        if "D" in render_mode:
            depths = meta["depths"][..., None]
            colors = torch.cat([colors, depths], dim=-1) if "RGB" in render_mode else depths
        renders, alphas = blend(meta, colors, absgrad=absgrad)
        if "ED" in render_mode:
            renders = torch.cat([renders[..., :-1], renders[..., -1:] / alphas.clamp(min=1e-10)], dim=-1)
    if backgrounds is not None and "RGB" in render_mode:
        num_channels = backgrounds.shape[-1]
        behind = (1 - alphas) * backgrounds[:, None, None, :]
        renders = torch.cat([renders[..., :num_channels] + behind, renders[..., num_channels:]], dim=-1)
    return renders, alphas, meta


def see(
    means: Float[Tensor, "N 3"],
    quats: Float[Tensor, "N 4"],
    scales: Float[Tensor, "N 3"],
    opacities: Float[Tensor, "N"],
    viewmats: Float[Tensor, "C 4 4"],
    Ks: Float[Tensor, "C 3 3"],
    width: int,
    height: int,
    *,
    rasterize_mode: str = "classic",
    **options: Any,
) -> dict[str, Any]:
    """Gaussians as cameras see them: `means2d`, `radii`, `depths`, `conics` and `opacities`, each [C, N, ...].

    With `add_lists` it is all that `blend` needs, for any number of sets of colours.
    """
    require_kernels()
    is_antialiased = rasterize_mode == "antialiased"
    radii, means2d, depths, conics, compensations = fully_fused_projection(
        means, None, quats, scales, viewmats, Ks, width, height,
        opacities=opacities, calc_compensations=is_antialiased, **options,
    )  # fmt: skip
    seen_opacities = opacities * compensations if is_antialiased else opacities.expand(len(viewmats), -1)
    return {"means2d": means2d, "radii": radii, "depths": depths, "conics": conics, "opacities": seen_opacities}


def add_lists(seen: dict[str, Any], width: int, height: int) -> dict[str, Any]:
    """`rasterization`'s meta of what `see` returns: with lists of those that touch each tile, front to back."""
    radii, means2d, depths = seen["radii"], seen["means2d"], seen["depths"]
    tile_width, tile_height = -(-width // TILE), -(-height // TILE)
    # newer versions leave out tiles that the ellipse does not touch
    ellipses: dict[str, Any] = {name: seen[name] for name in ("conics", "opacities")} if takes_ellipses() else {}
    _, keys, flatten_ids = isect_tiles(means2d, radii, depths, TILE, tile_width, tile_height, **ellipses)
    return {
        **seen,
        "gaussian_ids": None,
        "flatten_ids": flatten_ids,
        "isect_offsets": isect_offset_encode(keys, len(means2d), tile_width, tile_height),
        "tile_width": tile_width,
        "tile_height": tile_height,
        "tile_size": TILE,
        "width": width,
        "height": height,
        "n_cameras": len(means2d),
    }


def blend(
    meta: dict[str, Any], colors: Float[Tensor, "C N D"], *, rows: slice | None = None, absgrad: bool = False
) -> tuple[Float[Tensor, "C h W D"], Float[Tensor, "C h W 1"]]:
    """Renders and alphas of colours over black; with `rows`, only tiles that reach into these rows are blended."""
    offsets, masks = meta["isect_offsets"], None
    if rows is not None:
        masks = torch.zeros_like(offsets, dtype=torch.bool)
        masks[:, rows.start // TILE : -(-rows.stop // TILE)] = True
    parts = []
    for part in colors.split(CHUNK, dim=-1):
        missing = next(number for number in CHANNELS if number >= part.shape[-1]) - part.shape[-1]
        blended, alphas = rasterize_to_pixels(
            meta["means2d"], meta["conics"], F.pad(part, (0, missing)) if missing else part, meta["opacities"],
            meta["width"], meta["height"], TILE, offsets, meta["flatten_ids"], masks=masks, absgrad=absgrad,
        )  # fmt: skip
        parts.append((blended[..., : part.shape[-1]], alphas))
    renders = parts[0][0] if len(parts) == 1 else torch.cat([part for part, _ in parts], dim=-1)
    alphas = parts[0][1]
    return (renders, alphas) if rows is None else (renders[:, rows], alphas[:, rows])


def blend_features(
    meta: dict[str, Any], features: Float[Tensor, "N K"], rows: slice | None = None
) -> tuple[Float[Tensor, "h W K"], Float[Tensor, "h W 1"]]:
    """Features and alpha as the only camera sees them, from its projection; differentiable in the features alone."""
    fixed = {name: value.detach() if isinstance(value, Tensor) else value for name, value in meta.items()}
    renders, alphas = blend(fixed, features[None], rows=rows)
    return renders[0], alphas[0]


def take_splats(meta: dict[str, Any], rows: slice | None = None) -> ProjectedSplats:
    """The only camera's projection as our feature pass reads it.

    With `rows`, only of the tiles that reach into these rows: the first row is then that of the first such tile.
    """
    columns, height = meta["tile_width"], meta["height"]
    first, last = (0, meta["tile_height"]) if rows is None else (rows.start // TILE, -(-rows.stop // TILE))
    pair_ids, offsets = meta["flatten_ids"], meta["isect_offsets"].flatten()
    ends = torch.cat([offsets, offsets.new_full((1,), len(pair_ids))])
    means2d = meta["means2d"][0].detach()
    if first > 0:
        means2d = means2d.clone()
        means2d[:, 1] -= first * TILE
    conics, opacities = (meta[name][0].detach() for name in ("conics", "opacities"))
    bounds = ends[first * columns : last * columns + 1]
    return ProjectedSplats(
        means2d, conics, opacities, bounds, pair_ids, meta["width"], min(last * TILE, height) - first * TILE
    )


def shade(
    means: Float[Tensor, "N 3"],
    sh: Float[Tensor, "N A 3"],
    viewmats: Float[Tensor, "C 4 4"],
    degree: int,
    radii: Tensor,
) -> Float[Tensor, "C N 3"]:
    """Colours of the harmonics of Gaussians in view."""
    positions = torch.linalg.inv_ex(viewmats).inverse[:, :3, 3]  # unlike `inv`, without a look at the result
    directions = means - positions[:, None]
    seen = (radii > 0).all(dim=-1)
    # camera by camera: 1.5.3 wants coefficients for every camera, newer versions want them without cameras
    colors = [
        spherical_harmonics(degree, toward, sh, masks=mask) for toward, mask in zip(directions, seen, strict=True)
    ]
    return (torch.stack(colors) + 0.5).clamp_min(0)


def _rasterize_nothing(
    gaussians: tuple[Tensor, ...], num_cameras: int, shape: tuple[int, int, int], absgrad: bool
) -> tuple[Tensor, Tensor, dict]:
    """Renders, alphas and meta without any Gaussian: zeros, from which gradients flow to the empty inputs."""
    height, width, num_channels = shape
    means = gaussians[0]
    means2d: Any = means[None, :, :2].expand(num_cameras, -1, -1)
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
