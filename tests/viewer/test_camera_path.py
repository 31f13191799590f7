"""Camera paths: played in the page, and written as videos."""

import math
import threading
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from read_video import read_video
from tiny_viewer import look_at

from gsdff.errors import UserError
from gsdff.viewer import camera_path as module
from gsdff.viewer.camera_path import CameraPath


@pytest.fixture
def camera_path(tiny) -> CameraPath:
    """Camera path between two photos, with keyframes of two window sizes."""
    camera_path = CameraPath()
    first, second = tiny.shared.views[1].camera, tiny.shared.views[6].camera
    camera_path.keyframes += [replace(look_at(tiny.shared, 40, 30), viewmat=first.viewmat)]
    camera_path.keyframes += [replace(look_at(tiny.shared, 60, 20), viewmat=second.viewmat)]
    return camera_path


def draw(camera) -> torch.Tensor:
    return torch.full((camera.height, camera.width, 3), 90, dtype=torch.uint8)


def test_views_of_other_windows_are_as_high_and_of_square_pixels(camera_path):
    first, second = camera_path.resized_keyframes()
    assert torch.equal(first.K, camera_path.keyframes[0].K) and (first.width, first.height) == (40, 30)
    assert (second.width, second.height) == (40, 30) and torch.equal(second.viewmat, camera_path.keyframes[1].viewmat)
    assert torch.allclose(second.K, torch.tensor([[48.0, 0, 20], [0, 48, 15], [0, 0, 1]]))  # 32 x 30 / 20
    heights = [math.atan(camera.height / 2 / float(camera.K[1, 1])) for camera in (second, camera_path.keyframes[1])]
    assert heights[0] == pytest.approx(heights[1])


def test_a_video_goes_from_the_first_view_to_the_last(camera_path, tmp_path):
    seen, shares = [], []

    def draw_and_keep(camera):
        seen.append(camera)
        return draw(camera)

    assert camera_path.save(tmp_path / "new" / "a.mp4", 0.5, draw_and_keep, shares.append)
    said, frames = read_video(tmp_path / "new" / "a.mp4")
    assert frames.shape == (12, 30, 40, 3) and "24 fps" in said
    assert shares == pytest.approx([(i + 1) / 12 for i in range(12)])
    for camera, key in ((seen[0], camera_path.keyframes[0]), (seen[-1], camera_path.keyframes[1])):
        assert torch.allclose(camera.viewmat, key.viewmat, atol=1e-5) and (camera.width, camera.height) == (40, 30)


@pytest.mark.parametrize("count", [0, 1])
def test_a_path_needs_two_views(camera_path, tmp_path, count):
    del camera_path.keyframes[count:]
    with pytest.raises(UserError, match="two keyframes"):
        camera_path.save(tmp_path / "a.mp4", 1.0, draw, lambda share: None)
    assert list(tmp_path.glob("*.mp4")) == []


def test_what_is_stopped_leaves_no_file(camera_path, tmp_path):
    shares = []

    def report(share: float) -> None:
        shares.append(share)
        if share > 0.2:
            camera_path.stop()

    folder = tmp_path / "videos"
    assert not camera_path.save(folder / "a.mp4", 2.0, draw, report)
    assert len(shares) == 10 and list(folder.iterdir()) == []
    assert camera_path.save(folder / "a.mp4", 0.1, draw, lambda share: None)  # and can be begun again


def test_one_video_is_written_at_a_time(camera_path, tmp_path):
    complaints = []

    def draw_and_begin_another(camera):
        with pytest.raises(UserError, match="being written") as complaint:
            camera_path.save(tmp_path / "b.mp4", 0.1, draw, lambda share: None)
        complaints.append(complaint)
        return draw(camera)

    assert camera_path.save(tmp_path / "a.mp4", 0.1, draw_and_begin_another, lambda share: None)
    assert len(complaints) == 2 and [path.name for path in tmp_path.glob("*.mp4")] == ["a.mp4"]


def test_an_error_while_drawing_is_raised_and_another_can_be_written(camera_path, tmp_path):
    def fail(camera):
        raise UserError("no memory")

    with pytest.raises(UserError, match="no memory"):
        camera_path.save(tmp_path / "a.mp4", 0.1, fail, lambda share: None)
    assert camera_path.save(tmp_path / "a.mp4", 0.1, draw, lambda share: None)


def test_a_flight_ends_at_the_last_view(camera_path, monkeypatch):
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
    places = []
    camera_path.play(camera_path.resized_keyframes(), places.append, 1.0)
    assert len(places) == 30 and torch.allclose(places[-1].viewmat, camera_path.keyframes[1].viewmat, atol=1e-5)
    steps = [float((a.position - b.position).norm()) for a, b in pairwise(places)]
    assert max(steps) < 3 * min(steps)  # smoothly


def test_a_flight_ends_when_it_is_told_to_or_another_begins(camera_path, monkeypatch):
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
    places = []

    def set_camera(camera) -> None:
        places.append(camera)
        if len(places) == 5:
            camera_path.stop()

    camera_path.play(camera_path.resized_keyframes(), set_camera, 1.0)
    assert len(places) == 5
    others = []

    def begin_another(camera) -> None:
        places.append(camera)
        if len(places) == 8:
            camera_path.play(camera_path.resized_keyframes(), others.append, 0.2)

    camera_path.play(camera_path.resized_keyframes(), begin_another, 1.0)
    assert len(places) == 8 and len(others) == 6


def test_a_flight_does_not_end_a_video(camera_path, tmp_path, monkeypatch):
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)

    def draw_and_fly(camera):
        flight = threading.Thread(
            target=camera_path.play, args=(camera_path.resized_keyframes(), lambda camera: None, 0.1)
        )
        flight.start()
        flight.join()
        return draw(camera)

    assert camera_path.save(tmp_path / "a.mp4", 0.2, draw_and_fly, lambda share: None)


def test_the_last_view_can_be_dropped(camera_path):
    first = camera_path.keyframes[0]
    camera_path.remove_last()
    assert camera_path.keyframes == [first]
    camera_path.remove_last()
    camera_path.remove_last()
    assert camera_path.keyframes == []
