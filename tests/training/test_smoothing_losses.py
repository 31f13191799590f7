"""Smoothing losses against their formulas, with filters as matrices over all pairs of pixels, in float64."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from tiny_field import Distillation, make_gaussians, make_scene, random_photos
from torch import Tensor

from gsdff.config.smoothing import (
    BilateralFilterConfig,
    GaussianFilterConfig,
    GraphConfig,
    SegmentFilterConfig,
    SmoothingConfig,
    VariationConfig,
    needs_segments,
)
from gsdff.scene import Scene
from gsdff.smoothing import NeighbourGraph, purity
from gsdff.training.graph_file import build_smoothing_graph
from gsdff.training.lift import FeatureTarget
from gsdff.training.smoothing_losses import (
    GraphTerm,
    RenderedStrip,
    SmoothingLoss,
    filter_target,
    open_filters,
    open_smoothing_losses,
    purity_weights,
    strip_error,
)
from gsdff.training.teacher_targets import FilteredMaps, enlarge_target, make_target, take_strip
from gsdff.training.view_data import ViewData

VIEW, HEIGHT, WIDTH, K = 3, 9, 13, 3
HUBER = 0.8
FILTERS = {
    "sam, whole segments": ("sam", SegmentFilterConfig()),
    "sam, window": ("sam", SegmentFilterConfig(window=3, sigma=1.2)),
    "bilateral, photo": ("bilateral", BilateralFilterConfig(window=5, sigma=1.5, sigma_range=0.3)),
    "bilateral, features": ("bilateral", BilateralFilterConfig(guide="features", window=5, sigma_range=1.5)),
    "gaussian": ("gaussian", GaussianFilterConfig(window=5, sigma=1.5)),
}
ROWS = [slice(0, HEIGHT), slice(4, HEIGHT)]


@dataclass(frozen=True)
class Setting:
    """Photo, segments, target and rendered strip of one view."""

    scene: Scene
    segments: Mapping[int, Tensor]
    target: FeatureTarget
    rendered: RenderedStrip
    folder: Path

    def open(self, huber: float = HUBER, **options) -> list[SmoothingLoss]:
        """Opens the losses that are on; makes and saves the filtered maps of the form `target`."""
        config = SmoothingConfig(**options)
        filters, maps = open_filters(config, self.scene.views, self.segments), {}
        for name, function in filters.items():
            maps[name] = FilteredMaps(self.folder / name, ViewData(self.scene.views, "cpu"))
            maps[name].save(self.scene.views[VIEW], filter_target(function, enlarge_target(self.target), VIEW))
        return open_smoothing_losses(config, filters, maps, self.scene, self.segments, huber)

    def matrix(self, config, features: Tensor, rows: slice) -> Tensor:
        """Matrix of the filter G over the pixels of these rows, in float64; its rows sum to one."""
        pixels = torch.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)[rows].flatten()
        y, x = (pixels // WIDTH).double(), (pixels % WIDTH).double()
        dy, dx = y[:, None] - y, x[:, None] - x
        if isinstance(config, SegmentFilterConfig) and config.window == 0:
            weights = torch.ones_like(dx)
        else:
            inside = (dx.abs() <= config.window // 2) & (dy.abs() <= config.window // 2)
            weights = torch.exp(-(dx**2 + dy**2) / (2 * config.sigma**2)) * inside
        if isinstance(config, SegmentFilterConfig):
            labels = self.segments[VIEW][rows].flatten()
            same = (labels[:, None] == labels) & (labels > 0)
            weights = torch.where(torch.eye(len(labels), dtype=torch.bool), 1.0, weights * same)
        if isinstance(config, BilateralFilterConfig):
            photo = self.scene.views[VIEW].image[rows].flatten(0, 1).double() / 255
            guide = features.detach().flatten(0, 1).double() if config.guide == "features" else photo
            weights = weights * torch.exp(-(torch.cdist(guide, guide) ** 2) / (2 * config.sigma_range**2))
        return weights / weights.sum(1, keepdim=True)


def apply(matrix: Tensor, picture: Tensor) -> Tensor:
    return (matrix @ picture.flatten(0, 1).double()).reshape(picture.shape)


def mean_error(rendered: Tensor, target: Tensor, weights: Tensor, huber: float = 0.0) -> Tensor:
    error = (rendered.double() - target.double()).square().sum(-1)
    if huber:
        error = 2 * huber**2 * ((1 + error / huber**2).sqrt() - 1)
    return (weights.double() * error).sum() / weights.double().sum()


def shrink(rendered: RenderedStrip, picture: Tensor) -> Tensor:
    strip = rendered.strip
    return torch.einsum("ih,jw,hwd->ijd", strip.down.double(), strip.across.double(), picture.double())


def make_rendered(target: FeatureTarget, generator: torch.Generator, part: int = 0, parts: int = 1) -> RenderedStrip:
    strip = take_strip(target, VIEW, part, parts)
    height = strip.rows.stop - strip.rows.start
    latents = torch.randn(height, WIDTH, K, generator=generator, requires_grad=True)
    return RenderedStrip(strip, latents, torch.rand(height, WIDTH, generator=generator))


@pytest.fixture(params=[False, True], ids=["whole view", "strip"])
def setting(request, tmp_path: Path, generator: torch.Generator) -> Setting:
    scene = random_photos(make_scene(tmp_path), generator)
    labels = torch.arange(1, 4, dtype=torch.int32).repeat_interleave(5)[:WIDTH].repeat(HEIGHT, 1)
    labels[:3, 2:9] = 7
    labels[2:4, :3] = 0
    latents = torch.randn(4, 4, K, generator=generator)
    latents[1, 2] = 0  # no teacher feature
    target = make_target(latents, scene.views[VIEW])
    rendered = make_rendered(target, generator, *((1, 2) if request.param else (0, 1)))
    return Setting(scene, {VIEW: labels}, target, rendered, tmp_path / "filtered")


def as_form(name: str, form: str) -> tuple[str, object]:
    option, config = FILTERS[name]
    return option, replace(config, form=form)


@pytest.mark.parametrize("name", FILTERS)
def test_render_compares_the_filtered_rendering_with_the_map(setting: Setting, name: str) -> None:
    option, config = as_form(name, "render")
    rendered = setting.rendered
    (loss,) = setting.open(**{option: config})
    assert loss.name == f"smooth_{option}" and loss.replaces
    latents = rendered.latents.detach().double().requires_grad_()
    filtered = apply(setting.matrix(config, rendered.latents, rendered.strip.rows), latents)
    weights = shrink(rendered, rendered.alpha[..., None])[..., 0] * rendered.strip.weights
    expected = mean_error(shrink(rendered, filtered), rendered.strip.latents, weights, HUBER)
    assert_same_with_gradient(loss.measure, rendered, expected, latents)


@pytest.mark.parametrize("name", FILTERS)
def test_consistency_compares_the_rendering_with_its_own_filtered_self(setting: Setting, name: str) -> None:
    option, config = as_form(name, "consistency")
    rendered = setting.rendered
    (loss,) = setting.open(**{option: config})
    assert not loss.replaces
    latents = rendered.latents.detach().double().requires_grad_()
    filtered = apply(setting.matrix(config, rendered.latents, rendered.strip.rows), latents)
    assert_same_with_gradient(loss.measure, rendered, mean_error(latents, filtered, rendered.alpha), latents)


@pytest.mark.parametrize("name", FILTERS)
def test_target_compares_the_rendering_with_the_filtered_map_at_the_photos_size(setting: Setting, name: str) -> None:
    option, config = as_form(name, "target")
    rendered = setting.rendered
    (loss,) = setting.open(**{option: config})
    assert loss.replaces
    large = enlarge_target(setting.target)
    matrix = setting.matrix(config, large.latents, slice(None))  # of the whole view, not only the strip
    weights = large.weights[..., None]
    shares = apply(matrix, weights)
    wanted = apply(matrix, large.latents * weights) / shares.clamp_min(1e-20)
    latents = rendered.latents.detach().double().requires_grad_()
    rows = rendered.strip.rows
    expected = mean_error(latents, wanted[rows], rendered.alpha * large.weights[rows], HUBER)
    assert_same_with_gradient(loss.measure, rendered, expected, latents, tolerance=1e-3)  # half precision on disk


def assert_same_with_gradient(
    measure: Callable[[RenderedStrip], Tensor],
    rendered: RenderedStrip,
    expected: Tensor,
    latents: Tensor,
    tolerance: float = 1e-4,
) -> None:
    found = measure(rendered)
    assert found.item() == pytest.approx(expected.item(), rel=tolerance) and expected > 0.01
    (wanted,) = torch.autograd.grad(expected, latents)
    (gradient,) = torch.autograd.grad(found, rendered.latents)
    torch.testing.assert_close(gradient.double(), wanted, rtol=0, atol=tolerance * float(wanted.abs().max()))


@pytest.mark.parametrize("name", FILTERS)
def test_a_constant_map_is_consistent(setting: Setting, name: str) -> None:
    option, config = as_form(name, "consistency")
    (loss,) = setting.open(**{option: config})
    constant = replace(setting.rendered, latents=torch.tensor([0.5, -2.0, 0.0]).expand_as(setting.rendered.latents))
    assert loss.measure(constant) < 1e-11


@pytest.mark.parametrize("inside", [False, True])
def test_variation_counts_the_differences_of_neighbours(setting: Setting, inside: bool) -> None:
    rendered = setting.rendered
    (loss,) = setting.open(tv=VariationConfig(weight=0.1, segments=inside))
    assert (loss.name, loss.replaces) == ("smooth_tv", False)
    latents = rendered.latents.detach().double().requires_grad_()
    labels, total = setting.segments[VIEW][rendered.strip.rows], 0.0
    for axis in (0, 1):
        counts = labels.diff(dim=axis) == 0 if inside else torch.ones_like(labels.diff(dim=axis), dtype=torch.bool)
        total = total + (latents.diff(dim=axis).abs().sum(-1) * counts).sum()
    assert_same_with_gradient(loss.measure, rendered, total / latents.numel(), latents)


def test_several_are_on_at_once_each_with_its_own_schedule(setting: Setting) -> None:
    options = {
        "sam": SegmentFilterConfig("consistency", weight=2.0),
        "bilateral": BilateralFilterConfig("target", start=3),
        "gaussian": GaussianFilterConfig("render", ramp=9),
        "tv": VariationConfig(weight=0.3, ramp=5),
    }
    losses = {loss.name.removeprefix("smooth_"): loss for loss in setting.open(**options)}
    assert {name: loss.schedule for name, loss in losses.items()} == options
    assert {name for name, loss in losses.items() if loss.replaces} == {"bilateral", "gaussian"}


def test_by_default_nothing_is_on(setting: Setting) -> None:
    assert setting.open() == []


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        ({}, [1, 1, 1, 1, 1, 1]),
        ({"start": 2}, [0, 0, 1, 1, 1, 1]),
        ({"ramp": 4}, [0.25, 0.5, 0.75, 1, 1, 1]),
        ({"start": 2, "ramp": 2}, [0, 0, 0.5, 1, 1, 1]),
        ({"start": 1, "ramp": 1}, [0, 1, 1, 1, 1, 1]),
    ],
)
def test_the_weight_rises_over_the_ramp_after_the_start(schedule: dict, factors: list[float]) -> None:
    loss = SmoothingLoss("x", GaussianFilterConfig(**schedule), lambda rendered: torch.zeros(()))
    assert [loss.warmup(step) for step in range(6)] == factors
    assert loss.warmup(10_000) == 1


def test_the_plain_comparison_is_at_the_maps_size(setting: Setting) -> None:
    rendered = setting.rendered
    weights = shrink(rendered, rendered.alpha[..., None])[..., 0] * rendered.strip.weights
    expected = mean_error(shrink(rendered, rendered.latents), rendered.strip.latents, weights, HUBER)
    found = strip_error(rendered.latents, rendered.alpha, rendered.strip, HUBER)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_masks_are_needed_inside_segments_only() -> None:
    assert not needs_segments(SmoothingConfig(bilateral=BilateralFilterConfig("target"), tv=VariationConfig(1.0)))
    assert not needs_segments(SmoothingConfig(tv=VariationConfig(0.0, segments=True)))
    assert needs_segments(SmoothingConfig(tv=VariationConfig(1.0, segments=True)))
    assert needs_segments(SmoothingConfig(sam=SegmentFilterConfig("consistency")))


# --- filtered targets


@pytest.mark.parametrize("name", FILTERS)
def test_pixels_without_weight_have_no_say_in_a_filtered_target(setting: Setting, name: str) -> None:
    option, config = as_form(name, "target")
    function = open_filters(SmoothingConfig(**{option: config}), setting.scene.views, setting.segments)[option]
    target = enlarge_target(setting.target)
    unanswered = target.weights == 0
    assert unanswered.sum() > 4
    garbage = replace(target, latents=torch.where(unanswered[..., None], 1e4, target.latents))
    filtered, other = filter_target(function, target, VIEW), filter_target(function, garbage, VIEW)
    answered = ~unanswered
    torch.testing.assert_close(other.latents[answered], filtered.latents[answered])
    assert torch.equal(filtered.weights, target.weights)
    # A constant stays constant beside pixels without a feature: they do not count as zeros.
    constant = replace(target, latents=torch.ones_like(target.latents) * target.weights[..., None])
    kept = filter_target(function, constant, VIEW).latents[answered]
    torch.testing.assert_close(kept, torch.ones_like(kept))


def test_counts_lower_the_influence_of_impure_pixels(setting: Setting) -> None:
    """In two adjacent segments the features of pixels at the border are wrong; purity weighs the others more."""
    config = SmoothingConfig(sam=SegmentFilterConfig("target"))
    labels = torch.ones(HEIGHT, WIDTH, dtype=torch.int32)
    labels[:, 7:] = 2
    function = open_filters(config, setting.scene.views, {VIEW: labels})["sam"]
    latents = torch.zeros(HEIGHT, WIDTH, 1)
    latents[:, 5:9] = 1.0  # mixed by the teacher
    target = FeatureTarget(setting.target.camera, latents, torch.ones(HEIGHT, WIDTH))
    pure = purity(labels, 1.0)
    means = [float(filter_target(function, target, VIEW, pure**power).latents[4, 2, 0]) for power in (0, 1, 4, 50)]
    assert means[0] == pytest.approx(2 / 7) and means == sorted(means, reverse=True) and means[2] < 0.75 * means[0]
    weights = (pure**4)[:, :7]
    assert means[2] == pytest.approx(float((weights * latents[:, :7, 0]).sum() / weights.sum()), rel=1e-5)


def test_purity_is_measured_on_the_scale_of_the_maps_pixels(setting: Setting) -> None:
    labels = setting.segments[VIEW]
    expected = purity(labels, (HEIGHT * WIDTH / 16) ** 0.5)
    torch.testing.assert_close(purity_weights(labels, setting.target, 1.0), expected)
    torch.testing.assert_close(purity_weights(labels, setting.target, 3.0), expected**3)
    assert purity_weights(labels, setting.target, 0.0).eq(1).all()
    fine = FeatureTarget(setting.target.camera, torch.ones(HEIGHT, WIDTH, 1), torch.ones(HEIGHT, WIDTH))
    torch.testing.assert_close(purity_weights(labels, fine, 1.0), purity(labels, 1.0))


# --- the graph


def test_the_graphs_term_by_hand(generator: torch.Generator) -> None:
    """Two neighbours with weights 1 (own) and 3: diffusion moves each by 3/4 of their difference."""
    graph = NeighbourGraph(
        torch.tensor([[1], [0], [0]], dtype=torch.int32), torch.tensor([[3.0], [3.0], [0.0]]), torch.ones(3)
    )
    gaussians = make_gaussians(3, generator)
    gaussians.features = torch.tensor([[1.0, 0.0], [0.0, 2.0], [9.0, 9.0]])
    value, scalars = GraphTerm(graph, 0.5, 1 / 3)(gaussians, 0, 0)
    # z - G(z) = 3/4 (z_i - z_j): (9/16) (1 + 4) for two of three Gaussians; the third has no neighbour.
    assert float(value) == pytest.approx(2 * (9 / 16) * 5 / 3)
    assert scalars == {"smooth_graph": value}


def test_the_graphs_term_reaches_features_alone_and_has_the_gradient_of_its_matrix(generator: torch.Generator) -> None:
    gaussians = make_gaussians(12, generator, 4)
    graph = build_smoothing_graph(gaussians, gaussians.features, GraphConfig(neighbours=3))
    leaves = gaussians.map(lambda tensor: tensor.clone().requires_grad_())
    GraphTerm(graph, 1.0, 1 / 12)(leaves, 0, 0)[0].backward()
    assert {name for name, tensor in leaves.items() if tensor.grad is not None} == {"features"}
    mean = torch.diag(graph.self_weights.double())
    for i in range(12):
        for j, weight in zip(graph.ids[i].tolist(), graph.weights[i].tolist(), strict=True):
            mean[i, j] += weight
    residual = torch.eye(12) - mean / mean.sum(1, keepdim=True)
    z = gaussians.features.double()
    torch.testing.assert_close(leaves.features.grad.double(), 2 / 12 * residual.T @ residual @ z, rtol=0, atol=1e-6)


# --- in a step


def test_the_gradient_of_every_form_reaches_features_and_nothing_else(
    tmp_path: Path, generator: torch.Generator
) -> None:
    ready = Distillation.write(tmp_path, generator)
    ready = replace(ready, scene=random_photos(ready.scene, generator))
    smoothing = SmoothingConfig(
        sam=SegmentFilterConfig("consistency"),
        bilateral=BilateralFilterConfig("target"),
        gaussian=GaussianFilterConfig("render"),
        tv=VariationConfig(0.1, segments=True),
    )
    masks = replace(ready.config.masks, name="felzenszwalb", source="photo")
    features, (term,) = ready.prepare(smoothing=smoothing, masks=masks)
    gaussians = ready.carrying(features).map(lambda tensor: tensor.clone().requires_grad_())
    _, scalars = term(gaussians, VIEW, 100)
    assert scalars.keys() == {"feature", "smooth_sam", "smooth_bilateral", "smooth_gaussian", "smooth_tv"}
    for name, value in scalars.items():
        for _, tensor in gaussians.items():
            tensor.grad = None
        value.backward(retain_graph=True)
        reached = {field for field, tensor in gaussians.items() if tensor.grad is not None and tensor.grad.any()}
        assert reached == {"features"}, name
