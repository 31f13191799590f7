"""The reliability mode: how far the views agreed on what the Gaussians show, as heat."""

import torch

from gsdff.cameras import Camera
from gsdff.io.pictures import heat
from gsdff.latents import MIN_NORM
from gsdff.viewer.modes.colour import render_colour
from gsdff.viewer.modes.common import Image, Mode, ModeInput, as_colors, blend


def render_reliability(inputs: ModeInput, camera: Camera) -> Image:
    """Blended reliability of the pixels; black where nothing is."""
    reliability = inputs.visible.gaussians.reliability
    if reliability is None:
        return render_colour(inputs, camera)
    blended = blend(inputs, camera, torch.stack([reliability, torch.ones_like(reliability)], dim=1))
    alpha = blended[..., 1]
    return as_colors(heat(blended[..., 0] / alpha.clamp_min(MIN_NORM)), blended) * alpha[..., None]


RELIABILITY = Mode(
    "reliability",
    render_reliability,
    is_available=lambda shared: shared.gaussians.reliability is not None,
)
