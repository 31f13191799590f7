"""Poses that are a little off are moved back; what photos cannot tell stays as it is."""

import math
from dataclasses import replace

import pytest
import torch
from tiny_scene import tiny_gaussians, tiny_scene

from gsdff.config.options import Stage1Config, TeacherConfig, TrainConfig
from gsdff.errors import UserError
from gsdff.io.checkpoint import snapshot
from gsdff.io.refined_poses import at_poses, write_poses
from gsdff.ranks import Ranks
from gsdff.render import render_rgb
from gsdff.training.initialise import initial_gaussians
from gsdff.training.pace import Pace
from gsdff.training.pose_search import find_poses
from gsdff.training.poses import PoseRefinement, pixel_basis, rigid_motion
from gsdff.training.trainer import Trainer

CPU = torch.device("cpu")
ALONE = Pace(Ranks(), True)


def config_of(steps, **options):
    stage1 = Stage1Config(steps=steps, refine_start=steps, exposure="off", **options)
    return TrainConfig(stage1=stage1, teacher=TeacherConfig(name="none"))


def disturbed(scene, angle, shift, generator):
    """The scene with its training photos' cameras turned and shifted, in any direction."""
    views = list(scene.views)
    for view_id in scene.train_ids:
        turn, step = (torch.nn.functional.normalize(torch.randn(3, generator=generator), dim=0) for _ in range(2))
        motion = rigid_motion(torch.cat([angle * turn, shift * step]))
        camera = views[view_id].camera
        views[view_id] = replace(views[view_id], camera=replace(camera, viewmat=motion @ camera.viewmat))
    return replace(scene, views=views)


def as_motion(matrix):
    """A small rotation vector and the shift of a rigid matrix."""
    skew = (matrix[:3, :3] - matrix[:3, :3].T) / 2
    return torch.stack([skew[2, 1], skew[0, 2], skew[1, 0], *matrix[:3, 3]])


def in_pixels(scene, motions):
    """A refinement that has found these motions."""
    refinement = PoseRefinement(scene, 100, ALONE, CPU, is_on=True)
    bases = torch.stack([pixel_basis(scene.views[view_id].camera, scene.points) for view_id in scene.train_ids])
    with torch.no_grad():
        refinement.numbers.copy_((torch.linalg.inv(bases) @ motions.double()[:, :, None])[..., 0])
    return refinement


def test_a_motion_is_rigid_and_turns_by_its_angle(generator):
    motion = torch.randn(6, generator=generator, dtype=torch.float64)
    matrix = rigid_motion(motion)
    rotation = matrix[:3, :3]
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(3, dtype=torch.float64))
    axis = motion[:3]
    torch.testing.assert_close(rotation @ axis, axis)
    assert float(rotation.trace()) == pytest.approx(1 + 2 * math.cos(float(axis.norm())))
    assert torch.equal(matrix[:3, 3], motion[3:]) and matrix[3].tolist() == [0, 0, 0, 1]


def test_the_gradient_of_a_motion_is_right_at_zero_too(generator):
    for motion in (torch.zeros(6, dtype=torch.float64), torch.randn(6, generator=generator, dtype=torch.float64)):
        assert torch.autograd.gradcheck(rigid_motion, motion.requires_grad_(), atol=1e-6)


@pytest.mark.parametrize("mode", range(7))
def test_what_moves_all_cameras_like_the_world_is_taken_out(mode):
    scene, amount = tiny_scene(), 1e-3
    change = torch.zeros(7, dtype=torch.float64)
    change[mode] = amount
    turn = rigid_motion(torch.cat([change[:3], change.new_zeros(3)]))[:3, :3]
    viewmats = torch.stack([scene.views[i].camera.viewmat for i in scene.train_ids]).double()
    motions = []
    for viewmat in viewmats:  # the cameras of a world that was turned, shifted or grown see what they saw
        R, T = viewmat[:3, :3], viewmat[:3, 3]
        centre = (1 + change[6]) * turn @ (-R.T @ T) + change[3:6]
        moved = torch.eye(4, dtype=torch.float64)
        moved[:3, :3] = R @ turn.T
        moved[:3, 3] = -moved[:3, :3] @ centre
        matrix = moved @ torch.linalg.inv(viewmat)
        motions.append(as_motion(matrix))
    refinement = in_pixels(scene, torch.stack(motions))
    left = refinement.moved(scene)
    for view_id in scene.train_ids:
        apart = left.views[view_id].camera.viewmat - scene.views[view_id].camera.viewmat
        assert float(apart.abs().max()) < 0.01 * amount  # of second order


@pytest.mark.parametrize("column", range(6))
def test_every_motion_of_the_basis_is_a_pixel_or_less_whatever_mix_of_turn_and_shift(column):
    scene = tiny_scene()
    camera, points = scene.views[0].camera, scene.points.double()
    motion = 1e-4 * pixel_basis(camera, scene.points)[:, column]

    def project(viewmat):
        x, y, depth = ((points @ viewmat[:3, :3].T + viewmat[:3, 3]) @ camera.K.double().T).unbind(-1)
        return torch.stack([x / depth, y / depth], dim=-1)

    viewmat = camera.viewmat.double()
    before, after = project(viewmat), project(rigid_motion(motion) @ viewmat)
    size = torch.tensor([camera.width, camera.height])
    inside = ((before > 0) & (before < size)).all(dim=-1)
    distance = 1e4 * float((after - before)[inside].square().sum(dim=-1).mean().sqrt())
    assert 0.01 < distance < 1.001


