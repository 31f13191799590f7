"""The relevancy mode: scores of the last query as heat.

The server blends features first and scores pixels ("2D"), as the field was trained; a browser blends the colours of
scores of Gaussians ("3D"). Both use one score range for the whole scene, so that colours do not change with the view.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.field.search import PreparedQuery, score
from gsdff.io.pictures import heat
from gsdff.latents import MIN_NORM
from gsdff.viewer.document import Shown
from gsdff.viewer.markup import color_bar, small
from gsdff.viewer.modes.colour import base_colors, render_colour
from gsdff.viewer.modes.common import Image, Mode, ModeInput, as_colors, blend

UNSELECTED = 0.3
"""Brightness of the scene outside the selection, if that is highlighted."""


def render_relevancy(scene: ModeInput, camera: Camera) -> Image:
    """Black where nothing is; with the selection highlighted, grey below the threshold."""
    shown, field = scene.shown, scene.world.field
    if shown.asked is None:
        return render_colour(scene, camera)
    assert shown.gaussians.features is not None and shown.threshold is not None, "a query scores features"
    grey = base_colors(scene).mean(-1, keepdim=True)
    # in one pass: to project the scene again for the grey would cost as much as the features
    columns = torch.cat([shown.gaussians.features, grey, torch.ones_like(grey)], dim=1)
    blended = blend(scene, camera, columns)
    latents, grey, alpha = blended[..., :-2], blended[..., -2:-1], blended[..., -1:]
    scores = score(field, shown.asked, latents)[0]
    scores = scores.masked_fill(latents.norm(dim=-1) < MIN_NORM, torch.nan)
    image = heat_of(shown.asked, scores)
    if not scene.highlight:
        return image
    behind = (1 - alpha) * sum(field.background) / 3
    return spotlight(image, (grey + behind).expand_as(image), scores >= shown.threshold)


def heat_of_splats(scene: ModeInput) -> Float[Tensor, "M 3"]:
    """Scores of the Gaussians; with the selection highlighted, grey outside it."""
    shown = scene.shown
    if shown.asked is None or shown.scores is None:
        return base_colors(scene)
    colors = heat_of(shown.asked, shown.scores)
    return spotlight(colors, base_colors(scene), shown.selected) if scene.highlight else colors


def spotlight(colors: Float[Tensor, "*S 3"], plain: Float[Tensor, "*S 3"], lit: Bool[Tensor, "*S"]) -> Tensor:
    """Colours if lit, the scene in dark grey elsewhere."""
    grey = (UNSELECTED * plain.mean(-1, keepdim=True)).expand_as(plain)
    return torch.where(lit[..., None], colors, grey)


def heat_of(asked: PreparedQuery, scores: Float[Tensor, "*S"]) -> Float[Tensor, "*S 3"]:
    """Scores of pixels or Gaussians as heat over the score range; black for NaN."""
    low, high = asked.score_range
    values = (scores.nan_to_num(low) - low) / max(high - low, 1e-6)
    flat = values if values.ndim == 2 else values[:, None]
    colors = as_colors(heat(flat), scores)
    return colors if values.ndim == 2 else colors[:, 0]


def describe(shown: Shown, on_server: bool) -> str:
    """Legend: a colour bar with the score range, the method, and what was scored."""
    if shown.asked is None:
        return ""
    way = "rendered, then asked (2D)" if on_server else "asked, then blended (3D)"
    return color_bar(*shown.asked.score_range) + small(f"{shown.asked.query.chosen_method}, {way}")


RELEVANCY = Mode(
    "relevancy",
    render_relevancy,
    is_available=lambda world: world.field.has_features,
    splat_colors=heat_of_splats,
    tints_selection=False,
    legend=describe,
)
