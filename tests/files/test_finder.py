"""Files are found by names that differ in spelling, and never by names that may mean several."""

import pytest

from gsdff.errors import UserError
from gsdff.files.finder import Finder, subfolders


def make(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


@pytest.mark.parametrize(
    ("there", "listed"),
    [("A/b.PNG", "a/b.png"), ("a/b.png", "a/b"), ("a/b.npy", "a/b.png"), ("a/b.png", "A/B.NPY"),
     ("a/b.0001.png", "a/b.0001"), ("\u00fc.png", "u\u0308.png"), ("a/no suffix", "a/no suffix")],
)  # fmt: skip
def test_a_file_is_found_by_another_spelling(tmp_path, there, listed):
    make(tmp_path, there)
    assert Finder((".png", ".npy")).find(tmp_path / listed) == tmp_path / there


@pytest.mark.parametrize(
    "listed", ["a/c.png", "b/b.png", "a/b.jpg", "a/b.png/c.png", "a/b\0.png", "a/\ud800.png", "x" * 5000]
)
def test_what_is_not_there_is_not_found(tmp_path, listed):
    make(tmp_path, "a/b.png")
    assert Finder((".png",)).find(tmp_path / listed) is None


def test_the_likelier_file_comes_first_and_several_alike_are_named(tmp_path):
    make(tmp_path, "b.png", "B.png", "c.png", "C.npy", "d/x.png", "D/x.png")
    finder = Finder((".png", ".npy"))
    assert finder.find(tmp_path / "b") == finder.find(tmp_path / "b.PNG") == tmp_path / "b.png"
    with pytest.raises(UserError, match=r"b.npy: not there, and it may be B.png or b.png; rename one of them"):
        finder.find(tmp_path / "b.npy")
    with pytest.raises(UserError, match=r"may be C.npy or c.png"):
        finder.find(tmp_path / "C.png")
    assert finder.find(tmp_path / "C.png", [tmp_path / "C.npy"]) == tmp_path / "c.png"
    make(tmp_path, "E/x.png")
    assert finder.find(tmp_path / "e/x.png") == tmp_path / "E/x.png"
    make(tmp_path, "ab/x.png", "Ab/x.png")
    with pytest.raises(UserError, match=r"AB: not there, and it may be Ab or ab"):
        finder.find(tmp_path / "AB/x.png")


def test_subfolders_are_those_that_can_be_entered(tmp_path):
    make(tmp_path, "b/x", "a/x", ".hidden/x", "file")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert [folder.name for folder in subfolders(tmp_path)] == ["a", "b", "link"]
    assert subfolders(tmp_path / "missing") == subfolders(tmp_path / "file") == []
