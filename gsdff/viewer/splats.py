"""Gaussians as a browser draws them: centres, covariances, one colour from all sides."""

import numpy as np
import torch.nn.functional as F

from gsdff.gaussians import Gaussians
from gsdff.rotation import quats_to_matrices

SPLAT_SCALE = 30.0
"""Splats are sent enlarged: their covariances travel in half precision, which loses those of small Gaussians."""
LARGEST = 8.0
"""Standard deviation, in the working frame, that still fits into half precision then."""


def to_splats(gaussians: Gaussians) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centres [M, 3], covariances [M, 3, 3] and opacities [M, 1], `SPLAT_SCALE` times as large."""
    axes = quats_to_matrices(F.normalize(gaussians.quats, dim=1))
    axes = axes * (SPLAT_SCALE * gaussians.scales.clamp(max=LARGEST))[:, None]
    tensors = SPLAT_SCALE * gaussians.means, axes @ axes.transpose(1, 2), gaussians.opacities[:, None]
    return tuple(tensor.detach().cpu().numpy() for tensor in tensors)
