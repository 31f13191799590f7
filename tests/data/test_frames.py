"""A video becomes photos: the sharpest frame of each part."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from gsdff.data.frames import extract_frames, pick_sharpest
from gsdff.data.poses import reconstruct
from gsdff.errors import UserError
from gsdff.io.video import save_video

SHARP = (4, 9, 17, 23)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """24 frames of noise; all but four, one in each quarter, are blurred. The red corner tells a frame's number."""
    path = tmp_path_factory.mktemp("video") / "a clip: 1.mp4"
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8))

    def frame(index):
        picture = noise if index in SHARP else noise.filter(ImageFilter.GaussianBlur(3))
        pixels = np.array(picture)
        pixels[:32, :32] = (index * 10, 0, 0)
        return torch.from_numpy(pixels)

    save_video(path, map(frame, range(24)))
    return path


def test_the_sharp_frame_of_each_part_is_written_with_its_number(video, tmp_path):
    assert extract_frames(video, tmp_path / "images", 4) == 4
    names = sorted(path.name for path in (tmp_path / "images").iterdir())
    assert names == [f"frame_{index:06d}.jpg" for index in SHARP]
    for name, index in zip(names, SHARP, strict=True):
        with Image.open(tmp_path / "images" / name) as picture:
            assert picture.size == (160, 120) and abs(np.array(picture)[4:28, 4:28, 0].mean() - index * 10) < 6
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_fewer_frames_than_parts_are_all_taken():
    scores = np.array([3.0, 1, 2])
    assert pick_sharpest(scores, 10) == [0, 1, 2] and pick_sharpest(scores, 1) == [0]
    assert pick_sharpest(np.array([0, 5, 4, 1, 2, 3.0]), 2) == [1, 5]


def test_what_is_no_video_is_named_and_leaves_nothing(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video" * 100)
    with pytest.raises(UserError, match=r"a\.mp4: cannot be read as a video"):
        extract_frames(tmp_path / "a.mp4", tmp_path / "images", 4)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    with pytest.raises(UserError, match=r"photo\.gif: expected the folder of the photos, or a video"):
        (tmp_path / "photo.gif").write_bytes(b"")
        reconstruct(tmp_path / "photo.gif")
    with pytest.raises(UserError, match="`frames`: expected at least 1, got 0"):
        reconstruct(tmp_path / "a.mp4", frames=0)


def test_a_video_cut_short_gives_the_frames_before(video, tmp_path):
    data = video.read_bytes()
    # the index of an MP4 with faststart comes first, so that what is there can be played
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) * 2 // 3])
    number = extract_frames(tmp_path / "cut.mp4", tmp_path / "images", 24)
    assert 0 < number < 24 and len(list((tmp_path / "images").iterdir())) == number
