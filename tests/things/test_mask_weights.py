"""Weights of Gaussians in masks: sums of blending weights, with few entries."""

import torch
from tiny_field import make_camera, make_gaussians

from gsdff.render import render_features
from gsdff.things import ViewMasks, collect_weights
from gsdff.things.weights import MIN_PIXELS, MIN_SHARE, Layer


def test_weights_are_the_blending_weights_summed_over_each_mask(generator):
    gaussians = make_gaussians(12, generator)
    labels = [torch.randint(0, 3, (9, 13), generator=generator).int() * 7 for _ in range(4)]
    views = [ViewMasks(make_camera(angle), labels[2 * i : 2 * i + 2]) for i, angle in enumerate((0.0, 0.6))]
    found = collect_weights(lambda z, camera: render_features(gaussians, camera, features=z).image, views, 12)
    assert (found.num_gaussians, found.num_views, [layer.view for layer in found.layers]) == (12, 2, [0, 0, 1, 1])
    for layer, masks in zip(found.layers, labels, strict=True):
        shares = render_features(gaussians, views[layer.view].camera, features=torch.eye(12)).image
        exact = torch.stack([shares[masks == label].sum(0) for label in range(15)], dim=1)
        kept = (exact >= MIN_SHARE * exact.sum(1, keepdim=True)) & (exact.sum(1, keepdim=True) >= MIN_PIXELS)
        kept &= exact > 0
        dense = torch.zeros(12, 15)
        dense[layer.rows.long(), layer.masks.long()] = layer.weights
        torch.testing.assert_close(dense, exact * kept, atol=1e-4, rtol=1e-4)
        assert layer.num_labels == int(masks.max()) + 1


def test_masks_that_are_weighed_in_several_passes_are_weighed_as_in_one(generator, monkeypatch):
    gaussians = make_gaussians(12, generator)
    views = [ViewMasks(make_camera(0.3), [torch.randint(0, 9, (9, 13), generator=generator).int()])]

    def collect():
        (layer,) = collect_weights(lambda z, c: render_features(gaussians, c, features=z).image, views, 12).layers
        return layer

    whole = collect()
    monkeypatch.setattr("gsdff.things.weights.CHANNELS", 2)
    parts = collect()
    assert len(whole.rows) > 12 and torch.equal(parts.rows, whole.rows) and torch.equal(parts.masks, whole.masks)
    assert (parts.rows.diff() >= 0).all()
    torch.testing.assert_close(parts.weights, whole.weights)


def test_the_mask_that_has_most_of_a_gaussian_is_its_own_unless_two_share_it():
    rows, masks = torch.tensor([0, 0, 1, 1, 3]).int(), torch.tensor([1, 2, 1, 2, 0]).int()
    layer = Layer(0, rows, masks, torch.tensor([7.0, 3, 5, 5, 1]), 3)
    totals = layer.totals(4)
    assert totals.tolist() == [10, 10, 0, 1]
    assert layer.dominant(totals).tolist() == [1, -1, 0, 0]
