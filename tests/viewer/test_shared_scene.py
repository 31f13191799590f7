"""Opening a scene, its photos and depths, and cameras of a browser."""

import logging
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_run import make_gaussians, open_field
from tiny_viewer import see

from gsdff import view as door
from gsdff.errors import UserError
from gsdff.export import ExportArguments, export_run
from gsdff.field.placement import fit_frame
from gsdff.io.ply import write_ply
from gsdff.rotation import matrices_to_quats
from gsdff.viewer.page.start import choose_cameras
from gsdff.viewer.rendering import available_modes, render_mode
from gsdff.viewer.shared_scene import make_camera, open_shared_scene


def test_a_run_is_opened_with_photos_and_questions(tiny):
    shared = tiny.shared
    assert len(shared.views) == 10 and shared.folder == tiny.run.folder / "viewer" and not shared.folder.exists()
    assert shared.frame.scale == pytest.approx(tiny.run.frame.scale)
    assert torch.equal(shared.gaussians.means, shared.field.gaussians.means)


def test_a_ply_without_features_and_photos_can_be_looked_at_and_edited(tmp_path, generator, caplog):
    path = tmp_path / "other.ply"
    gaussians = make_gaussians(generator)
    gaussians.log_scales -= 1.5
    write_ply(path, gaussians)
    with caplog.at_level(logging.INFO, "gsdff"):
        shared = open_shared_scene(open_field(path))
    assert "no queries" in caplog.text and "no photos" in caplog.text
    assert shared.folder == tmp_path / "other_viewer" and not shared.field.has_features
    assert shared.pca is None and not shared.is_large
    (camera,) = choose_cameras(shared.field)
    assert shared.nearest_view(camera) is None
    assert available_modes(shared) == ("colour", "depth", "opacity")
    for mode in available_modes(shared):
        picture = render_mode(shared, see(shared), mode, camera.resized(40, 30))
        assert picture[10:20, 13:27].float().mean() > 20  # it is in the middle
        assert picture.any(-1).float().mean() < 0.9  # and not all over


def test_a_ply_that_can_be_asked_says_that_it_has_no_photos(tiny, tmp_path, caplog):
    path = export_run(ExportArguments(tiny.run.folder))
    with caplog.at_level(logging.INFO, "gsdff"):
        shared = open_shared_scene(open_field(path))
    assert "no photos" in caplog.text and "no queries" not in caplog.text
    assert shared.field.has_features and shared.views == [] and "photo" not in available_modes(shared)
    seen = open_shared_scene(open_field(path, data=tiny.run.data))
    assert len(seen.views) == 10 and seen.frame == tiny.shared.frame
    assert torch.allclose(seen.views[3].camera.viewmat, tiny.shared.views[3].camera.viewmat)


@pytest.mark.parametrize("data", [None, "nowhere"])
def test_what_is_not_there_is_a_users_mistake(tmp_path, data):
    with pytest.raises(UserError, match="nothing here"):
        open_field(tmp_path / "nothing here", data=None if data is None else tmp_path / data)


def test_a_run_whose_photos_are_gone_is_shown_without_them(tiny, caplog):
    shutil.rmtree(tiny.run.data)
    with caplog.at_level("INFO", logger="gsdff"):
        shared = open_shared_scene(open_field(tiny.run.folder))
    assert "no photos" in caplog.text and shared.views == [] and shared.frame == tiny.run.frame
    assert "photo" not in available_modes(shared) and "colour" in available_modes(shared)
    assert render_mode(shared, see(shared), "colour", choose_cameras(shared.field)[0]).any()


def test_photos_that_were_named_and_are_not_there_are_a_users_mistake(tiny, tmp_path, call):
    path = export_run(ExportArguments(tiny.run.folder))
    with pytest.raises(UserError, match="nowhere"):
        call(door, path, "--data", tmp_path / "nowhere")


def test_the_nearest_photo_is_near_and_looks_the_same_way(tiny):
    shared = tiny.shared
    for view in shared.views:
        assert shared.nearest_view(view.camera) is view
    camera = shared.views[2].camera
    viewmat = camera.viewmat.clone()
    viewmat[:3, 3] += torch.tensor([0.01, 0.0, 0.02])
    assert shared.nearest_view(replace(camera, viewmat=viewmat)) is shared.views[2]
    turned = torch.diag(torch.tensor([-1.0, 1, -1, 1])) @ shared.views[9].camera.viewmat
    other = replace(shared.views[9], camera=replace(camera, viewmat=turned))
    assert replace(shared, views=[other, shared.views[7]]).nearest_view(shared.views[9].camera) is shared.views[7]


@pytest.mark.parametrize("index", [0, 4, 9])
def test_a_browsers_camera_at_a_photos_place_is_the_photos(tiny, index):
    theirs = tiny.shared.views[index].camera
    wxyz = matrices_to_quats(theirs.viewmat[:3, :3].T.double()[None])[0].numpy()
    fov = 2 * math.atan(0.5 * theirs.height / float(theirs.K[1, 1]))
    ours = make_camera(wxyz, theirs.position.numpy(), fov, theirs.width, theirs.height)
    assert torch.allclose(ours.viewmat, theirs.viewmat, atol=1e-5) and torch.allclose(ours.K, theirs.K, atol=1e-3)
    assert (ours.width, ours.height) == (theirs.width, theirs.height)
    opposite = make_camera(-wxyz, theirs.position.numpy(), fov, theirs.width, theirs.height)
    assert torch.allclose(opposite.viewmat, ours.viewmat, atol=1e-6)


def test_a_browsers_camera_by_hand():
    camera = make_camera(np.array([1.0, 0, 0, 0]), np.array([1.0, 2, 3]), math.pi / 2, 300, 200)
    assert camera.position.tolist() == [1, 2, 3] and camera.viewmat[2].tolist() == [0, 0, 1, -3]
    assert torch.allclose(camera.K, torch.tensor([[100.0, 0, 150], [0, 100, 100], [0, 0, 1]]), atol=1e-4)


def test_depths_are_those_in_the_middle_of_the_photos(tiny):
    shared = tiny.shared
    camera = shared.views[4].camera
    mean = shared.gaussians.to_working_frame(shared.frame).means.mean(0)
    distance = float((camera.viewmat[:3, :3] @ mean + camera.viewmat[:3, 3])[2])
    assert 0.5 * distance < shared.typical_depth < 1.5 * distance
    away = replace(camera, viewmat=torch.diag(torch.tensor([-1.0, 1, -1, 1])) @ camera.viewmat)
    assert shared.depth_at(away) == 1.0  # where there is nothing to see


@pytest.mark.parametrize("count", [1, 2, 60])
def test_a_fit_frame_any_scene_holds_most_of_it(generator, count):
    gaussians = make_gaussians(generator).map(lambda tensor: tensor[:count])
    frame = fit_frame(gaussians)
    assert frame.scale > 0
    distances = frame.points_to_working(gaussians.means).norm(dim=1)
    assert (distances <= 1.0001).float().mean() >= 0.5
    invisible = replace(gaussians, logit_opacities=torch.full((count,), -9.0))
    assert fit_frame(invisible).scale > 0
