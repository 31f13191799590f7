"""The reliability mode: how far the views agreed on what the Gaussians show, as heat."""

import torch
from jaxtyping import Float
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.io.pictures import heat
from gsdff.latents import MIN_NORM
from gsdff.viewer.markup import color_bar, note
from gsdff.viewer.modes.colour import base_colors, render_colour
from gsdff.viewer.modes.common import Image, Mode, ModeInput, as_colors, blend
from gsdff.viewer.session import VisibleScene


def render_reliability(inputs: ModeInput, camera: Camera) -> Image:
    """Blended reliability of the pixels; black where nothing is."""
    reliability = inputs.visible.gaussians.reliability
    if reliability is None:
        return render_colour(inputs, camera)
    blended = blend(inputs, camera, torch.stack([reliability, torch.ones_like(reliability)], dim=1))
    alpha = blended[..., 1]
    return as_colors(heat(blended[..., 0] / alpha.clamp_min(MIN_NORM)), blended) * alpha[..., None]


def reliability_of_splats(inputs: ModeInput) -> Float[Tensor, "M 3"]:
    """Reliability of the Gaussians."""
    reliability = inputs.visible.gaussians.reliability
    return base_colors(inputs) if reliability is None else as_colors(heat(reliability[:, None])[:, 0], reliability)


def describe(visible: VisibleScene, on_server: bool) -> str:
    """Legend with a colour bar."""
    return color_bar(0, 1) + note("agreement of the views on the features")


RELIABILITY = Mode(
    "reliability",
    render_reliability,
    is_available=lambda shared: shared.gaussians.reliability is not None,
    splat_colors=reliability_of_splats,
    legend=describe,
)
