"""scripts/bench_train.py and its scenes: stand-ins keep the held-out photos, and figures are those of all turns."""

import sys
from pathlib import Path

import pytest
from tiny_scene import tiny_scene

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    yield
    for name in ("bench_train", "training_scenes", "study_tools"):
        sys.modules.pop(name, None)


def test_few_photos_are_those_asked_for_and_all_held_out_ones(scripts):
    from training_scenes import with_few

    scene = tiny_scene()
    few = with_few(scene, scene.train_ids[::2])
    assert [few.views[i].name for i in few.test_ids] == [scene.views[i].name for i in scene.test_ids]
    assert [few.views[i].name for i in few.train_ids] == [scene.views[i].name for i in scene.train_ids[::2]]


def test_photos_are_spread_over_all(scripts):
    from training_scenes import spread

    assert spread(list(range(10, 20)), 4) == [10, 13, 16, 19]


def test_an_unknown_scene_is_named_before_anything_is_trained(scripts):
    from bench_train import Options, main

    from gsdff.errors import UserError

    with pytest.raises(UserError, match=r"nowhere.*expected some of fox"):
        main(Options(scenes=("nowhere",)))


def test_a_row_has_the_last_scores_and_the_mean_time_of_all_turns(scripts):
    from bench_train import Worker

    worker = Worker.__new__(Worker)
    worker.turns = [
        {"step": 10, "seconds": 1.0, "cpu_seconds": 2.0, "psnr": 20.0},
        {"step": 30, "seconds": 5.0, "cpu_seconds": 4.0, "psnr": 25.0},
    ]
    row = worker.row()
    assert (row["psnr"], row["seconds"], row["cpu_seconds"]) == (25.0, 6 / 30, 6 / 30)
