"""Rasterisation of Gaussians on the CPU or on CUDA, by the tensors' device, with the same results.

`rasterization` is the subset of `gsplat.rasterization` (1.5.3) that gsdff uses, with the same meaning and constants.
The rest of the package calls `render_rgb`, `render_features` and `render_depth`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.gaussians import Gaussians, RasterizeMode
from gsdff.render.feature_pass import choose_feature_pass
from gsdff.render.splats import PixelQuery, Precision, Scored
from gsdff.scene import View

if TYPE_CHECKING:
    from gsdff.render.tensor_cores import TileTable

RenderMode = Literal["RGB", "D", "ED", "RGB+D", "RGB+ED"]


def rasterization(
    means: Float[Tensor, "N 3"],
    quats: Float[Tensor, "N 4"],
    scales: Float[Tensor, "N 3"],
    opacities: Float[Tensor, "N"],
    colors: Tensor,
    viewmats: Float[Tensor, "C 4 4"],
    Ks: Float[Tensor, "C 3 3"],
    width: int,
    height: int,
    *,
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    eps2d: float = 0.3,
    sh_degree: int | None = None,
    backgrounds: Float[Tensor, "C D"] | None = None,
    render_mode: RenderMode = "RGB",
    absgrad: bool = False,
    rasterize_mode: RasterizeMode = "classic",
    radius_clip: float = 0.0,
) -> tuple[Float[Tensor, "C H W _"], Float[Tensor, "C H W 1"], dict]:
    """Returns renders, alphas and meta (means2d, radii, depths, conics, opacities, tile lists ...) of every camera.

    `colors` is [N, D] or [C, N, D], or with `sh_degree` the harmonics [N, A, 3] with A >= (sh_degree + 1)^2; D is any
    number. Render modes add the depth along the optical axis as a last channel: accumulated (D) or expected (ED).
    Differentiable in all tensors but Ks; gradients that are not needed are not computed. float32. `meta["means2d"]`
    carries what `gsplat.strategy.DefaultStrategy` needs; its `absgrad` is set on request.

    Source: Kerbl et al. 2023, 3D Gaussian Splatting; antialiased mode: Yu et al. 2024, Mip-Splatting.
    """
    options = {"near_plane": near_plane, "far_plane": far_plane, "eps2d": eps2d, "radius_clip": radius_clip}
    if means.is_cuda:
        from gsdff.render.cuda import rasterization_cuda

        return rasterization_cuda(
            means, quats, scales, opacities, colors, viewmats, Ks, width, height,
            sh_degree=sh_degree, backgrounds=backgrounds, render_mode=render_mode, absgrad=absgrad,
            rasterize_mode=rasterize_mode, **options,
        )  # fmt: skip
    from gsdff.render.cpu import ProjectionSettings, rasterization_cpu

    if backgrounds is not None and "D" in render_mode:
        empty = torch.zeros(len(backgrounds), 1)
        backgrounds = torch.cat([backgrounds, empty], dim=-1) if "RGB" in render_mode else empty
    depth_mode = "none" if render_mode == "RGB" else "append" if "RGB" in render_mode else "only"
    settings = ProjectionSettings(width, height, **options, antialiased=rasterize_mode == "antialiased")
    renders, alphas, meta = rasterization_cpu(
        means, quats, scales, opacities, colors, viewmats, Ks, settings,
        sh_degree=sh_degree, depth_mode=depth_mode, backgrounds=backgrounds, absgrad=absgrad,
    )  # fmt: skip
    if "ED" in render_mode:
        renders = torch.cat([renders[..., :-1], renders[..., -1:] / alphas.clamp(min=1e-10)], dim=-1)
    return renders, alphas, meta


@dataclass(frozen=True)
class Rendered:
    """Image rendered from one camera."""

    image: Float[Tensor, "H W D"]
    alpha: Float[Tensor, "H W 1"]
    meta: dict
    """`rasterization`'s meta, for densification; empty for features that our own kernels have blended."""


