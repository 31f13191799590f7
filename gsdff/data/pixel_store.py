"""Memory for the pixels of all photos: main memory up to a limit, a temporary file beyond it."""

import logging
import os
import shutil
import tempfile
import threading
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from gsdff.errors import UserError
from gsdff.weights import weights_folder

BLOCK_BYTES = 1 << 30
"""Size of one file: the pixels of many photos, so that few files are open."""
ALIGNMENT = 64

logger = logging.getLogger("gsdff")


class PixelStore:
    """Turns arrays into tensors that stay in memory, or that the system reads from a file whenever they are used.

    The file is mapped into memory: pages that are used often stay there as far as there is room, and others are
    dropped, so that training needs only the photos of a few steps at a time. It has no name and goes with the process.
    """

    def __init__(self, expected_bytes: int, limit_bytes: float, source: Path):
        self.folder: Path | None = None
        """Folder of the file; None if pixels stay in memory."""
        self._blocks: list[np.memmap] = []
        self._used = 0
        self._lock = threading.Lock()
        if expected_bytes > limit_bytes:
            self.folder = weights_folder()  # on a disk; a folder for temporary files may lie in memory
            self.folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.folder).free
            if expected_bytes > free:
                raise UserError(
                    f"{self.folder}: {free / 1e9:.1f} GB are free, the photos of {source} take "
                    f"{expected_bytes / 1e9:.1f} GB, more than `dataset.memory` {limit_bytes / 1e9:g} GB allows in "
                    "memory; free some space, raise `dataset.memory`, or use `dataset.downscale`"
                )
            logger.info(
                "%s: the photos take %.1f GB, more than `dataset.memory` %g GB; they are read from a temporary file in "
                "%s as they are used", source, expected_bytes / 1e9, limit_bytes / 1e9, self.folder,
            )  # fmt: skip

    def keep(self, array: Shaped[np.ndarray, "..."]) -> Shaped[Tensor, "..."]:
        """The array as a tensor, which may lie in the file; its values must not be changed."""
        if self.folder is None:
            return torch.from_numpy(array)
        room = self._reserve(array.nbytes, self.folder)
        kept = room.view(array.dtype).reshape(array.shape)
        kept[...] = array
        return torch.from_numpy(kept)

    def _reserve(self, num_bytes: int, folder: Path) -> np.ndarray:
        """Takes the next bytes of the file, or of another one."""
        with self._lock:
            if not self._blocks or self._used + num_bytes > len(self._blocks[-1]):
                self._blocks.append(_make_block(folder, max(BLOCK_BYTES, num_bytes)))
                self._used = 0
            room = self._blocks[-1][self._used : self._used + num_bytes]
            self._used += -(-num_bytes // ALIGNMENT) * ALIGNMENT
            return room.view(np.ndarray)


def _make_block(folder: Path, num_bytes: int) -> np.memmap:
    """A mapped file without a name. Its space is reserved first: a full disk would end the process at the first use."""
    with tempfile.TemporaryFile(prefix="photos-", dir=folder) as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, num_bytes)
        else:
            file.truncate(num_bytes)
        return np.memmap(file, np.uint8, "r+", shape=(num_bytes,))
