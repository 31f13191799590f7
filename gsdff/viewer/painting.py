"""Images and splat colours of any display mode, and the highlight of the selection."""

from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.viewer.document import Shown
from gsdff.viewer.modes import MODES, ModeInput
from gsdff.viewer.modes.common import Image, blend
from gsdff.viewer.world import World

ALL_ROWS = slice(None)
HIGHLIGHT = (1.0, 0.62, 0.05)
"""Colour of the selection."""
TINT = 0.55
"""Share of it in the colour of a selected splat."""


def modes_of(world: World) -> tuple[str, ...]:
    """Names of the modes that this scene has something to show in."""
    return tuple(name for name, mode in MODES.items() if mode.is_available(world))


def describe_modes(modes: Iterable[str | None], shown: Shown, *, on_server: bool) -> str:
    """Legends of these modes, each once, as HTML."""
    legends = [MODES[name].legend(shown, on_server) for name in modes if name is not None]
    return "".join(dict.fromkeys(legends))


def splat_colors(world: World, shown: Shown, mode: str, *, marks: bool) -> Float[Tensor, "M 3"]:
    """Colours in [0, 1] for the browser to blend; `marks` highlights the selection."""
    chosen = MODES[mode]
    assert chosen.splat_colors is not None, f"a browser cannot draw the mode {mode}"
    colors = chosen.splat_colors(ModeInput(world, shown, marks))
    if marks and shown.any_selected and chosen.tints_selection:
        return torch.where(shown.selected[:, None], torch.lerp(colors, colors.new_tensor(HIGHLIGHT), TINT), colors)
    return colors


def paint(
    world: World, shown: Shown, mode: str, camera: Camera, *, marks: bool, rows: slice = ALL_ROWS
) -> UInt8[Tensor, "h W 3"]:
    """Some rows of an image, on the CPU; `marks` highlights the selection."""
    chosen, scene = MODES[mode], ModeInput(world, shown, marks)
    with torch.no_grad():
        if chosen.shows_photo:
            return _to_bytes(chosen.render(scene, camera)[rows])
        top, bottom, _ = rows.indices(camera.height)
        part = camera.cropped(0, top, camera.width, bottom - top).to(world.device)
        if not len(shown.gaussians):
            return torch.zeros(part.height, part.width, 3, dtype=torch.uint8)
        image = chosen.render(scene, part)
        if marks and shown.any_selected and chosen.tints_selection:
            image = _tint_selection(image, _selected_share(scene, part))
        return _to_bytes(image)


def halves(left: UInt8[Tensor, "H W 3"], right: UInt8[Tensor, "H W 3"]) -> UInt8[Tensor, "H W 3"]:
    """The left half of one picture beside the right half of another, a white line between them."""
    middle = left.shape[1] // 2
    joined = torch.cat([left[:, :middle], right[:, middle:]], dim=1)
    joined[:, max(middle - 1, 0) : middle + 1] = 255
    return joined


def to_numpy(picture: UInt8[Tensor, "H W 3"]) -> np.ndarray:
    """As the browser's library takes it."""
    return np.ascontiguousarray(picture.numpy())


def _to_bytes(image: Image) -> UInt8[Tensor, "H W 3"]:
    return (image.clamp(0, 1) * 255).round().byte().cpu()


def _selected_share(scene: ModeInput, camera: Camera) -> Float[Tensor, "h W"]:
    """Opacity of selected Gaussians, with one more row above and below: then strips meet without a line."""
    more = camera.cropped(0, -1, camera.width, camera.height + 2)
    return blend(scene, more, scene.shown.selected.float()[:, None])[..., 0]


def _tint_selection(image: Image, share: Float[Tensor, "h W"]) -> Image:
    """Tints the selection and outlines it."""
    inside = share >= 0.5
    padded = F.pad(inside[None, None].float(), (1, 1, 0, 0), mode="replicate")
    edge = (F.max_pool2d(padded, 3, 1) - (1 - F.max_pool2d(1 - padded, 3, 1)))[0, 0] > 0
    color = image.new_tensor(HIGHLIGHT)
    tinted = torch.lerp(image, color.expand_as(image), (0.35 * share[1:-1].clamp(0, 1))[..., None])
    return torch.where(edge[..., None], color, tinted)
