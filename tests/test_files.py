"""A file is the old one or the new one, never a part."""

import hashlib
import stat
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from gsdff.errors import UserError
from gsdff.files import check_paths, hash_file, save_tensors, whole_file


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
