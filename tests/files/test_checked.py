"""Arrays with a checksum: what is read back is what was written, or it is refused."""

from pathlib import Path

import numpy as np
import pytest

from gsdff.errors import UserError
from gsdff.files import checked
from gsdff.files.checked import checksum, disk_size, load_array, save_array

VALUES = np.arange(24, dtype=np.float16).reshape(2, 3, 4)


def write(folder: Path, identity: str = "photo a") -> Path:
    save_array(folder / "a.npy", VALUES, identity)
    return folder / "a.npy"


def test_an_array_comes_back_and_numpy_reads_it_too(tmp_path: Path) -> None:
    path = write(tmp_path)
    for array in (load_array(path, "photo a", "a map"), np.load(path), np.load(path, mmap_mode="r")):
        assert array.dtype == np.float16 and np.array_equal(array, VALUES)
    assert [file.name for file in tmp_path.iterdir()] == ["a.npy"]


def test_no_flipped_bit_goes_unnoticed(tmp_path: Path) -> None:
    path = write(tmp_path)
    whole = path.read_bytes()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"a\.npy: cannot be read as a map"):
            load_array(path, "photo a", "a map")
    path.write_bytes(whole)
    assert np.array_equal(load_array(path, "photo a", "a map"), VALUES)


@pytest.mark.parametrize("other", ["dtype", "height", "identity", "plain", "cut", "longer"])
def test_another_array_is_refused(tmp_path: Path, other: str) -> None:
    path = write(tmp_path, "photo b" if other == "identity" else "photo a")
    if other in ("dtype", "height", "plain"):
        np.save(path, VALUES.astype(np.float32) if other == "dtype" else VALUES[: 1 if other == "height" else 2])
    elif other != "identity":
        path.write_bytes(path.read_bytes()[:-1] if other == "cut" else path.read_bytes() + b"\0")
    with pytest.raises(UserError, match=r"a\.npy: .*checksum differs, or it has none\); remove it"):
        load_array(path, "photo a", "a map")
    if other == "plain":  # as earlier versions wrote them
        assert np.array_equal(load_array(path, "photo a", "a map", is_checked=False), VALUES)


def test_a_file_is_verified_once_and_again_when_it_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, asked = write(tmp_path), []
    digest = checked._digest
    monkeypatch.setattr(checked, "_digest", lambda *arguments: asked.append(1) or digest(*arguments))
    for _ in range(3):
        load_array(path, "photo a", "a map")
    assert len(asked) == 1
    save_array(path, VALUES + 1, "photo a")
    load_array(path, "photo a", "a map")
    assert len(asked) == 2


def test_checksums_tell_types_shapes_values_and_identities_apart() -> None:
    others = [VALUES.astype(np.float32), VALUES.reshape(3, 2, 4), VALUES + 1, VALUES.view(np.int16)]
    sums = {checksum("a", [array]) for array in (VALUES, *others)} | {checksum("b", [VALUES]), checksum("a", [])}
    assert len(sums) == 7 and checksum("a", [VALUES.copy(order="F")]) == checksum("a", [VALUES])


def test_the_size_on_disk_is_that_of_all_files_below(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a").write_bytes(b"123")
    (tmp_path / "b").write_bytes(b"12345")
    assert disk_size(tmp_path) == 8 and disk_size(tmp_path / "b") == 5
