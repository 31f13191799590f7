"""From scores to answers."""

import torch

from gsdff.query import VOID, classify


def test_the_best_score_wins_and_unanswered_pixels_are_void() -> None:
    scores = torch.tensor([[0.1, 0.9, 0.5], [0.0, 0.0, 0.0], [-0.3, -0.2, -0.1]])
    got = classify(scores, torch.tensor([True, False, True]))
    assert got.tolist() == [1, VOID, 2] and got.dtype == torch.uint8


def test_scaling_all_scores_of_a_pixel_changes_no_answer(generator: torch.Generator) -> None:
    scores = torch.randn(50, 6, generator=generator)
    factors = torch.rand(50, 1, generator=generator) + 0.1
    answered = torch.ones(50, dtype=torch.bool)
    assert torch.equal(classify(scores, answered), classify(scores * factors, answered))
