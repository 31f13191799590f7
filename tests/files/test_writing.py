"""A file is the old one or the new one, never a part."""

import fcntl
import hashlib
import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from dying import killed_at
from safetensors import safe_open

from gsdff.errors import UserError
from gsdff.files import writing
from gsdff.files.reading import check_file, read_safetensors
from gsdff.files.writing import (
    check_paths,
    discard,
    hash_file,
    save_tensors,
    settle,
    together,
    whole_file,
    write_text,
    written,
)


def test_a_block_that_ends_well_replaces_the_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with whole_file(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), whole_file(path) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def write_set(folder, text):
    """Writes a set of three files, of which one may have been there before and one is no longer part of it."""
    with together(folder / "head"):
        discard(folder / "gone")
        for name in ("head", "sub/a", "sub/b"):
            (folder / name).parent.mkdir(exist_ok=True)
            with whole_file(folder / name) as partial:
                partial.write_text(text)


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


OLD = {"head": "old", "sub/a": "old", "gone": "old"}
NEW = {"head": "new", "sub/a": "new", "sub/b": "new"}


@pytest.fixture
def old_set(tmp_path):
    (tmp_path / "sub").mkdir()
    for name, text in OLD.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_set_is_replaced_at_the_end_of_its_block(old_set):
    with together(old_set / "head"):
        write_set(old_set, "new")
        assert {name: (old_set / name).read_text() for name in OLD} == OLD and not (old_set / "sub/b").exists()
        assert written(old_set / "head").read_text() == "new" and written(old_set / "gone") == old_set / "gone"
    assert contents(old_set) == NEW and written(old_set / "head") == old_set / "head"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_error_the_old_set_is_there_and_nothing_else(old_set, error):
    with pytest.raises(error), together(old_set / "head"):
        write_set(old_set, "new")
        raise error
    assert contents(old_set) == OLD
    write_set(old_set, "new")
    assert contents(old_set) == NEW


@pytest.mark.parametrize("number", range(4))
def test_a_set_whose_replacement_was_killed_is_completed_by_whoever_reads_its_head_first(old_set, number, caplog):
    with killed_at(number):
        write_set(old_set, "new")
    if number:
        assert (old_set / "head").read_text() == "new"
    check_file(old_set / "head", "a text")
    assert contents(old_set) == NEW
    assert "head: completed a set of 4 files whose replacement had been interrupted" in caplog.text


@pytest.mark.parametrize("number", range(4))
def test_the_next_writer_completes_it_too(old_set, number):
    with killed_at(number):
        write_set(old_set, "new")
    with whole_file(old_set / "other") as partial:
        partial.write_text("other")
    assert contents(old_set) == {**NEW, "other": "other"}
    write_set(old_set, "newest")
    assert contents(old_set) == {**dict.fromkeys(NEW, "newest"), "other": "other"}


def test_a_file_that_was_changed_since_is_left(old_set, caplog):
    with killed_at(1):
        write_set(old_set, "new")
    (old_set / "sub/a").write_text("mine, since")
    settle(old_set / "head")
    assert contents(old_set) == {**NEW, "sub/a": "mine, since"}
    assert "sub/a: has been changed since its replacement was interrupted; it is left" in caplog.text


def test_a_folder_with_an_interrupted_set_may_be_moved(old_set):
    with killed_at(2):
        write_set(old_set, "new")
    moved = old_set.rename(old_set.with_name("moved"))
    settle(moved / "head")
    assert contents(moved) == NEW


@pytest.mark.parametrize(
    "entry",
    [
        ["../outside", "..outside.00000000-1-000000.partial", None],
        ["/etc/outside", "..outside.00000000-1-000000.partial", None],
        ["link/outside", ".outside.00000000-1-000000.partial", None],
        ["a", "../outside", None],
        ["a", "b", None],
        ["../outside", None, [1, 2]],
        ["a", None, None],
        ["a"],
        "a",
        5,
    ],
)
def test_a_strangers_list_of_files_reaches_nothing_outside_its_folder(tmp_path, entry):
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path)
    outside.write_text("mine")
    for place in (tmp_path, folder):
        (place / ".outside.00000000-1-000000.partial").write_text("theirs")
    (folder / ".head.unfinished").write_text(json.dumps([entry]))
    with pytest.raises(UserError, match=r"\.head\.unfinished: lists files to be replaced, and cannot be read"):
        settle(folder / "head")
    assert outside.read_text() == "mine"


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    path = tmp_path / "a"
    with whole_file(path) as one, whole_file(path) as other:
        assert one != other
        one.write_text("one")
        other.write_text("other")
    assert contents(tmp_path) == {"a": "one"}


DYING = """
import os, sys
from pathlib import Path
from gsdff.files.writing import whole_file
with whole_file(Path(sys.argv[1])) as partial:
    partial.write_text("half")
    os._exit(9)
"""


