"""Things in stage 2: from masks to features of Gaussians and targets of views, and the same after a resume."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_field import UNSMOOTHED, Distillation

from gsdff.config.options import TrainConfig
from gsdff.config.smoothing import MaskConfig, ThingsConfig
from gsdff.errors import UserError
from gsdff.io.runs import RunFolder
from gsdff.render import render_features
from gsdff.things.store import load_things
from gsdff.training.thing_targets import blend_reliability


@pytest.fixture
def setting(tmp_path: Path, generator: torch.Generator) -> Distillation:
    """A scene whose left and right halves have masks, with ids that differ between views."""
    setting = Distillation.write(tmp_path, generator)
    masks = tmp_path / "my_masks"
    masks.mkdir()
    for number, view in enumerate(setting.scene.views):
        labels = np.full((9, 13), 1 + number, np.uint16)
        labels[:, 6:] = 20 - number
        Image.fromarray(labels).save(masks / f"{view.stem}.png")
    means = setting.gaussians.means
    means[:, 0] = means[:, 0].sign() * (means[:, 0].abs() + 0.4)
    means[:, 2] = 0
    setting.gaussians.log_scales += 0.4
    setting.gaussians.logit_opacities += 2
    config = replace(setting.config, masks=MaskConfig(name="precomputed", folder=masks, source="photo"))
    return replace(setting, config=config)


def things_of(setting: Distillation, **options: Any) -> dict:
    return {"smoothing": replace(UNSMOOTHED, things=ThingsConfig(**options))}


def test_gaussians_of_one_thing_get_one_feature(setting: Distillation) -> None:
    plain, _ = setting.prepare()
    features, terms = setting.prepare(**things_of(setting, form="lift", own_share=0.0, sharpness=50.0))
    things = load_things(RunFolder(setting.run).things, 20)
    assert len(things) == 2 and features is not None and plain is not None
    sure = things.confidences > 0.5
    for thing in (1, 2):
        rows = features[sure & (things.instance_ids == thing)]
        assert len(rows) > 1
        torch.testing.assert_close(rows, rows[:1].expand_as(rows), atol=1e-4, rtol=1e-3)
    lost = things.instance_ids == 0
    torch.testing.assert_close(features[lost], plain[lost])
    assert terms[0].smoothing_losses == []


def test_targets_replace_the_plain_comparison_and_are_the_same_after_a_resume(setting: Distillation) -> None:
    changes = things_of(setting, form="target")
    prepared = setting.prepare_all(**changes)
    assert prepared.features is not None
    gaussians = setting.carrying(prepared.features)
    loss, scalars = prepared.terms[0](gaussians, 1, 100)
    assert torch.equal(loss, scalars["smooth_things"]) and not torch.equal(loss, scalars["feature"])
    resumed = setting.prepare_all(lift=False, reliability=prepared.reliability, **changes)
    assert resumed.features is None
    torch.testing.assert_close(resumed.terms[0](gaussians, 1, 100)[0], loss)


def test_pixels_count_by_the_reliability_of_what_they_show(setting: Distillation) -> None:
    def pooled(reliability: torch.Tensor | None, exponent: float) -> torch.Tensor:
        options = things_of(setting, form="target", own_share=0.0, reliability=exponent)
        setting.prepare_all(lift=False, reliability=reliability, **options)
        left, right = np.load(next(RunFolder(setting.run).filtered.glob("things/v1.npy")))[2, [0, 12], :-1]
        return torch.from_numpy(np.stack([left, right]))

    setting.prepare_all(**things_of(setting, form="target"))  # joins the things
    unequal = torch.linspace(0.05, 1, 20)
    plain, weighed = pooled(None, 1.0), pooled(unequal, 1.0)
    assert (plain - weighed).abs().max() > 0.005
    torch.testing.assert_close(pooled(torch.ones(20), 1.0), plain)  # as in a run of an earlier version
    torch.testing.assert_close(pooled(unequal, 0.0), plain)


def test_the_blended_reliability_is_the_mean_of_what_a_pixel_shows(setting: Distillation) -> None:
    camera, values = setting.scene.views[1].camera, torch.linspace(0, 1, 20)
    shares = render_features(setting.gaussians, camera, features=torch.eye(20)).image
    expected = (shares * values).sum(-1) / shares.sum(-1).clamp_min(1e-6)
    torch.testing.assert_close(blend_reliability(setting.gaussians, values, camera), expected, atol=1e-4, rtol=1e-3)


def test_a_pixel_of_a_thing_aims_at_the_things_feature_and_the_others_at_the_teachers(setting: Distillation) -> None:
    masks = setting.config.masks.folder
    assert masks is not None
    for path in masks.iterdir():  # the lower rows have no mask
        labels = np.array(Image.open(path))
        labels[5:] = 0
        Image.fromarray(labels).save(path)
    setting.prepare(**things_of(setting, form="target", own_share=0.0))
    maps = np.load(next(RunFolder(setting.run).filtered.glob("things/v1.npy")))
    left, right = maps[:5, :6, :-1].reshape(-1, 4), maps[:5, 6:, :-1].reshape(-1, 4)
    assert np.ptp(left, axis=0).max() == 0 and np.ptp(right, axis=0).max() == 0 and (left[0] != right[0]).any()
    assert np.ptp(maps[5:, :, :-1].reshape(-1, 4), axis=0).min() > 0


def test_masks_are_not_renewed_under_things() -> None:
    config = TrainConfig(masks=MaskConfig(refresh=500), smoothing=replace(UNSMOOTHED, things=ThingsConfig("lift")))
    with pytest.raises(UserError, match=r"`masks.refresh`: expected 0 with `smoothing.things.form`"):
        config.check()
