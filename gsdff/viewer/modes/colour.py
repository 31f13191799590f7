"""The colour mode: the scene as trained."""

import torch

from gsdff.cameras import Camera
from gsdff.render import render_rgb
from gsdff.viewer.modes.common import Image, Mode, ModeInput


def render_colour(inputs: ModeInput, camera: Camera) -> Image:
    """Colours with all spherical harmonics, over the background of the training."""
    background = torch.tensor(inputs.shared.field.background, device=inputs.shared.device)
    return render_rgb(inputs.visible.gaussians, camera, background=background).image.clamp(0, 1)


COLOUR = Mode("colour", render_colour)
