"""Atomic file writing, reproducible .safetensors files, and file hashes."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gsdff.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path that replaces `path` if the block ends without an error and is deleted otherwise.

    A reader of `path`, at any moment and after any crash, finds the old file or the new one, complete.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        _sync(partial)
        os.replace(partial, path)
        if os.name == "posix":
            _sync(path.parent)  # the folder, which holds the name
    finally:
        partial.unlink(missing_ok=True)


CHECKSUM = "blake2b"
"""Entry of a .safetensors file's metadata with the hash of all else that it holds (`hash_tensors`)."""


def save_tensors(path: Path, tensors: Mapping[str, "Tensor"], metadata: Mapping[str, str]) -> None:
    """Writes a .safetensors file with a checksum, atomically; the same values give the same bytes.

    The library itself writes metadata in random order, and makes files that only their owner may read.
    """
    from safetensors.torch import save

    data = save(dict(tensors), dict(metadata))
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = {**dict(sorted(metadata.items())), CHECKSUM: hash_tensors(header, data[end:])}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the tensors after it begin at a multiple of eight
    with whole_file(path) as partial:
        partial.write_bytes(len(text).to_bytes(8, "little") + text + data[end:])


def hash_tensors(header: Mapping[str, Any], values: bytes) -> str:
    """BLAKE2b hash of a .safetensors file's header, but for an older hash in it, and of the bytes of its tensors."""
    metadata = {name: value for name, value in header.get("__metadata__", {}).items() if name != CHECKSUM}
    text = json.dumps({**header, "__metadata__": metadata}, sort_keys=True)
    return hashlib.blake2b(text.encode() + values, digest_size=16).hexdigest()


def hash_file(path: Path) -> str:
    """BLAKE2b hash of a file's bytes, 32 hexadecimal digits; reads the file in blocks."""
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
    """Flushes a file or folder to the disk (fsync)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
