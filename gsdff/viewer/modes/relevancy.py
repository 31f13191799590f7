"""The relevancy mode: scores of the last query as heat.

Features are rendered and pixels scored ("2D"), as the field was trained; a page's own heat is of scores of Gaussians
("3D"). Both use one score range for the whole scene, so that colours do not change with the view.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.field.search import score_camera, score_latents
from gsdff.io.pictures import heat
from gsdff.latents import MIN_NORM
from gsdff.viewer.modes.colour import render_colour
from gsdff.viewer.modes.common import Image, Mode, ModeInput, as_colors, blend
from gsdff.viewer.visible_scene import VisibleScene

UNSELECTED = 0.3
"""Brightness of the scene below the threshold."""


def render_relevancy(inputs: ModeInput, camera: Camera) -> Image:
    """Scores of pixels as heat; those below the threshold in dark grey, as are those without features."""
    visible, field = inputs.visible, inputs.shared.field
    if visible.prepared is None:
        return render_colour(inputs, camera)
    assert visible.gaussians.features is not None and visible.prepared.threshold is not None, "a query scores features"
    grey = visible.gaussians.base_colors.clamp(0, 1).mean(-1, keepdim=True)
    scored = score_camera(field, visible.prepared, visible.gaussians, camera)
    if scored is not None:
        scores, alpha = scored.scores.masked_fill(scored.best < 0, torch.nan), scored.alpha[..., None]
        grey = blend(inputs, camera, grey)
    else:
        # in one pass: to project the scene again for the grey would cost as much as the features
        columns = torch.cat([visible.gaussians.features, grey, torch.ones_like(grey)], dim=1)
        blended = blend(inputs, camera, columns)
        latents, grey, alpha = blended[..., :-2], blended[..., -2:-1], blended[..., -1:]
        scores = score_latents(field, visible.prepared, latents)[0]
        scores = scores.masked_fill(latents.norm(dim=-1) < MIN_NORM, torch.nan)
    background = (1 - alpha) * sum(field.background) / 3
    return torch.where(
        (scores >= visible.prepared.threshold)[..., None], heat_of(visible, scores), UNSELECTED * (grey + background)
    )


def heat_of(visible: VisibleScene, scores: Float[Tensor, "H W"]) -> Image:
    """Scores of pixels as heat over the query's score range; NaN as the lowest."""
    assert visible.prepared is not None, "scores are of a query"
    low, high = visible.prepared.score_range
    values = (scores.nan_to_num(low) - low) / max(high - low, 1e-6)
    drawn = heat(values) if visible.heat_colors is None else heat(values, visible.heat_colors)
    return as_colors(drawn, scores)


RELEVANCY = Mode(
    "relevancy",
    render_relevancy,
    is_available=lambda shared: shared.field.has_features,
    tints_selection=False,
)
