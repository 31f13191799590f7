"""The feature algebra: K dimensions must say what T dimensions would."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gsdff.features import decode, encode, squared_error, teacher_cosine, text_cosine


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


def test_squared_error_by_hand() -> None:
    rendered = torch.tensor([[[1.0, 2.0], [0.0, 0.0]]])
    target = torch.tensor([[[0.0, 0.0], [3.0, 0.0]]])
    assert squared_error(rendered, target, torch.ones(1, 2)) == pytest.approx((5 + 9) / 2)
    assert squared_error(rendered, target, torch.tensor([[1.0, 0.25]])) == pytest.approx((5 + 9 / 4) / 1.25)
    assert squared_error(rendered, target, torch.zeros(1, 2)) == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 9), st.integers(1, 9), st.integers(0, 1000))
def test_loss_in_latents_equals_the_loss_in_teacher_channels_up_to_a_constant(
    channels: int, dim: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    B = random_basis(channels, min(dim, channels), generator)
    teacher = torch.randn(4, 5, channels, generator=generator, dtype=torch.float64)
    weights = torch.rand(4, 5, generator=generator, dtype=torch.float64)
    constant = squared_error(decode(encode(teacher, B), B), teacher, weights)
    for _ in range(2):
        latents = torch.randn(4, 5, B.shape[1], generator=generator, dtype=torch.float64).requires_grad_()
        in_latents = squared_error(latents, encode(teacher, B), weights)
        in_channels = squared_error(decode(latents, B), teacher, weights)
        torch.testing.assert_close(in_channels, in_latents + constant)
        slopes = [torch.autograd.grad(loss, latents)[0] for loss in (in_latents, in_channels)]
        torch.testing.assert_close(*slopes)


def test_the_error_has_the_gradient_of_finite_differences(generator: torch.Generator) -> None:
    rendered = torch.randn(2, 3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    target = torch.randn(2, 3, 4, generator=generator, dtype=torch.float64)
    weights = torch.rand(2, 3, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda image: squared_error(image, target, weights), rendered)
