"""Features in stage 2: rendering in latents, gradients of the term, lifted features at the start."""

import dataclasses
import logging
from pathlib import Path

import pytest
import torch
from tiny_field import Distillation, make_camera, make_gaussians, write_maps

from gsdff.config.options import FeatureConfig, TeacherConfig
from gsdff.config.smoothing import FilterConfig
from gsdff.errors import UserError
from gsdff.gaussians import Gaussians
from gsdff.latents import Basis, area_shares, decode, feature_error, text_cosine
from gsdff.render import Rendered, render_features
from gsdff.training.feature_loss import FeatureTerm, check_features, prepare_features
from gsdff.training.lift import lift_features
from gsdff.training.smoothing_losses import RenderedStrip, SmoothingLoss, strip_error
from gsdff.training.teacher_targets import enlarge_target, make_target, take_strip
from gsdff.training.view_data import ViewData


def random_basis(channels: int, dim: int, generator: torch.Generator) -> torch.Tensor:
    return torch.linalg.qr(torch.randn(channels, dim, generator=generator)).Q


@pytest.mark.parametrize("dim", [1, 3, 8, 20])
def test_rendering_latents_and_decoding_equals_rendering_decoded_features(dim: int, generator: torch.Generator) -> None:
    gaussians, B = make_gaussians(15, generator, dim), random_basis(20, dim, generator)
    in_latents = decode(render_features(gaussians, make_camera()).image, B)
    in_channels = render_features(gaussians, make_camera(), features=decode(gaussians.features, B)).image
    assert in_channels.abs().max() > 0.1
    torch.testing.assert_close(in_latents, in_channels, atol=1e-5, rtol=0)


def test_text_asked_of_rendered_latents_equals_text_asked_of_rendered_channels(generator: torch.Generator) -> None:
    gaussians, B = make_gaussians(15, generator, 4), random_basis(20, 4, generator)
    text = torch.randn(3, 20, generator=generator)
    latents = render_features(gaussians, make_camera()).image
    channels = render_features(gaussians, make_camera(), features=decode(gaussians.features, B)).image
    clear = channels.norm(dim=-1) > 1e-3
    assert clear.sum() > 20
    expected = torch.cosine_similarity(channels[..., None, :], text, dim=-1)
    torch.testing.assert_close(text_cosine(latents, text, B)[clear], expected[clear], atol=1e-4, rtol=0)


@pytest.fixture
def ready(tmp_path: Path, generator: torch.Generator) -> Distillation:
    return Distillation.write(tmp_path, generator)


def error_of(term: FeatureTerm, gaussians: Gaussians, view_id: int, step: int = 0) -> torch.Tensor:
    """Value of the term, which is also one of its scalars."""
    error, scalars = term(gaussians, view_id, step)
    assert scalars == {"feature": error}
    return error


def test_a_run_starts_from_lifted_latents_and_one_weighted_term(ready: Distillation) -> None:
    features, terms = ready.prepare()
    assert features.shape == (20, 4) and features.any() and not features.requires_grad
    assert [term.weight for term in terms] == [0.5]
    assert Basis.load(ready.run / "basis.safetensors").B.shape == (6, 4)
    # Only the training views are stored: v0 and v8 are held out.
    assert sorted(path.stem for path in (ready.run / "features").rglob("*.npy")) == [f"v{i}" for i in range(1, 8)]


def render(gaussians: Gaussians, view_id: int, ready: Distillation, **options) -> Rendered:
    """Renders a view at the size of the photo."""
    return render_features(gaussians, ready.scene.views[view_id].camera, **options)


def shrink(picture: torch.Tensor, size: int = 8) -> torch.Tensor:
    """Averages a picture down to the size of the teacher's map, in float64."""
    down, across = (area_shares(side, size).double() for side in picture.shape[:2])
    return torch.einsum("ih,jw,hwd->ijd", down, across, picture.double())


def test_gaussians_too_small_for_the_map_are_lifted_all_the_same(ready: Distillation) -> None:
    ready.gaussians.log_scales = ready.gaussians.log_scales - 3.5
    ready.gaussians.logit_opacities = torch.full_like(ready.gaussians.logit_opacities, -3.0)
    features, (term,) = ready.prepare()
    cameras = [term.targets[i].camera.resized(8, 8) for i in ready.scene.train_ids]
    on_the_map = [render_features(ready.carrying(features, "antialiased"), camera) for camera in cameras]
    assert not any(rendered.alpha.any() for rendered in on_the_map) and features.any(-1).sum() >= 15


