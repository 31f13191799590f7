"""Gaussians that the browser draws: centres, covariances, one colour each (SH degree 0)."""

from typing import Any

import numpy as np
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gsdff.gaussians import Gaussians
from gsdff.rotation import quats_to_matrices

SPLAT_SCALE = 30.0
"""Factor by which splats are sent enlarged: covariances are sent in half precision, which loses small ones."""
LARGEST = 8.0
"""Largest standard deviation, in the working frame, that fits into half precision after that."""


class Splats:
    """Splats in the scene of one page. Geometry is sent again only if it changed."""

    def __init__(self, scene: Any):
        self.scene = scene
        self._handle: Any = None
        self._sent: Gaussians | None = None

    def show(self, gaussians: Gaussians, colors: Float[Tensor, "M 3"]) -> None:
        """Shows Gaussians in these colours."""
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
        """Removes the splats: invisible ones would cost a page as much as others."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = self._sent = None

    def forget(self) -> None:
        """Frees the memory of a page that is closed."""
        self._handle = self._sent = None


def to_splats(gaussians: Gaussians) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centres [M, 3], covariances [M, 3, 3] and opacities [M, 1], enlarged by `SPLAT_SCALE`."""
    axes = quats_to_matrices(F.normalize(gaussians.quats, dim=1))
    axes = axes * (SPLAT_SCALE * gaussians.scales.clamp(max=LARGEST))[:, None]
    covariances = axes @ axes.transpose(1, 2)
    centers, covariances, opacities = (
        tensor.detach().cpu().numpy()
        for tensor in (SPLAT_SCALE * gaussians.means, covariances, gaussians.opacities[:, None])
    )
    return centers, covariances, opacities
