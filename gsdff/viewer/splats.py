"""Gaussians as a browser draws them: centres, covariances, one colour from all sides."""

from typing import Any

import numpy as np
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gsdff.gaussians import Gaussians
from gsdff.rotation import quats_to_matrices

SPLAT_SCALE = 30.0
"""Splats are sent enlarged: their covariances travel in half precision, which loses those of small Gaussians."""
LARGEST = 8.0
"""Standard deviation, in the working frame, that still fits into half precision then."""


class Splats:
    """The splats of one page's scene. Geometry is sent again only where it changed."""

    def __init__(self, scene: Any):
        self.scene = scene
        self._handle: Any = None
        self._sent: Gaussians | None = None

    def show(self, gaussians: Gaussians, colors: Float[Tensor, "M 3"]) -> None:
        """Draws these."""
        rgbs = colors.detach().cpu().numpy()
        if self._handle is None:
            centers, covariances, opacities = to_splats(gaussians)
            self._handle = self.scene.add_gaussian_splats(
                "/splats", centers, covariances, rgbs, opacities, scale=1 / SPLAT_SCALE
            )
        elif self._sent is gaussians:
            self._handle.rgbs = rgbs
        else:
            centers, covariances, opacities = to_splats(gaussians)
            self._handle.set_gaussians(centers, covariances, rgbs, opacities)
        self._sent = gaussians

    def hide(self) -> None:
        """Draws none: takes them away, as hidden ones cost a page as much as others."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = self._sent = None

    def forget(self) -> None:
        """Lets go of what was sent."""
        self._handle = self._sent = None


def to_splats(gaussians: Gaussians) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centres [M, 3], covariances [M, 3, 3] and opacities [M, 1], `SPLAT_SCALE` times as large."""
    axes = quats_to_matrices(F.normalize(gaussians.quats, dim=1))
    axes = axes * (SPLAT_SCALE * gaussians.scales.clamp(max=LARGEST))[:, None]
    tensors = SPLAT_SCALE * gaussians.means, axes @ axes.transpose(1, 2), gaussians.opacities[:, None]
    return tuple(tensor.detach().cpu().numpy() for tensor in tensors)
