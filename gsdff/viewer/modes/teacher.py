"""The teacher mode: the teacher's feature map of the nearest photo, in the colours of the scene's features."""

from jaxtyping import Float
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.errors import UserError
from gsdff.io.pictures import pca_colors
from gsdff.scene import View
from gsdff.teachers.store import find_store
from gsdff.viewer.modes.common import Image, Mode, ModeInput, fit_into_window
from gsdff.viewer.shared_scene import SharedScene


def render_teacher_map(inputs: ModeInput, camera: Camera) -> Image:
    """Teacher map of the nearest photo; black without one, and for pixels without a feature."""
    shared = inputs.shared
    view = shared.nearest_view(camera)
    latents = None if view is None else load_teacher_map(shared, view)
    if view is None or latents is None or shared.pca is None:
        return fit_into_window(None, camera, shared)
    colors = pca_colors(latents, shared.pca)[0] * latents.any(-1, keepdim=True)
    return fit_into_window(colors, camera, shared, aspect=view.camera.width / view.camera.height)


def load_teacher_map(shared: SharedScene, view: View) -> Float[Tensor, "h w K"] | None:
    """Latents that the run was distilled from; None if it keeps none of this photo."""
    run = shared.field.run
    if run is None or not shared.field.has_features:
        return None
    store = find_store(run.config.features.cache or run.folder / "features", shared.field.require_features())
    try:
        return None if store is None else store.load(view)
    except (OSError, UserError):
        return None


TEACHER = Mode(
    "teacher",
    render_teacher_map,
    is_available=lambda shared: any(load_teacher_map(shared, view) is not None for view in shared.views),
    shows_photo=True,
)