@pytest.mark.parametrize("mode", ["classic", "antialiased"])
@pytest.mark.parametrize("huber", [0.0, 0.4])
def test_the_term_is_the_error_of_the_photos_pixels_averaged_down_to_the_map(
    ready: Distillation, mode: str, huber: float
) -> None:
    ready.gaussians.rasterize_mode = mode
    features, (term,) = ready.prepare(stage2=dataclasses.replace(ready.config.stage2, huber=huber))
    rendered = render(ready.carrying(features), 3, ready)
    assert rendered.image.shape == (9, 13, 4)
    error = (shrink(rendered.image) - term.targets[3].latents).square().sum(-1)
    if huber:
        error = 2 * huber**2 * ((1 + error / huber**2).sqrt() - 1)
    alpha = shrink(rendered.alpha)[..., 0]
    expected = float((alpha * error).sum() / alpha.sum())
    assert float(error_of(term, ready.carrying(features), 3)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("parts", [2, 3, 4])
def test_strips_take_turns(ready: Distillation, parts: int) -> None:
    features, (term,) = ready.prepare()
    gaussians, whole = ready.carrying(features), term.targets[3]
    strips = [take_strip(whole, 3, part, parts) for part in range(parts)]
    values = []
    for strip in strips:
        rendered = render_features(gaussians, strip.camera, rows=strip.rows)
        values.append(float(strip_error(rendered.image, rendered.alpha[..., 0], strip, 0.0)))
    # 7 training views: after `parts` passes a view has used all its strips, in order
    in_turn = dataclasses.replace(term, parts=parts)
    shown = [float(error_of(in_turn, gaussians, 3, step)) for step in range(0, 7 * parts, 7)]
    first = 3 % parts
    assert shown == pytest.approx(values[first:] + values[:first]) and len(set(values)) == parts
    # and a neighbouring view starts with another
    strip = take_strip(term.targets[4], 4, 4 % parts, parts)
    other = render_features(gaussians, strip.camera, rows=strip.rows)
    expected = strip_error(other.image, other.alpha[..., 0], strip, 0.0)
    assert float(error_of(in_turn, gaussians, 4)) == pytest.approx(float(expected))


def test_the_term_equals_the_same_loss_in_all_channels_up_to_a_constant(
    ready: Distillation, generator: torch.Generator
) -> None:
    features, (term,) = ready.prepare()
    B = Basis.load(ready.run / "basis.safetensors").B
    teacher = torch.load(ready.config.teacher.maps / "v3_fmap_CxHxW.pt", weights_only=True).float()
    teacher = torch.nn.functional.normalize(teacher, dim=0).permute(1, 2, 0)
    alpha = shrink(render(ready.carrying(features), 3, ready).alpha)[..., 0]
    constant = feature_error(decode(teacher @ B, B), teacher, alpha)
    for latents in (features, torch.randn(20, 4, generator=generator)):
        channels = shrink(render(ready.gaussians, 3, ready, features=decode(latents, B)).image)
        whole = feature_error(channels, teacher, alpha)
        in_latents = float(error_of(term, ready.carrying(latents), 3) + constant)
        assert in_latents == pytest.approx(float(whole), abs=1e-3)  # float16 targets


def test_the_term_moves_features_and_nothing_else(ready: Distillation) -> None:
    features, (term,) = ready.prepare()
    gaussians = ready.carrying(features).map(lambda t: t.clone().requires_grad_())
    (error_of(term, gaussians, 2) + 0 * sum(tensor.sum() for _, tensor in gaussians.items())).backward()
    for name, tensor in gaussians.items():
        moved = bool(tensor.grad.any())
        assert moved == (name == "features"), name
    assert not gaussians.means.grad.any() and not gaussians.logit_opacities.grad.any()


def test_the_term_alone_reaches_no_geometry_at_all(ready: Distillation) -> None:
    features, (term,) = ready.prepare()
    gaussians = ready.carrying(features).map(lambda t: t.clone().requires_grad_())
    error_of(term, gaussians, 2).backward()
    assert {name for name, tensor in gaussians.items() if tensor.grad is not None} == {"features"}


def test_the_gradient_is_that_of_finite_differences(ready: Distillation, generator: torch.Generator) -> None:
    features, (term,) = ready.prepare()
    features = features.requires_grad_()
    (slope,) = torch.autograd.grad(error_of(term, ready.carrying(features), 4), features)
    direction = torch.randn(features.shape, generator=generator)
    ends = [
        error_of(term, dataclasses.replace(ready.gaussians, features=features.detach() + step * direction), 4)
        for step in (-0.05, 0.05)  # the loss is quadratic: central differences are exact but for rounding
    ]
    assert float((slope * direction).sum()) == pytest.approx(float(ends[1] - ends[0]) / 0.1, rel=1e-3, abs=1e-4)


def test_training_the_term_lowers_it_below_the_lift(ready: Distillation) -> None:
    features, (term,) = ready.prepare()
    features = features.clone().requires_grad_()
    gaussians = ready.carrying(features)
    optimizer = torch.optim.Adam([features], lr=0.02)

    def mean_loss() -> torch.Tensor:
        return sum(error_of(term, gaussians, i) for i in ready.scene.train_ids) / len(ready.scene.train_ids)

    before = float(mean_loss().detach())
    for _ in range(40):
        optimizer.zero_grad()
        mean_loss().backward()
        optimizer.step()
    assert float(mean_loss().detach()) < before


def fixed(name: str, value: float, *, replaces: bool = False, **schedule: float) -> SmoothingLoss:
    """A smoothing loss of constant value."""
    return SmoothingLoss(name, FilterConfig(**schedule), lambda rendered: torch.tensor(value), replaces)


def test_a_smoothing_loss_is_added_times_its_weight_and_logged_unweighted(ready: Distillation) -> None:
    features, (term,) = ready.prepare()
    gaussians = ready.carrying(features)
    plain = float(error_of(term, gaussians, 3))
    losses = [fixed("smooth_a", 2.0, weight=3.0), fixed("smooth_b", 5.0, weight=0.5)]
    loss, scalars = dataclasses.replace(term, smoothing_losses=losses)(gaussians, 3, 100)
    assert float(loss) == pytest.approx(plain + 6 + 2.5)
    assert {name: float(value) for name, value in scalars.items()} == {
        "feature": pytest.approx(plain), "smooth_a": 2, "smooth_b": 5,
    }  # fmt: skip


def test_the_plain_comparison_fades_while_what_replaces_it_comes(ready: Distillation) -> None:
    features, (term,) = ready.prepare()
    gaussians = ready.carrying(features)
    assert term.first_step == 100
    late = fixed("late", 7.0, replaces=True, weight=2.0, start=3, ramp=4)
    beside = fixed("beside", 1.0, weight=0.5, ramp=2)
    fading = dataclasses.replace(term, smoothing_losses=[late, beside])
    for step, share, added in [(0, 0, 0.5), (2, 0, 1), (3, 0.25, 1), (5, 0.75, 1), (6, 1, 1), (99, 1, 1)]:
        plain = float(error_of(term, gaussians, 3, 100 + step))
        loss, scalars = fading(gaussians, 3, 100 + step)
        expected = (1 - share) * plain + share * 2 * 7 + added * 0.5
        assert float(loss) == pytest.approx(expected), step
        assert float(scalars["feature"]) == pytest.approx(plain)  # logged all the same
        assert ("late" in scalars) == (share > 0)


def test_of_several_that_replace_it_the_furthest_decides_how_much_of_the_plain_comparison_is_left(
    ready: Distillation,
) -> None:
    features, (term,) = ready.prepare()
    gaussians = ready.carrying(features)
    plain = float(error_of(term, gaussians, 3, 100))
    both = [fixed("a", 1.0, replaces=True, ramp=4), fixed("b", 1.0, replaces=True, ramp=2)]
    loss, _ = dataclasses.replace(term, smoothing_losses=both)(gaussians, 3, 100)
    assert float(loss) == pytest.approx(0.5 * plain + 0.25 + 0.5)


def test_smoothing_losses_get_the_strip_at_the_photos_size_with_alpha_detached(ready: Distillation) -> None:
    features, (term,) = ready.prepare()
    gaussians, measured = ready.carrying(features.requires_grad_()), []

    def measure(rendered: RenderedStrip) -> torch.Tensor:
        measured.append(rendered)
        return rendered.latents.sum()

    term = dataclasses.replace(term, parts=2, smoothing_losses=[SmoothingLoss("x", FilterConfig(), measure)])
    term(gaussians, 3, 100)[0].backward()
    (rendered,) = measured
    whole = render(gaussians, 3, ready)
    assert rendered.strip.rows in (slice(0, 5), slice(4, 9)) and rendered.strip.view_id == 3
    assert rendered.latents.shape == (5, 13, 4)
    assert rendered.latents.requires_grad and not rendered.alpha.requires_grad
    expected = whole.image[rendered.strip.rows]
    assert (rendered.latents - expected).norm() < 0.03 * expected.norm()
    assert (rendered.alpha - whole.alpha[rendered.strip.rows][..., 0]).abs().max() < 0.05


def test_every_step_asks_for_a_refresh_with_its_number_in_stage_2(ready: Distillation) -> None:
    features, (term,) = ready.prepare()
    asked = []
    term = dataclasses.replace(term, refresh=lambda gaussians, step: asked.append(step))
    for step in (100, 101, 150):
        term(ready.carrying(features), 3, step)
    assert asked == [0, 1, 50]


def test_all_channels_are_the_uncompressed_mode(ready: Distillation) -> None:
    features, (term,) = ready.prepare(features=FeatureConfig(6))
    B = Basis.load(ready.run / "basis.safetensors").B
    assert torch.equal(B, torch.eye(6)) and features.shape == (20, 6)
    # Lift and loss are those of the teacher's own maps, without any basis, but for float16 on disk.
    plain = {}
    for i in ready.scene.train_ids:
        view = ready.scene.views[i]
        raw = torch.load(ready.config.teacher.maps / f"{view.stem}_fmap_CxHxW.pt", weights_only=True).float()
        plain[i] = make_target(torch.nn.functional.normalize(raw, dim=0).permute(1, 2, 0).contiguous(), view)
    lifted = lift_features(
        lambda features, target: render_features(ready.gaussians, target.camera, features=features).image,
        [enlarge_target(target) for target in plain.values()],
        20,
    )
    torch.testing.assert_close(features, lifted.features, atol=1e-3, rtol=0)
    rendered = render(ready.carrying(features), 3, ready)
    error = feature_error(shrink(rendered.image), plain[3].latents, shrink(rendered.alpha)[..., 0] * plain[3].weights)
    assert float(error_of(term, ready.carrying(features), 3)) == pytest.approx(float(error), abs=1e-3)


def test_without_a_teacher_there_is_nothing_to_do(ready: Distillation) -> None:
    config = dataclasses.replace(ready.config, teacher=TeacherConfig(name="none"))
    data = ViewData(ready.scene.views, "cpu")
    prepared = prepare_features(config, ready.scene, ready.gaussians, ready.run, data)
    assert (prepared.features, prepared.reliability, prepared.terms) == (None, None, [])
    assert list(ready.run.iterdir()) == []


def test_a_resumed_run_reuses_what_is_there_and_lifts_nothing(ready: Distillation, caplog) -> None:
    ready.prepare()
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="gsdff"):
        features, terms = ready.prepare(lift=False)
    assert features is None and len(terms) == 1
    assert "reused, nothing has changed" in caplog.text and "lift" not in caplog.text


