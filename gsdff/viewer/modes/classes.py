"""The classes mode: the best of several class names, as colours."""

import torch

from gsdff.cameras import Camera
from gsdff.field.relevancy import classify
from gsdff.field.search import label_best, score_camera
from gsdff.io.pictures import label_colors, label_palette
from gsdff.latents import MIN_NORM, text_cosine
from gsdff.viewer.modes.colour import render_colour
from gsdff.viewer.modes.common import Image, Mode, ModeInput, as_colors, blend

STRENGTH = 0.75
"""Share of a class's colour in its pixels; the rest is the scene."""


def render_classes(inputs: ModeInput, camera: Camera) -> Image:
    """Classes of the pixels' blended features, over the scene."""
    visible = inputs.visible
    if visible.prepared_classes is None:
        return render_colour(inputs, camera)
    assert visible.gaussians.features is not None, "a segmentation scores features"
    scored = score_camera(inputs.shared.field, visible.prepared_classes, visible.gaussians, camera)
    if scored is not None:
        labels = label_best(scored)
    else:
        latents = blend(inputs, camera, visible.gaussians.features)
        cosines = text_cosine(latents, visible.prepared_classes.positives, inputs.shared.field.B)
        labels = classify(cosines, latents.norm(dim=-1) >= MIN_NORM)
    palette = visible.class_colors
    if palette is None:
        palette = label_palette(len(visible.prepared_classes.query.classes))
    colors = as_colors(label_colors(labels, palette), visible.gaussians.means)
    return torch.lerp(render_colour(inputs, camera), colors, STRENGTH)


CLASSES = Mode(
    "classes",
    render_classes,
    is_available=lambda shared: shared.field.has_features,
)
