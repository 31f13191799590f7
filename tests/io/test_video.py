"""Videos, read back frame by frame."""

import subprocess
import sys
import weakref
from itertools import chain, repeat
from pathlib import Path

import imageio_ffmpeg
import pytest
import torch
from read_video import read_video

from gsdff.errors import UserError
from gsdff.io import video
from gsdff.io.video import FPS, save_video


def plain(color, height=48, width=64):
    return torch.tensor(color, dtype=torch.uint8).expand(height, width, 3)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


COLORS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (42, 111, 219), (128, 128, 128)]


def test_a_video_has_the_frames_given_in_order_in_their_colours(tmp_path):
    save_video(tmp_path / "new" / "a.mp4", (plain(color) for color in COLORS))
    said, frames = read_video(tmp_path / "new" / "a.mp4")
    assert "Video: h264" in said and "yuv420p(tv, bt709" in said and f"{FPS} fps" in said
    expected = torch.stack([plain(color) for color in COLORS])
    assert frames.shape == expected.shape
    assert (frames.int() - expected.int()).abs().max() <= 6
    assert names(tmp_path / "new") == ["a.mp4"]


def test_left_is_left_and_top_is_top(tmp_path):
    frame = torch.zeros(48, 64, 3, dtype=torch.uint8)
    frame[:24, :32] = torch.tensor([255, 0, 0])
    frame[24:, 32:] = torch.tensor([0, 0, 255])
    save_video(tmp_path / "a.mp4", [frame, frame], fps=10)
    said, frames = read_video(tmp_path / "a.mp4")
    assert "10 fps" in said and "Duration: 00:00:00.20" in said
    assert (frames[1, 4:20, 4:28].int() - frame[4:20, 4:28].int()).abs().max() <= 6
    assert (frames[1, 28:44, 36:60].int() - frame[28:44, 36:60].int()).abs().max() <= 6


@pytest.mark.parametrize(("height", "width"), [(33, 47), (33, 48), (34, 47), (1, 1)])
def test_odd_sides_grow_by_the_last_row_or_column(tmp_path, height, width):
    save_video(tmp_path / "a.mp4", [plain((200, 100, 50), height, width)])
    _, frames = read_video(tmp_path / "a.mp4")
    assert frames.shape == (1, height + height % 2, width + width % 2, 3)
    assert (frames.int() - torch.tensor([200, 100, 50])).abs().max() <= 6


def test_frames_are_asked_for_one_by_one_while_earlier_ones_are_gone(tmp_path):
    alive = weakref.WeakSet()
    most = []

    def make():
        for _ in range(20):
            frame = plain((1, 2, 3)).clone()
            alive.add(frame)
            most.append(len(alive))
            yield frame
            del frame

    save_video(tmp_path / "a.mp4", make())
    assert len(read_video(tmp_path / "a.mp4")[1]) == 20 and max(most) <= 3


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("old", [None, b"old"])
def test_what_is_interrupted_leaves_what_was_there_and_no_encoder(tmp_path, monkeypatch, error, old):
    started = []
    popen = subprocess.Popen
    monkeypatch.setattr(video.subprocess, "Popen", lambda *args, **kw: started.append(popen(*args, **kw)) or started[0])
    path = tmp_path / "a.mp4"
    if old is not None:
        path.write_bytes(old)

    def make():
        yield from repeat(plain((1, 2, 3)), 30)
        raise error

    with pytest.raises(error):
        save_video(path, make())
    assert started[0].returncode is not None
    assert names(tmp_path) == ([] if old is None else ["a.mp4"]) and (old is None or path.read_bytes() == old)


ENCODERS = {
    "fails at once": "import sys; sys.exit('no room\\n  left')",
    "fails at the end": "import sys; sys.stdin.buffer.read(); sys.exit('no room\\n  left')",
    "ends early": "import sys; sys.stderr.write('no room left'); sys.stdin.buffer.read(1)",
}


@pytest.mark.parametrize("program", ENCODERS.values(), ids=ENCODERS.keys())
def test_an_encoder_that_fails_is_one_line_and_leaves_no_file(tmp_path, monkeypatch, program):
    encoder = tmp_path / "bin" / "encoder"
    encoder.parent.mkdir()
    script = encoder.with_suffix(".py")
    script.write_text(program)
    # not the script itself: a path with a space cannot stand behind #!
    encoder.write_text(f"#!/bin/sh\nexec '{sys.executable}' '{script}'\n")
    encoder.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(encoder))
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match=r"a\.mp4: the encoder failed \(status \d, [\d,.]+ MiB free\): no room left$"):
        save_video(tmp_path / "out" / "a.mp4", repeat(plain((1, 2, 3), 480, 640), 20))
    assert names(tmp_path / "out") == []


def test_a_real_encoders_complaint_is_in_the_message(tmp_path, monkeypatch):
    monkeypatch.setattr(video, "_QUALITY", "nonsense")
    with pytest.raises(UserError, match=r"a\.mp4: the encoder failed .*nonsense"):
        save_video(tmp_path / "a.mp4", [plain((1, 2, 3))])
    assert names(tmp_path) == []


def test_an_encoder_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/nowhere/ffmpeg")
    with pytest.raises(UserError, match=r"a\.mp4: the encoder /nowhere/ffmpeg does not start: No such file"):
        save_video(tmp_path / "a.mp4", [plain((1, 2, 3))])

    def find_none():
        raise RuntimeError("No ffmpeg exe could be found.")

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", find_none)
    with pytest.raises(UserError, match="no ffmpeg for videos: No ffmpeg exe could be found"):
        save_video(tmp_path / "a.mp4", [plain((1, 2, 3))])
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "a video must have frames, got none"),
        ([plain((1, 2, 3)), plain((1, 2, 3), 48, 62)], r"frame 1 of a video: expected uint8 \(48, 64, 3\), got .*62"),
        ([plain((1, 2, 3)).float()], r"frame 0 of a video: expected uint8 \(48, 64, 3\), got torch.float32"),
    ],
)
def test_bad_frames_are_refused_and_leave_no_file(tmp_path, frames, message):
    with pytest.raises(ValueError, match=message):
        save_video(tmp_path / "a.mp4", chain(frames))
    assert names(tmp_path) == []


def test_a_name_with_a_colon_or_a_dash_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a:b.mp4", "-c.mp4"):
        save_video(Path(name), [plain((1, 2, 3))])
    assert names(tmp_path) == ["-c.mp4", "a:b.mp4"]
