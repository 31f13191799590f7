"""Rendering of Gaussians that are spread over the ranks of a job, each of which holds a part of them.

All ranks render at the same time, each from a camera of its own: every rank projects its part for the cameras of all,
the splats in view are exchanged, and every rank lists tiles and blends for its own camera. Gradients flow back the same
way. Pictures and gradients are those of one process that holds all Gaussians, in the order of the ranks. That is the
way of Grendel (Zhao et al. 2024); both devices share it, each with its own kernels.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.gaussians import Gaussians
from gsdff.ranks import Ranks, this_job
from gsdff.render.exchange import Exchange, Link

NUM_COLUMNS = 9
"""Columns of a splat besides its colour: mean 2, conic 3, opacity, depth, radii 2."""


@dataclass(frozen=True)
class InView:
    """Those V of this rank's Gaussians that one camera sees."""

    ids: Int[Tensor, "V"]
    means2d: Float[Tensor, "V 2"]
    others: Float[Tensor, "V 7"]
    """Conics, opacities, depths and radii."""


def render_part(
    gaussians: Gaussians,
    camera: Camera,
    colors: Tensor,
    *,
    sh_degree: int | None = None,
    background: Float[Tensor, "3"] | None = None,
    adds_depth: bool = False,
    absgrad: bool = False,
) -> tuple[Float[Tensor, "H W D"], Float[Tensor, "H W 1"], dict[str, Any]]:
    """Returns image, alpha and meta of this rank's camera; every rank of the job calls it at the same time.

    `colors` are [N, D], or harmonics with `sh_degree`; `adds_depth` adds the accumulated depth as a last channel. The
    meta has what a densification of this part needs: the means of its splats in all cameras, `means2d` [V, 2], which
    keep their gradients (`absgrad`, too), the Gaussians they belong to, and the halves of the pictures' sizes.
    """
    ranks = this_job()
    cameras = _share_cameras(camera, ranks)
    values = (gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities)
    seen = [_see(values, each, gaussians.rasterize_mode) for each in cameras]
    counts = [len(part.ids) for part in seen]
    ids = torch.cat([part.ids for part in seen])
    seen_colors = colors[ids]  # of all cameras at once, so that one gradient of the size of all colours is made
    if sh_degree is not None:
        pairs = zip(cameras, gaussians.means[ids].split(counts), seen_colors.split(counts), strict=True)
        seen_colors = torch.cat([_shade(means, sh, each, sh_degree) for each, means, sh in pairs])
    means2d = torch.cat([part.means2d for part in seen])
    rows = torch.cat([means2d, torch.cat([part.others for part in seen]), seen_colors], dim=-1)
    link = Link(ranks, means2d)
    came = Exchange.apply(rows, counts, link)
    widths = [2, 3, 1, 1, 2, rows.shape[1] - NUM_COLUMNS]
    own_means2d, conics, opacities, depths, radii, own_colors = came.split(widths, dim=-1)
    if adds_depth:
        own_colors = torch.cat([own_colors, depths], dim=-1)
    splats = {
        "means2d": own_means2d.contiguous()[None], "conics": conics.contiguous()[None],
        "opacities": opacities[None, :, 0].contiguous(), "depths": depths.detach()[None, :, 0].contiguous(),
        "radii": radii.detach().int()[None].contiguous(),
    }  # fmt: skip
    if absgrad:
        link.blended.append(splats["means2d"])
    image, alpha = _blend(splats, own_colors.contiguous()[None], camera, absgrad)
    if background is not None:
        image = image + (1 - alpha) * background
    halves = [means2d.new_tensor([[each.width / 2, each.height / 2]]).expand(len(part.ids), -1) for each, part in
              zip(cameras, seen, strict=True)]  # fmt: skip
    meta = {"means2d": means2d, "gaussian_ids": ids, "half_sizes": torch.cat(halves)}
    return image, alpha, meta


def _share_cameras(camera: Camera, ranks: Ranks) -> list[Camera]:
    """The cameras of all ranks, on this rank's device."""
    device = camera.viewmat.device
    everyone = ranks.gather((camera.viewmat.tolist(), camera.K.tolist(), camera.width, camera.height))
    return [
        Camera(torch.tensor(viewmat, device=device), torch.tensor(K, device=device), width, height)
        for viewmat, K, width, height in everyone
    ]


