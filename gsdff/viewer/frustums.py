"""Cameras of the photos as frustums in the page, each with its photo; a click flies there."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from gsdff.cameras import Camera
from gsdff.rotation import matrices_to_quats
from gsdff.scene import View
from gsdff.viewer.shared_scene import SharedScene

THUMBNAIL = 96
"""Longer side of a photo's thumbnail, in pixels."""


def add_frustums(scene: Any, shared: SharedScene, fly_to: Callable[[Camera], None]) -> list[tuple[Any, Camera]]:
    """Adds a frustum per photo to the page's scene; returns viser's handles with their cameras.

    Held-out views are drawn in another colour.
    """
    train_ids = set(shared.field.scene.train_ids)
    size = _frustum_size(shared.views)
    frustums = []
    for i, view in enumerate(shared.views):
        camera = view.camera
        wxyz = matrices_to_quats(camera.viewmat[:3, :3].T.double()[None])[0]
        handle = scene.add_camera_frustum(
            f"/cameras/{i}",
            fov=camera.fov_y,
            aspect=camera.width / camera.height,
            scale=size,
            thickness=0.03 * size,
            color=(230, 230, 230) if i in train_ids else (255, 158, 13),
            image=_thumbnail(view),
            jpeg_quality=70,
            format="jpeg",
            wxyz=wxyz.numpy(),
            position=camera.position.numpy(),
            cast_shadow=False,
            receive_shadow=False,
        )
        handle.on_click(lambda _, camera=camera: fly_to(camera))
        frustums.append((handle, camera))
    return frustums


def _frustum_size(views: list[View]) -> float:
    """Size at which neighbours do not hide one another."""
    positions = torch.stack([view.camera.position for view in views])
    distances = torch.cdist(positions, positions).fill_diagonal_(float("inf")).amin(1)
    finite = distances[distances.isfinite()]
    return min(max(0.4 * float(finite.median()), 0.01), 0.12) if len(finite) else 0.1


def _thumbnail(view: View) -> np.ndarray:
    height, width = view.image.shape[:2]
    shrink = THUMBNAIL / max(height, width)
    size = max(round(height * shrink), 1), max(round(width * shrink), 1)
    small = F.interpolate(view.image.permute(2, 0, 1)[None].float(), size, mode="area")[0].permute(1, 2, 0)
    return small.round().byte().numpy()
