"""The photo mode: the photo nearest to the camera."""

from gsdff.cameras import Camera
from gsdff.viewer.modes.common import Image, Mode, ModeInput, describe_photo, fit, has_photos


def render_photo(scene: ModeInput, camera: Camera) -> Image:
    """The photo; black without photos."""
    view = scene.world.nearest_view(camera)
    return fit(None if view is None else view.target, camera, scene.world)


PHOTO = Mode("photo", render_photo, is_available=has_photos, shows_photo=True, legend=describe_photo)
