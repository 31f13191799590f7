"""Draws pictures: comparisons, errors, features as colours, labels as colours with their names.

A picture is [H, W, 3], float in [0, 1] or uint8 in 0..255; the functions here return uint8 on the CPU.
"""

import colorsys
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Integer, Shaped, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from gsdff.files.places import make_folder
from gsdff.files.writing import whole_file
from gsdff.scene import VOID

Picture = Shaped[Tensor, "_ _ 3"]
"""A picture of any size: pictures that are joined may differ in size."""

GAP = 4
"""Pixels between pictures set side by side."""
GAP_COLOR = 255
TITLE_HEIGHT = 18
"""Height in pixels of the strip above a titled picture."""
FULL_ERROR = 0.5
"""Mean absolute error that is drawn white; one scale for all views makes them comparable."""
BAR_WIDTH = 12
"""Width in pixels of the coloured part of a colour bar."""
DIMMED = 0.35
"""Brightness of pixels outside a spotlight, as a share."""
_HEAT = torch.tensor([[0.0, 0.0, 0.0], [0.45, 0.0, 0.35], [0.9, 0.25, 0.1], [1.0, 0.75, 0.1], [1.0, 1.0, 1.0]])
_FIT_ROWS = 50_000
"""Largest number of feature vectors that a PCA is fitted to; more make no visible difference."""


def save_png(path: Path, picture: Picture) -> None:
    """Writes a picture as a PNG, atomically; makes its folder if it is missing."""
    make_folder(path.parent)
    with whole_file(path) as partial:
        Image.fromarray(to_bytes(picture).numpy()).save(partial, format="PNG")


def png_bytes(picture: Picture) -> bytes:
    """A picture as the bytes of a PNG, as notebooks show it."""
    buffer = BytesIO()
    Image.fromarray(to_bytes(picture).numpy()).save(buffer, format="PNG")
    return buffer.getvalue()


def show_picture(picture: Picture) -> None:
    """Shows a picture in the notebook that runs, otherwise in the desktop's viewer."""
    image = Image.fromarray(to_bytes(picture).numpy())
    notebook = sys.modules.get("IPython")
    if notebook is not None and notebook.get_ipython() is not None:
        notebook.display.display(image)
    else:
        image.show()


def to_bytes(picture: Shaped[Tensor, "*S 3"]) -> UInt8[Tensor, "*S 3"]:
    """Converts a picture to uint8 on the CPU: floats clamped to [0, 1] and rounded to the nearest of 256 levels."""
    picture = picture.detach().cpu()
    return picture if picture.dtype == torch.uint8 else (picture.clamp(0, 1) * 255).round().byte()


def side_by_side(*pictures: Picture) -> UInt8[Tensor, "H W 3"]:
    """Joins pictures from left to right with white gaps, aligned at the top."""
    panels = [to_bytes(picture) for picture in pictures]
    height = max(panel.shape[0] for panel in panels)
    width = sum(panel.shape[1] for panel in panels) + GAP * (len(panels) - 1)
    canvas = torch.full((height, width, 3), GAP_COLOR, dtype=torch.uint8)
    left = 0
    for panel in panels:
        canvas[: panel.shape[0], left : left + panel.shape[1]] = panel
        left += panel.shape[1] + GAP
    return canvas


def stacked(*pictures: Picture) -> UInt8[Tensor, "H W 3"]:
    """Joins pictures from top to bottom with white gaps, aligned at the left."""
    return side_by_side(*(to_bytes(picture).transpose(0, 1) for picture in pictures)).transpose(0, 1).contiguous()


