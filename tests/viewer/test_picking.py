"""The feature at a place of a picture."""

from dataclasses import replace

import pytest
import torch
from tiny_viewer import look_at

from gsdff.errors import UserError
from gsdff.gaussians import Gaussians
from gsdff.viewer.picking import latents_at
from gsdff.viewer.visible_scene import VisibleScene


def gaussians_at(means: list[list[float]], scale: float = 0.05) -> Gaussians:
    """Opaque Gaussians; the i-th has latents (i + 1, -1, 0)."""
    num = len(means)
    return Gaussians(
        means=torch.tensor(means),
        quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(num, 1),
        log_scales=torch.full((num, 3), scale).log(),
        logit_opacities=torch.full((num,), 9.0),
        sh0=torch.zeros(num, 1, 3),
        shN=torch.zeros(num, 0, 3),
        features=torch.stack([torch.tensor([i + 1.0, -1.0, 0.0]) for i in range(num)]),
    )


@pytest.fixture
def camera(tiny):
    """Camera at the origin of the working frame, looking along z, 90 degrees wide; 40 x 20 pixels."""
    camera = look_at(tiny.shared, 40, 20)
    return replace(camera, viewmat=torch.eye(4), K=torch.tensor([[20.0, 0, 20], [0, 20, 10], [0, 0, 1]]))


def visible_of(gaussians: Gaussians) -> VisibleScene:
    return VisibleScene(gaussians, torch.zeros(len(gaussians), dtype=torch.bool))


@pytest.mark.parametrize(
    ("mean", "point"),
    [([0.0, 0, 2], (0.5, 0.5)), ([1.0, 0.5, 2.0], (0.75, 0.75)), ([-1.8, -0.9, 2.0], (0.05, 0.05))],
)
def test_a_click_on_a_gaussian_gives_its_latents(tiny, camera, mean, point):
    visible = visible_of(gaussians_at([mean, [0.0, 0.0, 9.0]], 0.3))
    found = latents_at(tiny.shared, visible, camera, point)
    assert torch.allclose(found / found.norm(), visible.gaussians.features[0] / 2**0.5, atol=2e-2)


def test_a_click_is_at_what_is_in_front(tiny, camera):
    visible = visible_of(gaussians_at([[0.0, 0.0, 3.0], [0.0, 0.0, 2.0]], 0.8))
    found = latents_at(tiny.shared, visible, camera, (0.5, 0.5))
    assert torch.allclose(found / found[1].abs(), torch.tensor([2.0, -1.0, 0.0]), atol=2e-2)


@pytest.mark.parametrize("point", [(0.0, 0.0), (1.0, 1.0), (0.999, 0.0)])
def test_a_click_at_the_border_gives_nothing_but_an_answer(tiny, camera, point):
    found = latents_at(tiny.shared, visible_of(gaussians_at([[0.0, 0.0, 2.0]])), camera, point)
    assert found.shape == (3,) and not found.any()


def test_a_click_needs_features_and_something_to_see(tiny, camera):
    shared = tiny.shared
    visible = visible_of(gaussians_at([[0.0, 0.0, 2.0]]))
    with pytest.raises(UserError, match="visible Gaussians with features"):
        latents_at(replace(shared, field=replace(shared.field, basis=None)), visible, camera, (0.5, 0.5))
    nothing = replace(visible, gaussians=visible.gaussians.map(lambda tensor: tensor[:0]))
    with pytest.raises(UserError, match="visible Gaussians with features"):
        latents_at(shared, nothing, camera, (0.5, 0.5))
