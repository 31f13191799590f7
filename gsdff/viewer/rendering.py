"""Images of any display mode, and the highlight of what is marked."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.viewer.modes import MODES, ModeInput
from gsdff.viewer.modes.common import Image, blend
from gsdff.viewer.shared_scene import SharedScene
from gsdff.viewer.visible_scene import VisibleScene

ALL_ROWS = slice(None)
HIGHLIGHT = (1.0, 0.62, 0.05)
"""Colour of the selection."""
IMAGE_TINT = 0.35
"""Share of `HIGHLIGHT` in a pixel that only selected Gaussians cover."""

MAX_SIDE = 8192
"""Largest width and height of an image in pixels."""
MAX_IMAGE_PIXELS = 3840 * 2160
"""Largest number of pixels of an image; that of a larger window is smaller than the window."""


def bounded_size(width: int, height: int) -> tuple[int, int]:
    """Width and height of the image of a window, within the limits and in the window's shape."""
    width, height = max(width, 1), max(height, 1)
    shrink = min(1.0, MAX_SIDE / max(width, height), math.sqrt(MAX_IMAGE_PIXELS / (width * height)))
    return max(int(width * shrink), 1), max(int(height * shrink), 1)


def available_modes(shared: SharedScene) -> tuple[str, ...]:
    """Names of the modes in which this scene has something to show."""
    return tuple(name for name, mode in MODES.items() if mode.is_available(shared))


def render_mode(
    shared: SharedScene,
    visible: VisibleScene,
    mode: str,
    camera: Camera,
    rows: slice = ALL_ROWS,
) -> UInt8[Tensor, "h w 3"]:
    """Some rows of a camera's image, on the CPU."""
    row, inputs = MODES[mode], ModeInput(shared, visible)
    with torch.no_grad():
        if row.shows_photo:
            return _to_bytes(row.render(inputs, camera)[rows])
        top, bottom, _ = rows.indices(camera.height)
        part = camera.cropped(0, top, camera.width, bottom - top).to(shared.device)
        if not len(visible.gaussians):
            return torch.zeros(part.height, part.width, 3, dtype=torch.uint8)
        image = row.render(inputs, part)
        if visible.any_selected and row.tints_selection:
            image = _tint_selection(image, _selected_opacity(inputs, part))
        return _to_bytes(image)


def split_view(left: UInt8[Tensor, "h w 3"], right: UInt8[Tensor, "h w 3"]) -> UInt8[Tensor, "h w 3"]:
    """The left half of one image beside the right half of another, with a white line between them."""
    middle = left.shape[1] // 2
    joined = torch.cat([left[:, :middle], right[:, middle:]], dim=1)
    joined[:, max(middle - 1, 0) : middle + 1] = 255
    return joined


def to_numpy(image: UInt8[Tensor, "h w 3"]) -> np.ndarray:
    """The image as a contiguous array, as Pillow takes it."""
    return np.ascontiguousarray(image.numpy())


def _to_bytes(image: Image) -> UInt8[Tensor, "H W 3"]:
    return (image.clamp(0, 1) * 255).round().byte().cpu()


def _selected_opacity(inputs: ModeInput, camera: Camera) -> Float[Tensor, "h w"]:
    """Opacity of the selected Gaussians, with one more row above and below, so that blocks of rows fit together."""
    larger = camera.cropped(0, -1, camera.width, camera.height + 2)
    return blend(inputs, larger, inputs.visible.selected.float()[:, None])[..., 0]


def _tint_selection(image: Image, opacity: Float[Tensor, "H+2 W"]) -> Image:
    """Tints the selection and outlines it."""
    inside = opacity >= 0.5
    padded = F.pad(inside[None, None].float(), (1, 1, 0, 0), mode="replicate")
    edge = (F.max_pool2d(padded, 3, 1) - (1 - F.max_pool2d(1 - padded, 3, 1)))[0, 0] > 0
    color = image.new_tensor(HIGHLIGHT)
    tinted = torch.lerp(image, color.expand_as(image), (IMAGE_TINT * opacity[1:-1].clamp(0, 1))[..., None])
    return torch.where(edge[..., None], color, tinted)
