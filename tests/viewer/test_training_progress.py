import json
import threading

import numpy as np
import pytest

from gsdff.viewer import training_progress as module
from gsdff.viewer.training_progress import Curves, TrainingProgress, format_seconds, thin_out


def write(path, *lines, end="\n"):
    with path.open("a", encoding="utf-8") as file:
        file.write("\n".join(map(json.dumps, lines)) + end)


@pytest.fixture
def clock(monkeypatch):
    """Clock as a list of one item, the seconds that a test sets."""
    now = [0.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    return now


def test_curves_are_read_on_as_the_file_grows_and_half_a_line_waits(tmp_path):
    path = tmp_path / "metrics.jsonl"
    curves = Curves(path)
    assert not curves.update()
    write(path, {"step": 10, "loss": 0.5, "psnr": 12.0})
    assert curves.update() and not curves.update()
    text = json.dumps({"step": 20, "loss": 0.25, "psnr": None, "heldout_psnr": 11.5})
    with path.open("a", encoding="utf-8") as file:
        file.write(text[:9])
    assert not curves.update()
    with path.open("a", encoding="utf-8") as file:
        file.write(text[9:] + "\n")
    assert curves.update()
    assert curves.losses == [(10, 0.5), (20, 0.25)]
    assert curves.psnrs == [(10, 12.0)] and curves.heldout == [(20, 11.5)]


def test_long_curves_are_means_of_neighbours():
    points = [(i, float(i % 2)) for i in range(4 * module.MAX_POINTS)]
    steps, values = thin_out(points)
    assert len(steps) == module.MAX_POINTS
    assert np.allclose(steps[:2], [1.5, 5.5]) and np.allclose(values, 0.5)
    assert [len(part) for part in thin_out([])] == [0, 0]
    assert [part.tolist() for part in thin_out([(3, 4.0)])] == [[3.0], [4.0]]


def test_the_time_left_is_that_of_the_last_steps_and_a_pause_does_not_count(tmp_path, clock):
    progress = TrainingProgress(0, stage1_steps=100, total_steps=200, metrics=tmp_path / "none")
    assert progress.seconds_left is None
    for step in range(1, 11):
        clock[0] += 2
        progress.update(step, 5)
    assert progress.seconds_left == pytest.approx(190 * 2)
    assert progress.describe() == ["step 10 of 200, stage 1 (colours)", "5 Gaussians, about 6 min 20 s left"]
    progress.pause()
    assert progress.describe() == ["step 10 of 200, paused", "5 Gaussians"]
    threading.Timer(0.05, progress.resume).start()
    progress.wait_while_paused()
    clock[0] += 1000
    for step in range(11, 13):
        clock[0] += 3
        progress.update(step, 5)
    assert progress.seconds_left == pytest.approx(188 * 3)


def test_what_comes_between_the_stages_does_not_count_either(tmp_path, clock):
    progress = TrainingProgress(99, stage1_steps=100, total_steps=103, metrics=tmp_path / "none")
    progress.update(100, 5)
    progress.update(100, 5)
    assert progress.stage == "preparing stage 2" and progress.seconds_left is None
    clock[0] += 500
    progress.update(101, 5)
    clock[0] += 1
    progress.update(102, 5)
    assert progress.seconds_left == pytest.approx(1)
    assert progress.stage == "stage 2 (features)"


def test_a_run_without_stage_2_is_done_after_stage_1(tmp_path):
    progress = TrainingProgress(100, stage1_steps=100, total_steps=100, metrics=tmp_path / "none")
    assert progress.stage == "finished"


def test_seconds_are_said_as_one_says_them():
    assert [format_seconds(s) for s in (0.4, 59.0, 60.0, 200.0, 3900.0)] == [
        "0 s",
        "59 s",
        "1 min 0 s",
        "3 min 20 s",
        "1 h 5 min",
    ]
