"""The depth mode: disparity as heat, near is bright."""

from gsdff.cameras import Camera
from gsdff.io.pictures import heat
from gsdff.render import render_depth
from gsdff.viewer.modes.common import Image, Mode, ModeInput, as_colors


def render_disparity(inputs: ModeInput, camera: Camera) -> Image:
    """Disparity, which gives most of the colours to near depths; black if the opacity is below 0.5."""
    rendered = render_depth(inputs.visible.gaussians, camera)
    depth, alpha = rendered.image[..., 0], rendered.alpha[..., 0]
    near = (0.5 * inputs.shared.typical_depth / depth.clamp_min(1e-3)).clamp(max=1.0)
    return as_colors(heat(near * (alpha > 0.5)), depth)


DEPTH = Mode("depth", render_disparity)
