"""The colour mode: the scene as trained."""

import torch
from jaxtyping import Float
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.render import render_rgb
from gsdff.viewer.modes.common import Image, Mode, ModeInput


def render_colour(inputs: ModeInput, camera: Camera) -> Image:
    """Colours with all spherical harmonics, over the background of the training."""
    background = torch.tensor(inputs.shared.field.background, device=inputs.shared.device)
    return render_rgb(inputs.visible.gaussians, camera, background=background).image.clamp(0, 1)


def base_colors(inputs: ModeInput) -> Float[Tensor, "M 3"]:
    """Colours of the Gaussians at SH degree 0."""
    return inputs.visible.gaussians.base_colors.clamp(0, 1)


COLOUR = Mode("colour", render_colour, splat_colors=base_colors)
