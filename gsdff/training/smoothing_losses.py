"""Smoothing losses of rendered features: filters in several forms, total variation, and a term on the graph."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pkgutil import resolve_name

import torch
from jaxtyping import Float, Int32
from torch import Tensor

from gsdff.config.smoothing import FilterConfig, SmoothingConfig, ThingsConfig, VariationConfig
from gsdff.gaussians import Gaussians
from gsdff.latents import feature_error
from gsdff.scene import Scene
from gsdff.smoothing import NeighbourGraph, diffuse, purity, total_variation
from gsdff.smoothing.view_filters import Filter, Segments, Views
from gsdff.training.lift import FeatureTarget
from gsdff.training.teacher_targets import FilteredMaps, TargetStrip

EVERYTHING = slice(None)
THINGS = "things"
"""Name of the targets of `smoothing.things` among those of the filters."""


@dataclass(frozen=True)
class RenderedStrip:
    """Features of a strip of a view, rendered at the size of the photo."""

    strip: TargetStrip
    latents: Float[Tensor, "H W K"]
    alpha: Float[Tensor, "H W"]
    """Rendered alpha, detached."""


@dataclass(frozen=True)
class SmoothingLoss:
    """A part of the feature loss beside the data term."""

    name: str
    schedule: FilterConfig | VariationConfig | ThingsConfig
    """Options with the weight, the first step and the length of the ramp."""
    measure: Callable[[RenderedStrip], Float[Tensor, ""]]
    """Value of the loss for a strip, unweighted."""
    replaces: bool = False
    """Whether the loss replaces the data term, which then fades out as the loss ramps up."""

    def warmup(self, step: int) -> float:
        """Factor on the weight at a step of stage 2: 0 before the start, then rising to 1 over the ramp."""
        elapsed = step - self.schedule.start + 1
        return 0.0 if elapsed < 1 else min(1.0, elapsed / max(1, self.schedule.ramp))


def strip_error(
    latents: Float[Tensor, "H W K"], alpha: Float[Tensor, "H W"], strip: TargetStrip, huber: float
) -> Float[Tensor, ""]:
    """Data term: error of a rendered strip, averaged down to the size of the teacher's map, against that map."""
    weights = strip.shrink(alpha[..., None])[..., 0] * strip.weights
    return feature_error(strip.shrink(latents), strip.latents, weights, huber)


def open_filters(config: SmoothingConfig, views: Views, segments: Segments) -> dict[str, Filter]:
    """The filters that are on, by the names of their options."""
    return {
        name: resolve_name(options.location)(options, views, segments) for name, options in config.filters().items()
    }


def open_smoothing_losses(
    config: SmoothingConfig,
    filters: Mapping[str, Filter],
    targets: Mapping[str, FilteredMaps],
    scene: Scene,
    segments: Segments,
    huber: float,
) -> list[SmoothingLoss]:
    """The losses that are on; `targets` are the filtered maps of the filters, and things, with the form `target`."""
    losses = []
    for name, function in filters.items():
        options = getattr(config, name)
        if options.weight == 0:
            continue
        if options.form == "render":
            measure = partial(_filtered_rendering_error, function, huber=huber)
        elif options.form == "consistency":
            measure = partial(_consistency_error, function)
        else:
            measure = partial(_filtered_target_error, targets[name], scene, huber=huber)
        losses.append(SmoothingLoss(f"smooth_{name}", options, measure, replaces=options.form != "consistency"))
    if config.things.form == "target" and config.things.weight > 0:
        measure = partial(_filtered_target_error, targets[THINGS], scene, huber=huber)
        losses.append(SmoothingLoss(f"smooth_{THINGS}", config.things, measure, replaces=True))
    if config.tv.weight > 0:
        measure = partial(_variation, segments if config.tv.segments else None)
        losses.append(SmoothingLoss("smooth_tv", config.tv, measure))
    return losses


def _filtered_rendering_error(function: Filter, rendered: RenderedStrip, huber: float) -> Float[Tensor, ""]:
    """Error of the filtered rendering against the teacher: |G(Z) - T|²."""
    strip = rendered.strip
    filtered = function(rendered.latents, rendered.latents, strip.view_id, strip.rows)
    return strip_error(filtered, rendered.alpha, strip, huber)


def _consistency_error(function: Filter, rendered: RenderedStrip) -> Float[Tensor, ""]:
    """Error of the rendering against itself filtered: |Z - G(Z)|²."""
    strip = rendered.strip
    filtered = function(rendered.latents, rendered.latents, strip.view_id, strip.rows)
    return feature_error(rendered.latents, filtered, rendered.alpha)


def _filtered_target_error(
    maps: FilteredMaps, scene: Scene, rendered: RenderedStrip, huber: float
) -> Float[Tensor, ""]:
    """Error of the rendering against the filtered teacher: |Z - G(T)|²."""
    latents, weights = maps.load(scene.views[rendered.strip.view_id], rendered.strip.rows)
    return feature_error(rendered.latents, latents, rendered.alpha * weights, huber)


def _variation(segments: Segments | None, rendered: RenderedStrip) -> Float[Tensor, ""]:
    labels = None if segments is None else segments[rendered.strip.view_id][rendered.strip.rows]
    return total_variation(rendered.latents, labels)


def filter_target(
    function: Filter, target: FeatureTarget, view_id: int, pixel_weights: Float[Tensor, "H W"] | float = 1.0
) -> FeatureTarget:
    """Filters a target at the size of the photo: G(T). Pixels enter with `pixel_weights` times their own weights."""
    weights = (target.weights * pixel_weights)[..., None]
    stacked = torch.cat([target.latents * weights, weights], dim=-1)
    filtered = function(stacked, target.latents, view_id, EVERYTHING)
    return replace(target, latents=filtered[..., :-1] / filtered[..., -1:].clamp_min(1e-20))


def purity_weights(segments: Int32[Tensor, "H W"], target: FeatureTarget, power: float) -> Float[Tensor, "H W"]:
    """Weights of the teacher's features at the pixels of the photo: purity on the scale of a map pixel, to a power."""
    coarseness = segments.numel() / target.weights.numel()
    return purity(segments, sigma=coarseness**0.5) ** power


@dataclass(frozen=True)
class GraphTerm:
    """Consistency of the features of neighbouring Gaussians: a term of stage 2 (`gsdff.training.terms.Term`)."""

    graph: NeighbourGraph
    weight: float
    share: float
    """What a Gaussian counts in the mean over all of them."""

    def __call__(self, gaussians: Gaussians, view_id: int, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the mean over the Gaussians of Σ_k (z - G(z))², G one step of diffusion; logged as `smooth_graph`."""
        assert gaussians.features is not None, "the term belongs to stage 2"
        difference = gaussians.features - diffuse(gaussians.features, self.graph, 1)
        error = difference.square().sum() * self.share
        return error, {"smooth_graph": error}
