"""Where something can be written, and what is said where it cannot."""

import errno
import os

import pytest

from gsdff.errors import UserError
from gsdff.files.places import check_place, describe_failure, make_folder
from gsdff.files.writing import whole_file


@pytest.fixture
def places(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "link").symlink_to("nothing")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "is_folder", "complaint"),
    [
        ("folder", False, "expected the name of a file, there is a folder of that name; choose another"),
        ("pipe", False, "expected the name of a file, there is a pipe or a device of that name"),
        ("file", True, "expected the name of a folder, there is a file of that name"),
        ("pipe", True, "expected the name of a folder, there is a pipe or a device of that name"),
        ("file/a", False, "file is no folder; choose another place"),
        ("file/a/b", True, "file is no folder; choose another place"),
        ("loop", False, "cannot be written (.*symbolic links"),
        ("loop/a", True, "cannot be written (.*symbolic links"),
        ("a" * 256, False, "its name is too long, with more than 255 bytes"),
        ("\u00e4" * 128, False, "its name is too long, with more than 255 bytes"),
    ],
)
def test_a_place_that_will_not_do_is_refused_before_any_work(places, name, is_folder, complaint):
    complaint = complaint.replace("(", r"\(")
    with pytest.raises(UserError, match=f"^`out` {places}/{name}: .*{complaint}"):
        check_place(places / name, parameter="out", is_folder=is_folder)
    if not is_folder:
        with pytest.raises(UserError, match=complaint), whole_file(places / name):
            raise AssertionError("the block has begun")


@pytest.mark.parametrize("name", ["file", "new", "link", "folder/a", "new/b/c", "a" * 255, "\u00e4" * 127])
def test_other_places_will_do(places, name):
    check_place(places / name)
    make_folder((places / name).parent)
    with whole_file(places / name) as partial:
        partial.write_text("x")
    assert (places / name).read_text() == "x" and not (places / name).is_symlink()


def test_a_folder_without_permission_is_said(places, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    for name in ("a", "folder/b/c"):
        with pytest.raises(UserError, match=r"no permission to write into .*; choose another place"):
            check_place(places / name)


def test_a_folder_that_cannot_be_made_is_said(places):
    with pytest.raises(UserError, match="file: cannot be written: there is a file of that name; choose another"):
        make_folder(places / "file")
    with pytest.raises(UserError, match="file/a: cannot be written: a part of its path is a file"):
        make_folder(places / "file" / "a")


@pytest.mark.parametrize(
    ("number", "cause"),
    [
        (errno.ENOSPC, r"the disk is full, [\d,]+\.\d MiB free; make room"),
        (errno.EDQUOT, r"the quota of this user is used up \([\d,]+\.\d MiB free on the disk\)"),
        (errno.EFBIG, r"it is larger than files may be here \([\d,]+\.\d MiB free"),
        (errno.EROFS, "the disk is read-only"),
        (errno.EACCES, "no permission to write into "),
        (errno.EIO, os.strerror(errno.EIO)),
    ],
)
def test_every_failing_write_names_file_and_cause(tmp_path, number, cause):
    def fail():
        raise OSError(number, os.strerror(number))

    with pytest.raises(UserError, match=rf"{tmp_path}/a: cannot be written: {cause}"), whole_file(tmp_path / "a"):
        fail()
    assert not list(tmp_path.iterdir())


def test_numpys_word_for_a_full_disk_is_understood_and_errors_of_other_files_are_not_taken_for_ours(tmp_path):
    said = "1000 requested and 12 written"
    assert "the disk is full" in describe_failure(tmp_path / "a", OSError(said))
    truncated, missing = OSError("image file is truncated"), FileNotFoundError(errno.ENOENT, "none", "b")
    errors = [truncated, missing, BrokenPipeError(errno.EPIPE, "ended")]
    for error in errors:
        with pytest.raises(OSError) as seen, whole_file(tmp_path / "a"):
            raise error
        assert seen.value is error
