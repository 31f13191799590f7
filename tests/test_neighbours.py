import pytest
import torch
from scipy import spatial

from gsdff.neighbours import nearest_neighbours


def test_points_on_a_line_have_the_neighbours_found_by_hand():
    points = torch.tensor([[0.0, 0, 0], [1, 0, 0], [3, 0, 0], [7, 0, 0]])
    distances, ids = nearest_neighbours(points, 2)
    assert ids.tolist() == [[1, 2], [0, 2], [1, 0], [2, 1]]
    assert distances.tolist() == [[1, 3], [1, 2], [2, 3], [4, 6]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("count", [1, 7])
def test_neighbours_are_those_of_brute_force(generator, count, dtype):
    points = torch.randn(80, 3, generator=generator, dtype=dtype)
    every = (points[:, None] - points[None]).double().norm(dim=-1).fill_diagonal_(torch.inf)
    expected, expected_ids = every.sort(dim=1)
    distances, ids = nearest_neighbours(points, count)
    assert distances.dtype == dtype and ids.dtype == torch.int64
    assert torch.equal(ids, expected_ids[:, :count])
    torch.testing.assert_close(distances, expected[:, :count].to(dtype))


@pytest.mark.parametrize("num", [2, 5, 40])
def test_a_point_is_not_its_own_neighbour_even_among_points_at_the_same_place(num):
    distances, ids = nearest_neighbours(torch.ones(num, 3), 4)
    assert ids.shape == (num, min(4, num - 1)) and not distances.any()
    assert not (ids == torch.arange(num)[:, None]).any()
    assert all(len(set(row)) == len(row) for row in ids.tolist())


@pytest.mark.parametrize("num", [0, 1, 2, 3])
def test_few_points_give_as_many_columns_as_there_are_others(num):
    distances, ids = nearest_neighbours(torch.arange(3.0 * num).view(num, 3), 5)
    assert distances.shape == ids.shape == (num, max(0, num - 1))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("points", "count", "complaint"),
    [
        (torch.zeros(4, 2), 3, r"shape \(P, 3\)"),
        (torch.zeros(4, 3, dtype=torch.int64), 3, "must be floats"),
        (torch.zeros(4, 3), 0, "must be 1 to 1000, got 0"),
        (torch.tensor([[0.0, 0, 0], [0, torch.nan, 0]]), 1, "1 of 2 points are not finite"),
    ],
)
def test_what_makes_no_sense_is_refused(points, count, complaint):
    with pytest.raises(ValueError, match=complaint):
        nearest_neighbours(points, count)


@pytest.mark.parametrize("num_asked", [0, 1, 33])
def test_some_points_have_the_neighbours_they_have_among_all(generator, num_asked):
    points = torch.randn(80, 3, generator=generator)
    asked = torch.zeros(80, dtype=torch.bool)
    asked[torch.randperm(80, generator=generator)[:num_asked]] = True
    for some, every in zip(nearest_neighbours(points, 5, asked), nearest_neighbours(points, 5), strict=True):
        assert torch.equal(some, every[asked])


def test_a_tree_serves_all_searches_among_the_same_points(generator, monkeypatch):
    points, others = torch.randn(2, 60, 3, generator=generator)
    expected = nearest_neighbours(points, 5), nearest_neighbours(others, 5)
    built, build = [], spatial.cKDTree
    monkeypatch.setattr(spatial, "cKDTree", lambda places: built.append(len(places)) or build(places))
    for _ in range(2):
        assert torch.equal(nearest_neighbours(others.clone(), 5)[1], expected[1][1])  # the last ones from before
        nearest_neighbours(others, 7, torch.arange(60) % 2 == 0)
    assert built == []
    assert torch.equal(nearest_neighbours(points, 5)[1], expected[0][1]) and built == [60]
    assert torch.equal(nearest_neighbours(points[:30], 5)[1], nearest_neighbours(points[:30].clone(), 5)[1])
    assert built == [60, 30]
