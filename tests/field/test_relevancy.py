"""Scores of latents: by hand, against their definitions in T dimensions, and what they do at the edges."""

from math import exp

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gsdff.field import relevancy as relevancy_module
from gsdff.field.relevancy import (
    NUM_BINS,
    classify,
    lerf_relevancy,
    relevancy,
    suggest_likeness,
    suggest_threshold,
)
from gsdff.latents import decode
from gsdff.scene import VOID

BOTH = pytest.mark.parametrize("score", [relevancy, lerf_relevancy])


def random_question(generator: torch.Generator, channels: int = 9, dim: int = 4) -> tuple[torch.Tensor, ...]:
    """Two rows of three latents, two positives and three negatives, and a basis; float64."""
    shapes = (2, 3, dim), (2, channels), (3, channels), (channels, dim)
    *vectors, square = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    return *vectors, torch.linalg.qr(square).Q


def test_relevancy_by_hand() -> None:
    B = torch.eye(3)[:, :2]
    positives = torch.tensor([[2.0, 0.0, 0.0]])
    negatives = torch.tensor([[0.0, 5.0, 0.0], [0.0, 0.0, 1.0]])
    got = relevancy(torch.tensor([[3.0, 0.0], [0.0, 0.1], [3.0, 4.0]]), positives, negatives, B, temperature=0.5)
    expected = [
        exp(2) / (exp(2) + 1 + 1),
        1 / (1 + exp(2) + 1),
        exp(1.2) / (exp(1.2) + exp(1.6) + 1),
    ]
    torch.testing.assert_close(got, torch.tensor(expected))


def test_lerf_relevancy_by_hand() -> None:
    B = torch.eye(3)[:, :2]
    positives = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    negatives = torch.tensor([[0.0, 5.0, 0.0], [0.0, 0.0, 1.0]])
    got = lerf_relevancy(torch.tensor([[3.0, 0.0], [3.0, 4.0]]), positives, negatives, B, temperature=1.0)
    # the first positive against the nearest negative: cosine 1 against 0, then 0.6 against 0.8
    torch.testing.assert_close(got, torch.tensor([exp(1) / (exp(1) + 1), exp(0.6) / (exp(0.6) + exp(0.8))]))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([0.05, 0.1, 1.0]))
def test_both_are_their_definitions_in_T_dimensions(seed: int, temperature: float) -> None:
    latents, positives, negatives, B = random_question(torch.Generator().manual_seed(seed))
    features = decode(latents, B)
    got = relevancy(latents, positives, negatives, B, temperature=temperature)
    got_lerf = lerf_relevancy(latents, positives, negatives, B, temperature=temperature)
    for place in [(row, column) for row in range(2) for column in range(3)]:
        up, down = (
            [exp(float(torch.cosine_similarity(features[place], text, dim=0)) / temperature) for text in texts]
            for texts in (positives, negatives)
        )
        assert float(got[place]) == pytest.approx(sum(up) / (sum(up) + sum(down)))
        assert float(got_lerf[place]) == pytest.approx(max(min(p / (p + n) for n in down) for p in up))


def test_with_one_of_each_both_are_the_same(generator: torch.Generator) -> None:
    latents, positives, negatives, B = random_question(generator)
    question = latents, positives[:1], negatives[:1], B
    torch.testing.assert_close(relevancy(*question), lerf_relevancy(*question))


def test_positives_and_negatives_share_all_there_is(generator: torch.Generator) -> None:
    latents, positives, negatives, B = random_question(generator)
    shares = [relevancy(latents, positives, negatives, B), relevancy(latents, negatives, positives, B)]
    torch.testing.assert_close(sum(shares), torch.ones_like(latents[..., 0]))


@BOTH
@pytest.mark.parametrize("temperature", [1e-3, 0.1, 10.0])
def test_scores_are_finite_and_between_0_and_1(score, temperature: float, generator: torch.Generator) -> None:
    latents, positives, negatives, B = (x.float() for x in random_question(generator))
    got = score(1e6 * latents, positives, negatives, B, temperature=temperature)
    assert got.shape == latents.shape[:-1] and ((got >= 0) & (got <= 1)).all()


@BOTH
def test_neither_the_length_of_latents_nor_of_texts_matters(score, generator: torch.Generator) -> None:
    latents, positives, negatives, B = random_question(generator)
    torch.testing.assert_close(
        score(3 * latents, 7 * positives, 0.1 * negatives, B), score(latents, positives, negatives, B)
    )


@BOTH
def test_where_nothing_is_there_nothing_is_relevant_and_the_gradient_is_finite(
    score, generator: torch.Generator
) -> None:
    latents, positives, negatives, B = random_question(generator)
    latents[0, 1] = 0
    latents.requires_grad_()
    got = score(latents, positives, negatives, B)
    assert got[0, 1] == 0 and (got.flatten() > 0).sum() == 5
    got.sum().backward()
    assert latents.grad.isfinite().all() and not latents.grad[0, 1].any() and latents.grad.any()


@BOTH
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_latent_that_is_not_finite_has_no_score_and_spoils_no_other(score, value, generator) -> None:
    latents, positives, negatives, B = random_question(generator)
    expected = score(latents, positives, negatives, B)
    latents[1, 2, 0] = expected[1, 2] = value
    got = score(latents, positives, negatives, B)
    assert got[1, 2].isnan()
    torch.testing.assert_close(got.flatten()[:-1], expected.flatten()[:-1])


@BOTH
def test_gradients_are_those_of_finite_differences(score, generator: torch.Generator) -> None:
    latents, positives, negatives, B = random_question(generator)
    assert torch.autograd.gradcheck(lambda z: score(z, positives, negatives, B), latents.requires_grad_())