def test_what_a_killed_process_left_is_removed_and_what_others_write_is_not(tmp_path):
    path = tmp_path / "a"
    assert subprocess.run([sys.executable, "-c", DYING, str(path)]).returncode == 9
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".a.") and left.name.endswith(".partial")
    elsewhere, older, foreign = (tmp_path / f".{name}.partial" for name in ("b.0badcafe-1-abcdef", "c", "d"))
    for place in (elsewhere, older, foreign):
        place.write_text("half")
    os.utime(older, (0, 0))
    with whole_file(path) as partial:
        writing._sweep.cache_clear()
        partial.write_text("whole")
        with whole_file(tmp_path / "e") as other:  # another writer, which must not take ours away
            other.touch()
    assert path.read_text() == "whole"
    assert sorted(place.name for place in tmp_path.iterdir()) == sorted([elsewhere.name, foreign.name, "a", "e"])


def test_a_files_hash_is_that_of_all_its_bytes_and_of_nothing_else(tmp_path):
    large = bytes(range(256)) * 10_000
    one, same, other = (tmp_path / name for name in ("one", "same", "other"))
    one.write_bytes(large)
    same.write_bytes(large)
    other.write_bytes(large[:-1] + b"x")
    assert hash_file(one) == hash_file(same) != hash_file(other)
    assert hash_file(one) == hashlib.blake2b(large, digest_size=16).hexdigest()


@pytest.mark.parametrize("padding", range(9))
def test_tensors_are_the_same_bytes_each_time_and_anyone_may_read_them(tmp_path, padding):
    tensors = {"a": torch.arange(3), "b": torch.tensor([[0.5, 2.0]]), "none": torch.zeros(0, 4)}
    metadata = {"format": "x" * padding, "text": "pr\u00e4dikat"} | {f"key {i}": str(i) for i in range(20)}
    for name, facts in (("first", metadata), ("second", dict(reversed(metadata.items())))):
        save_tensors(tmp_path / name, tensors, facts)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    (tmp_path / "plain").touch()
    assert len({stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("first", "plain")}) == 1
    with safe_open(tmp_path / "first", framework="pt") as file:
        assert file.metadata().items() >= metadata.items() and set(file.keys()) == tensors.keys()
        for name, tensor in tensors.items():
            assert torch.equal(file.get_tensor(name), tensor)


@pytest.fixture
def places(tmp_path, monkeypatch):
    for name in ("runs/street", "runs/garden/pictures"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "scene.ply").touch()
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("runs/stret", "; did you mean runs/street?"),
        ("rums/street", "; did you mean runs/street?"),
        ("runs/gardn/pictures", "; did you mean runs/garden/pictures?"),
        ("runs/gardn/labels", "; did you mean runs/garden?"),
        ("scene.pyl", "; did you mean scene.ply?"),
        ("photos", ""),
        ("scene.ply/x", ""),
    ],
)
def test_a_missing_path_is_refused_with_the_most_similar_one(places, path, hint):
    with pytest.raises(UserError) as error:
        check_paths({"out": None, "run": Path("runs/street"), "data": Path(path)})
    assert str(error.value) == f"`data` {path}: no such file or folder{hint}"


def test_paths_that_exist_are_accepted(places):
    check_paths({"run": Path("runs/street"), "data": Path("scene.ply"), "labels": None})


def test_a_name_that_is_not_in_utf_8_is_refused_in_a_text_and_escaped_in_metadata(tmp_path):
    name = os.fsdecode(b"photos\xff")
    with pytest.raises(UserError, match=r'a\.toml: cannot hold data = "photos\\udcff", as that name is not in UTF-8'):
        write_text(tmp_path / "a.toml", f'out = "a"\ndata = "{name}"\nseed = 0\n')
    assert not list(tmp_path.iterdir())
    save_tensors(tmp_path / "a", {"a": torch.zeros(1)}, {"source": name})
    _, metadata = read_safetensors(tmp_path / "a", "a file")  # whose checksum is of what is written
    assert metadata == {"source": "photos\\udcff"}


def test_sets_of_two_writers_do_not_mix(tmp_path, monkeypatch):
    pair, replace_one = [tmp_path / "a.ply", tmp_path / "a.side"], writing._Replacement.perform

    def is_locked():
        descriptor = os.open(tmp_path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    locked = []
    monkeypatch.setattr(writing._Replacement, "perform", lambda file: locked.append(is_locked()) or replace_one(file))

    def write(who):
        for number in range(20):
            with together(pair[0]):
                for path in pair:
                    write_text(path, f"{who} {number}")

    writers = [threading.Thread(target=write, args=(who,)) for who in "xy"]
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join()
    assert pair[0].read_text() == pair[1].read_text()
    assert locked == [True] * 80 and not is_locked()
    assert sorted(tmp_path.iterdir()) == pair


def test_files_of_which_none_is_read_first_are_replaced_together(tmp_path):
    with together():
        for name in ("a", "b"):
            write_text(tmp_path / name, name)
        assert not (tmp_path / "a").exists()
    assert (tmp_path / "a").read_text() + (tmp_path / "b").read_text() == "ab"
