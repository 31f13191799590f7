"""Pictures around a selection, in which only its colours change: the views that see it, a window of each, crops.

Geometry and opacities hold still, so all that is not selected is drawn once a window.
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
"""Of one view in a step, of which the second and the fourth show the selection alone."""
SMALLEST_CROP = 0.6
"""Side of a crop, as a share of the window's longer one; the largest takes all of it."""
TILT = 0.1
"""How far a corner of a crop may be from its place, as a share of the crop's side."""
MARGIN = 0.15
"""What a window shows around the selection on each side, as a share of the longer side of its box."""
STRAYS = 0.01
"""Share of what is seen of a selection that its box leaves out at each side."""
LEAST_SHARE = 5e-4
"""Of a photo's pixels, that the selection must fill for the view to count: CLIP can tell nothing by less."""
LEAST_OF_BEST = 0.2
"""Of the largest share that any view has, for a view to count: one that shows scraps only is of no use."""
SURVEY_SIDE = 256
"""Pixels of the longer side of the pictures by which views are chosen."""


@dataclass(frozen=True, eq=False)
class Sight:
    """A camera that sees the selection, and where."""

    camera: Camera
    box: tuple[float, float, float, float]
    """Left, top, right and bottom in pixels of the camera."""
    share: float
    """Of the camera's pixels, that the selection fills."""

    def window(self, side: int) -> Camera:
        """The camera taking only the box and its margin, no finer than photos and with at most `side` pixels a side."""
        left, top, right, bottom = self.box
        margin = MARGIN * max(right - left, bottom - top)
        left, top = max(0, int(left - margin)), max(0, int(top - margin))
        width = min(self.camera.width, int(right + margin) + 1) - left
        height = min(self.camera.height, int(bottom + margin) + 1) - top
        scale = min(1.0, side / max(width, height))
        part = self.camera.cropped(left, top, width, height)
        return part.resized(max(1, round(scale * width)), max(1, round(scale * height)))


@torch.no_grad()
def find_sights(gaussians: Gaussians, mask: Bool[Tensor, "N"], cameras: Sequence[Camera]) -> list[Sight]:
    """Those of the cameras that see enough of the selection, past what stands before it."""
    selected = mask[:, None].float()
    sights = []
    for camera in cameras:
        scale = min(1.0, SURVEY_SIDE / max(camera.width, camera.height))
        small = camera.resized(max(1, round(scale * camera.width)), max(1, round(scale * camera.height)))
        shown = render_features(gaussians, small.to(mask.device), features=selected).image[..., 0].double().cpu()
        share = float(shown.mean())
        if share >= LEAST_SHARE:
            (left, right), (top, bottom) = (_span(shown.sum(axis)) for axis in (0, 1))
            x, y = camera.width / small.width, camera.height / small.height
            sights.append(Sight(camera, (x * left, y * top, x * right, y * bottom), share))
    best = max((sight.share for sight in sights), default=0.0)
    return [sight for sight in sights if sight.share >= LEAST_OF_BEST * best]


def _span(weights: Float[Tensor, "P"]) -> tuple[int, int]:
    """The pixels between which all but `STRAYS` at either end lies: the first, and the one after the last."""
    sums = weights.cumsum(0) / weights.sum()
    return int((sums <= STRAYS).sum()), int((sums < 1 - STRAYS).sum()) + 1


@dataclass(frozen=True, eq=False)
class Backdrop:
    """What of a window's picture no step changes."""

    ids: Int[Tensor, "M"]
    """The Gaussians it sees."""
    others: Float[Tensor, "h w 3"]
    """Light of all that is not selected, over black."""
    coverage: Float[Tensor, "h w 2"]
    """By all Gaussians; by the selected ones, where they are seen."""
    first: Float[Tensor, "h w 3"]
    """As it was before the first step, over black."""


@dataclass(frozen=True, eq=False)
class Stage:
    """The scene that is stylized, from its windows; geometry and opacities hold still."""

    gaussians: Gaussians
    mask: Bool[Tensor, "N"]
    windows: Sequence[Camera]

    @cached_property
    def slots(self) -> Int[Tensor, "N"]:
        """Where among the selected a Gaussian is; of others, no matter what."""
        return self.mask.cumsum(0) - 1

    @torch.no_grad()
    def backdrop(self, index: int) -> Backdrop:
        """What stays of the window's picture."""
        everything, camera = self.gaussians, self.windows[index].to(self.mask.device)
        rendered = render_rgb(everything, camera)
        ids = (rendered.meta["radii"][0] > 0).all(-1).nonzero()[:, 0]
        here = everything.map(lambda tensor: tensor[ids])
        chosen = self.mask[ids]
        black = torch.where(chosen[:, None, None], -0.5 / SH_C0, here.sh0)
        dark = replace(here, sh0=black, shN=here.shN * ~chosen[:, None, None])
        others = render_rgb(dark, camera).image
        shown = render_features(here, camera, features=chosen[:, None].float()).image
        return Backdrop(ids, others, torch.cat([rendered.alpha, shown], -1), rendered.image)

    def draw(self, index: int, backdrop: Backdrop, sh: Float[Tensor, "S A 3"]) -> Float[Tensor, "h w 3"]:
        """The window over black with the harmonics of the selected, differentiable in them."""
        here = self.gaussians.map(lambda tensor: tensor[backdrop.ids])
        chosen = self.mask[backdrop.ids]
        rows = sh[self.slots[backdrop.ids][chosen]]
        colored = replace(
            here,
            sh0=here.sh0.index_put((chosen,), rows[:, :1]),
            shN=here.shN.index_put((chosen,), rows[:, 1:]),
        )
        camera = self.windows[index].to(self.mask.device)
        return render_rgb(colored, camera).image


@dataclass(frozen=True, eq=False)
class Crops:
    """Where crops are cut and what is behind them, so that two pictures can be cut alike."""

    grid: Float[Tensor, "B S S 2"]
    """Points of the window, -1 to 1 from edge to edge."""
    colors: Float[Tensor, "B 3"]

    @staticmethod
    def sample(window: Camera, side: int, generator: torch.Generator, device: torch.device) -> "Crops":
        """Tilted squares within the square around the window; what lies outside it shows the colour."""
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

    def cut(self, image: Float[Tensor, "h w 3"], backdrop: Backdrop) -> Float[Tensor, "B 3 S S"]:
        """The crops of a window's picture, in [0, 1] as pictures are shown."""
        whole = torch.cat([image, backdrop.coverage[..., :1]], -1)
        alone = torch.cat([image - backdrop.others, backdrop.coverage[..., 1:]], -1)
        layers = torch.stack([whole, alone]).permute(0, 3, 1, 2).repeat(CROPS // 2, 1, 1, 1)
        sampled = F.grid_sample(layers, self.grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        return (sampled[:, :3] + (1 - sampled[:, 3:]) * self.colors[:, :, None, None]).clamp(0, 1)
