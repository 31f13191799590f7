"""The features mode: the first three principal components of the features as colours."""

import torch
from jaxtyping import Float
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.io.pictures import PcaBasis, pca_colors
from gsdff.latents import MIN_NORM
from gsdff.viewer.document import Shown
from gsdff.viewer.markup import small
from gsdff.viewer.modes.colour import base_colors, render_colour
from gsdff.viewer.modes.common import Image, Mode, ModeInput, blend


def render_pca(scene: ModeInput, camera: Camera) -> Image:
    """Colours of the blended features. The PCA is linear: to blend its three channels instead of K gives the same."""
    pca, features = scene.world.pca, scene.shown.gaussians.features
    if pca is None or features is None:
        return render_colour(scene, camera)
    directions = pca.directions.to(features)
    columns = torch.cat([features @ directions, torch.ones_like(features[:, :1])], dim=1)
    blended = blend(scene, camera, columns)
    alpha = blended[..., 3:]
    flat = PcaBasis(pca.mean @ pca.directions, torch.eye(3), pca.low, pca.high)
    colors = pca_colors(blended[..., :3] / alpha.clamp_min(MIN_NORM), flat)[0].to(blended)
    return colors * alpha


def pca_of_splats(scene: ModeInput) -> Float[Tensor, "M 3"]:
    """Colours of the Gaussians' own features."""
    pca, features = scene.world.pca, scene.shown.gaussians.features
    if pca is None or features is None:
        return base_colors(scene)
    return pca_colors(features, pca)[0].to(features)


def describe(shown: Shown, on_server: bool) -> str:
    """Legend."""
    return small("features as colours, the same in all views")


FEATURES = Mode(
    "features",
    render_pca,
    is_available=lambda world: world.gaussians.features is not None,
    splat_colors=pca_of_splats,
    legend=describe,
)