@dataclass(frozen=True, eq=False)
class _Projection:
    """Projection of Gaussians into one camera."""

    gaussians: Gaussians
    camera: Camera
    meta: dict


_last_projection: ContextVar[list[_Projection] | None] = ContextVar("last_projection", default=None)
"""The newest within `projections_shared`; None outside of it."""


@contextmanager
def projections_shared() -> Iterator[None]:
    """Within the block, features are rendered with the projection and the tile lists of the colours before them.

    For the same Gaussians, which must not change meanwhile, and the same camera; on a card only.
    """
    token = _last_projection.set([])
    try:
        yield
    finally:
        _last_projection.reset(token)


def render_rgb(
    gaussians: Gaussians,
    camera: Camera,
    *,
    sh_degree: int | None = None,
    background: Float[Tensor, "3"] | None = None,
    absgrad: bool = False,
    adds_gradients: bool = False,
) -> Rendered:
    """Renders colours (not clamped to 1) from one camera; `sh_degree` None uses all stored bands.

    `adds_gradients` lets the backward pass add to `.grad` of the attributes itself, if they are parameters on the CPU:
    faster, but `torch.autograd.grad` does not see them. A pose that needs a gradient goes the ordinary way.

    Of Gaussians that are a part of a scene (`is_part`) all ranks of the job render at the same time, each a camera of
    its own, and get pictures of all parts; that holds for features and depths, too. Poses get no gradients there.
    """
    degree = gaussians.sh_degree if sh_degree is None else sh_degree
    options = {"sh_degree": degree, "background": background, "absgrad": absgrad}
    if gaussians.is_part:
        from gsdff.render.parts import render_part

        return Rendered(*render_part(gaussians, camera, gaussians.sh, **options))
    if adds_gradients and gaussians.are_parameters_on_cpu and not camera.viewmat.requires_grad:
        from gsdff.render.cpu import render_stored

        renders, alphas, meta = render_stored(gaussians, camera, **options)
        return Rendered(renders[0], alphas[0], meta)
    renders, alphas, meta = rasterization(
        gaussians.means,
        gaussians.quats,
        gaussians.scales,
        gaussians.opacities,
        gaussians.sh,
        camera.viewmat[None],
        camera.K[None],
        camera.width,
        camera.height,
        sh_degree=degree,
        backgrounds=None if background is None else background[None],
        rasterize_mode=gaussians.rasterize_mode,
        absgrad=absgrad,
    )
    if (last := _last_projection.get()) is not None and gaussians.means.is_cuda and len(gaussians):
        last[:] = [_Projection(gaussians, camera, meta)]
    return Rendered(renders[0], alphas[0], meta)


@torch.no_grad()
def render_view(gaussians: Gaussians, view: View, background: Sequence[float]) -> Float[Tensor, "H W 3"]:
    """A view as it is scored: all stored bands over a background, clamped to [0, 1], without gradients."""
    device = gaussians.means.device
    color = torch.tensor(tuple(background), device=device)
    return render_rgb(gaussians, view.camera.to(device), background=color).image.clamp(0, 1)


