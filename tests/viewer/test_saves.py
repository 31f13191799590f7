"""Names of the files that a page saves."""

from gsdff.viewer.wire.saves import free_path


def test_names_are_numbered_and_never_given_twice(tiny):
    folder = tiny.shared.folder
    assert free_path(tiny.shared, "video", ".mp4") == folder / "video_001.mp4"
    assert free_path(tiny.shared, "video", ".mp4") == folder / "video_002.mp4"  # the first is being written
    (folder / "video_003.mp4").touch()
    assert free_path(tiny.shared, "video", ".mp4") == folder / "video_004.mp4"
    assert free_path(tiny.shared, "scene", ".ply") == folder / "scene_001.ply"
