"""The CPU rasteriser: three differentiable steps (project, colour, blend) around the numba kernels."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gsdff.cameras import Camera
from gsdff.gaussians import Gaussians
from gsdff.kernels import run_parts, split_range
from gsdff.render import harmonics
from gsdff.render.blend import blend_tiles
from gsdff.render.blend_backward import MOMENTS, backward_colors, backward_tiles, gather_pairs, pair_columns
from gsdff.render.project import project, project_backward
from gsdff.render.stored import ProjectStored
from gsdff.render.tiles import TILE, TileLists, list_tiles, make_splats


@dataclass(frozen=True)
class ProjectionSettings:
    """Settings of the projection besides cameras and Gaussians."""

    width: int
    height: int
    near_plane: float = 0.01
    far_plane: float = 1e10
    eps2d: float = 0.3
    radius_clip: float = 0.0
    antialiased: bool = False


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(ctx, means, quats, scales, opacities, viewmats, Ks, settings: ProjectionSettings):
        num_cameras, num_gaussians = len(viewmats), len(means)
        shapes = ((2,), (), (3,), ())
        means2d, depths, conics, compensations = (torch.zeros(num_cameras, num_gaussians, *shape) for shape in shapes)
        radii = torch.zeros(num_cameras, num_gaussians, 2, dtype=torch.int32)
        arrays = [_array(tensor) for tensor in (means, quats, scales, opacities)]
        limits = (settings.near_plane, settings.far_plane, settings.eps2d, settings.radius_clip)
        for camera in range(num_cameras):
            pose, K = _array(viewmats[camera].double()), _array(Ks[camera].double())
            outputs = tuple(_array(out[camera]) for out in (means2d, depths, conics, compensations, radii))
            fixed = (*arrays, pose, K, (settings.width, settings.height), limits, settings.antialiased, outputs)
            run_parts(project, [(*part, *fixed) for part in split_range(num_gaussians)])
        ctx.save_for_backward(means, quats, scales, viewmats, Ks, radii)
        ctx.settings = settings
        ctx.mark_non_differentiable(radii)
        return means2d, depths, conics, compensations, radii

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads):
        means, quats, scales, viewmats, Ks, radii = ctx.saved_tensors
        settings: ProjectionSettings = ctx.settings
        totals = [torch.zeros_like(tensor) for tensor in (means, quats, scales)]
        wants_pose = ctx.needs_input_grad[4]
        grad_viewmats = torch.zeros_like(viewmats) if wants_pose else None
        parts = split_range(len(means))
        arrays = [_array(tensor) for tensor in (means, quats, scales)]
        for camera in range(len(viewmats)):
            pose, K = _array(viewmats[camera].double()), _array(Ks[camera].double())
            incoming = tuple(_array(grad[camera]) for grad in grads[:4])
            here = totals if len(viewmats) == 1 else [torch.zeros_like(total) for total in totals]
            poses = np.zeros((len(parts), 4 if wants_pose else 0, 4))
            size, seen = (settings.width, settings.height), _array(radii[camera])
            fixed = (*arrays, pose, K, size, settings.eps2d, settings.antialiased, seen)
            outputs = tuple(_array(out) for out in here)
            run_parts(
                project_backward,
                [(*part, *fixed, incoming, (*outputs, poses[i])) for i, part in enumerate(parts)],
            )
            if grad_viewmats is not None:
                grad_viewmats[camera] = torch.from_numpy(poses.sum(0))
            if here is not totals:
                for total, share in zip(totals, here, strict=True):
                    total += share
        return (*totals, None, grad_viewmats, None, None)


class _Harmonics(torch.autograd.Function):
    @staticmethod
    def forward(ctx, means, positions, sh, degree, radii):
        colors = torch.zeros(len(positions), len(means), 3)
        for camera in range(len(positions)):
            fixed = (
                _array(means),
                _array(positions[camera].double()),
                _array(sh),
                degree,
                _array(radii[camera]),
                _array(colors[camera]),
            )
            run_parts(harmonics.evaluate, [(*part, *fixed) for part in split_range(len(means))])
        ctx.save_for_backward(means, positions, sh, radii, colors)
        ctx.degree = degree
        return colors

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_colors):
        means, positions, sh, radii, colors = ctx.saved_tensors
        grad_sh, grad_means = torch.zeros_like(sh), torch.zeros_like(means)
        grad_positions = torch.zeros_like(positions)
        for camera in range(len(positions)):
            offsets = grad_means if len(positions) == 1 else torch.zeros_like(means)
            fixed = (
                _array(means),
                _array(positions[camera].double()),
                _array(sh),
                ctx.degree,
                _array(radii[camera]),
                _array(colors[camera]),
                _array(grad_colors[camera]),
                _array(grad_sh),
                _array(offsets),
            )
            run_parts(harmonics.evaluate_backward, [(*part, *fixed) for part in split_range(len(means))])
            if ctx.needs_input_grad[1]:
                grad_positions[camera] = -offsets.sum(0)
            if offsets is not grad_means:
                grad_means += offsets
        return grad_means, grad_positions, grad_sh, None, None


class _Blend(torch.autograd.Function):
    @staticmethod
    def forward(ctx, means2d, conics, colors, opacities, lists: list[TileLists], splats: list, size, absgrad):
        width, height = size
        renders = torch.empty(len(colors), height, width, colors.shape[-1])
        alphas = torch.empty(len(colors), height, width, 1)
        for camera, tiles in enumerate(lists):
            fixed = (tiles.offsets, tiles.gaussian_ids, splats[camera], _array(colors[camera]), width, height)
            outputs = (_array(renders[camera]), _array(alphas[camera, ..., 0]))
            run_parts(blend_tiles, [(share, *fixed, *outputs) for share in _shares(tiles)])
        ctx.save_for_backward(means2d, colors, renders, alphas)
        ctx.lists, ctx.splats, ctx.absgrad = lists, splats, absgrad
        return renders, alphas

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_renders, grad_alphas):
        means2d, colors, renders, alphas = ctx.saved_tensors
        wants_geometry = any(ctx.needs_input_grad[index] for index in (0, 1, 3))
        first = MOMENTS if wants_geometry else 0
        grad_colors = torch.zeros_like(colors, memory_format=torch.contiguous_format)
        grad_geometry = torch.zeros(*colors.shape[:2], 8)
        for camera, tiles in enumerate(ctx.lists):
            splats = ctx.splats[camera]
            cotangent = _array(grad_renders[camera])
            pairs = np.empty((len(tiles.gaussian_ids), pair_columns(first + colors.shape[-1])), np.float32)
            pixels = (tiles.offsets, tiles.gaussian_ids, splats)
            if wants_geometry:
                images = (_array(renders[camera]), _array(alphas[camera, ..., 0]))
                cotangents = (cotangent, _array(grad_alphas[camera, ..., 0]))
                fixed = (*pixels, _array(colors[camera]), *images, *cotangents, pairs, ctx.absgrad)
                run_parts(backward_tiles, [(share, *fixed) for share in _shares(tiles)])
            else:
                height, width = cotangent.shape[:2]
                fixed = (*pixels, width, height, cotangent, pairs)
                run_parts(backward_colors, [(share, *fixed) for share in _shares(tiles)])
            fixed = (tiles.order, tiles.slot_offsets, tiles.slots, pairs, splats, first)
            outputs = (_array(grad_colors[camera]), _array(grad_geometry[camera]))
            run_parts(gather_pairs, [(*part, *fixed, *outputs) for part in split_range(len(tiles.order))])
        if ctx.absgrad:
            means2d.absgrad = grad_geometry[..., 6:8]
        grads = grad_geometry[..., 0:2], grad_geometry[..., 2:5], grad_colors, grad_geometry[..., 5]
        return (*grads, None, None, None, None)


def _shares(tiles: TileLists) -> list[np.ndarray]:
    """Splits the tiles by falling number of pairs into several shares per thread, so that threads finish together."""
    order = np.argsort(-np.diff(tiles.offsets), kind="stable").astype(np.int32)
    count = 1 if torch.get_num_threads() == 1 else 4 * torch.get_num_threads()
    return [order[share::count] for share in range(count)]


def rasterization_cpu(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    settings: ProjectionSettings,
    *,
    sh_degree: int | None,
    depth_mode: str,
    backgrounds: Tensor | None,
    absgrad: bool,
) -> tuple[Tensor, Tensor, dict]:
    """`gsdff.render.rasterization` for float32 CPU tensors. depth_mode: "none", "append" or "only"."""
    means2d, depths, conics, compensations, radii = _Project.apply(
        means, quats, scales, opacities, viewmats, Ks, settings
    )
    seen_opacities = opacities * compensations if settings.antialiased else opacities.expand(len(viewmats), -1)
    if sh_degree is not None:
        positions = torch.linalg.inv(viewmats)[:, :3, 3]
        colors = _Harmonics.apply(means, positions, colors, sh_degree, radii)
    elif colors.dim() == 2:
        colors = colors.expand(len(viewmats), -1, -1)
    if depth_mode != "none":
        planes = depths[..., None]
        colors = planes if depth_mode == "only" else torch.cat([colors, planes], dim=-1)
    projected = Projected(means2d, depths, conics, seen_opacities, colors, radii)
    return _blend(projected, settings, backgrounds, absgrad)


def render_stored(
    gaussians: Gaussians,
    camera: Camera,
    *,
    sh_degree: int,
    background: Tensor | None,
    absgrad: bool,
) -> tuple[Tensor, Tensor, dict]:
    """`rasterization_cpu` of one camera for parameters as they are stored; adds their gradients to `.grad` in place."""
    antialiased = gaussians.rasterize_mode == "antialiased"
    settings = ProjectionSettings(camera.width, camera.height, antialiased=antialiased)
    projected = Projected(*ProjectStored.apply(gaussians.means, gaussians, camera, sh_degree, settings))
    return _blend(projected, settings, None if background is None else background[None], absgrad)


@dataclass(frozen=True)
class Projected:
    """Gaussians as C cameras see them, with their colours."""

    means2d: Tensor
    depths: Tensor
    conics: Tensor
    opacities: Tensor
    colors: Tensor
    radii: Tensor


def _blend(
    projected: Projected, settings: ProjectionSettings, backgrounds: Tensor | None, absgrad: bool
) -> tuple[Tensor, Tensor, dict]:
    """Lists tiles and blends them; returns renders, alphas and meta."""
    means2d, conics, opacities, radii = projected.means2d, projected.conics, projected.opacities, projected.radii
    num_cameras, num_gaussians = radii.shape[:2]
    splats = [
        make_splats(*(_array(tensor[camera]) for tensor in (means2d, conics, opacities, radii)))
        for camera in range(num_cameras)
    ]
    depths, size = projected.depths, (settings.width, settings.height)
    lists = [
        list_tiles(splats[camera], _array(depths[camera]), _array(radii[camera]), *size)
        for camera in range(num_cameras)
    ]
    renders, alphas = _Blend.apply(means2d, conics, projected.colors, opacities, lists, splats, size, absgrad)
    if backgrounds is not None:
        renders = renders + (1 - alphas) * backgrounds[:, None, None, :]
    meta = {
        "means2d": means2d,
        "radii": radii,
        "depths": depths,
        "conics": conics,
        "opacities": opacities,
        "gaussian_ids": None,
        **_tile_meta(lists, num_gaussians, settings),
    }
    return renders, alphas, meta


def _tile_meta(lists: list[TileLists], num_gaussians: int, settings: ProjectionSettings) -> dict:
    """Tile lists of all cameras under gsplat's keys."""
    tile_width, tile_height = -(-settings.width // TILE), -(-settings.height // TILE)
    starts = np.cumsum([0] + [len(tiles.gaussian_ids) for tiles in lists[:-1]])
    ids = [tiles.gaussian_ids + camera * num_gaussians for camera, tiles in enumerate(lists)]
    offsets = [tiles.offsets[:-1] + start for tiles, start in zip(lists, starts, strict=True)]
    return {
        "flatten_ids": torch.from_numpy(np.concatenate(ids).astype(np.int32)),
        "isect_offsets": torch.from_numpy(np.stack(offsets).astype(np.int32)).view(-1, tile_height, tile_width),
        "tile_width": tile_width,
        "tile_height": tile_height,
        "tile_size": TILE,
        "width": settings.width,
        "height": settings.height,
        "n_cameras": len(lists),
    }
