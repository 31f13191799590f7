"""The relevancy mode: scores of the last query as heat.

The server renders features and scores pixels ("2D"), as the field was trained; a browser renders the coloured scores of
Gaussians ("3D"). Both use one score range for the whole scene, so that colours do not change with the view.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.field.search import score_camera, score_latents
from gsdff.io.pictures import heat
from gsdff.latents import MIN_NORM
from gsdff.viewer.markup import color_bar, note
from gsdff.viewer.modes.colour import base_colors, render_colour
from gsdff.viewer.modes.common import Image, Mode, ModeInput, as_colors, blend
from gsdff.viewer.session import VisibleScene

UNSELECTED = 0.3
"""Brightness of the scene outside the selection, if that is highlighted."""


def render_relevancy(inputs: ModeInput, camera: Camera) -> Image:
    """Scores of pixels, black without features; with the selection highlighted, grey below the threshold."""
    visible, field = inputs.visible, inputs.shared.field
    if visible.prepared is None:
        return render_colour(inputs, camera)
    assert visible.gaussians.features is not None and visible.threshold is not None, "a query scores features"
    grey = base_colors(inputs).mean(-1, keepdim=True)
    scored = score_camera(field, visible.prepared, visible.gaussians, camera)
    if scored is not None:
        scores, alpha = scored.scores.masked_fill(scored.best < 0, torch.nan), scored.alpha[..., None]
        grey = blend(inputs, camera, grey) if inputs.highlight else alpha
    else:
        # in one pass: to project the scene again for the grey would cost as much as the features
        columns = torch.cat([visible.gaussians.features, grey, torch.ones_like(grey)], dim=1)
        blended = blend(inputs, camera, columns)
        latents, grey, alpha = blended[..., :-2], blended[..., -2:-1], blended[..., -1:]
        scores = score_latents(field, visible.prepared, latents)[0]
        scores = scores.masked_fill(latents.norm(dim=-1) < MIN_NORM, torch.nan)
    image = heat_of(visible, scores)
    if not inputs.highlight:
        return image
    background = (1 - alpha) * sum(field.background) / 3
    return spotlight(image, (grey + background).expand_as(image), scores >= visible.threshold)


def heat_of_splats(inputs: ModeInput) -> Float[Tensor, "M 3"]:
    """Scores of the Gaussians; with the selection highlighted, grey outside it."""
    visible = inputs.visible
    if visible.prepared is None or visible.scores is None:
        return base_colors(inputs)
    colors = heat_of(visible, visible.scores)
    return spotlight(colors, base_colors(inputs), visible.selected) if inputs.highlight else colors


def spotlight(colors: Float[Tensor, "*S 3"], plain: Float[Tensor, "*S 3"], inside: Bool[Tensor, "*S"]) -> Tensor:
    """Colours inside a mask, the scene in dark grey outside."""
    grey = (UNSELECTED * plain.mean(-1, keepdim=True)).expand_as(plain)
    return torch.where(inside[..., None], colors, grey)


def heat_of(visible: VisibleScene, scores: Float[Tensor, "*S"]) -> Float[Tensor, "*S 3"]:
    """Scores of pixels or Gaussians for the last query as heat over its score range; NaN as the lowest."""
    assert visible.prepared is not None, "scores are of a query"
    low, high = visible.prepared.score_range
    values = (scores.nan_to_num(low) - low) / max(high - low, 1e-6)
    flat = values if values.ndim == 2 else values[:, None]
    drawn = heat(flat) if visible.heat_colors is None else heat(flat, visible.heat_colors)
    colors = as_colors(drawn, scores)
    return colors if values.ndim == 2 else colors[:, 0]


def describe(visible: VisibleScene, on_server: bool) -> str:
    """Legend with a colour bar with the score range, the method, and what was scored."""
    if visible.prepared is None:
        return ""
    scored = "scores of rendered features (2D)" if on_server else "rendered scores of Gaussians (3D)"
    return color_bar(*visible.prepared.score_range) + note(f"{visible.prepared.query.chosen_method}, {scored}")


RELEVANCY = Mode(
    "relevancy",
    render_relevancy,
    is_available=lambda shared: shared.field.has_features,
    splat_colors=heat_of_splats,
    tints_selection=False,
    legend=describe,
)
