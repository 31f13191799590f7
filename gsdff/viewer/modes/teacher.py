"""The teacher mode: the teacher's feature map of the nearest photo, in the colours of the scene's features."""

from jaxtyping import Float
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.io.pictures import pca_colors
from gsdff.scene import View
from gsdff.teachers.store import FeatureStore
from gsdff.viewer.modes.common import Image, Mode, ModeInput, describe_photo, fit
from gsdff.viewer.world import World


def render_teacher_map(scene: ModeInput, camera: Camera) -> Image:
    """The map; black without one, and where the teacher has no feature."""
    world = scene.world
    view = world.nearest_view(camera)
    latents = None if view is None else load_teacher_map(world, view)
    if view is None or latents is None or world.pca is None:
        return fit(None, camera, world)
    colors = pca_colors(latents, world.pca)[0] * latents.any(-1, keepdim=True)
    return fit(colors, camera, world, aspect=view.camera.width / view.camera.height)


def load_teacher_map(world: World, view: View) -> Float[Tensor, "h w K"] | None:
    """The latents that the run was distilled from; None if it keeps none of this photo."""
    run = world.field.run
    if run is None or not world.field.has_features:
        return None
    folder = run.config.features.cache or run.folder / "features"
    store = FeatureStore(folder, world.field.require_features())
    try:
        latents = store.load(view)
    except (OSError, ValueError):
        return None
    return latents if latents.shape[-1] == world.field.B.shape[1] else None  # a cache may be another run's by now


TEACHER = Mode(
    "teacher",
    render_teacher_map,
    is_available=lambda world: any(load_teacher_map(world, view) is not None for view in world.views),
    shows_photo=True,
    legend=describe_photo,
)