def _see(values: tuple[Tensor, ...], camera: Camera, rasterize_mode: str) -> InView:
    """This rank's Gaussians as a camera sees them; `values` are means, quats, scales and opacities."""
    means, quats, scales, opacities = values
    if len(means) == 0:
        nothing = sum((value.sum() for value in values), means.new_zeros(()))  # for the gradients
        ids = torch.zeros(0, dtype=torch.int64, device=means.device)
        return InView(ids, nothing.expand(0, 2), nothing.expand(0, NUM_COLUMNS - 2))
    if means.is_cuda:
        from gsdff.render.cuda import see

        seen = see(
            means, quats, scales, opacities, camera.viewmat[None], camera.K[None], camera.width, camera.height,
            rasterize_mode=rasterize_mode, near_plane=0.01, far_plane=1e10, eps2d=0.3, radius_clip=0.0,
        )  # fmt: skip
        names = ("means2d", "conics", "opacities", "depths", "radii")
        means2d, conics, opacities, depths, radii = (seen[name][0] for name in names)
    else:
        means2d, conics, opacities, depths, radii = _see_on_cpu(values, camera, rasterize_mode)
    ids = (radii > 0).all(dim=-1).nonzero()[:, 0]
    columns = conics, opacities[:, None], depths[:, None], radii.to(depths)
    return InView(ids, means2d[ids], torch.cat([column[ids] for column in columns], dim=-1))


def _see_on_cpu(values: tuple[Tensor, ...], camera: Camera, rasterize_mode: str) -> tuple[Tensor, ...]:
    """Means, conics, opacities, depths and radii, by the kernels of the CPU."""
    from gsdff.render.cpu import ProjectionSettings, _Project

    is_antialiased = rasterize_mode == "antialiased"
    settings = ProjectionSettings(camera.width, camera.height, 0.01, 1e10, 0.3, 0.0, is_antialiased)
    means2d, depths, conics, compensations, radii = _Project.apply(
        *values, camera.viewmat[None], camera.K[None], settings
    )
    opacities = values[3] * compensations[0] if is_antialiased else values[3]
    return means2d[0], conics[0], opacities, depths[0], radii[0]


def _shade(
    means: Float[Tensor, "V 3"], sh: Float[Tensor, "V A 3"], camera: Camera, degree: int
) -> Float[Tensor, "V 3"]:
    """Colours of the harmonics of Gaussians in view."""
    pose, seen = camera.viewmat[None], torch.ones(1, len(means), 2, dtype=torch.int32, device=means.device)
    if len(means) == 0:
        return sh[:, 0] + means  # no rows, whose gradients reach both
    if means.is_cuda:
        from gsdff.render.cuda import shade

        return shade(means, sh, pose, degree, seen)[0]
    from gsdff.render.cpu import _Harmonics

    return _Harmonics.apply(means, torch.linalg.inv(pose)[:, :3, 3], sh, degree, seen)[0]


def _blend(
    splats: dict[str, Tensor], colors: Float[Tensor, "1 M D"], camera: Camera, absgrad: bool
) -> tuple[Float[Tensor, "H W D"], Float[Tensor, "H W 1"]]:
    """Lists tiles and blends the splats that came, for this rank's camera."""
    if colors.shape[1] == 0:
        nothing = sum((splats[name].sum() for name in ("means2d", "conics", "opacities")), colors.sum())
        return nothing.expand(camera.height, camera.width, colors.shape[-1]), nothing.expand(
            camera.height, camera.width, 1
        )
    if colors.is_cuda:
        from gsdff.render.cuda import add_lists, blend

        renders, alphas = blend(add_lists(splats, camera.width, camera.height), colors, absgrad=absgrad)
        return renders[0], alphas[0]
    from gsdff.render.cpu import _array, _Blend, list_tiles, make_splats

    names = ("means2d", "conics", "opacities", "radii")
    packed = make_splats(*(_array(splats[name][0]) for name in names))
    size = (camera.width, camera.height)
    lists = list_tiles(packed, _array(splats["depths"][0]), _array(splats["radii"][0]), *size)
    renders, alphas = _Blend.apply(
        splats["means2d"], splats["conics"], colors, splats["opacities"], [lists], [packed], size, absgrad
    )
    return renders[0], alphas[0]
