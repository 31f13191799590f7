"""The depth mode: near is bright."""

from gsdff.cameras import Camera
from gsdff.io.pictures import heat
from gsdff.render import render_depth
from gsdff.viewer.modes.common import Image, Mode, ModeInput, as_colors


def render_disparity(scene: ModeInput, camera: Camera) -> Image:
    """Disparity as heat, so that near depths get most of the colours; black where the opacity is below 0.5."""
    rendered = render_depth(scene.shown.gaussians, camera)
    depth, alpha = rendered.image[..., 0], rendered.alpha[..., 0]
    near = (0.5 * scene.world.depth / depth.clamp_min(1e-3)).clamp(max=1.0)
    return as_colors(heat(near * (alpha > 0.5)), depth)


DEPTH = Mode("depth", render_disparity)
