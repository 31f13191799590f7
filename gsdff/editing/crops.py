"""Pictures of a selection of which only the colours change: the views that see it, a window of each, crops.

Geometry and opacities are fixed, so everything that is not selected is rendered once per window.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.gaussians import SH_C0, Gaussians
from gsdff.render import render_features, render_rgb

CROPS = 4
"""Crops of one view in a step; the second and the fourth show the selection alone."""
SMALLEST_CROP = 0.6
"""Smallest side of a crop, as a share of the longer side of the window; the largest is all of it."""
TILT = 0.1
"""Largest shift of a corner of a crop, as a share of the crop's side."""
MARGIN = 0.15
"""Margin of a window around the selection on each side, as a share of the longer side of its box."""
STRAYS = 0.01
"""Share of the visible selection that its box leaves out at each side."""
LEAST_SHARE = 5e-4
"""Least share of a photo's pixels that the selection has to fill for the view to count: CLIP sees nothing in less."""
LEAST_OF_BEST = 0.2
"""Lowest such share of a view that counts, relative to the largest of any view: scraps are of no use."""
SURVEY_SIDE = 256
"""Pixels along the longer side of the pictures by which views are chosen."""


@dataclass(frozen=True, eq=False)
class VisibleView:
    """A camera that sees the selection, and the box that holds it."""

    camera: Camera
    box: tuple[float, float, float, float]
    """Left, top, right and bottom in pixels of the camera."""
    share: float
    """Share of the camera's pixels that the selection fills."""

    def window(self, side: int) -> Camera:
        """The camera cropped to the box and its margin, no finer than the photo, with at most `side` pixels a side."""
        left, top, right, bottom = self.box
        margin = MARGIN * max(right - left, bottom - top)
        left, top = max(0, int(left - margin)), max(0, int(top - margin))
        width = min(self.camera.width, int(right + margin) + 1) - left
        height = min(self.camera.height, int(bottom + margin) + 1) - top
        scale = min(1.0, side / max(width, height))
        part = self.camera.cropped(left, top, width, height)
        return part.resized(max(1, round(scale * width)), max(1, round(scale * height)))


@torch.no_grad()
def find_visible_views(gaussians: Gaussians, mask: Bool[Tensor, "N"], cameras: Sequence[Camera]) -> list[VisibleView]:
    """The cameras that see enough of the selection, without the parts that something else hides."""
    selected = mask[:, None].float()
    views = []
    for camera in cameras:
        scale = min(1.0, SURVEY_SIDE / max(camera.width, camera.height))
        small = camera.resized(max(1, round(scale * camera.width)), max(1, round(scale * camera.height)))
        shown = render_features(gaussians, small.to(mask.device), features=selected).image[..., 0].double().cpu()
        share = float(shown.mean())
        if share >= LEAST_SHARE:
            (left, right), (top, bottom) = (_span(shown.sum(axis)) for axis in (0, 1))
            x, y = camera.width / small.width, camera.height / small.height
            views.append(VisibleView(camera, (x * left, y * top, x * right, y * bottom), share))
    best = max((view.share for view in views), default=0.0)
    return [view for view in views if view.share >= LEAST_OF_BEST * best]


def _span(weights: Float[Tensor, "P"]) -> tuple[int, int]:
    """First pixel, and the one after the last, of the span that holds all but `STRAYS` at either end."""
    sums = weights.cumsum(0) / weights.sum()
    return int((sums <= STRAYS).sum()), int((sums < 1 - STRAYS).sum()) + 1


@dataclass(frozen=True, eq=False)
class FixedLayers:
    """Parts of a window's picture that no step changes."""

    ids: Int[Tensor, "M"]
    """Indices of the Gaussians that the window sees."""
    others: Float[Tensor, "h w 3"]
    """Light of everything that is not selected, over black."""
    coverage: Float[Tensor, "h w 2"]
    """Coverage by all Gaussians, and by the selected ones that are visible."""
    first: Float[Tensor, "h w 3"]
    """The picture before the first step, over black."""


