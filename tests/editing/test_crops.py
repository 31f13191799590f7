"""Views of a selection, windows of them, and crops in which only its colours change."""

from dataclasses import replace

import pytest
import torch

from gsdff.cameras import Camera
from gsdff.editing.crops import CROPS, Crops, VisibleView, WindowRenderer, find_visible_views
from gsdff.gaussians import Gaussians
from gsdff.render import render_rgb

WIDTH, HEIGHT, FOCAL = 40, 30, 30.0
K = torch.tensor([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]])


def camera_at(x: float, y: float = 0.0, *, backwards: bool = False) -> Camera:
    """Looks along z from (x, y, 0), or away from it."""
    viewmat = torch.diag(torch.tensor([-1.0, 1.0, -1.0, 1.0])) if backwards else torch.eye(4)
    viewmat[:2, 3] = torch.tensor([-x, -y])
    return Camera(viewmat, K, WIDTH, HEIGHT)


def blobs(*places: tuple[float, float, float]) -> Gaussians:
    """Opaque balls with a standard deviation of 0.1."""
    count = len(places)
    return Gaussians(
        means=torch.tensor(places).float(),
        quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(count, 1),
        log_scales=torch.full((count, 3), 0.1).log(),
        logit_opacities=torch.full((count,), 6.0),
        sh0=torch.linspace(-1, 1.5, 3 * count).reshape(count, 1, 3),
        shN=torch.zeros(count, 3, 3),
    )


def only(index: int, count: int) -> torch.Tensor:
    return torch.arange(count) == index


def test_a_cropped_camera_takes_that_part_of_the_picture():
    scene, camera = blobs((0, 0, 3), (0.4, 0.2, 3)), camera_at(0)
    whole = render_rgb(scene, camera).image
    part = render_rgb(scene, camera.cropped(12, 7, 16, 10)).image
    torch.testing.assert_close(part, whole[7:17, 12:28], atol=1e-5, rtol=0)


def test_a_view_counts_by_the_share_of_pixels_that_the_selection_fills_past_what_hides_it():
    scene = blobs((0, 0, 3), (0, 0, 1.5), (0.2, 0, 3))
    scene.log_scales[1] = torch.tensor(0.4).log()
    beside, hidden, behind = camera_at(1.5), camera_at(0), camera_at(0, backwards=True)
    views = find_visible_views(scene, only(0, 3), [hidden, beside, behind])
    assert [id(view.camera) for view in views] == [id(beside)]
    uncovered = find_visible_views(scene.map(lambda t: t[:1]), only(0, 1), [hidden, beside])
    assert [id(view.camera) for view in uncovered] == [id(hidden), id(beside)]
    # a Gaussian has the area 2 pi sigma²: sigma is 30 * 0.1 / 3 pixels, and 0.3 of blur are added to its square
    expected = 2 * torch.pi * (1.0 + 0.3) / (WIDTH * HEIGHT)
    assert uncovered[0].share == pytest.approx(expected, rel=0.05)


def test_a_view_that_shows_less_than_a_fifth_of_what_another_shows_is_left_out():
    scene = blobs((0, 0, 1))
    near, far = camera_at(0), camera_at(0)
    far.viewmat[2, 3] = 3.5
    assert len(find_visible_views(scene, only(0, 1), [far])) == 1
    (view,) = find_visible_views(scene, only(0, 1), [near, far])
    assert view.camera is near


def test_a_box_holds_what_is_seen_of_the_selection_in_pixels_of_the_camera():
    big = replace(camera_at(0), K=20 * K.clone(), width=20 * WIDTH, height=20 * HEIGHT)
    big.K[2, 2] = 1
    (view,) = find_visible_views(blobs((0.3, -0.2, 3)), only(0, 1), [big])
    left, top, right, bottom = view.box
    # centre and 2.33 sigma (1% at either side) of sigma = 600 * 0.1 / 3 pixels, seen by pixels of 800 / 256
    assert [(left + right) / 2, (top + bottom) / 2] == pytest.approx([400 + 60, 300 - 40], abs=4)
    assert [(right - left) / 2, (bottom - top) / 2] == pytest.approx([46.5, 46.5], abs=5)


def test_a_window_stays_in_the_picture_and_is_no_finer_than_it():
    view = VisibleView(camera_at(0), (30.0, 2.0, 40.0, 12.0), 0.1)
    window = view.window(224)
    assert (window.width, window.height) == (12, 14)  # from 28 to the border at 40, from 0 to 14
    assert window.K[0, 2] == WIDTH / 2 - 28 and window.K[1, 2] == HEIGHT / 2
    small = view.window(7)
    assert (small.width, small.height) == (6, 7) and small.K[0, 0] == FOCAL / 2


