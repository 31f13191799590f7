"""Joining: what views put into one mask becomes one thing, whatever single views get wrong."""

import numpy as np
import pytest
import torch

from gsdff.things import JoinOptions, MaskWeights, Things, assign_things, join_masks
from gsdff.things.weights import Layer

OPTIONS = JoinOptions(groups=60)


def make_means(generator: torch.Generator, per_thing: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    """Three clusters of points and the true thing of each, from 1."""
    centres = torch.tensor([[0.0, 0, 0], [1.5, 0, 0], [0, 1.5, 0]])
    true = torch.arange(1, 4).repeat_interleave(per_thing)
    return centres[true - 1] + 0.6 * torch.rand(len(true), 3, generator=generator), true


def make_layer(view: int, masks: torch.Tensor, seen: torch.Tensor | None = None) -> Layer:
    """A view in which every Gaussian that is seen covers ten pixels of its mask."""
    rows = torch.arange(len(masks)) if seen is None else seen.nonzero()[:, 0]
    return Layer(view, rows.int(), masks[rows].int(), torch.full((len(rows),), 10.0), int(masks.max()) + 1)


def join(layers: list[Layer], means: torch.Tensor) -> Things:
    weights = MaskWeights(len(means), 1 + max(layer.view for layer in layers), layers)
    return assign_things(weights, join_masks(weights, means, OPTIONS))


def agrees(things: Things, true: torch.Tensor) -> bool:
    """Whether every thing is one of the true ones, and the other way round."""
    pairs = torch.stack([things.instance_ids.long(), true]).unique(dim=1)
    return len(things) == int(true.max()) and pairs.shape[1] == len(things) and bool((pairs[0] > 0).all())


def test_ids_that_differ_between_views_mean_nothing(generator):
    means, true = make_means(generator)
    names = torch.tensor([[0, 1, 2, 3], [0, 3, 1, 2], [0, 9, 4, 7], [0, 2, 3, 1]])
    assert agrees(join([make_layer(v, names[v][true]) for v in range(4)], means), true)


def test_a_thing_that_half_of_the_views_cut_and_one_view_merges_with_another_stays_one(generator):
    means, true = make_means(generator)
    layers = []
    for view in range(8):
        masks = true.clone()
        if view % 2:
            angle = torch.rand((), generator=generator) * 3
            cut = means[:, 0] * angle.cos() + means[:, 1] * angle.sin()
            masks[(true == 1) & (cut > cut[true == 1].median())] = 4
        if view == 2:
            masks[masks == 2] = 3
        layers.append(make_layer(view, masks))
    things = join(layers, means)
    assert agrees(things, true)
    assert things.owners[2][3] == 0  # the mask of two things votes for neither


def test_a_thing_of_which_no_view_sees_all_is_joined_by_overlaps(generator):
    means, true = make_means(generator)
    order = means[:, 2].argsort()
    layers = []
    for view in range(8):
        seen = torch.zeros(len(true), dtype=torch.bool)
        seen[order[view * 15 : view * 15 + 75]] = True
        layers += [make_layer(2 * view, true, seen), make_layer(2 * view + 1, true % 3 + 1, seen)]
    assert agrees(join(layers, means), true)


def test_what_is_always_cut_is_two_things_and_what_is_mostly_whole_has_parts(generator):
    means, true = make_means(generator)
    halves = (means[:, 2] > 0.3).long()
    always = join([make_layer(v, torch.where(true == 1, 4 + halves, true)) for v in range(6)], means)
    assert len(always) == 4
    mostly = [make_layer(v, torch.where((true == 1) & torch.tensor(v < 3), 4 + halves, true)) for v in range(6)]
    things = join(mostly, means)
    assert agrees(things, true)
    mixed = [things.parts[true == thing].unique().tolist() for thing in (1, 2, 3)]
    assert mixed == [[1, 2], [1], [1]]
    assert len(torch.stack([things.parts[true == 1].long(), halves[true == 1]]).unique(dim=1).T) == 2


def test_gaussians_without_a_mask_belong_to_nothing(generator):
    means, true = make_means(generator)
    masks = torch.where(true == 3, 0, true)
    things = join([make_layer(v, masks) for v in range(3)], means)
    assert len(things) == 2
    assert (
        not things.members[true == 3].any() and not things.shares[true == 3].any() and not things.parts[true == 3].any()
    )
    assert (things.confidences[true != 3] == 1).all()


def test_a_gaussian_on_a_border_is_a_member_of_both_things(generator):
    means, true = make_means(generator)
    rows = torch.cat([torch.arange(len(true)), torch.tensor([0])]).int()
    masks, values = torch.cat([true, torch.tensor([2])]).int(), torch.full((len(true) + 1,), 10.0)
    values[-1] = 5
    order = rows.argsort(stable=True)
    layers = [Layer(view, rows[order], masks[order], values[order], 4) for view in range(4)]
    things = join(layers, means)
    assert things.members[0, :2].tolist() == [things.instance_ids[1], things.instance_ids[60]]
    np.testing.assert_allclose(things.shares[0, :2], [2 / 3, 1 / 3], rtol=1e-5)


def test_masks_of_one_view_alone_make_no_thing(generator):
    means, true = make_means(generator)
    layers = [make_layer(v, torch.where(true == 3, 0, true)) for v in range(3)]
    layers.append(make_layer(3, true))
    assert len(join(layers, means)) == 2


@pytest.mark.parametrize("masks", [0, 1])
def test_scenes_with_no_mask_or_one_mask_are_no_error(generator, masks):
    means, true = make_means(generator)
    things = join([make_layer(v, torch.full_like(true, masks)) for v in range(3)], means)
    assert len(things) == masks and (things.instance_ids == masks).all()