@dataclass(frozen=True, eq=False)
class WindowRenderer:
    """Renders the windows of a scene with other colours of the selection; geometry and opacities are fixed."""

    gaussians: Gaussians
    mask: Bool[Tensor, "N"]
    windows: Sequence[Camera]

    @cached_property
    def slots(self) -> Int[Tensor, "N"]:
        """Row of each selected Gaussian among the selected ones; without meaning for the others."""
        return self.mask.cumsum(0) - 1

    @torch.no_grad()
    def fixed_layers(self, index: int) -> FixedLayers:
        """Parts of the picture of window `index` that no step changes."""
        everything, camera = self.gaussians, self.windows[index].to(self.mask.device)
        rendered = render_rgb(everything, camera)
        ids = (rendered.meta["radii"][0] > 0).all(-1).nonzero()[:, 0]
        here = everything.map(lambda tensor: tensor[ids])
        chosen = self.mask[ids]
        black = torch.where(chosen[:, None, None], -0.5 / SH_C0, here.sh0)
        dark = replace(here, sh0=black, shN=here.shN * ~chosen[:, None, None])
        others = render_rgb(dark, camera).image
        shown = render_features(here, camera, features=chosen[:, None].float()).image
        return FixedLayers(ids, others, torch.cat([rendered.alpha, shown], -1), rendered.image)

    def render(self, index: int, layers: FixedLayers, sh: Float[Tensor, "S A 3"]) -> Float[Tensor, "h w 3"]:
        """Window `index` over black with these harmonics of the selected Gaussians, differentiable in them."""
        here = self.gaussians.map(lambda tensor: tensor[layers.ids])
        chosen = self.mask[layers.ids]
        rows = sh[self.slots[layers.ids][chosen]]
        colored = replace(
            here,
            sh0=here.sh0.index_put((chosen,), rows[:, :1]),
            shN=here.shN.index_put((chosen,), rows[:, 1:]),
        )
        camera = self.windows[index].to(self.mask.device)
        return render_rgb(colored, camera).image


@dataclass(frozen=True, eq=False)
class Crops:
    """Places and backgrounds of random crops, so that two pictures can be cropped alike."""

    grid: Float[Tensor, "B S S 2"]
    """Points of the window that each pixel shows, -1 to 1 from edge to edge."""
    colors: Float[Tensor, "B 3"]
    """Background of each crop."""

    @staticmethod
    def sample(window: Camera, side: int, generator: torch.Generator, device: torch.device) -> "Crops":
        """Tilted squares within the square around the window; outside the window they show the colour."""
        sizes = SMALLEST_CROP + (1 - SMALLEST_CROP) * torch.rand(CROPS, 1, 1, 1, generator=generator)
        centres = (1 - sizes) * (2 * torch.rand(CROPS, 2, 1, 1, generator=generator) - 1)
        tilts = TILT * 2 * sizes * (2 * torch.rand(CROPS, 2, 2, 2, generator=generator) - 1)
        colors = torch.rand(CROPS, 3, generator=generator)
        ends = torch.tensor([-1.0, 1.0])
        square = torch.stack([ends.expand(2, 2), ends[:, None].expand(2, 2)])  # x and y of the corners
        corners = centres + sizes * square + tilts
        points = F.interpolate(corners, (side, side), mode="bilinear", align_corners=True).permute(0, 2, 3, 1)
        longer = max(window.width, window.height)
        grid = points * torch.tensor([longer / window.width, longer / window.height])
        return Crops(grid.to(device), colors.to(device))

    def cut(self, image: Float[Tensor, "h w 3"], layers: FixedLayers) -> Float[Tensor, "B 3 S S"]:
        """The crops of a window's picture, clamped to [0, 1]."""
        whole = torch.cat([image, layers.coverage[..., :1]], -1)
        alone = torch.cat([image - layers.others, layers.coverage[..., 1:]], -1)
        pictures = torch.stack([whole, alone]).permute(0, 3, 1, 2).repeat(CROPS // 2, 1, 1, 1)
        sampled = F.grid_sample(pictures, self.grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        return (sampled[:, :3] + (1 - sampled[:, 3:]) * self.colors[:, :, None, None]).clamp(0, 1)