@pytest.fixture
def renderer() -> WindowRenderer:
    scene = blobs((0, 0, 3), (0.2, 0.1, 2.5), (-0.3, 0, 4), (90, 0, 3))
    scene.shN += 0.1 * torch.randn(scene.shN.shape, generator=torch.Generator().manual_seed(0))
    return WindowRenderer(scene, torch.tensor([True, False, True, False]), [camera_at(0).cropped(10, 8, 20, 16)])


def test_a_window_is_drawn_as_the_scene_with_the_new_colours_is(renderer):
    layers = renderer.fixed_layers(0)
    assert layers.ids.tolist() == [0, 1, 2]
    sh = torch.rand(2, 4, 3, generator=torch.Generator().manual_seed(1))
    changed = renderer.gaussians.sh.clone()
    changed[renderer.mask] = sh
    expected = replace(renderer.gaussians, sh0=changed[:, :1], shN=changed[:, 1:])
    assert torch.equal(renderer.render(0, layers, sh), render_rgb(expected, renderer.windows[0]).image)
    assert torch.equal(renderer.render(0, layers, renderer.gaussians.sh[renderer.mask]), layers.first)


def test_the_gradient_of_a_window_is_that_of_the_scene_at_the_selected(renderer):
    sh = renderer.gaussians.sh[renderer.mask].requires_grad_()
    renderer.render(0, renderer.fixed_layers(0), sh).square().sum().backward()
    whole = renderer.gaussians.sh.requires_grad_()
    scene = replace(renderer.gaussians, sh0=whole[:, :1], shN=whole[:, 1:])
    render_rgb(scene, renderer.windows[0]).image.square().sum().backward()
    assert sh.grad.abs().max() > 0.1
    torch.testing.assert_close(sh.grad, whole.grad[renderer.mask])


def test_light_of_the_others_and_of_the_selection_add_up(renderer):
    layers = renderer.fixed_layers(0)
    alone = layers.first - layers.others
    assert layers.coverage[..., 1].max() > 0.5 and (layers.coverage.diff(dim=-1) < 1e-6).all()
    nowhere = layers.coverage[..., 1] == 0
    assert nowhere.any() and (alone[nowhere] == 0).all()


def test_crops_show_scene_and_selection_by_turns_over_their_colours(renderer):
    layers = renderer.fixed_layers(0)
    crops = Crops.sample(renderer.windows[0], 24, torch.Generator().manual_seed(0), torch.device("cpu"))
    cut = crops.cut(layers.first, layers)
    assert cut.shape == (CROPS, 3, 24, 24) and cut.min() >= 0 and cut.max() <= 1
    no_light = replace(layers, others=torch.zeros(16, 20, 3), coverage=torch.zeros(16, 20, 2))
    empty = crops.cut(torch.zeros(16, 20, 3), no_light)
    torch.testing.assert_close(empty, crops.colors[:, :, None, None].expand_as(empty))
    # a scene that covers all hides the colour; the selection, which covers nothing, is not there
    full = torch.stack([torch.ones(16, 20), torch.zeros(16, 20)], -1)
    flat = torch.full((16, 20, 3), 0.25)
    inside = replace(crops, grid=crops.grid.clamp(-0.9, 0.9))
    whole, alone = inside.cut(flat, replace(layers, others=flat, coverage=full))[:2]
    torch.testing.assert_close(whole, torch.full_like(whole, 0.25))
    torch.testing.assert_close(alone, crops.colors[1, :, None, None].expand_as(alone))


def test_crops_are_drawn_by_the_generator_alone(renderer):
    def draw(seed: int) -> Crops:
        return Crops.sample(renderer.windows[0], 8, torch.Generator().manual_seed(seed), torch.device("cpu"))

    assert torch.equal(draw(0).grid, draw(0).grid) and torch.equal(draw(0).colors, draw(0).colors)
    assert not torch.equal(draw(0).grid, draw(1).grid)


def test_an_untilted_crop_of_full_size_is_the_square_around_the_window(renderer, monkeypatch):
    for name, value in (("SMALLEST_CROP", 1.0), ("TILT", 0.0)):
        monkeypatch.setattr(f"gsdff.editing.crops.{name}", value)
    crops = Crops.sample(renderer.windows[0], 8, torch.Generator().manual_seed(0), torch.device("cpu"))
    corners = crops.grid[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    expected = torch.tensor([[-1, -1.25], [1, -1.25], [-1, 1.25], [1, 1.25]])  # of a window of 20 x 16
    torch.testing.assert_close(corners, expected.expand(CROPS, 4, 2))
