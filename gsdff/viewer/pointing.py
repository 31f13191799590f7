"""What the mouse points at: features under a click, Gaussians in a rectangle."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.errors import UserError
from gsdff.render import render_features
from gsdff.viewer.document import Shown
from gsdff.viewer.world import World

Point = tuple[float, float]
"""In a window: 0..1 from the left, 0..1 from the top."""
PATCH = 3
"""Pixels to a side that a click looks at."""


def latents_at(world: World, shown: Shown, camera: Camera, point: Point) -> Float[Tensor, "K"]:
    """The mean of what is blended around a point of the window; `UserError` without features."""
    if not world.field.has_features or not len(shown.gaussians):
        raise UserError("nothing here can be asked by a click; draw a box instead")
    column, row = int(point[0] * camera.width), int(point[1] * camera.height)
    patch = camera.cropped(column - PATCH // 2, row - PATCH // 2, PATCH, PATCH).to(world.device)
    with torch.no_grad(), world.rendering:
        return render_features(shown.gaussians, patch).image.flatten(0, 1).mean(0)


def in_rectangle(shown: Shown, camera: Camera, low: Point, high: Point) -> Bool[Tensor, "M"]:
    """Whose centres are in a rectangle of the window, at any depth."""
    means = shown.gaussians.means
    camera = camera.to(means.device)
    points = means @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]
    place = (points @ camera.K.T)[:, :2] / points[:, 2:].clamp_min(1e-6)
    place = place / place.new_tensor([camera.width, camera.height])
    inside = (place >= place.new_tensor(low)) & (place <= place.new_tensor(high))
    return inside.all(1) & (points[:, 2] > 0.01)
