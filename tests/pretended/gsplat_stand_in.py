"""The compiled half of gsplat 1.5.3, by the CPU kernels of gsdff; gsplat's own Python runs unchanged above it.

The checks are those of gsplat's C++: tensors on the card, contiguous, float32, and a number of channels for which a
kernel was compiled. What gsplat leaves uninitialised is NaN, and what kills the process raises `ProcessDied`.
"""

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from pretended.counts import COUNTS, find_line
from pretended.device import CardTensor, wait
from torch import Tensor

from gsdff.render.cpu import ProjectionSettings, _Blend, _Project
from gsdff.render.tiles import TileLists, make_splats

CHANNELS = (1, 2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 64, 65, 128, 129, 256, 257, 512, 513)
"""Numbers of channels that gsplat compiles (`__LAUNCH_KERNEL__` in csrc/Rasterization.cpp)."""
ANY_DEPTH = {"near_plane": 1e-30, "far_plane": 1e30, "radius_clip": 0.0}
"""The backward pass of a projection looks at the radii only, not at the planes."""


CameraModelType, PINHOLE = "CameraModelType", "pinhole"
"""gsplat reads `CameraModelType.PINHOLE` as an attribute of the compiled module itself."""


class ProcessDied(BaseException):
    """What would end the process; no handler of errors may survive it."""


def _check(tensor: Tensor | None, name: str, dtype: torch.dtype = torch.float32) -> Tensor | None:
    """The values of an argument, after gsplat's CHECK_INPUT and its reading of the data."""
    if tensor is None:
        return None
    if not isinstance(tensor, CardTensor):
        raise RuntimeError(f"{name} must be a CUDA tensor")
    if not tensor.inner.is_contiguous():
        raise RuntimeError(f"{name} must be contiguous")
    if tensor.dtype != dtype:
        raise RuntimeError(f"expected scalar type {dtype} but found {tensor.dtype} [{name}]")
    return tensor.inner


def _check_all(**tensors: Tensor | None) -> list[Any]:
    return [_check(tensor, name) for name, tensor in tensors.items()]


def _launch(count: int = 1) -> None:
    COUNTS.launches[find_line()] += count


def _spoil(values: Tensor, written: Tensor) -> CardTensor:
    """The values of the rows that a kernel writes; the others keep what was in memory."""
    rows = written.reshape(written.shape + (1,) * (values.dim() - written.dim()))
    return CardTensor(torch.where(rows, values.detach(), torch.nan).contiguous())


def _differentiate(function: Any, inputs: list[Tensor], cotangents: list[Tensor | None]) -> list[Tensor]:
    """Gradients of `function(*inputs)` under these cotangents; zero for what does not depend."""
    with torch.enable_grad():
        leaves = [tensor.detach().clone().requires_grad_() for tensor in inputs]
        outputs = function(*leaves)
        pairs = [(out, grad) for out, grad in zip(outputs, cotangents, strict=True) if grad is not None]
        reached, given = zip(*pairs, strict=True)
        gradients = torch.autograd.grad(reached, leaves, given, materialize_grads=True)
    return [gradient.contiguous() for gradient in gradients]


# --- projection ------------------------------------------------------------------------------------------------------


def projection_ewa_3dgs_fused_fwd(
    means, covars, quats, scales, opacities, viewmats, Ks, width, height, eps2d, near_plane, far_plane, radius_clip,
    calc_compensations, camera_model,
):  # fmt: skip
    assert covars is None and camera_model == "pinhole", "the stand-in knows pinhole cameras and quaternions only"
    if means.shape[-2] == 0 or viewmats.shape[-3] == 0:
        raise ProcessDied("gsplat 1.5.3 divides by the number of Gaussians on the host: SIGFPE")
    given = _check_all(means=means, quats=quats, scales=scales, opacities=opacities, viewmats=viewmats, Ks=Ks)
    planes = {"near_plane": near_plane, "far_plane": far_plane, "radius_clip": radius_clip}
    settings = ProjectionSettings(width, height, **planes, eps2d=eps2d, antialiased=calc_compensations)
    with torch.no_grad():
        means2d, depths, conics, compensations, radii = _Project.apply(*given, settings)
    _launch()
    seen = (radii > 0).all(-1)
    # gsplat zeroes the compensations, and nothing else
    return CardTensor(radii), *(_spoil(x, seen) for x in (means2d, depths, conics)), CardTensor(compensations)


