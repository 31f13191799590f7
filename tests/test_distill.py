"""Stage 2's features: rendering in latents, the term's gradients, what a run starts from."""

import dataclasses
import logging
from pathlib import Path

import pytest
import torch
from tiny_field import make_camera, make_gaussians, make_scene, write_maps

from gsdff.config import FeatureConfig, Stage2Config, TeacherConfig, TrainConfig
from gsdff.distill import (
    FeatureTerm,
    check_features,
    enlarge_target,
    make_target,
    prepare_features,
    render_at,
    take_strip,
)
from gsdff.errors import UserError
from gsdff.features import decode, squared_error, text_cosine
from gsdff.gaussians import Gaussians
from gsdff.lift import lift_features
from gsdff.render import render_features
from gsdff.scene import Scene, View
from gsdff.teachers.basis import Basis


def random_basis(channels: int, dim: int, generator: torch.Generator) -> torch.Tensor:
    return torch.linalg.qr(torch.randn(channels, dim, generator=generator)).Q


def make_view(width: int, height: int) -> View:
    return View("v.png", make_camera(0.0, width, height), torch.zeros(height, width, 3, dtype=torch.uint8))


@pytest.mark.parametrize("dim", [1, 3, 8, 20])
def test_rendering_latents_and_decoding_equals_rendering_decoded_features(
    dim: int, generator: torch.Generator
) -> None:
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


def test_a_square_map_of_a_wide_photo_is_seen_by_a_camera_with_squashed_pixels() -> None:
    view = make_view(32, 16)
    target = make_target(torch.ones(8, 8, 2), view)
    assert (target.camera.width, target.camera.height) == (8, 8)
    torch.testing.assert_close(target.camera.K[0], view.camera.K[0] / 4)
    torch.testing.assert_close(target.camera.K[1], view.camera.K[1] / 2)
    assert torch.equal(target.camera.viewmat, view.camera.viewmat)


def test_a_map_finer_than_the_photo_is_averaged_down_to_it() -> None:
    latents = torch.arange(1.0, 17.0).reshape(2, 8, 1)
    target = make_target(latents, make_view(4, 6))  # columns are too fine, rows are not
    assert (target.camera.width, target.camera.height) == (4, 2)
    torch.testing.assert_close(target.latents[..., 0], torch.tensor([[1.5, 3.5, 5.5, 7.5], [9.5, 11.5, 13.5, 15.5]]))
    assert target.weights.eq(1).all()


def test_a_pixel_without_an_answer_is_left_out_of_the_mean_of_its_neighbours() -> None:
    latents = torch.arange(4.0).reshape(1, 4, 1)
    target = make_target(latents, make_view(2, 1))
    assert target.weights.tolist() == [[0.5, 1.0]]
    assert target.latents[..., 0].tolist() == [[1.0, 2.5]]


def test_pixels_without_an_answer_have_no_weight() -> None:
    latents = torch.ones(2, 3, 2)
    latents[1, 2] = 0
    assert make_target(latents, make_view(13, 9)).weights.tolist() == [[1, 1, 1], [1, 1, 0]]


def test_a_target_at_the_photos_size_takes_the_answer_under_each_pixels_centre() -> None:
    latents = torch.tensor([[[1.0], [0.0]], [[3.0], [4.0]]])
    view = make_view(4, 5)
    target = enlarge_target(make_target(latents, view), view)
    assert target.latents[..., 0].tolist() == [[1, 1, 0, 0]] * 2 + [[3, 3, 4, 4]] * 3
    assert target.weights.tolist() == [[1, 1, 0, 0]] * 2 + [[1, 1, 1, 1]] * 3
    assert (target.camera.width, target.camera.height) == (4, 5) and not target.is_coarse


