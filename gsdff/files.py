"""Files that are either whole or not there, and what is in them in short."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from gsdff.errors import UserError

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


def check_paths(paths: Mapping[str, Path | None]) -> None:
    """Raises `UserError` if nothing is at one of the paths, with the most similar name beside it.

    The keys are the names of the parameters, which the message starts with.
    """
    for parameter, path in paths.items():
        if path is not None and not path.exists():
            similar = _similar_path(path)
            hint = f"; did you mean {similar}?" if similar is not None else ""
            raise UserError(f"`{parameter}` {path}: no such file or folder{hint}")


def _similar_path(path: Path) -> Path | None:
    """The path with its first missing part replaced by the most similar name there is; None if none is similar."""
    missing = path
    while not missing.parent.exists():
        missing = missing.parent
    try:
        names = [other.name for other in missing.parent.iterdir()]
    except OSError:  # a file, or a folder that may not be listed
        return None
    found = get_close_matches(missing.name, names, n=1)
    if not found:
        return None
    similar = missing.with_name(found[0])
    whole = similar / path.relative_to(missing)
    return whole if whole.exists() else similar


def _sync(path: Path) -> None:
    """Puts a file or folder on the disk itself."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
