"""The classes mode: the best of several names, as colours."""

import torch
from jaxtyping import Float
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.field.relevancy import classify
from gsdff.io.pictures import label_colors, label_palette
from gsdff.latents import MIN_NORM, text_cosine
from gsdff.viewer.document import Shown
from gsdff.viewer.markup import legend
from gsdff.viewer.modes.colour import base_colors, render_colour
from gsdff.viewer.modes.common import Image, Mode, ModeInput, as_colors, blend

STRENGTH = 0.75
"""Share of a class's colour in its pixels; the rest is the scene."""


def render_classes(scene: ModeInput, camera: Camera) -> Image:
    """Classes of the pixels' blended features, over the scene."""
    shown = scene.shown
    if shown.classes is None:
        return render_colour(scene, camera)
    assert shown.gaussians.features is not None, "classes are of features"
    latents = blend(scene, camera, shown.gaussians.features)
    cosines = text_cosine(latents, shown.classes.positives, scene.world.field.B)
    labels = classify(cosines, latents.norm(dim=-1) >= MIN_NORM)
    palette = label_palette(len(shown.classes.query.classes))
    colors = as_colors(label_colors(labels, palette), latents)
    return torch.lerp(render_colour(scene, camera), colors, STRENGTH)


def classes_of_splats(scene: ModeInput) -> Float[Tensor, "M 3"]:
    """Classes of the Gaussians."""
    shown = scene.shown
    if shown.classes is None or shown.labels is None:
        return base_colors(scene)
    palette = label_palette(len(shown.classes.query.classes))
    return as_colors(label_colors(shown.labels[:, None], palette)[:, 0], shown.gaussians.means)


def describe(shown: Shown, on_server: bool) -> str:
    """Legend: the classes that some Gaussian has."""
    if shown.classes is None or shown.labels is None:
        return ""
    return legend(tuple(shown.classes.query.classes), shown.labels)


CLASSES = Mode(
    "classes",
    render_classes,
    is_available=lambda world: world.field.has_features,
    splat_colors=classes_of_splats,
    legend=describe,
)
