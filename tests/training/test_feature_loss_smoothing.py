"""Smoothing at the start of stage 2: the lift, the weights of the teacher's map, the graph."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_field import UNSMOOTHED, Distillation, random_photos

from gsdff.config.smoothing import (
    BilateralFilterConfig,
    GaussianFilterConfig,
    GraphConfig,
    MaskConfig,
    SegmentFilterConfig,
    SmoothingConfig,
    VariationConfig,
)
from gsdff.errors import UserError
from gsdff.io.runs import RunFolder
from gsdff.masks.store import MaskStore
from gsdff.render import render_features
from gsdff.smoothing import build_graph, diffuse, gaussian_blur
from gsdff.training.feature_loss import FeatureTerm
from gsdff.training.graph_file import build_smoothing_graph
from gsdff.training.lift import FeatureTarget, lift_features
from gsdff.training.smoothing_losses import GraphTerm, filter_target, open_filters, purity_weights
from gsdff.training.teacher_targets import FilteredMaps, enlarge_target, make_target, take_strip
from gsdff.training.trainer import Trainer
from gsdff.training.view_data import ViewData

GAUSSIAN = GaussianFilterConfig("target", window=5, sigma=1.5)
BILATERAL = BilateralFilterConfig("target", window=5, sigma=1.5, sigma_range=0.3)


@pytest.fixture
def ready(tmp_path: Path, generator: torch.Generator) -> Distillation:
    """A distillation with random photos, which the masks are made from."""
    ready = Distillation.write(tmp_path, generator)
    config = replace(ready.config, masks=MaskConfig("felzenszwalb", source="photo"))
    return replace(ready, scene=random_photos(ready.scene, generator), config=config)


def plain_target(ready: Distillation, view_id: int) -> FeatureTarget:
    """Target of a view without any smoothing."""
    _, (term,) = ready.prepare(smoothing=SmoothingConfig())
    return term.targets[view_id]


def lift(ready: Distillation, targets: list[FeatureTarget]) -> torch.Tensor:
    def render(features: torch.Tensor, target: FeatureTarget) -> torch.Tensor:
        return render_features(ready.gaussians, target.camera, features=features).image

    return lift_features(render, targets, 20).features


def filtered_targets(ready: Distillation, name: str, smoothing: SmoothingConfig) -> list[FeatureTarget]:
    function = open_filters(smoothing, ready.scene.views, {})[name]
    ids = ready.scene.train_ids
    return [filter_target(function, enlarge_target(plain_target(ready, i), "bilinear"), i) for i in ids]


def test_a_filtered_target_that_counts_from_the_start_is_what_is_lifted(ready: Distillation) -> None:
    smoothing = replace(UNSMOOTHED, gaussian=GAUSSIAN)
    features, _ = ready.prepare(smoothing=smoothing)
    torch.testing.assert_close(features, lift(ready, filtered_targets(ready, "gaussian", smoothing)))
    plain = lift(ready, [enlarge_target(plain_target(ready, i)) for i in ready.scene.train_ids])
    assert (features - plain).abs().max() > 0.05


def test_of_two_filtered_targets_the_mean_by_their_weights_is_lifted(ready: Distillation) -> None:
    smoothing = replace(UNSMOOTHED, gaussian=replace(GAUSSIAN, weight=3.0), bilateral=BILATERAL)
    features, _ = ready.prepare(smoothing=smoothing)
    one, two = (filtered_targets(ready, name, smoothing) for name in ("gaussian", "bilateral"))
    means = [replace(a, latents=0.75 * a.latents + 0.25 * b.latents) for a, b in zip(one, two, strict=True)]
    torch.testing.assert_close(features, lift(ready, means))
    assert (features - lift(ready, one)).abs().max() > 0.01


@pytest.mark.parametrize("schedule", [{"start": 5}, {"weight": 0.0}])
def test_a_filtered_target_that_does_not_count_at_first_leaves_the_lift_alone(ready: Distillation, schedule) -> None:
    features, _ = ready.prepare(smoothing=replace(UNSMOOTHED, gaussian=replace(GAUSSIAN, **schedule)))
    plain = lift(ready, [enlarge_target(plain_target(ready, i)) for i in ready.scene.train_ids])
    torch.testing.assert_close(features, plain)


@pytest.mark.parametrize("form", ["render", "consistency"])
def test_other_forms_leave_the_lift_alone(ready: Distillation, form: str) -> None:
    options = {"gaussian": replace(GAUSSIAN, form=form), "sam": SegmentFilterConfig(form, purity=0.0)}
    features, _ = ready.prepare(smoothing=replace(UNSMOOTHED, **options))
    plain = lift(ready, [enlarge_target(plain_target(ready, i)) for i in ready.scene.train_ids])
    torch.testing.assert_close(features, plain)
    assert not RunFolder(ready.run).filtered.exists()


def test_the_plain_comparison_comes_back_where_the_filtered_target_starts_late(ready: Distillation) -> None:
    features, (term,) = ready.prepare(smoothing=replace(UNSMOOTHED, gaussian=replace(GAUSSIAN, start=5)))
    early, late = (term(ready.carrying(features), 3, step) for step in (104, 105))
    assert early[0] == early[1]["feature"] and early[1].keys() == {"feature"}
    assert late[0] == late[1]["smooth_gaussian"] and late[1].keys() == {"feature", "smooth_gaussian"}


def test_a_filtered_target_alone_is_all_that_the_loss_compares_with(ready: Distillation) -> None:
    features, (term,) = ready.prepare(smoothing=replace(UNSMOOTHED, gaussian=GAUSSIAN))
    gaussians = ready.carrying(features)
    rendered = render_features(gaussians, ready.scene.views[3].camera)
    target = enlarge_target(plain_target(ready, 3), "bilinear")
    wanted = gaussian_blur(target.latents, window=5, sigma=1.5)  # every pixel has a teacher feature
    error = (rendered.image - wanted).square().sum(-1)
    expected = float((rendered.alpha[..., 0] * error).sum() / rendered.alpha.sum())
    assert float(term(gaussians, 3, 100)[0]) == pytest.approx(expected, rel=1e-3)


def test_in_the_form_target_impure_pixels_count_less_in_the_mean_of_their_segment(ready: Distillation) -> None:
    smoothing = replace(UNSMOOTHED, sam=SegmentFilterConfig("target", purity=4.0))
    _, (term,) = ready.prepare(smoothing=smoothing)
    gaussians = ready.carrying(torch.zeros(20, 4))
    values = {4.0: float(term(gaussians, 3, 100)[0])}
    _, (term,) = ready.prepare(smoothing=replace(UNSMOOTHED, sam=SegmentFilterConfig("target", purity=0.0)))
    values[0.0] = float(term(gaussians, 3, 100)[0])
    labels = MaskStore(RunFolder(ready.run).masks).load(ready.scene.views[3])
    assert 1 < len(labels.unique()) < 60
    plain = plain_target(ready, 3)
    target = enlarge_target(plain, "bilinear")
    alpha = render_features(gaussians, ready.scene.views[3].camera).alpha[..., 0]
    for power, value in values.items():
        counts = purity_weights(labels, plain, power) * target.weights
        wanted = torch.zeros_like(target.latents)
        for label in labels.unique():
            inside = labels == label
            weights = counts[inside][:, None]
            wanted[inside] = (weights * target.latents[inside]).sum(0) / weights.sum()
        expected = float((alpha * wanted.square().sum(-1)).sum() / alpha.sum())
        assert value == pytest.approx(expected, rel=1e-3)
    assert values[0.0] != pytest.approx(values[4.0], rel=0.01)


def test_in_the_form_consistency_impure_pixels_count_less_in_the_plain_comparison(ready: Distillation) -> None:
    _, (term,) = ready.prepare(smoothing=replace(UNSMOOTHED, sam=SegmentFilterConfig("consistency", purity=2.0)))
    plain = plain_target(ready, 3)
    labels = MaskStore(RunFolder(ready.run).masks).load(ready.scene.views[3])
    counts = purity_weights(labels, plain, 2.0)
    shrunk = take_strip(plain, 3, 0, 1).shrink(counts[..., None])[..., 0]
    torch.testing.assert_close(term.targets[3].weights, plain.weights * shrunk)
    assert shrunk.min() < 0.8
    _, (alike,) = ready.prepare(smoothing=replace(UNSMOOTHED, sam=SegmentFilterConfig("consistency", purity=0.0)))
    assert torch.equal(alike.targets[3].weights, plain.weights)


# --- the graph


def test_the_graph_smooths_the_lift_and_fills_in_what_no_view_has_seen(ready: Distillation) -> None:
    ready.gaussians.logit_opacities[4] = -12.0  # never drawn
    plain, _ = ready.prepare()
    options = GraphConfig("lift", steps=2, neighbours=4, sigma=2.0, sigma_color=0.5, sigma_feature=3.0)
    features, terms = ready.prepare(smoothing=SmoothingConfig(graph=options))
    assert not plain[4].any() and features[4].any()
    graph = build_graph(
        ready.gaussians, features=plain, neighbours=4, sigma_space=2.0, sigma_color=0.5, sigma_feature=3.0
    )
    torch.testing.assert_close(features, diffuse(plain, graph, 2))
    assert (features - plain).abs().max() > 0.01
    assert [type(term) for term in terms] == [FeatureTerm] and not RunFolder(ready.run).graph.exists()


def test_diffusion_counts_a_gaussian_by_the_agreement_of_the_views_on_it_if_that_is_asked_for(
    ready: Distillation,
) -> None:
    lifted = ready.prepare_all()
    options = GraphConfig("lift", steps=1, neighbours=4, sigma=2.0, sigma_color=0.5, sigma_feature=3.0)
    alike, _ = ready.prepare(smoothing=SmoothingConfig(graph=options))
    found, _ = ready.prepare(smoothing=SmoothingConfig(graph=replace(options, reliability=2.0)))
    graph = build_smoothing_graph(ready.gaussians, lifted.features, options).weighed(lifted.reliability.square())
    expected = diffuse(lifted.features, graph, 1)
    torch.testing.assert_close(found, expected)
    assert (found - alike).abs().max() > 1e-4


def test_consistency_over_the_graph_is_a_term_of_its_own_that_a_resumed_run_finds_again(ready: Distillation) -> None:
    stage2 = replace(ready.config.stage2, feature_weight=0.5)
    smoothing = SmoothingConfig(graph=GraphConfig("consistency", weight=3.0, neighbours=4, sigma_feature=3.0))
    features, (_, term) = ready.prepare(smoothing=smoothing, stage2=stage2)
    assert isinstance(term, GraphTerm) and term.weight == 1.5
    plain, _ = ready.prepare()
    assert torch.equal(features, plain)  # the lift stays as it is
    gaussians = ready.carrying(features)
    graph = build_smoothing_graph(gaussians, features, smoothing.graph)
    expected = (features - diffuse(features, graph, 1)).square().sum(-1).mean()
    assert float(term(gaussians, 3, 100)[0]) == pytest.approx(float(expected), rel=1e-5) and expected > 0.001

    ready.gaussians.means = ready.gaussians.means * torch.tensor([-1.0, 0.3, 2.0])  # it has been trained meanwhile
    nothing, (_, again) = ready.prepare(lift=False, smoothing=smoothing, stage2=stage2)
    assert nothing is None and again.weight == 1.5
    for name in ("ids", "weights", "self_weights"):
        assert torch.equal(getattr(again.graph, name), getattr(term.graph, name)), name
    assert again(gaussians, 3, 100)[0] == term(gaussians, 3, 100)[0]
    anew = build_smoothing_graph(ready.gaussians, features, smoothing.graph)
    assert not torch.equal(anew.ids, term.graph.ids)


@pytest.mark.parametrize("damage", ["bit", "cut", "other", "fewer", "empty"])
def test_a_damaged_graph_is_refused_and_one_of_an_earlier_version_read(ready: Distillation, damage: str) -> None:
    smoothing = SmoothingConfig(graph=GraphConfig("consistency", weight=3.0, neighbours=4))
    _, (_, term) = ready.prepare(smoothing=smoothing)
    path = RunFolder(ready.run).graph
    whole, content = path.read_bytes(), torch.load(path, weights_only=True)
    torch.save({name: content[name] for name in ("ids", "weights", "self_weights")}, path)
    _, (_, again) = ready.prepare(lift=False, smoothing=smoothing)
    assert torch.equal(again.graph.weights, term.graph.weights)
    if damage == "bit":
        place = whole.index(content["weights"].numpy().tobytes())
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    elif damage == "fewer":
        few = {name: content[name][:-1] for name in ("ids", "weights", "self_weights")}
        torch.save(few, path)
    else:
        path.write_bytes({"cut": whole[:500], "other": b"graph", "empty": b""}[damage])
    with pytest.raises(
        UserError, match=r"graph\.pt: (cannot be read as the graph|is no graph of 20 neighbouring Gaussians)"
    ):
        ready.prepare(lift=False, smoothing=smoothing)


def test_a_damaged_filtered_map_is_refused(ready: Distillation) -> None:
    view = ready.scene.views[3]
    maps = FilteredMaps(ready.run / "filtered", ViewData([], "cpu"))
    maps.save(view, make_target(torch.ones(9, 13, 2), view))
    path = ready.run / "filtered" / "v3.npy"
    np.save(path, np.ones((9, 12, 3), np.float16))
    with pytest.raises(UserError, match=r"v3\.npy: cannot be read as a filtered teacher map"):
        maps.load(view, slice(0, 4))


def test_smoothing_changes_features_and_not_a_bit_of_the_radiance(ready: Distillation) -> None:
    strong = replace(
        UNSMOOTHED,
        sam=SegmentFilterConfig("target"),
        gaussian=replace(GAUSSIAN, form="consistency", weight=100.0),
        tv=VariationConfig(weight=10.0),
        graph=GraphConfig("consistency", weight=10.0, neighbours=4),
    )
    trained = []
    for smoothing in (UNSMOOTHED, strong):
        config = replace(
            ready.config,
            stage1=replace(ready.config.stage1, steps=0),
            masks=replace(ready.config.masks, name="felzenszwalb"),
            smoothing=smoothing,
        )
        trainer = Trainer(config, ready.scene, torch.device("cpu"), ready.gaussians.map(torch.clone))
        trainer.start_stage2(RunFolder(ready.run))
        for _step in range(6):
            trainer.advance()
        trained.append(dict(trainer.gaussians.items()))
    for name, tensor in trained[0].items():
        assert torch.equal(tensor, trained[1][name]) == (name != "features"), name
    assert not torch.equal(trained[0]["means"], ready.gaussians.means)
