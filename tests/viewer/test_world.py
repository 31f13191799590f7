"""What is opened to look at, from where, and how a browser's camera becomes ours."""

import logging
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from fake_client import FakeClient
from tiny_run import make_gaussians, open_field

from gsdff import view as door
from gsdff.errors import UserError
from gsdff.export import ExportArguments, export_run
from gsdff.field.base import fit_frame
from gsdff.io.ply import write_ply
from gsdff.rotation import matrices_to_quats
from gsdff.viewer.document import Document
from gsdff.viewer.painting import modes_of, paint
from gsdff.viewer.world import make_camera, open_world


def test_a_run_is_opened_with_photos_and_questions(tiny):
    world = tiny.world
    assert len(world.views) == 10 and world.folder == tiny.run.folder / "viewer" and not world.folder.exists()
    assert world.names == ("chair", "lamp", "wall")
    assert world.frame.scale == pytest.approx(tiny.run.frame.scale)
    assert torch.equal(world.gaussians.means, world.field.gaussians.means)


def test_a_ply_without_features_and_photos_can_be_looked_at_and_edited(tmp_path, generator, caplog):
    path = tmp_path / "other.ply"
    gaussians = make_gaussians(generator)
    gaussians.log_scales -= 1.5
    write_ply(path, gaussians)
    with caplog.at_level(logging.INFO, "gsdff"):
        world = open_world(open_field(path))
    assert "no queries" in caplog.text and "no photos" in caplog.text
    assert world.folder == tmp_path / "other_viewer" and not world.field.has_features
    assert world.names == () and world.pca is None
    assert world.nearest_view(world.first_camera) is None
    assert modes_of(world) == ("colour", "depth", "opacity")
    document = Document(world.gaussians, world.frame, world.field)
    for mode in modes_of(world):
        picture = paint(world, document.shown, mode, world.first_camera.resized(40, 30), marks=True)
        assert picture[10:20, 13:27].float().mean() > 20  # it is in the middle
        assert picture.any(-1).float().mean() < 0.9  # and not all over


def test_a_ply_that_can_be_asked_says_that_it_has_no_photos(tiny, tmp_path, caplog):
    path = export_run(ExportArguments(tiny.run.folder))
    with caplog.at_level(logging.INFO, "gsdff"):
        world = open_world(open_field(path))
    assert "no photos" in caplog.text and "no queries" not in caplog.text
    assert world.field.has_features and world.views == [] and "photo" not in modes_of(world)
    seen = open_world(open_field(path, data=tiny.run.data))
    assert len(seen.views) == 10 and seen.frame == tiny.world.frame
    assert torch.allclose(seen.views[3].camera.viewmat, tiny.world.views[3].camera.viewmat)


@pytest.mark.parametrize("data", [None, "nowhere"])
def test_what_is_not_there_is_a_users_mistake(tmp_path, data):
    with pytest.raises(UserError, match="nothing here"):
        open_field(tmp_path / "nothing here", data=None if data is None else tmp_path / data)


def test_a_run_whose_photos_are_gone_is_shown_without_them(tiny, caplog):
    shutil.rmtree(tiny.run.data)
    with caplog.at_level("INFO", logger="gsdff"):
        world = open_world(open_field(tiny.run.folder))
    assert "no photos" in caplog.text and world.views == [] and world.frame == tiny.run.frame
    assert "photo" not in modes_of(world) and "colour" in modes_of(world)
    shown = Document(world.gaussians, world.frame, world.field).shown
    assert paint(world, shown, "colour", world.first_camera, marks=False).any()


def test_photos_that_were_named_and_are_not_there_are_a_users_mistake(tiny, tmp_path, call):
    path = export_run(ExportArguments(tiny.run.folder))
    with pytest.raises(UserError, match="nowhere"):
        call(door, path, "--data", tmp_path / "nowhere")


def test_the_nearest_photo_is_near_and_looks_the_same_way(tiny):
    world = tiny.world
    for view in world.views:
        assert world.nearest_view(view.camera) is view
    camera = world.views[2].camera
    viewmat = camera.viewmat.clone()
    viewmat[:3, 3] += torch.tensor([0.01, 0.0, 0.02])
    assert world.nearest_view(replace(camera, viewmat=viewmat)) is world.views[2]
    turned = torch.diag(torch.tensor([-1.0, 1, -1, 1])) @ world.views[9].camera.viewmat
    other = replace(world.views[9], camera=replace(camera, viewmat=turned))
    assert replace(world, views=[other, world.views[7]]).nearest_view(world.views[9].camera) is world.views[7]


@pytest.mark.parametrize("index", [0, 4, 9])
def test_a_browsers_camera_at_a_photos_place_is_the_photos(tiny, index):
    theirs = tiny.world.views[index].camera
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


def test_up_is_the_photographers(tiny):
    assert torch.allclose(tiny.world.up, torch.tensor([0.0, -1.0, 0.0]), atol=1e-6)  # y is down in these
    assert replace(tiny.world, views=[]).up.tolist() == [0, 0, 1]


def test_without_photos_one_stands_before_the_scene_upright(tiny):
    camera = replace(tiny.world, views=[]).first_camera
    assert torch.allclose(camera.position, torch.tensor([0.0, -2.5, 0.0]))
    assert torch.allclose(camera.viewmat[:3, :3] @ camera.viewmat[:3, :3].T, torch.eye(3))
    assert torch.linalg.det(camera.viewmat[:3, :3]) == 1
    assert camera.viewmat[1, :3].tolist() == [0, 0, -1]  # down


def test_depths_are_those_in_the_middle_of_the_photos(tiny):
    world = tiny.world
    camera = world.views[4].camera
    mean = world.gaussians.to_working_frame(world.frame).means.mean(0)
    distance = float((camera.viewmat[:3, :3] @ mean + camera.viewmat[:3, 3])[2])
    assert 0.5 * distance < world.depth < 1.5 * distance
    away = replace(camera, viewmat=torch.diag(torch.tensor([-1.0, 1, -1, 1])) @ camera.viewmat)
    assert world.depth_at(away) == 1.0  # where there is nothing to see


@pytest.mark.parametrize("count", [1, 2, 60])
def test_a_fit_frame_any_scene_holds_most_of_it(generator, count):
    gaussians = make_gaussians(generator).map(lambda tensor: tensor[:count])
    frame = fit_frame(gaussians)
    assert frame.scale > 0
    distances = frame.points_to_working(gaussians.means).norm(dim=1)
    assert (distances <= 1.0001).float().mean() >= 0.5
    invisible = replace(gaussians, logit_opacities=torch.full((count,), -9.0))
    assert fit_frame(invisible).scale > 0


def test_standing_at_a_photos_place_shows_the_photo(tiny):
    """As a tab puts the window's camera there: the round trip through viser's own camera."""
    client = FakeClient(30, 22)
    camera = tiny.world.views[6].camera
    client.camera.up_direction = tiny.world.up.numpy()
    client.camera.position = camera.position.numpy()
    client.camera.look_at = camera.position.numpy() + camera.viewmat[2, :3].numpy()
    client.camera.fov = 2 * math.atan(0.5 * camera.height / float(camera.K[1, 1]))
    seen = make_camera(client.camera.wxyz, client.camera.position, client.camera.fov, 30, 22)
    assert torch.allclose(seen.viewmat, camera.viewmat, atol=1e-5)
    picture = paint(tiny.world, tiny.document().shown, "colour", seen, marks=False)
    assert (picture.int() - tiny.world.views[6].image.int()).abs().max() <= 2
