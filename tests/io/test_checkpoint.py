import errno
import os
import pickle

import pytest
import torch

from gsdff import files
from gsdff.errors import UserError
from gsdff.io import checkpoint
from gsdff.io.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint

STATE = {"gaussians": {"means": torch.arange(6.0).view(2, 3)}, "seconds": 1.5, "nothing": None, "names": ["a", "b"]}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_is_saved_is_what_is_loaded(tmp_path):
    path = save_checkpoint(tmp_path / "checkpoints", 500, STATE)
    assert path == tmp_path / "checkpoints" / "step_000500.pt"
    state = load_checkpoint(path)
    assert torch.equal(state.pop("gaussians")["means"], STATE["gaussians"]["means"])
    assert state == {"format": 1, "step": 500, "seconds": 1.5, "nothing": None, "names": ["a", "b"]}


def test_only_the_two_newest_stay_by_step_and_not_by_name(tmp_path):
    for step in (10, 999_999, 1_000_000, 2_000_000):
        save_checkpoint(tmp_path, step, STATE)
    assert names(tmp_path) == ["step_1000000.pt", "step_2000000.pt"]
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step_1000000.pt", "step_2000000.pt"]


def test_files_that_were_never_finished_do_not_count(tmp_path):
    save_checkpoint(tmp_path, 3, STATE)
    (tmp_path / ".step_000004.pt.partial").write_bytes(b"half")
    (tmp_path / "other.pt").write_bytes(b"not ours")
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step_000003.pt"]
    assert list_checkpoints(tmp_path / "nowhere") == []


def test_a_process_that_dies_while_writing_leaves_the_older_one(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, 1, STATE)

    def die(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", die)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path, 2, STATE)
    assert names(tmp_path) == ["step_000001.pt"]


def test_another_version_is_an_error_that_names_the_file_and_both_versions(tmp_path, monkeypatch):
    path = save_checkpoint(tmp_path, 1, STATE)
    monkeypatch.setattr(checkpoint, "FORMAT", 7)
    with pytest.raises(UserError, match=f"{path}: expected a checkpoint of version 7, got version 1; "):
        load_checkpoint(path)


def test_a_tensor_file_of_someone_elses_is_an_error(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save([torch.zeros(3)], path)
    with pytest.raises(UserError, match=f"{path}: expected a checkpoint of version 1, got version None"):
        load_checkpoint(path)


@pytest.mark.parametrize("keep", [0, 10, 300, -100])
def test_a_truncated_file_is_an_error_that_names_it(tmp_path, keep):
    path = save_checkpoint(tmp_path, 1, STATE)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=f"{path}: not a checkpoint, or damaged"):
        load_checkpoint(path)


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pickle.pt").write_bytes(pickle.dumps(Bomb(), protocol=2))
    torch.save({"format": 1, "step": 0, "bomb": Bomb()}, tmp_path / "zip.pt")
    for name in ("pickle.pt", "zip.pt"):
        with pytest.raises(UserError, match=f"{name}: not a checkpoint"):
            load_checkpoint(tmp_path / name)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full, a disk that is always full")
def test_a_full_disk_is_an_error_that_names_the_file_and_leaves_the_older_one(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, 1, STATE)
    full = tmp_path / ".full"
    full.symlink_to("/dev/full")
    monkeypatch.setattr(files, "partial_path", lambda path: full)
    message = r"step_000002\.pt: cannot be written: the disk is full, [\d,.]+ MiB free; .*continue with `resume`"
    with pytest.raises(UserError, match=message):
        save_checkpoint(tmp_path, 2, STATE)
    assert names(tmp_path) == ["step_000001.pt"]


def test_an_error_torch_wraps_around_the_files_own_is_seen_through(tmp_path, monkeypatch):
    def save(*_):
        try:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        except OSError:
            raise RuntimeError("unexpected pos") from None

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(UserError, match="larger than files may be here"):
        save_checkpoint(tmp_path, 2, STATE)
