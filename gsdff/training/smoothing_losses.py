"""How smoothing enters the feature loss: the filters, the forms they take, and when they count."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pkgutil import resolve_name

import torch
from jaxtyping import Float, Int32
from torch import Tensor

from gsdff.config.smoothing import FilterConfig, GraphConfig, SmoothingConfig, VariationConfig
from gsdff.gaussians import Gaussians
from gsdff.latents import feature_error
from gsdff.scene import Scene
from gsdff.smoothing import NeighbourGraph, diffuse, purity, total_variation
from gsdff.smoothing.view_filters import Filter, Segments
from gsdff.training.lift import FeatureTarget
from gsdff.training.teacher_targets import PhotoMaps, Strip

EVERYTHING = slice(None)


@dataclass(frozen=True)
class Look:
    """What a step sees of a view, rendered at the photo's size."""

    strip: Strip
    latents: Float[Tensor, "H W K"]
    alpha: Float[Tensor, "H W"]
    """Detached."""


@dataclass(frozen=True)
class Smoother:
    """A part of the feature loss beside the plain comparison."""

    name: str
    schedule: FilterConfig | VariationConfig
    measure: Callable[[Look], Float[Tensor, ""]]
    replaces: bool = False
    """Whether the plain comparison goes as it comes."""

    def share(self, step: int) -> float:
        """How much of its weight counts in this step of stage 2, in [0, 1]."""
        elapsed = step - self.schedule.start + 1
        return 0.0 if elapsed < 1 else min(1.0, elapsed / max(1, self.schedule.ramp))


def compare(
    latents: Float[Tensor, "H W K"], alpha: Float[Tensor, "H W"], strip: Strip, huber: float
) -> Float[Tensor, ""]:
    """The plain comparison: a rendered strip, shrunk to the teacher's map, against it."""
    weights = strip.shrink(alpha[..., None])[..., 0] * strip.weights
    return feature_error(strip.shrink(latents), strip.latents, weights, huber)


def needs_segments(config: SmoothingConfig) -> bool:
    """Whether smoothing uses the masks."""
    return any(options.needs_segments for options in config.filters().values()) or (
        config.tv.weight > 0 and config.tv.segments
    )


def open_filters(config: SmoothingConfig, scene: Scene, segments: Segments) -> dict[str, Filter]:
    """The filters that are on, by the names of their options."""
    return {
        name: resolve_name(options.location)(options, scene, segments) for name, options in config.filters().items()
    }


def open_smoothers(
    config: SmoothingConfig,
    filters: Mapping[str, Filter],
    targets: Mapping[str, PhotoMaps],
    scene: Scene,
    segments: Segments,
    huber: float,
) -> list[Smoother]:
    """What is on, ready to measure; `targets` are the filtered maps of the filters in the form `target`."""
    smoothers = []
    for name, function in filters.items():
        options = getattr(config, name)
        if options.weight == 0:
            continue
        measure = {
            "render": partial(_compare_filtered, function, huber=huber),
            "consistency": partial(_compare_with_itself, function),
            "target": partial(_compare_with_filtered, targets.get(name), scene, huber=huber),
        }[options.form]
        smoothers.append(Smoother(f"smooth_{name}", options, measure, replaces=options.form != "consistency"))
    if config.tv.weight > 0:
        smoothers.append(Smoother("smooth_tv", config.tv, partial(_vary, segments if config.tv.segments else None)))
    return smoothers


def _compare_filtered(function: Filter, look: Look, huber: float) -> Tensor:
    strip = look.strip
    filtered = function(look.latents, look.latents, strip.view_id, strip.rows)
    return compare(filtered, look.alpha, strip, huber)


def _compare_with_itself(function: Filter, look: Look) -> Tensor:
    strip = look.strip
    filtered = function(look.latents, look.latents, strip.view_id, strip.rows)
    return feature_error(look.latents, filtered, look.alpha)


def _compare_with_filtered(maps: PhotoMaps, scene: Scene, look: Look, huber: float) -> Tensor:
    latents, weights = maps.load(scene.views[look.strip.view_id], look.strip.rows)
    return feature_error(look.latents, latents, look.alpha * weights, huber)


def _vary(segments: Segments | None, look: Look) -> Tensor:
    labels = None if segments is None else segments[look.strip.view_id][look.strip.rows]
    return total_variation(look.latents, labels)


def filter_target(
    function: Filter, target: FeatureTarget, view_id: int, counts: Float[Tensor, "H W"] | float = 1.0
) -> FeatureTarget:
    """G(T) of a target at the photo's size; pixels enter the filter with `counts` times their weights."""
    weights = (target.weights * counts)[..., None]
    stacked = torch.cat([target.latents * weights, weights], dim=-1)
    filtered = function(stacked, target.latents, view_id, EVERYTHING)
    return replace(target, latents=filtered[..., :-1] / filtered[..., -1:].clamp_min(1e-20))


def count_pure(segments: Int32[Tensor, "H W"], target: FeatureTarget, power: float) -> Float[Tensor, "H W"]:
    """How much the teacher's answer at each pixel of the photo counts: its purity on the scale of the map's pixels."""
    coarseness = segments.numel() / target.weights.numel()
    return purity(segments, sigma=coarseness**0.5) ** power


@dataclass(frozen=True)
class GraphTerm:
    """Gaussians should carry what their neighbours carry: a term of stage 2 (`gsdff.training.trainer.Term`)."""

    graph: NeighbourGraph
    weight: float

    def __call__(self, gaussians: Gaussians, view_id: int, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean over the Gaussians of Σ_k (z - G(z))², one step of diffusion; reported as `smooth_graph`."""
        difference = gaussians.features - diffuse(gaussians.features, self.graph, 1)
        error = difference.square().sum(-1).mean()
        return error, {"smooth_graph": error}


def graph_settings(config: GraphConfig) -> dict[str, float]:
    """For `build_graph`."""
    return {
        "neighbours": config.neighbours,
        "sigma_space": config.sigma,
        "sigma_color": config.sigma_color,
        "sigma_feature": config.sigma_feature,
    }