def render_features(
    gaussians: Gaussians,
    camera: Camera,
    *,
    features: Float[Tensor, "N K"] | None = None,
    rows: slice | None = None,
) -> Rendered:
    """Renders features from one camera, zero where no Gaussian is; `features` None uses the Gaussians' own.

    With `rows`, only these rows of the image. Geometry and opacity are detached, so that a teacher that is inconsistent
    between views cannot damage the scene.
    """
    features = gaussians.features if features is None else features
    assert features is not None, "these Gaussians have no features"
    if gaussians.is_part:
        from gsdff.render.parts import render_part

        camera = camera if rows is None else camera.cropped(0, rows.start, camera.width, rows.stop - rows.start)
        return Rendered(*render_part(gaussians.map(torch.detach), camera, features))
    way, meta = _own_pass(gaussians), _find_projection(gaussians, camera)
    if rows is not None and meta is None:
        camera, rows = camera.cropped(0, rows.start, camera.width, rows.stop - rows.start), None
    fixed = gaussians.map(torch.detach)
    if way is not None:
        from gsdff.render.tensor_cores import TILE, blend_features

        image, alpha = blend_features(_list_tiles(fixed, camera, meta, rows), features, way)
        first = 0 if rows is None else rows.start % TILE
        wanted = slice(first, first + camera.height if rows is None else first + rows.stop - rows.start)
        return Rendered(image[wanted], alpha[wanted, :, None], {})
    if meta is not None:
        from gsdff.render.cuda import blend_features

        return Rendered(*blend_features(meta, features, rows), meta)
    renders, alphas, meta = rasterization(
        fixed.means,
        fixed.quats,
        fixed.scales,
        fixed.opacities,
        features,
        camera.viewmat[None],
        camera.K[None],
        camera.width,
        camera.height,
        rasterize_mode=gaussians.rasterize_mode,
    )
    return Rendered(renders[0], alphas[0], meta)


@torch.no_grad()
def render_scores(
    gaussians: Gaussians, camera: Camera, query: PixelQuery, *, features: Float[Tensor, "N K"] | None = None
) -> Scored | None:
    """Scores of the pixels' features from one camera, which are not written; `features` None uses the Gaussians' own.

    None if that is not possible, on the CPU or with too many channels: then render the features and score them.
    """
    features = gaussians.features if features is None else features
    assert features is not None, "these Gaussians have no features"
    if (way := _own_pass(gaussians)) is None:
        return None
    from gsdff.render.tensor_cores import MOST_SCORED, score_pixels

    if features.shape[1] > MOST_SCORED[way]:
        return None
    return score_pixels(_list_tiles(gaussians, camera), features, query, way)


def _own_pass(gaussians: Gaussians) -> Precision | None:
    """Precision of our own feature pass; None if `rasterization` is to blend features: on the CPU, or by gsplat."""
    if not (gaussians.means.is_cuda and len(gaussians)):
        return None
    way = choose_feature_pass()
    return None if way == "gsplat" else way


def _find_projection(gaussians: Gaussians, camera: Camera) -> dict | None:
    """The projection that colours have just been rendered with, if it is shared."""
    return next((p.meta for p in _last_projection.get() or () if p.gaussians is gaussians and p.camera is camera), None)


def _list_tiles(
    gaussians: Gaussians, camera: Camera, meta: dict | None = None, rows: slice | None = None
) -> "TileTable":
    """Tile lists of our own pass, from a projection if there is one; with `rows`, of the tiles that reach into them."""
    from gsdff.render.cuda import add_lists, see, take_splats
    from gsdff.render.tensor_cores import list_tiles

    if meta is None:
        seen = see(
            gaussians.means,
            gaussians.quats,
            gaussians.scales,
            gaussians.opacities,
            camera.viewmat[None],
            camera.K[None],
            camera.width,
            camera.height,
            rasterize_mode=gaussians.rasterize_mode,
        )
        meta = add_lists(seen, camera.width, camera.height)
    return list_tiles(take_splats(meta, rows))


def render_depth(gaussians: Gaussians, camera: Camera) -> Rendered:
    """Renders expected depth [H, W, 1] along the optical axis from one camera, 0 where no Gaussian is."""
    if gaussians.is_part:
        from gsdff.render.parts import render_part

        depth, alpha, meta = render_part(gaussians, camera, gaussians.means[:, :0], adds_depth=True)
        return Rendered(depth / alpha.clamp(min=1e-10), alpha, meta)
    renders, alphas, meta = rasterization(
        gaussians.means,
        gaussians.quats,
        gaussians.scales,
        gaussians.opacities,
        gaussians.sh0[:, 0],  # required, but not drawn
        camera.viewmat[None],
        camera.K[None],
        camera.width,
        camera.height,
        render_mode="ED",
        rasterize_mode=gaussians.rasterize_mode,
    )
    return Rendered(renders[0], alphas[0], meta)
