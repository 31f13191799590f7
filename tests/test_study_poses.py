"""scripts/study_poses.py: what the training cameras are off in common is told apart from what each of them is off."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_scene import tiny_gaussians, tiny_scene

from gsdff.config.options import Stage1Config, TeacherConfig, TrainConfig
from gsdff.training.trainer import Trainer

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import study_poses

    yield study_poses
    for name in ("study_poses", "bench_train", "bench_train_worker", "training_scenes", "study_tools"):
        sys.modules.pop(name, None)


def score_of(study, scene, gaussians):
    config = TrainConfig(stage1=Stage1Config(steps=1), teacher=TeacherConfig(name="none"))
    with torch.no_grad():
        return study.score(Trainer(config, scene, torch.device("cpu"), gaussians), tiny_scene())


def test_a_scene_that_was_moved_with_its_cameras_scores_as_before_once_aligned(study):
    exact = score_of(study, tiny_scene(), tiny_gaussians())
    shift = torch.tensor([0.004, -0.02, 0.012])
    back = torch.eye(4)
    back[:3, 3] = -shift
    views = [
        replace(view, camera=replace(view.camera, viewmat=view.camera.viewmat @ back)) for view in tiny_scene().views
    ]
    gaussians = replace(tiny_gaussians(), means=tiny_gaussians().means + shift)
    found = score_of(study, replace(tiny_scene(), views=views), gaussians)
    assert found["psnr"] < exact["psnr"] - 5
    assert found["aligned"] == pytest.approx(exact["aligned"], abs=0.5)
    assert found["pixels"] < 0.02 and found["shift"] == pytest.approx(100 * float(shift.norm()), rel=1e-3)


def test_cameras_turn_by_the_angle_and_held_out_ones_stay(study):
    scene = tiny_scene()
    found = score_of(study, off := study.disturbed(scene, angle=2.0, shift=0.05, seed=3), tiny_gaussians())
    assert found["angle"] == pytest.approx(2, rel=1e-2) and found["shift"] == pytest.approx(5, rel=1e-2)
    for view_id in scene.test_ids:
        assert torch.equal(off.views[view_id].camera.viewmat, scene.views[view_id].camera.viewmat)
    other = study.disturbed(scene, angle=2.0, shift=0.05, seed=4)
    view_id = scene.train_ids[0]
    assert not torch.equal(off.views[view_id].camera.viewmat, other.views[view_id].camera.viewmat)
