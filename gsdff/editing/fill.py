"""Filling of the hole that a deleted thing leaves, by what the scene itself says.

Whatever shows in the hole alone goes with the thing (`gsdff.editing.hole`); behind it is then what other views saw
there. The rest, which no view saw, continues the planes around the hole. Each plane is divided into cells, and those
that every view has in the hole, behind something else or outside of its picture become flat Gaussians. Their colours,
and features, solve Laplace's equation between those of the cells around them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.editing.hole import find_hole, find_shares, weigh, widen
from gsdff.editing.planes import HoleView, Plane, ThingBox, find_planes
from gsdff.gaussians import SH_C0, Gaussians
from gsdff.render import render_features, render_rgb
from gsdff.rotation import matrices_to_quats
from gsdff.selection import Selection

LEAST_PART = 0.05
"""Least size of a part of the selection in the views, as a share of that of the largest part: no strays."""
PLACES = 2_000
"""Number of Gaussians drawn of a part, each as often as the views show it, that stand for its surface."""
REACH = 0.2
"""Distance from a part's box within which the surroundings count and are continued, as a share of its diagonal."""
MOST_CELLS = 96
"""Most cells along a side of a plane."""
BORDER = 3
"""Cells around those that show in the hole."""
SLACK = 0.01
"""Error of a depth, as a share of it, besides one and a half cells."""
WIDTH, THICKNESS, OPACITY = 0.7, 0.1, 0.95
"""Standard deviations of a cell's Gaussian along the plane and across it, in cells, and its opacity."""


def fill_hole(
    gaussians: Gaussians, mask: Bool[Tensor, "N"], cameras: Sequence[Camera], *, seed: int = 0
) -> list[Gaussians]:
    """Gaussians on every plane that is continued into the hole of a selection, where no view saw what is there.

    All are in the cameras' frame. The selection has what goes with the thing (`gsdff.editing.hole.find_unsupported`).
    """
    fixed, generator = gaussians.map(torch.detach), torch.Generator().manual_seed(seed)
    rest = fixed.map(lambda tensor: tensor[~mask])
    shares = find_shares(fixed, mask, cameras)
    views = [HoleView.of(rest, camera, find_hole(share)) for camera, share in zip(cameras, shares, strict=True)]
    labels = Selection(mask).label_parts(fixed.means)
    # what goes with a thing may be below the floor or behind the wall, where no view shows it
    shown = weigh(fixed, torch.ones_like(mask), cameras, shares)[mask].sum(-1).double()
    if not shown.any():
        return []
    sizes = torch.bincount(labels, shown)
    added = []
    for part in ((sizes >= LEAST_PART * sizes.max()) & (torch.bincount(labels) > 3)).nonzero()[:, 0]:
        ends = shown.where(labels == part, 0).cumsum(0)
        drawn = torch.rand(PLACES, generator=generator, dtype=torch.float64).to(mask.device) * ends[-1]
        thing = fixed.means[mask][torch.searchsorted(ends, drawn, right=True).clamp_max(len(ends) - 1)]
        box = ThingBox.around(thing)
        reach = REACH * box.diagonal
        for plane in find_planes(views, thing, box, reach, generator):
            if (grid := Grid.of(plane, views, box, reach)) is not None:
                added.append(continue_plane(grid, views, rest))
    return [new for new in added if len(new)]


