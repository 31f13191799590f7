"""The first Gaussians, from a coloured point cloud."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from gsdff.gaussians import SH_C0, Gaussians
from gsdff.neighbours import nearest_neighbours

FIRST_OPACITY = 0.1
NUM_NEIGHBOURS = 3
SMALLEST_SCALE = 1e-7**0.5
"""Of points that lie on one another: 3DGS keeps squared distances above 1e-7."""


def initialise_gaussians(
    points: Float[Tensor, "P 3"], colors: UInt8[Tensor, "P 3"], sh_degree: int, max_gaussians: int
) -> Gaussians:
    """One Gaussian a point: round, as wide as its neighbours are away, opacity 0.1, of the point's colour everywhere.

    The scale is the root mean square distance to the 3 nearest points (3DGS, `create_from_pcd`). Points beyond
    `max_gaussians` are left out evenly over the list. Needs at least 2 points.
    """
    if len(points) > max_gaussians:
        kept = torch.linspace(0, len(points) - 1, max_gaussians, dtype=torch.float64).round().long()
        points, colors = points[kept], colors[kept]
    num = len(points)
    quats = torch.zeros(num, 4)
    quats[:, 0] = 1
    return Gaussians(
        means=points.clone(),
        quats=quats,
        log_scales=neighbour_distances(points).clamp_min(SMALLEST_SCALE).log()[:, None].repeat(1, 3),
        logit_opacities=torch.full((num,), FIRST_OPACITY).logit(),
        sh0=((colors.float() / 255 - 0.5) / SH_C0)[:, None],
        shN=torch.zeros(num, (sh_degree + 1) ** 2 - 1, 3),
    )


def neighbour_distances(points: Float[Tensor, "P 3"]) -> Float[Tensor, "P"]:
    """Root mean square distance of every point to its 3 nearest others (fewer where there are fewer)."""
    distances, _ = nearest_neighbours(points.double(), NUM_NEIGHBOURS)
    return distances.square().mean(dim=1).sqrt().float()