def titled(panels: Mapping[str, Picture]) -> UInt8[Tensor, "H W 3"]:
    """Joins pictures side by side, each below its title on a white strip; a title wider than its picture is cut."""
    font = ImageFont.load_default()
    columns = []
    for title, picture in panels.items():
        strip = Image.new("RGB", (picture.shape[1], TITLE_HEIGHT), "white")
        ImageDraw.Draw(strip).text((GAP, TITLE_HEIGHT // 2), title, fill="black", font=font, anchor="lm")
        pixels = torch.frombuffer(bytearray(strip.tobytes()), dtype=torch.uint8)
        columns.append(torch.cat([pixels.reshape(TITLE_HEIGHT, -1, 3), to_bytes(picture)]))
    return side_by_side(*columns)


def error_map(image: Float[Tensor, "H W 3"], target: Float[Tensor, "H W 3"]) -> UInt8[Tensor, "H W 3"]:
    """Mean absolute error over the channels as heat: black for none, white from `FULL_ERROR` on."""
    error = (image.detach().cpu() - target.detach().cpu()).abs().mean(-1)
    return heat(error / FULL_ERROR)


def heat(values: Float[Tensor, "H W"], colors: Float[Tensor, "P 3"] = _HEAT) -> UInt8[Tensor, "H W 3"]:
    """Colours values in [0, 1] from black through red and yellow to white, or through P >= 2 other colours."""
    place = values.detach().cpu().float().clamp(0, 1) * (len(colors) - 1)
    lower = place.floor().long().clamp(max=len(colors) - 2)
    return to_bytes(torch.lerp(colors[lower], colors[lower + 1], (place - lower)[..., None]))


def color_bar(low: float, high: float, *, height: int) -> UInt8[Tensor, "H W 3"]:
    """Draws the colours of `heat` from `high` at the top to `low`, with the two numbers beside them."""
    font = ImageFont.load_default()
    labels = [f"{value:.3f}" for value in (high, low)]
    colors = heat(torch.linspace(1, 0, height)[:, None].expand(height, BAR_WIDTH))
    strip = Image.new("RGB", (int(max(map(font.getlength, labels))) + 2 * GAP, height), "white")
    draw = ImageDraw.Draw(strip)
    for label, y, anchor in zip(labels, (GAP, height - GAP), ("lt", "lb"), strict=True):
        draw.text((GAP, y), label, fill="black", font=font, anchor=anchor)
    pixels = torch.frombuffer(bytearray(strip.tobytes()), dtype=torch.uint8).reshape(height, -1, 3)
    return torch.cat([colors, pixels], dim=1)


def spotlight(picture: Picture, selected: Bool[Tensor, "H W"]) -> UInt8[Tensor, "H W 3"]:
    """Keeps the picture's colours where selected; makes it grey and dark elsewhere."""
    colors = to_bytes(picture)
    dark = (colors.float().mean(-1, keepdim=True) * DIMMED).byte().expand_as(colors)
    return torch.where(selected.cpu()[..., None], colors, dark)


@dataclass(frozen=True)
class PcaBasis:
    """Three directions of a feature space that are drawn as red, green and blue, and their ranges."""

    mean: Float[Tensor, "K"]
    directions: Float[Tensor, "K 3"]
    low: Float[Tensor, "3"]
    high: Float[Tensor, "3"]


def fit_pca(features: Float[Tensor, "*shape K"]) -> PcaBasis:
    """Fits the three directions of most variance; colours run from the 1st to the 99th percentile along each.

    Signs are fixed (the largest component of a direction is positive), so the same features get the same colours.
    Features of fewer than three channels leave the last colours at mid-range.
    """
    rows = features.detach().reshape(-1, features.shape[-1]).cpu().double()
    rows = rows[:: max(1, -(-len(rows) // _FIT_ROWS))]
    if len(rows) == 0:  # no pixel has a feature
        rows = torch.zeros(1, rows.shape[1], dtype=torch.float64)
    mean = rows.mean(0)
    num_used = min(3, rows.shape[1])
    vectors = torch.linalg.eigh((rows - mean).T @ (rows - mean)).eigenvectors.flip(-1)[:, :num_used]
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    directions = torch.zeros(rows.shape[1], 3, dtype=torch.float64)
    directions[:, :num_used] = vectors * largest.sign()
    low, high = torch.quantile((rows - mean) @ directions, torch.tensor([0.01, 0.99], dtype=torch.float64), dim=0)
    return PcaBasis(mean.float(), directions.float(), low.float(), high.float())


def pca_colors(
    features: Float[Tensor, "*shape K"], basis: PcaBasis | None = None
) -> tuple[Float[Tensor, "*shape 3"], PcaBasis]:
    """Features as colours in [0, 1] on the CPU, and the basis; passed on, it gives all views the same colours."""
    if basis is None:
        basis = fit_pca(features)
    coordinates = (features.detach().cpu().float() - basis.mean) @ basis.directions
    spread = basis.high - basis.low
    # a direction along which nothing varies stays at mid-range instead of showing its rounding errors
    varies = spread > 1e-6 * spread.max().clamp_min(1e-6)
    colors = torch.where(varies, (coordinates - basis.low) / torch.where(varies, spread, 1.0), 0.5)
    return colors.clamp(0, 1), basis


def label_palette(num_classes: int) -> UInt8[Tensor, "Q 3"]:
    """One colour per class, never black: hues a golden angle apart, in three tiers. Class i's does not depend on Q."""
    tiers = [(0.75, 0.95), (0.9, 0.6), (0.4, 0.85)]
    colors = [colorsys.hsv_to_rgb(i * 0.61803398875 % 1, *tiers[i % 3]) for i in range(num_classes)]
    return to_bytes(torch.tensor(colors).reshape(num_classes, 3))


def label_colors(
    labels: Integer[Tensor, "H W"], palette: UInt8[Tensor, "Q 3"], *, void: int = VOID
) -> UInt8[Tensor, "H W 3"]:
    """Draws a label map in its palette's colours; `void` is black. Raises ValueError for an id beyond the palette."""
    labels = labels.cpu().long()
    if (unknown := (labels != void) & ((labels < 0) | (labels >= len(palette)))).any():
        raise ValueError(f"expected labels below {len(palette)} or {void}, got {int(labels[unknown][0])}")
    with_void = torch.cat([palette.cpu(), torch.zeros(1, 3, dtype=torch.uint8)])
    return with_void[torch.where(labels == void, len(palette), labels)]


def legend(names: Sequence[str], palette: UInt8[Tensor, "Q 3"], *, width: int) -> UInt8[Tensor, "H W 3"]:
    """Draws a white strip with a swatch and a name per class, wrapped to `width` pixels; a longer name is cut."""
    font = ImageFont.load_default()
    swatch, pad = 10, 4
    line_height = swatch + 2 * pad
    places, left, top = [], pad, 0
    for name in names:
        item_width = swatch + pad + int(font.getlength(name)) + 2 * pad
        if left > pad and left + item_width > width:
            left, top = pad, top + line_height
        places.append((left, top))
        left += item_width
    strip = Image.new("RGB", (width, top + line_height), "white")
    draw = ImageDraw.Draw(strip)
    for name, color, (x, y) in zip(names, palette.tolist(), places, strict=True):
        draw.rectangle((x, y + pad, x + swatch - 1, y + pad + swatch - 1), fill=tuple(color), outline="black")
        draw.text((x + swatch + pad, y + line_height // 2), name, fill="black", font=font, anchor="lm")
    return torch.frombuffer(bytearray(strip.tobytes()), dtype=torch.uint8).reshape(strip.height, strip.width, 3)
