"""Latent features: K dimensions must give the results of T dimensions."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gsdff.latents import area_shares, decode, encode, feature_error, teacher_cosine, text_cosine


def random_basis(channels: int, dim: int, generator: torch.Generator) -> torch.Tensor:
    return torch.linalg.qr(torch.randn(channels, dim, generator=generator, dtype=torch.float64)).Q


def test_decode_and_encode_by_hand() -> None:
    B = torch.tensor([[1.0, 0.0], [0.0, 0.6], [0.0, 0.8]])
    torch.testing.assert_close(decode(torch.tensor([2.0, 5.0]), B), torch.tensor([2.0, 3.0, 4.0]))
    torch.testing.assert_close(encode(torch.tensor([2.0, 3.0, 4.0]), B), torch.tensor([2.0, 5.0]))


def test_cosine_by_hand() -> None:
    B = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    text = torch.tensor([[3.0, 0.0, 4.0], [0.0, 0.0, 1.0], [0.0, 7.0, 0.0]])
    got = text_cosine(torch.tensor([[2.0, 0.0], [0.0, 0.0]]), text, B)
    torch.testing.assert_close(got, torch.tensor([[0.6, 0.0, 0.0], [0.0, 0.0, 0.0]]))


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 12), st.integers(1, 12), st.integers(0, 1000))
def test_text_cosine_in_latents_equals_text_cosine_of_decoded_features(channels: int, dim: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    B = random_basis(channels, min(dim, channels), generator)
    latents = torch.randn(4, 3, B.shape[1], generator=generator, dtype=torch.float64)
    text = torch.randn(5, channels, generator=generator, dtype=torch.float64)
    expected = torch.cosine_similarity(decode(latents, B)[..., None, :], text, dim=-1)
    torch.testing.assert_close(text_cosine(latents, text, B), expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 12), st.integers(1, 12), st.integers(0, 1000))
def test_teacher_cosine_equals_the_cosine_of_decoded_features_and_the_teacher(
    channels: int, dim: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    B = random_basis(channels, min(dim, channels), generator)
    latents = torch.randn(6, B.shape[1], generator=generator, dtype=torch.float64)
    teacher = torch.nn.functional.normalize(torch.randn(6, channels, generator=generator, dtype=torch.float64), dim=-1)
    expected = torch.cosine_similarity(decode(latents, B), teacher, dim=-1)
    torch.testing.assert_close(teacher_cosine(latents, encode(teacher, B)), expected)


def test_a_zero_latent_answers_nothing() -> None:
    zero = torch.zeros(3, 2)
    assert not text_cosine(zero, torch.ones(1, 2), torch.eye(2)).any()
    assert not teacher_cosine(zero, torch.ones(3, 2)).any()


def test_the_error_by_hand() -> None:
    rendered = torch.tensor([[[1.0, 2.0], [0.0, 0.0]]])
    target = torch.tensor([[[0.0, 0.0], [3.0, 0.0]]])
    assert feature_error(rendered, target, torch.ones(1, 2)) == pytest.approx((5 + 9) / 2)
    assert feature_error(rendered, target, torch.tensor([[1.0, 0.25]])) == pytest.approx((5 + 9 / 4) / 1.25)
    assert feature_error(rendered, target, torch.zeros(1, 2)) == 0


def test_the_pseudo_huber_error_by_hand() -> None:
    """Distances 3 and 4 at δ = 4 and 3: 2δ² (√(1 + e/δ²) - 1) is 8 and 12."""
    rendered, target = torch.tensor([[[3.0, 0.0]]]), torch.zeros(1, 1, 2)
    assert float(feature_error(rendered, target, torch.ones(1, 1), 4.0)) == pytest.approx(2 * 16 * (1.25 - 1))
    rendered = torch.tensor([[[3.0, 0.0], [0.0, 4.0]]])
    error = feature_error(rendered, torch.zeros(1, 2, 2), torch.tensor([[0.0, 0.5]]), 3.0)  # a weighted mean again
    assert float(error) == pytest.approx(2 * 9 * (5 / 3 - 1))


def test_pseudo_huber_squares_what_is_close_and_grows_with_the_distance_beyond() -> None:
    def error(distance: float) -> float:
        rendered = torch.tensor([[[distance]]], dtype=torch.float64)
        return float(feature_error(rendered, torch.zeros_like(rendered), torch.ones(1, 1).double(), 0.3))

    assert error(0.003) == pytest.approx(0.003**2, rel=1e-4)
    assert error(2000.0) - error(1000.0) == pytest.approx(2 * 0.3 * 1000, rel=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 9), st.integers(1, 9), st.integers(0, 1000))
def test_loss_in_latents_equals_the_loss_in_teacher_channels_up_to_a_constant(
    channels: int, dim: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    B = random_basis(channels, min(dim, channels), generator)
    teacher = torch.randn(4, 5, channels, generator=generator, dtype=torch.float64)
    weights = torch.rand(4, 5, generator=generator, dtype=torch.float64)
    constant = feature_error(decode(encode(teacher, B), B), teacher, weights)
    for _ in range(2):
        latents = torch.randn(4, 5, B.shape[1], generator=generator, dtype=torch.float64).requires_grad_()
        in_latents = feature_error(latents, encode(teacher, B), weights)
        in_channels = feature_error(decode(latents, B), teacher, weights)
        torch.testing.assert_close(in_channels, in_latents + constant)
        slopes = [torch.autograd.grad(loss, latents)[0] for loss in (in_latents, in_channels)]
        torch.testing.assert_close(*slopes)


@pytest.mark.parametrize("huber", [0.0, 0.5])
def test_the_error_has_the_gradient_of_finite_differences(generator: torch.Generator, huber: float) -> None:
    rendered = torch.randn(2, 3, 4, generator=generator, dtype=torch.float64)
    target = torch.randn(2, 3, 4, generator=generator, dtype=torch.float64)
    rendered[0, 0] = target[0, 0]  # where a length would have a kink
    weights = torch.rand(2, 3, generator=generator, dtype=torch.float64)
    measured = rendered.requires_grad_()
    assert torch.autograd.gradcheck(lambda image: feature_error(image, target, weights, huber), measured)


@settings(max_examples=50, deadline=None)
@given(length=st.integers(1, 60), parts=st.integers(1, 60))
def test_equal_parts_share_every_pixel_out_completely(length: int, parts: int) -> None:
    shares = area_shares(length, parts)
    torch.testing.assert_close(shares.sum(1), torch.ones(parts))
    torch.testing.assert_close(shares.sum(0), torch.full((length,), parts / length))


def test_shares_of_three_pixels_in_two_parts_by_hand() -> None:
    torch.testing.assert_close(area_shares(3, 2), torch.tensor([[2, 1, 0], [0, 1, 2]]) / 3)
