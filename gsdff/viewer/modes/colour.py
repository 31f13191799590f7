"""The colour mode: the scene as trained."""

import torch
from jaxtyping import Float
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.render import render_rgb
from gsdff.viewer.modes.common import Image, Mode, ModeInput


def render_colour(scene: ModeInput, camera: Camera) -> Image:
    """All harmonics, over the background of the training."""
    background = torch.tensor(scene.world.field.background, device=scene.world.device)
    return render_rgb(scene.shown.gaussians, camera, background=background).image.clamp(0, 1)


def base_colors(scene: ModeInput) -> Float[Tensor, "M 3"]:
    """Colours of SH degree 0."""
    return scene.shown.gaussians.base_colors.clamp(0, 1)


COLOUR = Mode("colour", render_colour, splat_colors=base_colors)
