"""Files of every format become data, or one line that names the file and what is wrong with it."""

import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from gsdff.errors import UserError
from gsdff.files import reading
from gsdff.files.writing import save_tensors

READERS = {
    "text": reading.read_text,
    "JSON": reading.read_json,
    "TOML": reading.read_toml,
    "npy": reading.read_array,
    "npz": reading.read_arrays,
    "torch": reading.read_torch,
    "safetensors": reading.read_safetensors,
}


def see(path: Path, what: str) -> Image.Image:
    with reading.open_picture(path, what) as picture:
        return picture.copy()


ALL = READERS | {"picture": see}


@pytest.mark.parametrize("reader", ALL.values(), ids=ALL)
def test_a_pipe_a_folder_and_a_link_to_itself_are_named_and_do_not_hang(reader, tmp_path):
    pipe, loop = tmp_path / "pipe", tmp_path / "loop"
    os.mkfifo(pipe)
    loop.symlink_to(loop)
    for path, kind in ((pipe, "a pipe"), (tmp_path, "a folder"), (loop, "leads back to itself")):
        with pytest.raises(UserError, match=kind):
            reader(path, "the thing")
    with pytest.raises(FileNotFoundError):
        reader(tmp_path / "missing", "the thing")


@pytest.mark.parametrize("name", [name for name in ALL if name != "text"])
@pytest.mark.parametrize("data", [b"", b"\x00", b"\xff" * 300, b"[" * 200_000, b"PK\x03\x04" + b"\0" * 60])
def test_other_bytes_are_refused_with_the_path_and_what_was_expected(name, data, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(data)
    if name == "TOML" and data == b"":
        assert reading.read_toml(path, "options") == {}
        return
    with pytest.raises(UserError, match=f"^{path}: cannot be read as the thing"):
        ALL[name](path, "the thing")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_texts_are_read_with_and_without_a_byte_order_mark(encoding, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"name": "Stühle"}, ensure_ascii=False), encoding=encoding)
    assert reading.read_json(path, "classes") == {"name": "Stühle"}


@pytest.mark.parametrize("read", [reading.read_json, reading.read_toml])
def test_a_number_of_thousands_of_digits_is_named(tmp_path, read):
    (tmp_path / "a").write_text("a = " * (read is reading.read_toml) + "1" * 5000)
    with pytest.raises(UserError, match=r"a: cannot be read as x \(it has a whole number of more than 4,300 digits\)"):
        read(tmp_path / "a", "x")


def test_nesting_too_deep_is_named(tmp_path):
    (tmp_path / "a.json").write_text("[" * 200_000)
    with pytest.raises(UserError, match="nested too deep"):
        reading.read_json(tmp_path / "a.json", "classes")


def test_an_array_that_declares_terabytes_is_refused_before_memory_is_reserved(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40, 100)})
    (tmp_path / "huge.npy").write_bytes(header.getvalue() + bytes(64))
    with zipfile.ZipFile(tmp_path / "huge.npz", "w") as archive:
        archive.writestr("vectors.npy", header.getvalue() + bytes(64))
    with pytest.raises(UserError, match="declares 879,609,302,220,800 bytes"):
        reading.read_array(tmp_path / "huge.npy", "a map")
    with pytest.raises(UserError, match="declares 879,609,302,220,800 bytes"):
        reading.read_arrays(tmp_path / "huge.npz", "texts")


def test_right_files_come_back_as_written(tmp_path):
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.save(tmp_path / "a.npy", values)
    np.savez(tmp_path / "a.npz", values=values, names=np.array(["a", "b"]))
    torch.save({"x": torch.from_numpy(values)}, tmp_path / "a.pt")
    save_tensors(tmp_path / "a.safetensors", {"x": torch.from_numpy(values)}, {"by": "me"})
    Image.new("RGB", (20, 10), "red").save(tmp_path / "a.png")
    assert np.array_equal(reading.read_array(tmp_path / "a.npy", "a map"), values)
    assert np.array_equal(reading.read_array(tmp_path / "a.npy", "a map", mapped=True), values)
    assert list(reading.read_arrays(tmp_path / "a.npz", "texts")["names"]) == ["a", "b"]
    for mapped in (False, True):
        assert reading.read_torch(tmp_path / "a.pt", "a state", mapped=mapped)["x"].equal(torch.from_numpy(values))
    tensors, metadata = reading.read_safetensors(tmp_path / "a.safetensors", "a basis")
    assert tensors["x"].equal(torch.from_numpy(values)) and metadata == {"by": "me"}
    assert see(tmp_path / "a.png", "a photo").size == (20, 10)


