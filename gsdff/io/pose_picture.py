"""A picture of cameras and points, from above and from the side, with each camera in the colour of its residual."""

from pathlib import PurePath

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from gsdff.data.sfm import PosedPhotos
from gsdff.io.pictures import color_bar, heat, titled

SIDE = 560
"""Pixels of each side of a panel."""
MARGIN = 0.06
CAMERA_SHARE = 0.04
"""Length of a drawn camera relative to the side of what is shown."""
FAR = 0.95
"""Share of the points that the picture is sure to hold; the others may lie outside."""
NUM_NAMED = 3
"""Cameras with the largest residuals, whose names are written."""
BACKGROUND, FADED = 255, 0.3
HEADROOM = 1.25
"""End of the scale relative to the largest residual: the palest colours cannot be told from white paper."""
_CORNERS = ((-1, -1), (1, -1), (1, 1), (-1, 1))


def draw_poses(found: PosedPhotos) -> UInt8[Tensor, "H W 3"]:
    """Draws cameras and points from above and from the side, beside the scale of the residuals in pixels.

    *Above* is where the cameras' upper edges point on average.
    """
    axes = level_axes(found.viewmats)
    panels = {
        f"{len(found.names)} cameras and {len(found.points):,} points from above": _draw(found, axes[[0, 1]]),
        "from the side; a camera's colour: its mean residual in pixels": _draw(found, axes[[0, 2]]),
        "px": color_bar(0, _scale(found), height=SIDE),
    }
    return titled(panels)


def _scale(found: PosedPhotos) -> float:
    return HEADROOM * max(float(found.residuals.max()), 1e-6)


def level_axes(viewmats: Float[np.ndarray, "C 4 4"]) -> Float[np.ndarray, "3 3"]:
    """Unit axes of the picture in the world: along the widest level spread of the cameras, across it, and upwards."""
    up = -viewmats[:, 1, :3].mean(0)
    if np.linalg.norm(up) < 1e-3:  # cameras on all sides of a ball
        up = -viewmats[0, 1, :3]
    up /= np.linalg.norm(up)
    centres = _centres(viewmats)
    level = centres - centres.mean(0)
    level -= np.outer(level @ up, up)
    along = np.linalg.svd(level)[2][0]
    along -= (along @ up) * up
    if np.linalg.norm(along) < 1e-6:  # cameras that stand above one another
        along = viewmats[0, 0, :3] - (viewmats[0, 0, :3] @ up) * up
    along /= np.linalg.norm(along)
    return np.stack([along, np.cross(up, along), up])


def _centres(viewmats: Float[np.ndarray, "C 4 4"]) -> Float[np.ndarray, "C 3"]:
    return -np.einsum("cji,cj->ci", viewmats[:, :3, :3], viewmats[:, :3, 3])


def _draw(found: PosedPhotos, axes: Float[np.ndarray, "2 3"]) -> UInt8[Tensor, "H W 3"]:
    centres, points = _centres(found.viewmats), found.points @ axes.T
    middle = np.median(centres @ axes.T, axis=0)
    reach = np.abs(centres @ axes.T - middle).max(initial=1e-6)
    if len(points):
        reach = max(reach, float(np.quantile(np.abs(points - middle).max(1), FAR)))
    zoom = SIDE * (0.5 - MARGIN) / reach

    def place(positions: np.ndarray) -> np.ndarray:
        offset = (positions - middle) * zoom
        return SIDE / 2 + offset * [1, -1]

    canvas = np.full((SIDE, SIDE, 3), BACKGROUND, np.uint8)
    at = place(points).round().astype(int)
    inside = ((at >= 0) & (at < SIDE)).all(1)
    canvas[at[inside, 1], at[inside, 0]] = BACKGROUND + (found.colors[inside].astype(float) - BACKGROUND) * (1 - FADED)
    image = Image.fromarray(canvas)
    draw = ImageDraw.Draw(image)
    shades = heat(torch.from_numpy(found.residuals / _scale(found))[None].float())[0].tolist()
    worst = set(np.argsort(-found.residuals, kind="stable")[:NUM_NAMED].tolist())
    length = CAMERA_SHARE * SIDE / zoom
    for number in np.argsort(found.residuals, kind="stable"):  # the worst on top
        right, down, ahead = found.viewmats[number, :3, :3]
        corners = [centres[number] + length * (ahead + 0.6 * x * right + 0.45 * y * down) for x, y in _CORNERS]
        tip, *rim = map(tuple, place(np.stack([centres[number], *corners]) @ axes.T).tolist())
        shade = tuple(shades[number])
        for corner in rim:
            draw.line([tip, corner], fill=shade)
        draw.line([*rim, rim[0]], fill=shade)
        if number in worst:
            name = PurePath(found.names[number]).stem
            draw.text((tip[0] + 4, tip[1]), name, fill="black", font=ImageFont.load_default(), anchor="lm")
    return torch.from_numpy(np.asarray(image).copy())
