"""The masks mode: the masks of the nearest photo, in colours over it."""

import torch
import torch.nn.functional as F
from jaxtyping import Int32
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.errors import UserError
from gsdff.io.pictures import label_colors, label_palette
from gsdff.io.runs import RunFolder
from gsdff.masks.store import MaskStore
from gsdff.scene import View
from gsdff.viewer.modes.common import Image, Mode, ModeInput, fit_into_window
from gsdff.viewer.shared_scene import SharedScene

STRENGTH = 0.55
"""Share of a mask's colour in its pixels; the rest is the photo."""


def render_masks(inputs: ModeInput, camera: Camera) -> Image:
    """Masks over the nearest photo; black without masks."""
    view = inputs.shared.nearest_view(camera)
    segments = None if view is None else load_segments(inputs.shared, view)
    if view is None or segments is None:
        return fit_into_window(None, camera, inputs.shared)
    palette = label_palette(int(segments.max()) + 1)
    colors = label_colors(segments, palette, void=0).float() / 255
    size = (segments.shape[0], segments.shape[1])
    photo = F.interpolate(view.target.permute(2, 0, 1)[None], size, mode="area")[0].permute(1, 2, 0)
    return fit_into_window(torch.lerp(photo, colors, STRENGTH), camera, inputs.shared)


def load_segments(shared: SharedScene, view: View) -> Int32[Tensor, "h w"] | None:
    """Masks that the run was smoothed with; None if it has none of this photo."""
    run = shared.field.run
    if run is None:
        return None
    for folder in (RunFolder(run.folder).masks, run.config.masks.cache):  # earlier versions had them in the cache alone
        try:
            return None if folder is None else MaskStore(folder).load(view)
        except UserError:  # missing or damaged
            continue
    return None


MASKS = Mode(
    "masks",
    render_masks,
    is_available=lambda shared: any(load_segments(shared, view) is not None for view in shared.views),
    shows_photo=True,
)
