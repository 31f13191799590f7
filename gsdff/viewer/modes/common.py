"""Description of a display mode, and helpers that several modes share."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.render import render_features
from gsdff.viewer.shared_scene import SharedScene
from gsdff.viewer.visible_scene import VisibleScene

Image = Float[Tensor, "H W 3"]


@dataclass(frozen=True)
class ModeInput:
    """Input of a mode's functions."""

    shared: SharedScene
    visible: VisibleScene


@dataclass(frozen=True)
class Mode:
    """One way to display a scene: a row of `MODES`."""

    name: str
    render: Callable[[ModeInput, Camera], Image]
    """Image; its values are clamped to [0, 1] afterwards."""
    is_available: Callable[[SharedScene], bool] = lambda shared: True
    """Whether the scene has something to show in this mode."""
    tints_selection: bool = True
    """Whether the selection is tinted afterwards; False if `render` highlights it itself."""
    shows_photo: bool = False
    """Whether images show a photo rather than the Gaussians: these are never tinted, and always rendered whole."""


# --- Gaussians


def blend(inputs: ModeInput, camera: Camera, values: Float[Tensor, "M D"]) -> Float[Tensor, "H W D"]:
    """Values of the Gaussians, blended as a camera shows them."""
    return render_features(inputs.visible.gaussians, camera, features=values).image


def as_colors(image: UInt8[Tensor, "*S 3"], like: Tensor) -> Float[Tensor, "*S 3"]:
    """Bytes as values in [0, 1], on the device of `like`."""
    return image.to(like.device, torch.float32) / 255


# --- photos


def has_photos(shared: SharedScene) -> bool:
    """Whether there are photos."""
    return bool(shared.views)


def fit_into_window(
    image: Float[Tensor, "h w 3"] | None, camera: Camera, shared: SharedScene, aspect: float | None = None
) -> Image:
    """An image as large as fits into a camera's window, on black; all black without an image."""
    canvas = torch.zeros(camera.height, camera.width, 3, device=shared.device)
    if image is None:
        return canvas
    aspect = aspect or image.shape[1] / image.shape[0]
    height = min(camera.height, round(camera.width / aspect))
    width = min(camera.width, round(height * aspect))
    is_smaller = height < image.shape[0]
    resized = F.interpolate(
        image.permute(2, 0, 1)[None].float(), (max(height, 1), max(width, 1)), mode="area" if is_smaller else "bilinear"
    )[0].permute(1, 2, 0)
    top, left = (camera.height - resized.shape[0]) // 2, (camera.width - resized.shape[1]) // 2
    canvas[top : top + resized.shape[0], left : left + resized.shape[1]] = resized.to(shared.device)
    return canvas