def projection_ewa_3dgs_fused_bwd(
    means, covars, quats, scales, viewmats, Ks, width, height, eps2d, camera_model, radii, conics, compensations,
    v_means2d, v_depths, v_conics, v_compensations, viewmats_requires_grad,
):  # fmt: skip
    m, q, s, v, k = _check_all(means=means, quats=quats, scales=scales, viewmats=viewmats, Ks=Ks)
    cotangents = _check_all(v_means2d=v_means2d, v_depths=v_depths, v_conics=v_conics, v_compensations=v_compensations)
    seen = (_check(radii, "radii", torch.int32) > 0).all(-1)
    _check_all(conics=conics, compensations=compensations)
    cotangents = [
        None if grad is None else torch.where(seen.reshape(seen.shape + (1,) * (grad.dim() - 2)), grad, 0)
        for grad in cotangents
    ]
    settings = ProjectionSettings(width, height, **ANY_DEPTH, eps2d=eps2d, antialiased=compensations is not None)
    opaque = torch.ones(len(m))  # decides on radii only

    def project(means: Tensor, quats: Tensor, scales: Tensor, viewmats: Tensor) -> Any:
        return _Project.apply(means, quats, scales, opaque, viewmats, k, settings)[:4]

    gradients = _differentiate(project, [m, q, s, v], cotangents)
    _launch()
    v_means, v_quats, v_scales, v_viewmats = map(CardTensor, gradients)
    return v_means, None, v_quats, v_scales, v_viewmats if viewmats_requires_grad else None


# --- spherical harmonics ---------------------------------------------------------------------------------------------


def spherical_harmonics_fwd(degree, dirs, coeffs, masks):
    from gsplat.cuda._torch_impl import _spherical_harmonics

    d, c = _check_all(dirs=dirs, coeffs=coeffs)
    written = _check(masks, "masks", torch.bool)
    with torch.no_grad():
        colors = _spherical_harmonics(degree, d, c)
    _launch()
    return CardTensor(colors.contiguous()) if written is None else _spoil(colors, written)


def spherical_harmonics_bwd(num_bases, degree, dirs, coeffs, masks, v_colors, compute_v_dirs):
    from gsplat.cuda._torch_impl import _spherical_harmonics

    d, c, v = _check_all(dirs=dirs, coeffs=coeffs, v_colors=v_colors)
    written = _check(masks, "masks", torch.bool)
    if written is not None:
        v = torch.where(written[..., None], v, 0)
        d = torch.where(written[..., None], d, 1)

    def evaluate(dirs: Tensor, coeffs: Tensor) -> tuple[Tensor]:
        return (_spherical_harmonics(degree, dirs, coeffs),)

    v_dirs, v_coeffs = _differentiate(evaluate, [d, c], [v])
    _launch()
    return CardTensor(v_coeffs), CardTensor(v_dirs) if compute_v_dirs else None


# --- tile lists ------------------------------------------------------------------------------------------------------


