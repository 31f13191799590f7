"""Files that are either whole or not there, and what is in them in short."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to, beside `path`; what is there takes its place when the block ends well, and goes otherwise.

    Whoever reads `path`, at any moment and after any crash, finds the old file or the new one, complete.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        _sync(partial)
        os.replace(partial, path)
        if os.name == "posix":
            _sync(path.parent)  # where the name is kept
    finally:
        partial.unlink(missing_ok=True)


def save_tensors(path: Path, tensors: Mapping[str, "Tensor"], metadata: Mapping[str, str]) -> None:
    """Writes a .safetensors file, atomically; the same values give the same bytes.

    The library itself puts metadata in an order of chance, and makes files that only their owner may read.
    """
    from safetensors.torch import save

    data = save(dict(tensors), dict(metadata))
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end]) | {"__metadata__": dict(sorted(metadata.items()))}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the tensors after it begin at a multiple of eight
    with whole_file(path) as partial:
        partial.write_bytes(len(text).to_bytes(8, "little") + text + data[end:])


def hash_file(path: Path) -> str:
    """32 hexadecimal digits that change with the file's bytes (BLAKE2b); never the whole file in memory."""
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _sync(path: Path) -> None:
    """Puts a file or folder on the disk itself."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
