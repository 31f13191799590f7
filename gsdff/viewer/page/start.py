"""The view that the page begins with, and others to compare pictures in."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.field.field import Field
from gsdff.field.hit import default_view
from gsdff.gaussians import Gaussians

MOST_CAMERAS = 3
"""Views whose pictures are compared."""
DISTANCE, SIDE, FOV = 2.5, 400, 0.9
"""Distance from the middle, image side and field of view of the start view of a scene without photos."""


def choose_cameras(field: Field) -> list[Camera]:
    """The view that the page starts with, and others to compare pictures in; in the working frame."""
    if not field.has_photos:
        viewmat = torch.eye(4)
        viewmat[2, 3] = DISTANCE
        focal = SIDE / 2 / float(np.tan(FOV / 2))
        K = torch.tensor([[focal, 0, SIDE / 2], [0, focal, SIDE / 2], [0, 0, 1]])
        return [Camera(viewmat, K, SIDE, SIDE)]
    scene = field.scene
    held_out = [scene.views[i].camera for i in scene.test_ids or range(len(scene.views))]
    return [default_view(field).camera, *held_out[1:MOST_CAMERAS]]


def find_up(field: Field) -> Float[Tensor, "3"]:
    """Mean upward direction of the photos; without photos that of COLMAP's cameras."""
    ups = [-view.camera.viewmat[1, :3] for view in field.scene.views] if field.has_photos else []
    mean = torch.stack(ups).mean(0) if ups else torch.zeros(3)
    return mean / mean.norm() if mean.norm() > 0.1 else torch.tensor([0.0, -1.0, 0.0])


def describe_start(camera: Camera, up: Float[Tensor, "3"], scene: Gaussians) -> dict[str, Any]:
    """A camera as orbit controls take it; they turn about what it sees in the middle of its image."""
    points = scene.means @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]
    sideways = points[:, :2].norm(dim=1) / points[:, 2].clamp_min(1e-6)
    seen = points[(points[:, 2] > 0.05) & (sideways < 0.2) & (scene.opacities > 0.5), 2]
    depth = float(seen.median()) if len(seen) else 1.0
    target = camera.position + depth * camera.viewmat[2, :3]
    return {
        "position": camera.position.tolist(),
        "target": target.tolist(),
        "up": up.tolist(),
        "fovY": camera.fov_y,
    }