def test_a_resumed_run_refuses_other_maps(ready: Distillation, generator: torch.Generator) -> None:
    ready.prepare()
    before = Basis.load(ready.run / "basis.safetensors").fingerprint
    write_maps(ready.config.teacher.maps, ready.scene, generator)
    with pytest.raises(UserError, match=r"basis\.safetensors: belongs to other teacher maps"):
        ready.prepare(lift=False)
    assert Basis.load(ready.run / "basis.safetensors").fingerprint == before


def test_a_missing_map_is_found_before_training_even_of_a_held_out_view(ready: Distillation) -> None:
    check_features(ready.config, ready.scene)
    (ready.config.teacher.maps / "v8_fmap_CxHxW.pt").unlink()
    with pytest.raises(UserError, match=r"v8_fmap_CxHxW\.pt: missing"):
        check_features(ready.config, ready.scene)


def test_photos_that_share_a_stem_are_distilled_each_from_its_own_map(
    ready: Distillation, generator: torch.Generator
) -> None:
    maps = ready.config.teacher.maps
    views = [dataclasses.replace(view, name=f"cam{i % 2}/000{i // 2}.png") for i, view in enumerate(ready.scene.views)]
    scene = dataclasses.replace(ready.scene, views=views)
    with pytest.raises(UserError, match=r"cam0/0000_fmap_CxHxW\.pt: missing; .*other photos are named 0000 too"):
        check_features(ready.config, scene)
    for view, old in zip(scene.views, ready.scene.views, strict=True):
        (maps / view.name).parent.mkdir(exist_ok=True)
        (maps / f"{old.stem}_fmap_CxHxW.pt").rename(maps / f"{view.names[0]}_fmap_CxHxW.pt")
    _, (term,) = dataclasses.replace(ready, scene=scene).prepare()
    basis = Basis.load(ready.run / "basis.safetensors")
    for view_id in scene.train_ids:
        features = torch.load(maps / f"{views[view_id].names[0]}_fmap_CxHxW.pt", weights_only=True).float()
        expected = torch.nn.functional.normalize(features, dim=0).permute(1, 2, 0) @ basis.B
        torch.testing.assert_close(term.targets[view_id].latents, expected, atol=2e-3, rtol=0)
