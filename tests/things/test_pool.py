"""Features per thing: the median over views, and their way back to the Gaussians."""

import math

import pytest
import torch

from gsdff.things import ThingPool, Things, draw_thing_map, spread_features


def make_things(members: list[list[int]], shares: list[list[float]]) -> Things:
    num = max(max(row) for row in members)
    ids, values = torch.tensor(members).int(), torch.tensor(shares)
    return Things(ids, values, torch.ones(len(ids)).int(), torch.ones(num), [])


def pool_constants(values: list[list[float]], weights: list[float] | None = None) -> ThingPool:
    """One thing that covers every view, in which the teacher gives these features."""
    pool = ThingPool(1)
    for index, value in enumerate(values):
        weight = 1.0 if weights is None else weights[index]
        pool.add(torch.ones(2, 3).int(), torch.tensor(value).expand(2, 3, -1), torch.full((2, 3), weight))
    return pool


def test_an_infinite_spread_takes_the_mean_of_all_pixels_by_their_weights():
    pool = ThingPool(2)
    things = torch.tensor([[1, 1, 2], [0, 2, 2]]).int()
    latents = torch.arange(12.0).reshape(2, 3, 2)
    weights = torch.tensor([[1.0, 3, 1], [9, 1, 0]])
    pool.add(things, latents, weights)
    pool.add(torch.ones(1, 1).int(), torch.full((1, 1, 2), 8.0), torch.full((1, 1), 4.0))
    features, is_known = pool.features(math.inf)
    expected = torch.stack([(latents[0, 0] + 3 * latents[0, 1] + 32) / 8, (latents[0, 2] + latents[1, 1]) / 2])
    torch.testing.assert_close(features, expected)
    assert is_known.all()


def test_a_minority_of_views_that_see_something_else_hardly_moves_the_median():
    pool = pool_constants([[1.0, 0]] * 4 + [[0.0, 1]] * 3)
    assert pool.features(0.05)[0][0, 0] > 0.95
    torch.testing.assert_close(pool.features(math.inf)[0][0], torch.tensor([4 / 7, 3 / 7]))


def test_the_median_is_that_of_weiszfeld_for_three_places():
    # the point with the least sum of distances to the corners of an equilateral triangle is its centre
    corners = [[0.0, 0.0], [1.0, 0.0], [0.5, math.sqrt(3) / 2]]
    median = pool_constants(corners).features(1e-3)[0][0]
    torch.testing.assert_close(median, torch.tensor([0.5, math.sqrt(3) / 6]), atol=1e-4, rtol=0)


def test_a_thing_that_no_view_shows_has_no_feature_and_leaves_its_gaussians_as_they_are():
    pool = ThingPool(2)
    pool.add(torch.ones(2, 2).int(), torch.ones(2, 2, 3), torch.ones(2, 2))
    features, is_known = pool.features(0.1)
    assert is_known.tolist() == [True, False] and features.isfinite().all()
    own = torch.tensor([[5.0, 5, 5], [7, 7, 7]])
    things = make_things([[1, 0], [2, 0]], [[1.0, 0], [1.0, 0]])
    spread = spread_features(things, features, is_known, own, sharpness=4, share=0)
    torch.testing.assert_close(spread, torch.tensor([[1.0, 1, 1], [7, 7, 7]]))


@pytest.mark.parametrize(("sharpness", "first"), [(1.0, 0.6), (2.0, 0.36 / 0.52), (0.0, 0.5)])
def test_members_of_several_things_mix_them_by_a_power_of_their_shares(sharpness, first):
    things = make_things([[1, 2]], [[0.6, 0.4]])
    pooled, own = torch.eye(2), torch.zeros(1, 2)
    spread = spread_features(things, pooled, torch.ones(2).bool(), own, sharpness=sharpness, share=0)
    torch.testing.assert_close(spread[0], torch.tensor([first, 1 - first]))


def test_a_share_stays_the_gaussians_own_and_all_of_it_without_a_thing():
    things = make_things([[1, 0], [0, 0]], [[0.9, 0], [0.0, 0]])
    own = torch.tensor([[0.0, 1.0], [0.0, 2.0]])
    spread = spread_features(things, torch.tensor([[1.0, 0]]), torch.ones(1).bool(), own, sharpness=4, share=0.25)
    torch.testing.assert_close(spread, torch.tensor([[0.75, 0.25], [0, 2]]))


def test_a_view_shows_the_thing_of_its_first_layer_that_has_one():
    parts, wholes = torch.tensor([[1, 2, 0, 3]]).int(), torch.tensor([[1, 1, 1, 0]]).int()
    owners = [torch.tensor([0, 5, 0, 4]).int(), torch.tensor([0, 6]).int()]
    assert draw_thing_map([parts, wholes], owners).tolist() == [[5, 6, 6, 4]]