@BOTH
def test_no_latents_give_no_scores(score, generator: torch.Generator) -> None:
    latents, positives, negatives, B = random_question(generator)
    assert score(latents[:0], positives, negatives, B).shape == (0, 3)


@BOTH
@pytest.mark.parametrize(
    ("num_positives", "num_negatives", "temperature", "complaint"),
    [
        (0, 3, 0.1, "got 0 and 3"),
        (2, 0, 0.1, "got 2 and 0"),
        (2, 3, 0.0, "must be positive, got 0"),
        (2, 3, -1.0, "must be positive, got -1"),
        (2, 3, float("nan"), "must be positive, got nan"),
    ],
)
def test_what_makes_no_sense_is_refused(score, num_positives, num_negatives, temperature, complaint, generator) -> None:
    latents, positives, negatives, B = random_question(generator)
    with pytest.raises(ValueError, match=complaint):
        score(latents, positives[:num_positives], negatives[:num_negatives], B, temperature=temperature)


def test_the_threshold_lies_midway_between_two_clusters() -> None:
    scores = torch.tensor([0.0, 0.1, 0.2, 0.8, 0.9, 1.0])
    assert suggest_threshold(scores) == pytest.approx(0.5)
    assert suggest_threshold(100 * scores - 7) == pytest.approx(43)


@pytest.mark.parametrize("seed", range(5))
def test_no_other_cut_tells_more_of_the_variance(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.cat([0.2 * torch.randn(300, generator=generator), 1 + 0.1 * torch.randn(100, generator=generator)])
    edges = torch.linspace(float(scores.min()), float(scores.max()), NUM_BINS + 1, dtype=torch.float64)
    bins = torch.bucketize(scores.double(), edges[1:-1], right=True).double()

    def variance_within(is_above: torch.Tensor) -> float:
        parts = bins[is_above], bins[~is_above]
        return float(sum(len(part) * part.var(correction=0) for part in parts if len(part)))

    every = [variance_within(bins > cut) for cut in range(NUM_BINS)]
    assert variance_within(scores >= suggest_threshold(scores)) == pytest.approx(min(every))


def test_constant_scores_are_their_own_threshold() -> None:
    assert suggest_threshold(torch.full((3,), 0.25)) == 0.25
    assert suggest_threshold(torch.tensor(-2.0)) == -2.0


def test_two_scores_are_told_apart_however_near() -> None:
    scores = torch.tensor([1.0, 1.0 + 1e-12], dtype=torch.float64)
    assert (scores >= suggest_threshold(scores)).tolist() == [False, True]


def test_scores_that_are_not_finite_do_not_count() -> None:
    scores = torch.tensor([0.0, torch.nan, 1.0, torch.inf, -torch.inf], requires_grad=True)
    assert suggest_threshold(scores) == 0.5


@pytest.mark.parametrize("scores", [torch.zeros(0), torch.full((2,), torch.nan)])
def test_no_scores_have_no_threshold(scores: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=f"none among {len(scores)}"):
        suggest_threshold(scores)


def test_likeness_ends_a_quarter_of_the_way_to_the_lower_quartile() -> None:
    scores = torch.tensor([0.0, 0.2, 0.2, 0.3, 0.3, 0.3, 0.3, 0.9, 1.0, torch.nan])
    assert suggest_likeness(scores) == pytest.approx(1 - 0.25 * 0.8)
    assert suggest_likeness(torch.ones(5)) == pytest.approx(1 - 0.25 * 0.01)  # rounding must not decide
    with pytest.raises(ValueError, match="none among 2"):
        suggest_likeness(torch.full((2,), torch.nan))


def test_the_best_score_wins_and_unanswered_pixels_are_void() -> None:
    scores = torch.tensor([[0.1, 0.9, 0.5], [0.0, 0.0, 0.0], [-0.3, -0.2, -0.1]])
    got = classify(scores, torch.tensor([True, False, True]))
    assert got.tolist() == [1, VOID, 2] and got.dtype == torch.uint8


def test_scaling_all_scores_of_a_pixel_changes_no_answer(generator: torch.Generator) -> None:
    scores = torch.randn(50, 6, generator=generator)
    factors = torch.rand(50, 1, generator=generator) + 0.1
    answered = torch.ones(50, dtype=torch.bool)
    assert torch.equal(classify(scores, answered), classify(scores * factors, answered))


@pytest.mark.parametrize("score", [relevancy, lerf_relevancy])
def test_a_picture_is_scored_as_its_pixels_are(score, monkeypatch, generator: torch.Generator) -> None:
    _, positives, negatives, B = random_question(generator)
    latents = torch.randn(5, 7, B.shape[1], generator=generator, dtype=B.dtype)
    expected = torch.stack([score(row, positives, negatives, B) for row in latents.flatten(0, 1)]).view(5, 7)
    for part in (1, 4, 35):
        monkeypatch.setattr("gsdff.field.relevancy.PART", part)
        torch.testing.assert_close(score(latents, positives, negatives, B), expected)


@BOTH
@pytest.mark.parametrize("share", [1.0, 0.0])
def test_a_card_scores_as_many_rows_at_a_time_as_its_memory_holds(card, generator, monkeypatch, score, share) -> None:
    monkeypatch.setattr(relevancy_module, "CARD_SHARE", share)
    latents = torch.randn(300, 200, 4, generator=generator)
    positives, negatives, B = (torch.randn(n, 4, generator=generator) for n in (1, 5, 4))
    expected = score(latents, positives, negatives, B)
    on_card = [tensor.cuda() for tensor in (latents, positives, negatives, B)]
    card.clear()
    scores = score(*on_card)
    assert card.num_waits == 0
    assert card.num_launches < 40 if share else card.num_launches > 4 * 10  # four parts
    torch.testing.assert_close(scores.cpu(), expected)