def test_a_coarse_map_sees_the_mean_of_the_photos_pixels(generator: torch.Generator) -> None:
    """Small Gaussians at a twelfth of the photo's size; the blur of `classic` would make them many times as opaque."""
    gaussians = make_gaussians(300, generator, 2)
    gaussians.log_scales = gaussians.log_scales - 2
    fine = render_features(gaussians, make_camera(0.0, 96, 72)).image
    mean = fine.reshape(6, 12, 8, 12, 2).mean((1, 3))
    target = make_target(torch.ones(6, 8, 2), make_view(96, 72))
    assert target.is_coarse and not make_target(torch.ones(72, 96, 2), make_view(96, 72)).is_coarse
    coarse = render_at(gaussians, target, "classic").image
    blurred = render_features(gaussians, target.camera).image
    assert (coarse - mean).square().mean() < 0.15 * (blurred - mean).square().mean()


@dataclasses.dataclass(frozen=True)
class Fixture:
    config: TrainConfig
    scene: Scene
    gaussians: Gaussians
    run: Path


@pytest.fixture
def ready(tmp_path: Path, generator: torch.Generator) -> Fixture:
    """A scene with maps of 6 channels, distilled into 4."""
    scene = make_scene(tmp_path)
    maps = write_maps(tmp_path / "maps", scene, generator)
    config = TrainConfig(
        teacher=TeacherConfig("precomputed", maps),
        features=FeatureConfig(4),
        stage2=Stage2Config(feature_weight=0.5, parts=1),
    )
    (tmp_path / "run").mkdir()
    return Fixture(config, scene, make_gaussians(20, generator), tmp_path / "run")


def prepare(ready: Fixture, **changes) -> tuple[torch.Tensor | None, list[FeatureTerm]]:
    return prepare_features(ready.config, ready.scene, ready.gaussians, ready.run, "cpu", **changes)


def error_of(term: FeatureTerm, gaussians: Gaussians, view_id: int, step: int = 0) -> torch.Tensor:
    """The term's value, which it also reports."""
    error, scalars = term(gaussians, view_id, step)
    assert scalars == {"feature": error}
    return error


def test_a_run_starts_from_lifted_latents_and_one_weighted_term(ready: Fixture) -> None:
    features, terms = prepare(ready)
    assert features.shape == (20, 4) and features.any() and not features.requires_grad
    assert [term.weight for term in terms] == [0.5]
    assert Basis.load(ready.run / "basis.safetensors").B.shape == (6, 4)
    # Only the training views are stored: v0 and v8 are held out.
    assert sorted(path.stem for path in (ready.run / "features").glob("*.npy")) == [f"v{i}" for i in range(1, 8)]


def test_gaussians_too_small_for_the_map_are_lifted_all_the_same(ready: Fixture) -> None:
    ready.gaussians.log_scales = ready.gaussians.log_scales - 3.5
    ready.gaussians.logit_opacities = torch.full_like(ready.gaussians.logit_opacities, -3.0)
    features, (term,) = prepare(ready)
    on_the_map = lift_features(
        lambda features, target: render_at(ready.gaussians, target, "classic", features).image,
        [term.targets[i] for i in ready.scene.train_ids],
        20,
    )
    assert not on_the_map.weights.any() and features.any(-1).sum() >= 15


def test_the_term_is_the_alpha_weighted_error_against_the_stored_map(ready: Fixture) -> None:
    features, (term,) = prepare(ready)
    gaussians = dataclasses.replace(ready.gaussians, features=features)
    target = term.targets[3]
    camera = ready.scene.views[3].camera.resized(8, 8)
    rendered = render_features(gaussians, camera, rasterize_mode="antialiased")
    error = (rendered.image - target.latents).square().sum(-1)
    alpha = rendered.alpha[..., 0]
    assert float(error_of(term, gaussians, 3)) == pytest.approx(float((alpha * error).sum() / alpha.sum()), rel=1e-5)


