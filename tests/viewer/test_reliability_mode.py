"""The reliability mode: agreement of the views as heat, only where it was measured."""

from dataclasses import replace

import pytest
import torch
from tiny_viewer import look_at

from gsdff.io.pictures import heat, to_bytes
from gsdff.render import render_features
from gsdff.viewer.rendering import available_modes, mode_legends, render_mode, splat_colors
from gsdff.viewer.session import Session


@pytest.fixture
def shared(tiny, generator):
    field = tiny.shared.field
    reliability = torch.rand(len(field.gaussians), generator=generator)
    return replace(tiny.shared, field=replace(field, gaussians=replace(field.gaussians, reliability=reliability)))


@pytest.fixture
def session(shared) -> Session:
    return Session(shared.gaussians, shared.frame, shared.field)


def test_the_mode_is_there_if_it_was_measured(tiny, shared):
    assert "reliability" in available_modes(shared) and "reliability" not in available_modes(tiny.shared)


def test_pixels_and_splats_are_the_heat_of_the_reliability(shared, session):
    camera, reliability = look_at(shared), shared.gaussians.reliability
    columns = torch.stack([reliability, torch.ones_like(reliability)], 1)
    values, alpha = render_features(session.visible.gaussians, camera, features=columns).image.unbind(-1)
    expected = to_bytes(heat(values / alpha.clamp_min(1e-6)).float() / 255 * alpha[..., None])
    shown = render_mode(shared, session.visible, "reliability", camera, highlight=False)
    assert shown.float().std() > 5 and int((shown.int() - expected.int()).abs().max()) <= 1
    colors = splat_colors(shared, session.visible, "reliability", highlight=False)
    assert torch.equal(to_bytes(colors), heat(reliability[:, None])[:, 0])
    assert "agreement of the views" in mode_legends(["reliability"], session.visible, on_server=True)


def test_a_scene_without_it_shows_its_colours(tiny):
    visible, camera = tiny.session().visible, look_at(tiny.shared)
    shown = render_mode(tiny.shared, visible, "reliability", camera, highlight=False)
    assert torch.equal(shown, render_mode(tiny.shared, visible, "colour", camera, highlight=False))
    colors = splat_colors(tiny.shared, visible, "reliability", highlight=False)
    assert torch.equal(colors, splat_colors(tiny.shared, visible, "colour", highlight=False))