def flipped(path: Path, position: int) -> None:
    """Flips one bit of a file."""
    data = bytearray(path.read_bytes())
    data[position] ^= 1 << position % 8
    path.write_bytes(data)


def test_no_flipped_bit_of_a_safetensors_file_gives_other_values(tmp_path):
    whole, torn = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    tensors, metadata = {"x": torch.rand(3, 5), "y": torch.arange(4)}, {"by": "me", "energy": "0.5"}
    save_tensors(whole, tensors, metadata)
    refused = 0
    for position in range(whole.stat().st_size):
        torn.write_bytes(whole.read_bytes())
        flipped(torn, position)
        try:
            read, facts = reading.read_safetensors(torn, "a basis")
        except UserError as error:
            refused += "their checksum differs" in str(error)
        else:  # in the name of the checksum, or in the spaces before the tensors
            assert facts.items() >= metadata.items() and all(read[name].equal(tensors[name]) for name in tensors)
    assert refused > 100


def test_files_without_a_checksum_are_read(tmp_path):
    save_file({"x": torch.ones(2)}, tmp_path / "old.safetensors", {"by": "me"})
    save_file({"x": torch.ones(2)}, tmp_path / "plain.safetensors")
    assert reading.read_safetensors(tmp_path / "old.safetensors", "a basis")[1] == {"by": "me"}
    assert reading.read_safetensors(tmp_path / "plain.safetensors", "a basis")[1] == {}


def test_no_flipped_bit_of_a_torch_file_gives_other_values(tmp_path):
    whole, torn = tmp_path / "a.pt", tmp_path / "b.pt"
    state = {"means": torch.rand(40, 3), "step": 7, "name": "toy"}
    torch.save(state, whole)
    refused = 0
    for position in range(0, whole.stat().st_size, 3):
        torn.write_bytes(whole.read_bytes())
        flipped(torn, position)
        try:
            read = reading.read_torch(torn, "a checkpoint")
        except UserError as error:
            refused += "checksum" in str(error) or "CRC" in str(error)
        else:
            assert read.keys() == state.keys() and read["means"].equal(state["means"]) and read["step"] == 7
    assert refused > 100


@pytest.mark.parametrize(
    "tensor",
    [torch.eye(3).to_sparse(), torch.eye(3, device="meta")],
)
def test_tensors_without_values_of_their_own_are_refused(tensor, tmp_path, recwarn):
    torch.save({"deep": [tensor]}, tmp_path / "a.pt")
    recwarn.clear()
    with pytest.raises(UserError, match="it has a tensor of the kind torch"):
        reading.read_torch(tmp_path / "a.pt", "a state")
    assert not recwarn.list


def test_two_hundred_megapixels_are_opened_and_a_declared_billion_is_not(tmp_path):
    limit = Image.MAX_IMAGE_PIXELS
    large = Image.new("1", (20_000, 10_000))
    large.save(tmp_path / "large.png")
    with reading.open_picture(tmp_path / "large.png", "a photo") as picture:
        assert picture.size == (20_000, 10_000)
    Image.new("1", (40_000, 20_000)).save(tmp_path / "bomb.png")
    with (
        pytest.raises(UserError, match="40000x20000 pixels, more than the 500 million"),
        reading.open_picture(tmp_path / "bomb.png", "a photo"),
    ):
        pass
    assert limit == Image.MAX_IMAGE_PIXELS


def test_a_text_of_a_terabyte_is_refused_at_once(tmp_path):
    path = tmp_path / "transforms.json"
    path.touch()
    os.truncate(path, 1 << 40)
    with pytest.raises(
        UserError, match=r"cannot be read as a text \(it has 1,099,511,627,776 bytes, expected a text\)"
    ):
        reading.read_text(path, "a text")


def test_warnings_of_libraries_are_silent_while_files_are_read_and_only_then(tmp_path, recwarn):
    import warnings
    from concurrent.futures import ThreadPoolExecutor

    before = list(warnings.filters)

    def read(_: int) -> None:
        with reading.reading(tmp_path, "the thing"):
            warnings.warn("of a library", stacklevel=1)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read, range(400)))
    assert len(recwarn) == 0 and list(warnings.filters) == before