@pytest.mark.parametrize("parts", [2, 3, 4])
def test_strips_are_the_whole_map_cut_up_and_take_turns(ready: Fixture, parts: int) -> None:
    features, (term,) = prepare(ready)
    gaussians = dataclasses.replace(ready.gaussians, features=features)
    whole = term.targets[3]
    rendered = render_at(gaussians, whole, "classic").image
    count = min(parts, len(rendered))
    strips = [take_strip(whole, part, count) for part in range(count)]
    pictures = [render_at(gaussians, strip, "classic").image for strip in strips]
    # Not to rounding: Gaussians centred far outside the field of view (1.3 times it) are drawn as if at its edge, and a
    # strip's ends sooner; this map is eight pixels high.
    assert (torch.cat(pictures) - rendered).norm() < 0.03 * rendered.norm()
    assert torch.equal(torch.cat([strip.latents for strip in strips]), whole.latents)
    # 7 training views: after as many passes as there are parts, a view has shown them all
    in_turn = dataclasses.replace(term, parts=count)
    values = {float(error_of(in_turn, gaussians, 3, step)) for step in range(0, 7 * count, 7)}
    assert len(values) == count


def test_the_term_equals_the_same_loss_in_all_channels_up_to_a_constant(ready: Fixture, generator) -> None:
    features, (term,) = prepare(ready)
    B = term.targets.store.basis.B
    teacher = torch.load(ready.config.teacher.maps / "v3_fmap_CxHxW.pt", weights_only=True).float()
    teacher = torch.nn.functional.normalize(teacher, dim=0).permute(1, 2, 0)
    alpha = render_at(ready.gaussians, term.targets[3], "classic", features).alpha[..., 0]
    constant = squared_error(decode(teacher @ B, B), teacher, alpha)
    for latents in (features, torch.randn(20, 4, generator=generator)):
        gaussians = dataclasses.replace(ready.gaussians, features=latents)
        channels = render_at(gaussians, term.targets[3], "classic", decode(latents, B)).image
        whole = squared_error(channels, teacher, alpha)
        in_latents = float(error_of(term, gaussians, 3) + constant)
        assert in_latents == pytest.approx(float(whole), abs=1e-3)  # float16 targets


def test_the_term_moves_features_and_nothing_else(ready: Fixture) -> None:
    features, (term,) = prepare(ready)
    gaussians = dataclasses.replace(ready.gaussians, features=features).map(lambda t: t.clone().requires_grad_())
    (error_of(term, gaussians, 2) + 0 * sum(tensor.sum() for _, tensor in gaussians.items())).backward()
    for name, tensor in gaussians.items():
        moved = bool(tensor.grad.any())
        assert moved == (name == "features"), name
    assert not gaussians.means.grad.any() and not gaussians.logit_opacities.grad.any()


def test_the_term_alone_reaches_no_geometry_at_all(ready: Fixture) -> None:
    features, (term,) = prepare(ready)
    gaussians = dataclasses.replace(ready.gaussians, features=features).map(lambda t: t.clone().requires_grad_())
    error_of(term, gaussians, 2).backward()
    assert {name for name, tensor in gaussians.items() if tensor.grad is not None} == {"features"}


def test_the_gradient_is_that_of_finite_differences(ready: Fixture, generator: torch.Generator) -> None:
    features, (term,) = prepare(ready)
    features = features.requires_grad_()
    (slope,) = torch.autograd.grad(error_of(term, dataclasses.replace(ready.gaussians, features=features), 4), features)
    direction = torch.randn(features.shape, generator=generator)
    ends = [
        error_of(term, dataclasses.replace(ready.gaussians, features=features.detach() + step * direction), 4)
        for step in (-0.05, 0.05)  # the loss is quadratic: central differences are exact but for rounding
    ]
    assert float((slope * direction).sum()) == pytest.approx(float(ends[1] - ends[0]) / 0.1, rel=1e-3, abs=1e-4)


