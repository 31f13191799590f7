"""Picking with the mouse: the feature under a click, the Gaussians in a rectangle."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.errors import UserError
from gsdff.render import render_features
from gsdff.viewer.session import VisibleScene
from gsdff.viewer.shared_scene import SharedScene

Point = tuple[float, float]
"""Position in a window: 0..1 from the left, 0..1 from the top."""
PATCH = 3
"""Side in pixels of the square that a click averages over."""


def latents_at(shared: SharedScene, visible: VisibleScene, camera: Camera, point: Point) -> Float[Tensor, "K"]:
    """Mean of the features rendered around a point of the window; raises `UserError` without features."""
    if not shared.field.has_features or not len(visible.gaussians):
        raise UserError("a click needs visible Gaussians with features; draw a box instead")
    column, row = int(point[0] * camera.width), int(point[1] * camera.height)
    patch = camera.cropped(column - PATCH // 2, row - PATCH // 2, PATCH, PATCH).to(shared.device)
    with torch.no_grad(), shared.render_lock:
        return render_features(visible.gaussians, patch).image.flatten(0, 1).mean(0)


def in_rectangle(visible: VisibleScene, camera: Camera, low: Point, high: Point) -> Bool[Tensor, "M"]:
    """Gaussians whose centres lie in a rectangle of the window, at any depth."""
    means = visible.gaussians.means
    camera = camera.to(means.device)
    points = means @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]
    place = (points @ camera.K.T)[:, :2] / points[:, 2:].clamp_min(1e-6)
    place = place / place.new_tensor([camera.width, camera.height])
    inside = (place >= place.new_tensor(low)) & (place <= place.new_tensor(high))
    return inside.all(1) & (points[:, 2] > 0.01)
