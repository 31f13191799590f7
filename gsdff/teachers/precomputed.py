"""Teacher maps from files: a folder of `<stem>_fmap_CxHxW.pt`, as DFF and Feature 3DGS write them, or of .npy."""

import io
import pickle
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gsdff.config.options import TeacherConfig
from gsdff.errors import UserError
from gsdff.files import hash_file
from gsdff.scene import Scene, View
from gsdff.teachers.texts import TEXT_FILE, TextVectors, read_texts

MAP_SUFFIXES = ("_fmap_CxHxW.pt", "_fmap_CxHxW.npy", ".npy")
"""Endings of a map's file name after the photo's stem; the first file that exists is read."""
_READERS = 2
"""Number of maps that are read ahead."""


class PrecomputedTeacher:
    """Teacher that reads maps, tensors [T, h, w] or [1, T, h, w] of any float type, by the photo's stem.

    If a photo has several maps, `<stem>_fmap_CxHxW.pt` is read before `<stem>_fmap_CxHxW.npy`, and that before
    `<stem>.npy`. A map covers its whole image whatever the shapes of the two: a square map of a wide photo is squeezed.
    An optional `text_features.npz` (names [n], vectors [n, T]) holds the text vectors by name.
    """

    name = "precomputed"
    fingerprint = "precomputed"

    def __init__(self, config: TeacherConfig, scene: Scene | None = None, device: torch.device | str = "cpu"):
        folder = config.maps
        if folder is None:
            raise UserError(f"`teacher.maps`: expected the folder of the teacher's *{MAP_SUFFIXES[0]} files")
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder; `teacher.maps` expects a folder of *{MAP_SUFFIXES[0]} files")
        self.folder = folder
        self.vocabulary = TextVectors(str(folder / TEXT_FILE), read_texts(folder / TEXT_FILE))
        # T, known from the text vectors or the first map; every later map must have as many channels
        self._dim = next((len(vector) for vector in self.vocabulary.vectors.values()), None)

    def check(self, view: View) -> None:
        """Raises `UserError` if the view has no map."""
        self._path(view)

    def fingerprint_of(self, view: View) -> str:
        """Hash of the map's file."""
        return hash_file(self._path(view))

    def extract(self, views: Sequence[View]) -> Iterator[Float[Tensor, "T h w"]]:
        """Yields the views' maps in order, normalised to unit length per pixel; pixels of zero length stay zero.

        The next two maps are read while one is used, so that at most three are in memory.
        """
        coming = iter(views)
        pool = ThreadPoolExecutor(_READERS, thread_name_prefix="teacher-maps")
        reading: deque[tuple[View, Future[Tensor]]] = deque()
        try:
            while True:
                for view in islice(coming, 1 + _READERS - len(reading)):
                    reading.append((view, pool.submit(self._read, view)))
                if not reading:
                    return
                view, future = reading.popleft()
                features = future.result()
                self._check_channels(features, self._path(view))
                del future  # it holds the map too
                yield features
                del features
        finally:
            pool.shutdown(cancel_futures=True)

    def knows(self, name: str) -> bool:
        """Whether `text_features.npz` lists this name."""
        return self.vocabulary.knows(name)

    def text(self, names: Sequence[str]) -> Float[Tensor, "Q T"]:
        """Unit vectors of these names from `text_features.npz`."""
        if not self.vocabulary.vectors:
            raise UserError(
                f"{self.vocabulary.source}: missing, so these maps cannot be queried by text; "
                "expected arrays `names` [n] and `vectors` [n, T]"
            )
        return self.vocabulary.look_up(names)

    def _path(self, view: View) -> Path:
        candidates = [self.folder / f"{view.stem}{suffix}" for suffix in MAP_SUFFIXES]
        path = next((path for path in candidates if path.is_file()), None)
        if path is None:
            others = " or ".join(candidate.name for candidate in candidates[1:])
            raise UserError(
                f"{candidates[0]}: missing; photo {view.name} needs this teacher map in {self.folder} (or {others})"
            )
        return path

    def _read(self, view: View) -> Float[Tensor, "T h w"]:
        path = self._path(view)
        loaded = _load_npy(path) if path.suffix == ".npy" else _load_pt(path)
        return F.normalize(_as_map(loaded, path), dim=0, eps=1e-8)

    def _check_channels(self, features: Float[Tensor, "T h w"], path: Path) -> None:
        if self._dim is not None and len(features) != self._dim:
            raise UserError(
                f"{path}: has {len(features)} channels, but the other maps or {TEXT_FILE} have {self._dim}; "
                f"make all files in {self.folder} with one network"
            )
        self._dim = len(features)


def _load_pt(path: Path) -> object:
    content = io.BytesIO(path.read_bytes())  # read here, so that an OSError below can only mean a damaged file
    try:
        return torch.load(content, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        raise UserError(f"{path}: not a tensor saved by torch.save, or damaged; make the map again") from error


def _load_npy(path: Path) -> object:
    content = io.BytesIO(path.read_bytes())
    try:
        array = np.load(content, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: not an array saved by numpy.save, or damaged; make the map again") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
        return array
    return torch.from_numpy(array.astype(np.float32))  # torch has neither long nor big-endian floats


def _as_map(loaded: object, path: Path) -> Float[Tensor, "T h w"]:
    """The loaded object as a float32 map [T, h, w]. Raises `UserError` if it is not a map."""
    features = loaded
    if isinstance(features, Tensor) and features.ndim == 4 and len(features) == 1:
        features = features[0]
    if not isinstance(features, Tensor) or not features.is_floating_point() or features.ndim != 3:
        is_array = isinstance(loaded, Tensor | np.ndarray)
        came = f"{loaded.dtype} {list(loaded.shape)}" if is_array else type(loaded).__name__
        raise UserError(f"{path}: expected a float tensor [channels, height, width], got {came}")
    if features.numel() == 0:
        raise UserError(f"{path}: the map is empty, {list(features.shape)}")
    if not features.isfinite().all():
        raise UserError(f"{path}: holds NaN or infinite values; make the map again")
    return features.float()