def test_training_the_term_lowers_it_below_the_lift(ready: Fixture) -> None:
    features, (term,) = prepare(ready)
    features = features.clone().requires_grad_()
    gaussians = dataclasses.replace(ready.gaussians, features=features)
    optimizer = torch.optim.Adam([features], lr=0.02)

    def mean_loss() -> torch.Tensor:
        return sum(error_of(term, gaussians, i) for i in ready.scene.train_ids) / len(ready.scene.train_ids)

    before = float(mean_loss().detach())
    for _ in range(40):
        optimizer.zero_grad()
        mean_loss().backward()
        optimizer.step()
    assert float(mean_loss().detach()) < before


def test_all_channels_are_the_uncompressed_mode(ready: Fixture) -> None:
    config = dataclasses.replace(ready.config, features=FeatureConfig(6))
    features, (term,) = prepare_features(config, ready.scene, ready.gaussians, ready.run, "cpu")
    assert torch.equal(term.targets.store.basis.B, torch.eye(6)) and features.shape == (20, 6)
    # Lift and loss are those of the teacher's own maps, without any basis, but for float16 on disk.
    plain = {}
    for i in ready.scene.train_ids:
        view = ready.scene.views[i]
        raw = torch.load(config.teacher.maps / f"{view.stem}_fmap_CxHxW.pt", weights_only=True).float()
        plain[i] = make_target(torch.nn.functional.normalize(raw, dim=0).permute(1, 2, 0).contiguous(), view)
    lifted = lift_features(
        lambda features, target: render_at(ready.gaussians, target, "classic", features).image,
        [enlarge_target(plain[i], ready.scene.views[i]) for i in ready.scene.train_ids],
        20,
    )
    torch.testing.assert_close(features, lifted.features, atol=1e-3, rtol=0)
    gaussians = dataclasses.replace(ready.gaussians, features=features)
    rendered = render_at(gaussians, plain[3], "classic")
    error = squared_error(rendered.image, plain[3].latents, rendered.alpha[..., 0] * plain[3].weights)
    assert float(error_of(term, gaussians, 3)) == pytest.approx(float(error), abs=1e-3)


def test_without_a_teacher_there_is_nothing_to_do(ready: Fixture) -> None:
    config = dataclasses.replace(ready.config, teacher=TeacherConfig(name="none"))
    assert prepare_features(config, ready.scene, ready.gaussians, ready.run, "cpu") == (None, [])
    assert list(ready.run.iterdir()) == []


def test_a_resumed_run_reuses_what_is_there_and_lifts_nothing(ready: Fixture, caplog) -> None:
    prepare(ready)
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="gsdff"):
        features, terms = prepare(ready, lift=False)
    assert features is None and len(terms) == 1
    assert "reused, nothing has changed" in caplog.text and "lift" not in caplog.text


def test_a_resumed_run_refuses_other_maps(ready: Fixture, generator: torch.Generator) -> None:
    prepare(ready)
    before = Basis.load(ready.run / "basis.safetensors").fingerprint
    write_maps(ready.config.teacher.maps, ready.scene, generator)
    with pytest.raises(UserError, match=r"basis\.safetensors: belongs to other teacher maps"):
        prepare(ready, lift=False)
    assert Basis.load(ready.run / "basis.safetensors").fingerprint == before


def test_a_missing_map_is_found_before_training_even_of_a_held_out_view(ready: Fixture) -> None:
    check_features(ready.config, ready.scene)
    (ready.config.teacher.maps / "v8_fmap_CxHxW.pt").unlink()
    with pytest.raises(UserError, match=r"v8_fmap_CxHxW\.pt: missing"):
        check_features(ready.config, ready.scene)


def test_photos_that_share_a_stem_are_refused(ready: Fixture) -> None:
    views = [*ready.scene.views, dataclasses.replace(ready.scene.views[0], name="other/v0.jpg")]
    with pytest.raises(UserError, match=r"v0\.png and other/v0\.jpg share the stem v0"):
        check_features(ready.config, dataclasses.replace(ready.scene, views=views))
