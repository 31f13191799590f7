"""Depths of photos by stereo: right where they are known, and not known where nothing tells them."""

from dataclasses import replace

import torch
from stereo_scene import BOARD, HEIGHT, WALL, WIDTH, depth_from, make_camera, stereo_scene

from gsdff.scene import Scene
from gsdff.training.stereo import (
    GreyPhoto,
    confirmed,
    contradicted,
    find_partners,
    measure_depths,
)


def with_views(scene: Scene, **changes) -> Scene:
    return replace(scene, views=[replace(view, **changes) for view in scene.views])


def test_depths_of_patterned_surfaces_are_right_and_most_of_them_are_known():
    scene = stereo_scene()
    depths = measure_depths(scene)
    assert sorted(depths) == scene.train_ids
    for view_id, depth in depths.items():
        truth, is_known = depth_from(scene.views[view_id].camera), depth > 0
        errors = (depth / truth - 1).abs()[is_known]
        assert float(is_known.float().mean()) > 0.4
        assert float(errors.median()) < 0.005
        assert float((errors < 0.03).float().mean()) > 0.9  # windows across the edge of the board are of both
        assert bool((is_known & (truth == BOARD)).any()) and bool((is_known & (truth == WALL)).any())


def test_photos_without_a_pattern_have_no_depth():
    scene = with_views(stereo_scene(), image=torch.full((HEIGHT, WIDTH, 3), 90, dtype=torch.uint8))
    assert not any(depth.any() for depth in measure_depths(scene).values())


def test_pixels_that_a_mask_covers_or_that_are_transparent_have_no_depth():
    scene = stereo_scene()
    mask = torch.arange(WIDTH).expand(HEIGHT, WIDTH) < WIDTH // 2
    for changes in ({"mask": mask}, {"alpha": 255 * mask.byte()}):
        for depth in measure_depths(with_views(scene, **changes)).values():
            assert depth[mask].any() and not depth[~mask].any()


def test_held_out_photos_are_not_looked_at():
    scene = stereo_scene()
    (held_out,) = scene.test_ids
    views = list(scene.views)
    views[held_out] = replace(views[held_out], image=torch.zeros(HEIGHT, WIDTH, 3, dtype=torch.uint8))
    other = measure_depths(replace(scene, views=views))
    for view_id, depth in measure_depths(scene).items():
        assert torch.equal(depth, other[view_id])


def test_photos_that_share_no_points_have_no_partners():
    scene = stereo_scene()
    turned = scene.views[0].camera.viewmat.clone()
    turned[:3, :3] = torch.diag(torch.tensor([-1.0, 1.0, -1.0]))  # it looks away
    views = [replace(scene.views[0], camera=replace(scene.views[0].camera, viewmat=turned)), *scene.views[1:]]
    partners = find_partners(replace(scene, views=views))
    assert partners[0] == [] and all(0 not in ids and ids for view_id, ids in partners.items() if view_id != 0)


def test_a_depth_needs_another_photo_that_has_it_and_none_that_looks_through_it():
    photos = {
        n: GreyPhoto(make_camera(0.1 * n), torch.zeros(HEIGHT, WIDTH), torch.ones(HEIGHT, WIDTH).bool())
        for n in range(2)
    }
    same = {n: torch.full((HEIGHT, WIDTH), 4.0) for n in range(2)}
    middle = slice(10, 40)
    assert confirmed(photos, same, 0)[middle, middle].all() and not contradicted(photos, same, 0).any()
    nearer = {0: torch.full((HEIGHT, WIDTH), 3.0), 1: same[1]}
    assert not confirmed(photos, nearer, 0).any() and contradicted(photos, nearer, 0)[middle, middle].all()
    unknown = {0: nearer[0], 1: torch.zeros(HEIGHT, WIDTH)}
    assert not confirmed(photos, unknown, 0).any() and not contradicted(photos, unknown, 0).any()


def test_points_on_a_pixels_ray_fall_into_that_pixel():
    camera = make_camera(0.3, -0.2)
    pixels = camera.project(camera.position + 2.5 * camera.rays())
    rows, columns = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    torch.testing.assert_close(pixels.places, torch.stack([columns, rows], -1) + 0.5, rtol=0, atol=1e-3)
    assert pixels.inside.all()
    assert not camera.project(camera.position - camera.rays()).inside.any()


def test_large_photos_are_reduced_and_keep_their_view():
    scene = stereo_scene()
    view = scene.views[0]
    enlarged = view.image.repeat_interleave(8, 0).repeat_interleave(8, 1)
    small = GreyPhoto.of(replace(view, image=enlarged, camera=view.camera.resized(8 * WIDTH, 8 * HEIGHT)))
    assert small.grey.numel() <= 65_000 and small.grey.shape == (small.camera.height, small.camera.width)
    assert small.camera.fov_y == view.camera.fov_y
