"""Files that are either whole or not there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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


def _sync(path: Path) -> None:
    """Puts a file or folder on the disk itself."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
