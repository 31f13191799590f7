"""Placement of a scene: a frame fitted to it, and whether it and photos that are joined with it can belong together."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from gsdff.cameras import WorldFrame
from gsdff.errors import UserError, shown
from gsdff.gaussians import Gaussians
from gsdff.origin import FARTHEST_ORIGIN, ZERO, as_point, format_point
from gsdff.scene import Scene

MIN_OPACITY = 0.1
"""Fainter Gaussians count neither for the frame of a scene without cameras nor for the colours of features."""
FAR_AWAY = 16
"""Distance to the nearest camera, in radii of the scene and of the cameras, from which photos cannot have made a scene.

From there it fills less than 7 degrees of the view, and all cameras see it from directions that differ by less than
7 degrees, too little for its depth. A file gets an offset (`choose_origin`) from twice that distance on, so that a lost
one shows. A small thing that was cut out of its scene stays near: the radius of the cameras counts too.
"""


def fit_frame(gaussians: Gaussians) -> WorldFrame:
    """A frame in which most of a scene without cameras lies within a distance of one from its middle."""
    positions = gaussians.positions.cpu()
    solid = positions[(gaussians.opacities >= MIN_OPACITY).cpu()]
    means = solid if len(solid) else positions
    centre = means.median(0).values
    distances = (means - centre).norm(dim=1)
    radius = float(distances.kthvalue(1 + int(0.8 * (len(distances) - 1))).values)
    x, y, z = centre.tolist()
    return WorldFrame((x, y, z), radius if radius > 1e-9 else 1.0)


def place_at(gaussians: Gaussians, offset: Sequence[float], source: Path) -> Gaussians:
    """The Gaussians of a file at the offset that it does not state; raises `UserError` if it states another."""
    point = None if isinstance(offset, str) else as_point(offset)
    if point is None:
        raise UserError(f"`offset`: expected three numbers of at most {FARTHEST_ORIGIN:g}, got {shown(offset)}")
    if source.is_dir():
        raise UserError(f"`offset`: {source} is a run, whose positions are those of the world; leave it out")
    if gaussians.origin not in (ZERO, point):
        raise UserError(f"`offset`: {source} states the offset {format_point(gaussians.origin)} itself; leave it out")
    return replace(gaussians, origin=point)


def find_misplacement(gaussians: Gaussians, scene: Scene, *, is_run: bool = False) -> str:
    """Complaint about Gaussians, in the world, that lie far away from all cameras; empty if they do not.

    Of a file that states no offset it asks for one.
    """
    ours, frame = fit_frame(gaussians), scene.frame
    cameras = frame.points_to_input(torch.stack([view.camera.position for view in scene.views]))
    nearest = float((cameras - torch.tensor(ours.centre, dtype=torch.float64)).norm(dim=1).min())
    radius = max(ours.scale, frame.scale)
    if nearest <= FAR_AWAY * radius:
        return ""
    complaint = (
        f"its middle {format_point(round(value, 3) for value in ours.centre)} is {nearest:.3g} away from the nearest "
        f"camera of {scene.root}, {nearest / radius:.0f} times the radius of scene and cameras; do these belong "
        "together?"
    )
    if is_run or gaussians.origin != ZERO:
        return complaint
    offset = f", {' '.join(f'{value:.15g}' for value in frame.origin)}" if frame.origin != ZERO else ""
    return f"{complaint} If the file has lost its offset, which a .splat cannot state, give it as `offset`{offset}"