@dataclass(frozen=True, eq=False)
class Grid:
    """Cells of a plane, in rows along one of its axes and columns along another."""

    axes: Float[Tensor, "3 3"]
    """Unit vectors along a row, along a column, and upwards, as columns."""
    corner: Float[Tensor, "3"]
    """Centre of the first cell."""
    spacing: float
    num_rows: int
    num_columns: int

    @staticmethod
    def of(plane: Plane, views: Sequence[HoleView], box: ThingBox, reach: float) -> "Grid | None":
        """The cells that show in the hole, at most `reach` away from a box, about a pixel each; None if none do."""
        hits, sizes = [], []
        for view in views:
            origin, rays = view.camera.position, view.rays(view.hole)
            depths = -plane.heights(origin[None]) / (rays @ plane.normal)
            points = origin + rays * depths[:, None]
            is_near = (depths > 0) & (box.distances(points) < reach)
            hits.append(points[is_near])
            sizes.append(depths[is_near] / view.camera.K[0, 0])
        points, pixels = torch.cat(hits), torch.cat(sizes)
        if not len(points):
            return None
        axis = F.one_hot(plane.normal.abs().argmin(), 3).to(plane.normal)
        along = F.normalize(torch.linalg.cross(plane.normal, axis), dim=0)
        across = torch.linalg.cross(plane.normal, along)
        places = points @ torch.stack([along, across], 1)
        low, high = places.amin(0), places.amax(0)
        spacing = max(float(pixels.median()), float((high - low).max()) / MOST_CELLS)
        first = low - BORDER * spacing
        num_columns, num_rows = (((high - first) / spacing).long() + 1 + BORDER).tolist()
        corner = plane.offset * plane.normal + first[0] * along + first[1] * across
        return Grid(torch.stack([along, across, plane.normal], 1), corner, spacing, num_rows, num_columns)

    @property
    def cells(self) -> Float[Tensor, "P 3"]:
        """Centres of all cells, row by row."""
        numbers = torch.arange(self.num_rows * self.num_columns, device=self.axes.device)
        places = self.spacing * torch.stack([numbers % self.num_columns, numbers // self.num_columns], 1)
        return self.corner + places @ self.axes[:, :2].T


@torch.no_grad()
def continue_plane(grid: Grid, views: Sequence[HoleView], rest: Gaussians) -> Gaussians:
    """Flat Gaussians in the cells that show in the hole and that no view sees, with values of those that views see.

    None if the views look through most of the cells around them: the plane is no surface there.
    """
    cells = grid.cells
    latents = rest.features if rest.features is not None else rest.means[:, :0]
    sums, counts = cells.new_zeros(len(cells), 3 + latents.shape[1]), cells.new_zeros(len(cells))
    num_through = torch.zeros_like(counts)
    is_in_hole = counts.bool()
    for view in views:
        found = view.camera.project(cells)
        slack = SLACK * found.depths + 1.5 * grid.spacing
        depths, in_hole = found.take(view.depth), found.take(view.hole)
        is_open = found.inside & (depths > found.depths - slack)
        is_surface = is_open & ~in_hole & (depths < found.depths + slack)
        num_through += is_open & ~in_hole & ~is_surface
        is_in_hole |= is_open & in_hole
        if is_surface.any():
            colors, features = render_rgb(rest, view.camera), render_features(rest, view.camera, features=latents)
            values = torch.cat([colors.image.clamp(0, 1), features.image], -1)
            sums[is_surface] += found.take(values)[is_surface]
            counts += is_surface
    shape = grid.num_rows, grid.num_columns
    means = (sums / counts.clamp_min(1)[:, None]).reshape(*shape, -1)
    is_known, is_empty = (counts > num_through).reshape(shape), (counts < num_through).reshape(shape)
    is_new = (is_in_hole & (counts + num_through == 0)).reshape(shape)
    is_border = widen(is_new, 1)
    if (is_border & is_known).sum() <= (is_border & is_empty).sum():
        is_new = torch.zeros_like(is_new)
    values = spread(means, is_known, is_new)[is_new]
    num = len(values)
    scales = grid.spacing * cells.new_tensor([WIDTH, WIDTH, THICKNESS])
    return replace(
        rest,
        means=cells[is_new.flatten()],
        quats=matrices_to_quats(grid.axes).repeat(num, 1),
        log_scales=scales.log().repeat(num, 1),
        logit_opacities=cells.new_full((num,), OPACITY).logit(),
        sh0=((values[:, None, :3] - 0.5) / SH_C0),
        shN=cells.new_zeros(num, *rest.shN.shape[1:]),
        features=None if rest.features is None else values[:, 3:],
        reliability=None if rest.reliability is None else cells.new_zeros(num),  # fewer than two views show them
    )


def spread(
    values: Float[Tensor, "R C D"], is_known: Bool[Tensor, "R C"], is_new: Bool[Tensor, "R C"]
) -> Float[Tensor, "R C D"]:
    """Values of the new cells that solve Laplace's equation between the known ones, by rounds of averaging."""
    if not (is_known.any() and is_new.any()):
        return values
    kernel = values.new_tensor([[0, 1, 0], [1, 0, 1], [0, 1, 0]])[None, None]
    counts = F.conv2d((is_known | is_new)[None, None].to(values), kernel, padding=1)[0, 0, :, :, None].clamp_min(1)
    # all others stay zero, and are not counted
    values = torch.where(is_known[..., None], values, 0)
    values = torch.where(is_new[..., None], values[is_known].mean(0), values)
    for _ in range(4 * max(is_new.shape)):
        sums = F.conv2d(values.permute(2, 0, 1)[:, None], kernel, padding=1)[:, 0].permute(1, 2, 0)
        values = torch.where(is_new[..., None], sums / counts, values)
    return values
