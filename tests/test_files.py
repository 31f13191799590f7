"""A file is the old one or the new one, never a part."""

import hashlib

import pytest

from gsdff.files import hash_file, whole_file


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
