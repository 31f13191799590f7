"""The opacity mode: black for nothing, white for opaque."""

from gsdff.cameras import Camera
from gsdff.viewer.modes.common import Image, Mode, ModeInput, blend


def render_opacity(inputs: ModeInput, camera: Camera) -> Image:
    """Accumulated opacity as a grey value."""
    means = inputs.visible.gaussians.means
    return blend(inputs, camera, means.new_ones(len(means), 1)).expand(-1, -1, 3)


OPACITY = Mode("opacity", render_opacity)
