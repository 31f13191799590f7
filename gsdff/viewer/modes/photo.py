"""The photo mode: the photo nearest to the camera."""

from gsdff.cameras import Camera
from gsdff.viewer.modes.common import Image, Mode, ModeInput, fit_into_window, has_photos


def render_photo(inputs: ModeInput, camera: Camera) -> Image:
    """Photo nearest to the camera; black without photos."""
    view = inputs.shared.nearest_view(camera)
    return fit_into_window(None if view is None else view.target, camera, inputs.shared)


PHOTO = Mode("photo", render_photo, is_available=has_photos, shows_photo=True)
