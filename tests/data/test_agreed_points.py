"""Random points lie where photos agree, take no colour of what is not to be learned, and see no held-out photo."""

from dataclasses import replace

import numpy as np
import torch
from tiny_scene import tiny_scene

from gsdff.cameras import Camera
from gsdff.config.options import DataConfig
from gsdff.data import loader
from gsdff.data.agreed_points import points_where_photos_agree
from gsdff.data.capture import Capture
from gsdff.scene import View

BLACK = torch.zeros(3)
DEPTH = 4.0
"""Depth of a wall that all cameras face: they look twice as far as they are apart."""


def walls(generator, num=7, size=64):
    """Views of a wall of smooth random colours at z = `DEPTH`, from places on a line of half length 2."""
    wall = torch.rand(1, 3, 24, 24, generator=generator)
    K = torch.tensor([[40.0, 0, size / 2], [0, 40, size / 2], [0, 0, 1]])
    y, x = torch.meshgrid(*[torch.arange(size) + 0.5] * 2, indexing="ij")
    views = []
    for index in range(num):
        viewmat = torch.eye(4)
        viewmat[0, 3] = -(shift := 4 * index / max(1, num - 1) - 2)
        across, down = (x - size / 2) / 40 * DEPTH + shift, (y - size / 2) / 40 * DEPTH
        picture = torch.nn.functional.grid_sample(wall, torch.stack([across, down], -1)[None] / 8, align_corners=False)
        image = (255 * picture[0].permute(1, 2, 0)).round().to(torch.uint8)
        views.append(View(f"{index}.png", Camera(viewmat, K, size, size), image))
    return views


def test_points_lie_on_the_wall_that_photos_show_in_its_colours(generator):
    views = walls(generator)
    points, colors = points_where_photos_agree(views, 500, BLACK)
    assert len(points) == 500 and float((points[:, 2] - DEPTH).abs().median()) < 0.05 * DEPTH
    assert float(((points[:, 2] - DEPTH).abs() < 0.1 * DEPTH).float().mean()) > 0.75
    camera, image = views[3].camera, views[3].image
    x, y, depth = (points @ camera.K.T).unbind(-1)
    column, row = (x / depth).long(), (y / depth).long()
    inside = (column >= 0) & (column < 64) & (row >= 0) & (row < 64)
    shown = image[row[inside], column[inside]]
    assert float((colors[inside].int() - shown.int()).abs().float().mean()) < 12


def test_points_are_the_same_every_time_and_others_with_another_seed(generator):
    views = walls(generator, num=3)
    first, again = (points_where_photos_agree(views, 50, BLACK)[0] for _ in range(2))
    assert torch.equal(first, again) and not torch.equal(first, points_where_photos_agree(views, 50, BLACK, seed=1)[0])


def test_no_point_is_taken_of_what_a_mask_leaves_out_is_transparent_or_background(generator):
    kept = torch.zeros(64, 64, dtype=torch.bool)
    kept[:, 32:] = True
    (view,) = walls(generator, num=1)
    painted = view.image.clone()
    painted[:, :32] = 0
    for cut in (
        replace(view, mask=kept),
        replace(view, alpha=255 * kept.to(torch.uint8)),
        replace(view, image=painted),
    ):
        points, _ = points_where_photos_agree([cut], 50, BLACK)
        x, _, depth = ((points @ cut.camera.viewmat[:3, :3].T + cut.camera.viewmat[:3, 3]) @ cut.camera.K.T).unbind(-1)
        assert bool((x / depth >= 32 - 1e-3).all())


def test_a_photo_that_a_mask_covers_altogether_gives_no_point_if_another_does(generator):
    first, *others = walls(generator, num=3)
    covered = replace(first, image=torch.full_like(first.image, 255), mask=torch.zeros(64, 64, dtype=torch.bool))
    points, colors = points_where_photos_agree([covered, *others], 60, BLACK)
    assert len(points) == 60 and not bool((colors == 255).all(dim=1).any())


def test_a_photo_without_anything_to_learn_gives_points_all_the_same(generator):
    (view,) = walls(generator, num=1)
    points, _ = points_where_photos_agree([replace(view, mask=torch.zeros(64, 64, dtype=torch.bool))], 9, BLACK)
    assert len(points) == 9 and bool(points.isfinite().all())


def test_what_no_other_photo_shows_gives_no_point(generator):
    views = walls(generator)
    away = replace(views[0].camera, viewmat=views[0].camera.viewmat * torch.tensor([[-1.0], [1], [-1], [1]]))
    views.append(replace(views[0], camera=away))
    points, _ = points_where_photos_agree(views, 400, BLACK)
    shared, _ = points_where_photos_agree(views, 400, BLACK, only_shared=True)
    assert len(points) == 400 and bool((points[:, 2] < 0).any())
    assert 300 < len(shared) < 400 and bool((shared[:, 2] > 0).all())


def test_of_many_photos_some_are_looked_at_from_end_to_end(generator, monkeypatch):
    monkeypatch.setattr("gsdff.data.agreed_points.MOST_PHOTOS", 3)
    views = walls(generator, num=7)
    points, colors = points_where_photos_agree(views, 50, BLACK)
    some, same = points_where_photos_agree(views[::3], 50, BLACK)
    assert torch.equal(points, some) and torch.equal(colors, same)


def test_held_out_photos_are_not_looked_at(monkeypatch):
    scene, seen = replace(tiny_scene(), held_out=(1,)), []

    def draw(views, num_points, background):
        seen.extend(view.name for view in views)
        return torch.zeros(num_points, 3), torch.zeros(num_points, 3, dtype=torch.uint8)

    monkeypatch.setattr(loader, "points_where_photos_agree", draw)
    capture = Capture(scene.root, scene.root, [], np.zeros((0, 3)), np.zeros((0, 3), np.uint8))
    loader.draw_points(capture, scene, DataConfig())
    assert seen == [scene.views[i].name for i in scene.train_ids] and scene.views[1].name not in seen
