"""The reliability mode: agreement of the views as heat, only where it was measured."""

from dataclasses import replace

import pytest
import torch
from tiny_viewer import look_at, see

from gsdff.io.pictures import heat, to_bytes
from gsdff.render import render_features
from gsdff.viewer.rendering import available_modes, render_mode


@pytest.fixture
def shared(tiny, generator):
    field = tiny.shared.field
    reliability = torch.rand(len(field.gaussians), generator=generator)
    return replace(tiny.shared, field=replace(field, gaussians=replace(field.gaussians, reliability=reliability)))


def test_the_mode_is_there_if_it_was_measured(tiny, shared):
    assert "reliability" in available_modes(shared) and "reliability" not in available_modes(tiny.shared)


def test_pixels_are_the_heat_of_the_reliability(shared):
    camera, reliability, visible = look_at(shared), shared.gaussians.reliability, see(shared)
    columns = torch.stack([reliability, torch.ones_like(reliability)], 1)
    values, alpha = render_features(visible.gaussians, camera, features=columns).image.unbind(-1)
    expected = to_bytes(heat(values / alpha.clamp_min(1e-6)).float() / 255 * alpha[..., None])
    shown = render_mode(shared, visible, "reliability", camera)
    assert shown.float().std() > 5 and int((shown.int() - expected.int()).abs().max()) <= 1


def test_a_scene_without_it_shows_its_colours(tiny):
    visible, camera = see(tiny.shared), look_at(tiny.shared)
    shown = render_mode(tiny.shared, visible, "reliability", camera)
    assert torch.equal(shown, render_mode(tiny.shared, visible, "colour", camera))
