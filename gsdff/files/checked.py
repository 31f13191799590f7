"""Arrays on disk with a checksum of their content, so that a damaged or foreign file is noticed when it is read."""

import hashlib
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from gsdff.errors import UserError
from gsdff.files.reading import read_array
from gsdff.files.writing import whole_file

MARK = b"gsdff-b2"
"""Eight bytes after an array in a .npy file; the checksum follows. NumPy ignores what comes after an array."""
DIGEST_SIZE = 16
REMEDY = "remove it, the next run makes it again"
_verified: set[tuple[str, str, int, int, int]] = set()


def checksum(identity: str, arrays: Iterable[np.ndarray]) -> str:
    """Checksum of an identity and of the types, shapes and values of arrays, 32 hexadecimal digits."""
    digest = hashlib.blake2b(identity.encode(), digest_size=DIGEST_SIZE)
    for array in arrays:
        digest.update(f"\n{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def save_array(path: Path, array: np.ndarray, identity: str) -> None:
    """Writes an array as .npy, atomically, with a checksum of it and of `identity`, which says what it stands for."""
    buffer = io.BytesIO()  # numpy would write to a file by a stream of its own, which drops a full disk's error
    np.save(buffer, array)
    digest = hashlib.blake2b(identity.encode(), digest_size=DIGEST_SIZE)
    digest.update(buffer.getbuffer())
    buffer.write(MARK + digest.digest())
    with whole_file(path) as partial:
        partial.write_bytes(buffer.getbuffer())


def load_array(path: Path, identity: str, what: str, *, is_checked: bool = True) -> np.ndarray:
    """Maps an array into memory that `save_array` has written with this identity.

    The first time in a process, the whole file is read to verify its checksum. A file without one, as earlier versions
    wrote, is accepted unless `is_checked`. Raises `UserError` if the file is damaged, and `OSError` if it is missing.
    """
    array = read_array(path, what, REMEDY, mapped=True)
    status = path.stat()
    known = str(path), identity, status.st_ino, status.st_mtime_ns, status.st_size
    if known not in _verified:
        end = status.st_size - len(MARK) - DIGEST_SIZE
        with path.open("rb") as file:
            file.seek(max(0, end))
            trailer = file.read()
        has_checksum = trailer.startswith(MARK)
        is_intact = trailer == MARK + _digest(path, end, identity) if has_checksum else not is_checked
        if not is_intact:
            raise UserError(f"{path}: cannot be read as {what} (its checksum differs, or it has none); {REMEDY}")
        _verified.add(known)
    return array


def _digest(path: Path, end: int, identity: str) -> bytes:
    """Hash of the first `end` bytes of a file; reads it in blocks."""
    digest = hashlib.blake2b(identity.encode(), digest_size=DIGEST_SIZE)
    with path.open("rb") as file:
        while end > 0 and (block := file.read(min(end, 1 << 20))):
            digest.update(block)
            end -= len(block)
    return digest.digest()


def disk_size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    return sum(file.lstat().st_size for file in [path, *path.rglob("*")] if not file.is_dir())
