"""The classes mode: the best of several class names, as colours."""

import torch
from jaxtyping import Float
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.field.relevancy import classify
from gsdff.field.search import label_best, score_camera
from gsdff.io.pictures import label_colors, label_palette
from gsdff.latents import MIN_NORM, text_cosine
from gsdff.viewer.markup import class_legend
from gsdff.viewer.modes.colour import base_colors, render_colour
from gsdff.viewer.modes.common import Image, Mode, ModeInput, as_colors, blend
from gsdff.viewer.session import VisibleScene

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


def classes_of_splats(inputs: ModeInput) -> Float[Tensor, "M 3"]:
    """Classes of the Gaussians."""
    visible = inputs.visible
    if visible.prepared_classes is None or visible.labels is None:
        return base_colors(inputs)
    palette = label_palette(len(visible.prepared_classes.query.classes))
    return as_colors(label_colors(visible.labels[:, None], palette)[:, 0], visible.gaussians.means)


def describe(visible: VisibleScene, on_server: bool) -> str:
    """Legend of the classes that occur."""
    if visible.prepared_classes is None or visible.labels is None:
        return ""
    return class_legend(tuple(visible.prepared_classes.query.classes), visible.labels)


CLASSES = Mode(
    "classes",
    render_classes,
    is_available=lambda shared: shared.field.has_features,
    splat_colors=classes_of_splats,
    legend=describe,
)
