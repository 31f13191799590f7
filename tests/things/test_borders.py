"""Cuts at borders: the picture stays, and what straddles a border ends on both sides of it."""

from dataclasses import replace

import pytest
import torch
from tiny_field import make_camera, make_gaussians

from gsdff.gaussians import Gaussians
from gsdff.render import render_features, render_rgb
from gsdff.things import (
    MaskWeights,
    Things,
    ViewMasks,
    collect_weights,
    cut_along_longest,
    find_straddling,
    is_purer,
    recount_members,
)

ALL = torch.ones(1, dtype=torch.bool)


def make_one(log_scales: tuple[float, float, float], opacity: float = 0.9) -> Gaussians:
    """One grey Gaussian at the origin, with its axes along those of the world."""
    return Gaussians(
        means=torch.zeros(1, 3),
        quats=torch.tensor([[2.0, 0, 0, 0]]),
        log_scales=torch.tensor([log_scales]),
        logit_opacities=torch.tensor([opacity]).logit(),
        sh0=torch.ones(1, 1, 3),
        shN=torch.zeros(1, 0, 3),
        features=torch.ones(1, 2),
    )


def weigh(gaussians: Gaussians) -> MaskWeights:
    """Weights in the left and the right half of a view of 65 x 45 pixels."""
    labels = torch.ones(45, 65, dtype=torch.int32)
    labels[:, 32:] = 2
    views = [ViewMasks(make_camera(0.0, 65, 45), [labels])]
    return collect_weights(
        lambda z, camera: render_features(gaussians, camera, features=z).image, views, len(gaussians)
    )


def count(gaussians: Gaussians, parents: torch.Tensor) -> Things:
    """Memberships in the two halves."""
    none = Things(*(torch.zeros(len(gaussians), *rest, dtype=dtype) for rest, dtype in SHAPES), *OWNERS)
    return recount_members(weigh(gaussians), none, parents)


SHAPES = (((4,), torch.int32), ((4,), torch.float32), ((), torch.int32))
OWNERS = (torch.ones(2), [torch.tensor([0, 1, 2]).int()])


@pytest.mark.parametrize("opacity", [0.1, 0.5, 0.99])
def test_a_gaussian_that_is_cut_looks_the_same(opacity: float) -> None:
    whole, camera = make_one((-1.0, -2.5, -2.5), opacity), make_camera(0.0, 65, 45)
    before, after = (render_rgb(g, camera).alpha for g in (whole, cut_along_longest(whole, ALL).gaussians))
    assert (after - before).square().sum() < 0.015 * before.square().sum()


def test_children_lie_along_the_longest_axis_and_inherit_the_rest(generator: torch.Generator) -> None:
    gaussians = make_gaussians(6, generator, dim=3)
    cut = cut_along_longest(gaussians, torch.tensor([False, True, False, False, True, False]))
    assert cut.parents.tolist() == [0, 2, 3, 5, 1, 4, 1, 4, 1, 4]
    assert cut.is_child.tolist() == [False] * 4 + [True] * 6
    whole, parent = cut.gaussians.map(lambda t: t[:4]), gaussians.map(lambda t: t[cut.parents[4:]])
    children = cut.gaussians.map(lambda t: t[4:])
    for name, tensor in whole.items():
        assert torch.equal(tensor, getattr(gaussians, name)[[0, 2, 3, 5]])
    for name in ("quats", "sh0", "shN", "features"):
        assert torch.equal(getattr(children, name), getattr(parent, name))
    longest = parent.log_scales.argmax(1, keepdim=True)
    ratio = (children.log_scales - parent.log_scales).exp()
    torch.testing.assert_close(ratio, torch.ones_like(ratio).scatter(1, longest, 0.5))
    torch.testing.assert_close(children.means.reshape(3, 2, 3).mean(0), gaussians.means[[1, 4]])
    apart = (children.means - parent.means).norm(dim=1)
    torch.testing.assert_close(apart, parent.scales.amax(1) * torch.tensor([1.0, 1, 0, 0, 1, 1]))


def test_a_gaussian_straddles_a_border_if_a_second_thing_has_enough_of_it() -> None:
    shares = torch.tensor([[0.9, 0.1], [0.99, 0.01], [0.5, 0.5], [0.0, 0.0]])
    things = Things(torch.ones(4, 2).int(), shares, torch.ones(4).int(), torch.ones(2), [])
    assert find_straddling(things, torch.full((4,), 20.0)).tolist() == [True, False, True, False]
    assert find_straddling(things, torch.full((4,), 2.0)).tolist() == [False, False, True, False]


def test_a_cut_across_a_border_makes_memberships_purer_and_one_along_it_does_not() -> None:
    across, along = make_one((-1.0, -2.5, -2.5)), make_one((-2.5, -1.0, -2.5))
    names = [name for name, _ in across.items()]
    both = replace(across, **{name: torch.cat([getattr(across, name), getattr(along, name)]) for name in names})
    both.means[1, 1] += 0.6  # below, so that neither hides the other
    every = torch.arange(2)
    before = count(both, every)
    assert (before.shares[:, 1] > 0.3).all()
    cut = cut_along_longest(both, torch.ones(2, dtype=torch.bool))
    after = count(cut.gaussians, cut.parents)
    assert is_purer(before, after, cut, weigh(both).visible, weigh(cut.gaussians).visible).tolist() == [True, False]
    left, middle, right = (after.members[row, 0] for row in (0, 2, 4))
    assert (left, right) == (1, 2) and middle in (1, 2)
    assert after.shares[[0, 4], 0].min() > 0.95


def test_what_changes_its_thing_leaves_its_part() -> None:
    gaussians = make_one((-2.5, -2.5, -2.5))
    before = replace(count(gaussians, torch.arange(1)), parts=torch.tensor([7]).int())
    moved = [replace(gaussians, means=torch.tensor([[x, 0.0, 0.0]])) for x in (-0.8, 0.8)]
    parts = {
        int(t.instance_ids): int(t.parts) for t in (recount_members(weigh(g), before, ALL.long() - 1) for g in moved)
    }
    assert parts == {int(before.instance_ids): 7, 3 - int(before.instance_ids): 1}