def intersect_tile(
    means2d, radii, depths, image_ids, gaussian_ids, num_images, tile_size, tile_width, tile_height, sort, segmented
):
    assert image_ids is None and gaussian_ids is None and sort, "the stand-in knows unpacked, sorted lists only"
    m, d = (x.numpy() for x in _check_all(means2d=means2d, depths=depths))
    r = _check(radii, "radii", torch.int32).numpy().reshape(-1, 2)
    m, d = m.reshape(-1, 2), d.reshape(-1)
    (seen,) = np.nonzero((r > 0).all(1))
    grid = np.array([tile_width, tile_height])
    first = np.clip(np.floor((m[seen] - r[seen]) / tile_size), 0, grid).astype(np.int64)
    last = np.clip(np.ceil((m[seen] + r[seen]) / tile_size), 0, grid).astype(np.int64)
    sides = last - first
    counts = sides.prod(1)
    tiles_per_gaussian = np.zeros(len(r), np.int32)
    tiles_per_gaussian[seen] = counts
    which = np.repeat(np.arange(len(seen)), counts)
    place = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
    tile = (first[which, 1] + place // sides[which, 0]) * tile_width + first[which, 0] + place % sides[which, 0]
    ids = seen[which]
    depth_bits = d[ids].view(np.int32).astype(np.int64)
    image = ids // (len(r) // num_images)
    keys = image << (32 + _tile_bits(tile_width, tile_height)) | tile << 32 | depth_bits
    order = np.argsort(keys, kind="stable")
    _launch(4)  # count, sum, list, sort
    wait("number of intersections")
    outputs = tiles_per_gaussian.reshape(depths.shape), keys[order], ids[order].astype(np.int32)
    return tuple(CardTensor(torch.from_numpy(output)) for output in outputs)


def intersect_offset(isect_ids, num_images, tile_width, tile_height):
    keys = _check(isect_ids, "isect_ids", torch.int64).numpy()
    bits = _tile_bits(tile_width, tile_height)
    tiles = tile_width * tile_height
    place = (keys >> (32 + bits)) * tiles + ((keys >> 32) & ((1 << bits) - 1))
    offsets = np.searchsorted(place, np.arange(num_images * tiles)).astype(np.int32)
    _launch()
    return CardTensor(torch.from_numpy(offsets).view(num_images, tile_height, tile_width))


def _tile_bits(tile_width: int, tile_height: int) -> int:
    return int(np.floor(np.log2(tile_width * tile_height))) + 1


# --- blending --------------------------------------------------------------------------------------------------------


def _read_lists(offsets: np.ndarray, flatten_ids: np.ndarray, num_gaussians: int) -> list[TileLists]:
    """gsplat's lists of all images as one `TileLists` per image."""
    starts = np.append(offsets[:, 0], len(flatten_ids))
    lists = []
    for image, (start, stop) in enumerate(pairwise(starts)):
        ids = flatten_ids[start:stop] - np.int32(image * num_gaussians)
        order, counts = np.unique(ids, return_counts=True)
        slot_offsets = np.concatenate([[0], np.cumsum(counts)])
        own = np.append(offsets[image], stop) - start
        slots = np.argsort(ids, kind="stable")
        lists.append(TileLists(*(np.ascontiguousarray(x, np.int32) for x in (own, ids, order, slot_offsets, slots))))
    return lists


def _open_blending(inputs: list[Tensor], offsets: Tensor, flatten_ids: Tensor, size: tuple, absgrad: bool) -> Any:
    """The differentiable blending of these lists, as a function of means2d, conics, colours and opacities."""
    means2d, conics, _, opacities = inputs
    num_images, num_gaussians = means2d.shape[:2]
    lists = _read_lists(offsets.reshape(num_images, -1).numpy(), flatten_ids.numpy(), num_gaussians)
    splats = []
    for image, tiles in enumerate(lists):
        listed = np.zeros((num_gaussians, 2), np.int32)
        listed[tiles.order] = 1
        splats.append(make_splats(*(x[image].detach().numpy() for x in (means2d, conics, opacities)), listed))
    return lambda *leaves: _Blend.apply(*leaves, lists, splats, size, absgrad)


def _check_blending(means2d, conics, colors, opacities, offsets, flatten_ids, tile_size) -> tuple:
    if colors.shape[-1] not in CHANNELS:
        raise RuntimeError(f"Unsupported number of channels: {colors.shape[-1]}")
    assert tile_size == 16, "the stand-in has tiles of 16 pixels only"
    inputs = _check_all(means2d=means2d, conics=conics, colors=colors, opacities=opacities)
    return inputs, *(_check(x, name, torch.int32) for x, name in ((offsets, "tile_offsets"), (flatten_ids, "ids")))


def rasterize_to_pixels_3dgs_fwd(
    means2d, conics, colors, opacities, backgrounds, masks, width, height, tile_size, tile_offsets, flatten_ids
):
    inputs, offsets, ids = _check_blending(means2d, conics, colors, opacities, tile_offsets, flatten_ids, tile_size)
    with torch.no_grad():
        renders, alphas = _open_blending(inputs, offsets, ids, (width, height), False)(*inputs)
    if backgrounds is not None:
        renders = renders + (1 - alphas) * _check(backgrounds, "backgrounds")[:, None, None]
    if masks is not None:  # gsplat writes no alphas in a tile that is left out
        blended = _check(masks, "masks", torch.bool).repeat_interleave(tile_size, 1).repeat_interleave(tile_size, 2)
        renders = torch.where(blended[:, :height, :width, None], renders, 0)
        alphas = torch.where(blended[:, :height, :width, None], alphas, float("nan"))
    _launch()
    last_ids = torch.zeros(alphas.shape[:-1], dtype=torch.int32)  # the backward pass here does not need them
    return CardTensor(renders), CardTensor(alphas), CardTensor(last_ids)


def rasterize_to_pixels_3dgs_bwd(
    means2d, conics, colors, opacities, backgrounds, masks, width, height, tile_size, tile_offsets, flatten_ids,
    render_alphas, last_ids, v_render_colors, v_render_alphas, absgrad,
):  # fmt: skip
    inputs, offsets, ids = _check_blending(means2d, conics, colors, opacities, tile_offsets, flatten_ids, tile_size)
    cotangents = _check_all(v_render_colors=v_render_colors, v_render_alphas=v_render_alphas)
    behind = _check(backgrounds, "backgrounds")
    blend = _open_blending(inputs, offsets, ids, (width, height), absgrad)
    absolute: list[Tensor] = []

    def compose(*leaves: Tensor) -> tuple[Tensor, Tensor]:
        absolute.append(leaves[0])  # gets an attribute `absgrad`
        renders, alphas = blend(*leaves)
        return renders if behind is None else renders + (1 - alphas) * behind[:, None, None], alphas

    gradients = map(CardTensor, _differentiate(compose, inputs, cotangents))
    _launch()
    return CardTensor(absolute[0].absgrad.contiguous()) if absgrad else None, *gradients