def test_a_camera_that_sees_no_point_turns_by_a_pixel():
    camera = tiny_scene().views[0].camera
    basis = pixel_basis(camera, torch.zeros(0, 3))
    torch.testing.assert_close(basis, torch.eye(6, dtype=torch.float64) / float(camera.K[0, 0]))


def test_poses_are_looked_for_without_a_step_that_counts(generator):
    config, scene = config_of(40, refine_poses=True), disturbed(tiny_scene(), 0.01, 0.01, generator)
    trainer, other = trainer_of(config, scene), trainer_of(config, scene)
    find_poses(trainer)
    assert bool((trainer.radiance.poses.numbers != 0).any())
    assert trainer.step == 0 and torch.equal(trainer.random.cpu, other.random.cpu)
    for (_, one), (_, same) in zip(trainer.gaussians.items(), other.gaussians.items(), strict=True):
        assert torch.equal(one, same)


def test_no_poses_are_looked_for_unless_asked_for():
    trainer = trainer_of(config_of(40), tiny_scene())
    find_poses(trainer)
    assert not trainer.radiance.poses.numbers.any()


def test_cameras_that_are_off_come_back(generator):
    exact = tiny_scene()
    off = disturbed(exact, math.radians(1), 0.02, generator)
    config = config_of(1000, refine_poses=True)
    trainer = Trainer(config, off, CPU, tiny_gaussians())
    for name in ("means", "quats", "log_scales", "logit_opacities", "sh0", "shN"):
        trainer.optimizers[name].param_groups[0]["lr"] = 0.0  # the scene is known
    trainer._set_rates = lambda: None
    for _ in range(1000):
        trainer.advance()
    found = trainer.radiance.poses.moved(off)

    def distance(scene):
        """Pixels that photos are off by, but for what moves all alike, which they cannot tell."""
        pairs = [(scene.views[i].camera.viewmat, exact.views[i].camera.viewmat) for i in exact.train_ids]
        apart = in_pixels(exact, torch.stack([as_motion(one @ torch.linalg.inv(other)) for one, other in pairs]))
        bases = torch.stack([pixel_basis(exact.views[i].camera, exact.points) for i in exact.train_ids]).float()
        return float((torch.linalg.inv(bases) @ apart.motions.detach()[:, :, None]).norm(dim=1).mean())

    assert distance(found) < 0.5 * distance(off)


def trainer_of(config, scene):
    return Trainer(config, scene, CPU, initial_gaussians(config, scene))


def test_a_checkpoint_keeps_the_poses(generator):
    config, scene = config_of(30, refine_poses=True), disturbed(tiny_scene(), 0.01, 0.01, generator)
    begun = trainer_of(config, scene)
    for _ in range(12):
        begun.advance()
    other = trainer_of(config, scene)
    other.load_state_dict(12, snapshot(begun.state_dict()))
    for trainer in (begun, other):
        for _ in range(18):
            trainer.advance()
    assert torch.equal(begun.radiance.poses.numbers, other.radiance.poses.numbers)
    assert torch.equal(begun.gaussians.means, other.gaussians.means)
    assert bool((begun.radiance.poses.numbers != 0).any())


def test_poses_of_an_earlier_versions_checkpoint_go_on_in_pixels(generator):
    scene = tiny_scene()
    earlier = 0.01 * torch.randn(len(scene.train_ids), 6, generator=generator)
    found = in_pixels(scene, earlier)
    refined, fixed = (PoseRefinement(scene, 100, ALONE, CPU, is_on=is_on) for is_on in (True, False))
    for refinement in (refined, fixed):
        refinement.load_state_dict({"motions": earlier, "optimizer": {}})
    assert (refined.motions != 0).any()
    torch.testing.assert_close(refined.motions, found.motions, rtol=1e-3, atol=1e-6)
    assert (fixed.numbers == 0).all()


def test_by_default_poses_stay():
    trainer = trainer_of(config_of(20), tiny_scene())
    for _ in range(20):
        trainer.advance()
    assert not trainer.radiance.poses.numbers.any() and not trainer.has_moved_photos


def test_moved_photos_go_through_their_file(tmp_path, generator):
    scene = replace(tiny_scene(), frame=replace(tiny_scene().frame, centre=(100.0, -7.0, 3.0), scale=2.5))
    moved = disturbed(scene, 0.02, 0.02, generator)
    write_poses(tmp_path / "poses.json", moved)
    read = at_poses(scene, tmp_path / "poses.json")
    for one, other in zip(read.views, moved.views, strict=True):
        torch.testing.assert_close(one.camera.viewmat, other.camera.viewmat, rtol=1e-5, atol=1e-5)
        picture, same = (render_rgb(tiny_gaussians(), view.camera).image for view in (one, other))
        torch.testing.assert_close(picture, same, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("content", ["[]", "{", '{"view_1.png": 3}', '{"view_1.png": [[2, 0], [0, 2]]}'])
def test_a_file_of_something_else_is_refused(tmp_path, content):
    (tmp_path / "poses.json").write_text(content)
    with pytest.raises(UserError, match=r"poses\.json"):
        at_poses(tiny_scene(), tmp_path / "poses.json")
