import errno
import os
import pickle

import pytest
import torch
from random_gaussians import make_gaussians

from gsdff.errors import UserError
from gsdff.files import writing
from gsdff.io import checkpoint
from gsdff.io.checkpoint import list_checkpoints, load_checkpoint, load_newest, save_checkpoint, snapshot

GAUSSIANS = dict(make_gaussians(5, 1, 2).items())
FRAME = {"centre": [1.0, 2.0, 3.0], "scale": 4.0}
STATE = {"gaussians": GAUSSIANS, "frame": FRAME, "seconds": 1.5, "nothing": None, "names": ["a", "b"]}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_is_saved_is_what_is_loaded(tmp_path):
    path = save_checkpoint(tmp_path / "checkpoints", 500, STATE)
    assert path == tmp_path / "checkpoints" / "step_000500.pt"
    state = load_checkpoint(path)
    gaussians = state.pop("gaussians")
    assert gaussians.keys() == GAUSSIANS.keys()
    assert all(torch.equal(gaussians[name], GAUSSIANS[name]) for name in GAUSSIANS)
    assert state == {"format": 1, "step": 500, "frame": FRAME, "seconds": 1.5, "nothing": None, "names": ["a", "b"]}


def test_a_snapshot_keeps_its_values_while_training_changes_them():
    state = {
        "means": torch.zeros(3, requires_grad=True),
        "groups": [{"moments": torch.ones(2), "rate": 0.5}],
        "step": 3,
    }
    kept = snapshot(state)
    with torch.no_grad():
        state["means"] += 1
        state["groups"][0]["moments"] += 1
    assert kept["means"].tolist() == [0, 0, 0] and not kept["means"].requires_grad
    assert kept["groups"][0]["moments"].tolist() == [1, 1]
    assert (kept["groups"][0]["rate"], kept["step"]) == (0.5, 3)


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

    monkeypatch.setattr(writing.os, "fsync", die)
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
    with pytest.raises(UserError, match=f"{path}: cannot be read as a checkpoint"):
        load_checkpoint(path)


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pickle.pt").write_bytes(pickle.dumps(Bomb(), protocol=2))
    torch.save({"format": 1, "step": 0, "bomb": Bomb()}, tmp_path / "zip.pt")
    for name in ("pickle.pt", "zip.pt"):
        with pytest.raises(UserError, match=f"{name}: cannot be read as a checkpoint"):
            load_checkpoint(tmp_path / name)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full, a disk that is always full")
def test_a_full_disk_is_an_error_that_names_the_file_and_leaves_the_older_one(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, 1, STATE)
    full = tmp_path / ".full"
    full.symlink_to("/dev/full")
    monkeypatch.setattr(writing, "partial_path", lambda path: full)
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


def flip(path, position):
    data = bytearray(path.read_bytes())
    data[position] ^= 4
    path.write_bytes(data)


def test_a_flipped_bit_is_refused_wherever_the_values_are(tmp_path):
    path = save_checkpoint(tmp_path, 1, STATE)
    whole = path.read_bytes()
    for name in ("means", "features"):
        flip(path, whole.index(GAUSSIANS[name].numpy().tobytes()) + 2)
        with pytest.raises(UserError, match=r"its bytes have changed since it was written, .* copy the run again"):
            load_checkpoint(path)
        path.write_bytes(whole)
    load_checkpoint(path)


def test_the_newest_checkpoint_that_can_be_read_is_taken_with_a_warning(tmp_path, caplog):
    assert load_newest(tmp_path) is None and load_newest(tmp_path / "nowhere") is None
    for step in (1, 2):
        save_checkpoint(tmp_path, step, STATE)
    assert load_newest(tmp_path)["step"] == 2 and not caplog.records
    flip(tmp_path / "step_000002.pt", 700)
    assert load_newest(tmp_path)["step"] == 1
    assert [record.getMessage().split(": ")[1] for record in caplog.records] == [
        caplog.records[0].getMessage().split(": ")[1],
        "taking this older checkpoint, of step 1",
    ]
    assert "step_000002.pt: cannot be read as a checkpoint" in caplog.text
    (tmp_path / "step_000001.pt").write_bytes(b"")
    with pytest.raises(UserError, match=r"step_000002\.pt: cannot be read as a checkpoint"):
        load_newest(tmp_path)


def without(name):
    return {key: value for key, value in GAUSSIANS.items() if key != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": -1}, "it has no number of steps"),
        ({"step": 2.5}, "it has no number of steps"),
        ({"frame": None}, "it has no frame"),
        ({"frame": {"centre": [1.0, 2.0], "scale": 1.0}}, "it has no frame"),
        ({"frame": {"centre": [1.0, 2.0, float("nan")], "scale": 1.0}}, "it has no frame"),
        ({"frame": {"centre": [1.0, 2.0, 3.0], "scale": 0.0}}, "it has no frame"),
        ({"gaussians": None}, "expected the attributes means, .* got none"),
        ({"gaussians": without("quats")}, "expected the attributes means, quats, .* got features, "),
        ({"gaussians": GAUSSIANS | {"colors": torch.zeros(5, 3)}}, "expected the attributes"),
        ({"gaussians": GAUSSIANS | {"means": torch.zeros(5, 4)}}, r"its means are of the shape \[5, 4\]"),
        ({"gaussians": GAUSSIANS | {"quats": torch.zeros(4, 4)}}, r"its quats are of the shape \[4, 4\]"),
        ({"gaussians": GAUSSIANS | {"quats": torch.zeros(5)}}, "its quats are no float32 tensor of 2 dimensions"),
        ({"gaussians": GAUSSIANS | {"sh0": GAUSSIANS["sh0"].double()}}, "its sh0 are no float32 tensor"),
        ({"gaussians": GAUSSIANS | {"means": "many"}}, "its means are no float32 tensor"),
        ({"gaussians": GAUSSIANS | {"shN": torch.zeros(5, 4, 3)}}, "its shN are 4 harmonics"),
        ({"gaussians": GAUSSIANS | {"features": torch.zeros(5)}}, "its features are no float32 tensor"),
    ],
)
def test_missing_or_misshapen_content_is_refused(tmp_path, change, message):
    path = save_checkpoint(tmp_path, 3, STATE | change)
    with pytest.raises(UserError, match=f"{path}: cannot be read as a checkpoint .{message}.*copy the run again"):
        load_checkpoint(path)
