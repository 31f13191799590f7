"""The features mode: the first three principal components of the features as colours."""

import torch

from gsdff.cameras import Camera
from gsdff.io.pictures import PcaBasis, pca_colors
from gsdff.latents import MIN_NORM
from gsdff.viewer.modes.colour import render_colour
from gsdff.viewer.modes.common import Image, Mode, ModeInput, blend


def render_pca(inputs: ModeInput, camera: Camera) -> Image:
    """Colours of the rendered features. The PCA is linear: rendering its three channels instead of K gives the same."""
    pca, features = inputs.shared.pca, inputs.visible.gaussians.features
    if pca is None or features is None:
        return render_colour(inputs, camera)
    directions = pca.directions.to(features)
    columns = torch.cat([features @ directions, torch.ones_like(features[:, :1])], dim=1)
    blended = blend(inputs, camera, columns)
    alpha = blended[..., 3:]
    flat = PcaBasis(pca.mean @ pca.directions, torch.eye(3), pca.low, pca.high)
    colors = pca_colors(blended[..., :3] / alpha.clamp_min(MIN_NORM), flat)[0].to(blended)
    return colors * alpha


FEATURES = Mode(
    "features",
    render_pca,
    is_available=lambda shared: shared.gaussians.features is not None,
)
