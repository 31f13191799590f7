"""The feature at a place of a picture."""

import torch
from jaxtyping import Float
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.errors import UserError
from gsdff.render import render_features
from gsdff.viewer.shared_scene import SharedScene
from gsdff.viewer.visible_scene import VisibleScene

Point = tuple[float, float]
"""Position in a window: 0..1 from the left, 0..1 from the top."""
PATCH = 3
"""Side in pixels of the square that a click averages over."""


def latents_at(shared: SharedScene, visible: VisibleScene, camera: Camera, point: Point) -> Float[Tensor, "K"]:
    """Mean of the features rendered around a point of the window; raises `UserError` without features."""
    if not shared.field.has_features or not len(visible.gaussians):
        raise UserError("what is like a place needs visible Gaussians with features")
    column, row = int(point[0] * camera.width), int(point[1] * camera.height)
    patch = camera.cropped(column - PATCH // 2, row - PATCH // 2, PATCH, PATCH).to(shared.device)
    with torch.no_grad(), shared.render_lock:
        return render_features(visible.gaussians, patch).image.flatten(0, 1).mean(0)
