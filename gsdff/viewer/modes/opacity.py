"""The opacity mode: black where nothing is, white where the scene is opaque."""

from gsdff.cameras import Camera
from gsdff.viewer.modes.common import Image, Mode, ModeInput, blend


def render_opacity(scene: ModeInput, camera: Camera) -> Image:
    """Accumulated opacity as grey."""
    means = scene.shown.gaussians.means
    return blend(scene, camera, means.new_ones(len(means), 1)).expand(-1, -1, 3)


OPACITY = Mode("opacity", render_opacity)
