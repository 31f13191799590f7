"""The description of a display mode, and helpers that several modes share."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.render import render_features
from gsdff.viewer.document import Shown
from gsdff.viewer.markup import small
from gsdff.viewer.world import World

Image = Float[Tensor, "H W 3"]


@dataclass(frozen=True)
class ModeInput:
    """Everything that a mode draws from."""

    world: World
    shown: Shown
    highlight: bool
    """Whether the selection is to be highlighted."""


@dataclass(frozen=True)
class Mode:
    """One way to display a scene: a row of `MODES`."""

    name: str
    render: Callable[[ModeInput, Camera], Image]
    """Image rendered on the server; values are clamped to [0, 1] afterwards."""
    is_available: Callable[[World], bool] = lambda world: True
    """Whether the scene has something to show in this mode."""
    splat_colors: Callable[[ModeInput], Float[Tensor, "M 3"]] | None = None
    """Colours of the Gaussians in [0, 1], for the browser to blend; None if only the server can draw this mode."""
    tints_selection: bool = True
    """Whether the selection is tinted afterwards; False if `render` highlights it itself."""
    shows_photo: bool = False
    """Whether images are of a photo rather than of the Gaussians: never tinted, rendered whole."""
    legend: Callable[[Shown, bool], str] = lambda shown, on_server: ""
    """HTML for the panel, which explains the colours; the second argument is whether the server renders."""


# --- Gaussians


def blend(scene: ModeInput, camera: Camera, values: Float[Tensor, "M D"]) -> Float[Tensor, "H W D"]:
    """Values of the Gaussians, blended as a camera shows them."""
    return render_features(scene.shown.gaussians, camera, features=values).image


def as_colors(picture: UInt8[Tensor, "*S 3"], like: Tensor) -> Float[Tensor, "*S 3"]:
    """Bytes as values in [0, 1], on the device of `like`."""
    return picture.to(like.device, torch.float32) / 255


# --- photos


def has_photos(world: World) -> bool:
    """Whether there are photos."""
    return bool(world.views)


def describe_photo(shown: Shown, on_server: bool) -> str:
    """Legend of modes that show the nearest photo."""
    return small("of the photo taken from nearest by")


def fit(picture: Float[Tensor, "h w 3"] | None, camera: Camera, world: World, aspect: float | None = None) -> Image:
    """An image as large as fits into the window, on black; all black without an image."""
    canvas = torch.zeros(camera.height, camera.width, 3, device=world.device)
    if picture is None:
        return canvas
    aspect = aspect or picture.shape[1] / picture.shape[0]
    height = min(camera.height, round(camera.width / aspect))
    width = min(camera.width, round(height * aspect))
    smaller = height < picture.shape[0]
    resized = F.interpolate(
        picture.permute(2, 0, 1)[None].float(), (max(height, 1), max(width, 1)), mode="area" if smaller else "bilinear"
    )[0].permute(1, 2, 0)
    top, left = (camera.height - resized.shape[0]) // 2, (camera.width - resized.shape[1]) // 2
    canvas[top : top + resized.shape[0], left : left + resized.shape[1]] = resized.to(world.device)
    return canvas
