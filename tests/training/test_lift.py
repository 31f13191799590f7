"""Lifting: means of the teacher weighted by blending weights, in one backward pass per view."""

import pytest
import torch
from tiny_field import make_camera, make_gaussians

from gsdff.gaussians import Gaussians
from gsdff.render import render_features
from gsdff.training.lift import FeatureTarget, Lifted, lift_features


def lift(gaussians: Gaussians, targets: list[FeatureTarget]) -> Lifted:
    def render(features, target):
        return render_features(gaussians, target.camera, features=features).image

    return lift_features(render, targets, len(gaussians))


def make_targets(generator: torch.Generator, dim: int = 3) -> list[FeatureTarget]:
    return [
        FeatureTarget(
            make_camera(angle), torch.randn(9, 13, dim, generator=generator), torch.rand(9, 13, generator=generator)
        )
        for angle in (0.0, 0.7, -0.5)
    ]


def test_lifting_equals_the_weighted_mean_by_brute_force(generator: torch.Generator) -> None:
    gaussians, targets = make_gaussians(12, generator), make_targets(generator)
    sums, totals = torch.zeros(12, 3), torch.zeros(12)
    for target in targets:
        # Rendered one-hot features are the blending weights of every Gaussian in every pixel.
        shares = render_features(gaussians, target.camera, features=torch.eye(12)).image * target.weights[..., None]
        sums += torch.einsum("hwn,hwk->nk", shares, target.latents)
        totals += shares.sum((0, 1))
    lifted = lift(gaussians, targets)
    assert (totals > 0.01).sum() >= 8  # most Gaussians are visible
    torch.testing.assert_close(lifted.weights, totals, atol=1e-5, rtol=1e-4)
    clear = totals > 1e-3
    torch.testing.assert_close(lifted.features[clear], (sums / totals[:, None])[clear], atol=1e-4, rtol=1e-4)


def test_lifting_a_constant_gives_the_constant(generator: torch.Generator) -> None:
    gaussians, constant = make_gaussians(10, generator), torch.tensor([0.6, -0.8])
    targets = [FeatureTarget(make_camera(a), constant.expand(9, 13, 2), torch.ones(9, 13)) for a in (0.0, 0.4)]
    lifted = lift(gaussians, targets)
    seen = lifted.weights > 0
    assert seen.sum() >= 8
    torch.testing.assert_close(lifted.features[seen], constant.expand(int(seen.sum()), 2), atol=1e-4, rtol=0)


def test_the_reliability_is_the_mean_cosine_of_two_looks_into_different_views(generator: torch.Generator) -> None:
    gaussians, cameras = make_gaussians(12, generator), [make_camera(angle) for angle in (0.0, 0.7, -0.5)]
    # one feature per view, so that a view agrees with itself
    shown = torch.nn.functional.normalize(torch.rand(3, 4, generator=generator), dim=1)
    targets = [FeatureTarget(c, f.expand(9, 13, 4), torch.ones(9, 13)) for c, f in zip(cameras, shown, strict=True)]
    seen = torch.stack([render_features(gaussians, c, features=torch.eye(12)).image.sum((0, 1)) for c in cameras])
    shares = seen / seen.sum(0).clamp_min(1e-6)
    cosines = shown @ shown.T
    cosines.fill_diagonal_(0)
    expected = torch.einsum("vn,vw,wn->n", shares, cosines, shares)
    lifted, clear = lift(gaussians, targets), seen.sum(0) > 0.01
    assert clear.sum() >= 8 and expected[clear].max() > 0.3
    torch.testing.assert_close(lifted.reliability[clear], expected[clear], atol=1e-3, rtol=0)
    torch.testing.assert_close(lifted.views[clear], (1 / shares.square().sum(0))[clear], atol=1e-3, rtol=1e-3)
    mean = (shares[..., None] * shown[:, None]).sum(0).norm(dim=1)
    torch.testing.assert_close(lifted.agreement[clear], mean[clear], atol=1e-3, rtol=0)


@pytest.mark.parametrize(("views", "expected"), [(0, 0.0), (1, 0.0), (2, 0.5), (4, 0.75)])
def test_what_few_views_show_is_not_reliable_however_sure_they_are(views: int, expected: float) -> None:
    shown = [torch.tensor([[[2.0, 1.0]]])] * views + [torch.zeros(1, 1, 2)]
    weights = [torch.ones(1, 1)] * views + [torch.zeros(1, 1)]
    targets = [FeatureTarget(make_camera(0.0, 1, 1), f, w) for f, w in zip(shown, weights, strict=True)]
    lifted = lift_features(lambda features, _: 0.5 * features[None], targets, 1)
    assert float(lifted.reliability) == pytest.approx(expected, abs=1e-5) and float(lifted.views) == views


def test_views_that_contradict_one_another_make_a_gaussian_unreliable() -> None:
    shown = [torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.0, 1.0]]])] * 3
    targets = [FeatureTarget(make_camera(0.0, 1, 1), f, torch.ones(1, 1)) for f in shown]
    lifted = lift_features(lambda features, _: features[None], targets, 1)
    assert float(lifted.agreement) == pytest.approx(0.5**0.5) and float(lifted.views) == pytest.approx(6)
    assert float(lifted.reliability) == pytest.approx(1 / 2 - 1 / 6)


def test_a_gaussian_no_view_sees_gets_zero_and_no_weight(generator: torch.Generator) -> None:
    gaussians, targets = make_gaussians(6, generator), make_targets(generator)
    gaussians.means[2] = torch.tensor([0.0, 500.0, 0.0])
    lifted = lift(gaussians, targets)
    assert lifted.weights[2] == 0 and not lifted.features[2].any()
    assert lifted.reliability[2] == 0 and lifted.views[2] == 0
    assert lifted.features.isfinite().all()


def test_pixels_of_weight_zero_have_no_say(generator: torch.Generator) -> None:
    gaussians, targets = make_gaussians(8, generator), make_targets(generator)
    hidden = [FeatureTarget(t.camera, t.latents, (t.weights > 0.5).float()) for t in targets]
    garbage = [
        FeatureTarget(t.camera, torch.where(t.weights[..., None] > 0, t.latents, 1e4), t.weights) for t in hidden
    ]
    assert torch.equal(lift(gaussians, hidden).features, lift(gaussians, garbage).features)


def test_two_shares_of_one_pixel_by_hand() -> None:
    # Gaussian 0 has weights .5 and .25 in two pixels, Gaussian 1 has .25 in the second.
    shares = torch.tensor([[[0.5, 0.0], [0.25, 0.25]]])
    target = FeatureTarget(make_camera(0.0, 2, 1), torch.tensor([[[1.0], [4.0]]]), torch.ones(1, 2))
    lifted = lift_features(lambda features, target: shares @ features, [target], 2)
    torch.testing.assert_close(lifted.features, torch.tensor([[2.0], [4.0]]))
    torch.testing.assert_close(lifted.weights, torch.tensor([0.75, 0.25]))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA card")
def test_a_lift_on_the_card_is_the_one_on_the_cpu(generator: torch.Generator) -> None:
    gaussians, targets = make_gaussians(12, generator), make_targets(generator)
    here = lift(gaussians, targets)
    there = lift(
        gaussians.to("cuda"),
        [FeatureTarget(t.camera.to("cuda"), t.latents.cuda(), t.weights.cuda()) for t in targets],
    )
    torch.testing.assert_close(there.weights.cpu(), here.weights, atol=1e-3, rtol=1e-3)
    clear = here.weights > 0.1
    torch.testing.assert_close(there.features.cpu()[clear], here.features[clear], atol=1e-3, rtol=1e-3)
