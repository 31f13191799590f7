"""Teacher maps from files: a folder of `<name>_fmap_CxHxW.pt`, as DFF and Feature 3DGS write them, or of .npy."""

import hashlib
import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor

from gsdff.config.options import TeacherConfig
from gsdff.errors import UserError
from gsdff.files.reading import read_array, read_torch
from gsdff.files.writing import hash_file
from gsdff.photo_files import (
    as_made,
    check_map,
    find_file,
    fit_map,
    require_file,
    steps_fingerprint,
    told_by_folder,
    told_by_shape,
)
from gsdff.scene import Scene, View
from gsdff.teachers.texts import HUGE, TEXT_FILE, TINY, TextVectors, read_texts

log = logging.getLogger("gsdff")

WHAT = "a teacher map"
MAP_SUFFIXES = ("_fmap_CxHxW.pt", "_fmap_CxHxW.npy", ".npy")
"""Endings of a map's file name after the photo's name; the first file that exists is read."""
REMEDY = "make the map again"
_READERS = 2
"""Number of maps that are read ahead."""


class PrecomputedTeacher:
    """Teacher that reads maps, tensors [T, h, w] or [1, T, h, w] of any float type, by the photo's name.

    If a photo has several maps, `<name>_fmap_CxHxW.pt` is read before `<name>_fmap_CxHxW.npy`, and that before
    `<name>.npy`; names are those of `gsdff.photo_files.find_file`. A map covers its whole image whatever the shapes of
    the two: a square map of a wide photo is squeezed. A turned map is refused. A map whose shape does not tell whether
    it was made from the stored photo or from the view is taken as those maps of the scene that do tell.
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
        self.views = [] if scene is None else scene.views
        self._are_of_views: bool | None = None
        self.vocabulary = TextVectors(str(folder / TEXT_FILE), read_texts(folder / TEXT_FILE))
        # T, known from the text vectors or the first map; every later map must have as many channels
        self._dim = next((len(vector) for vector in self.vocabulary.vectors.values()), None)
        self._has_said_tiny = False

    def check(self, view: View) -> None:
        """Raises `UserError` if the view has no map, or one of another type, shape or network; reads no values."""
        self._check_channels(self._open(view, mapped=True), self._path(view))
        if view.is_turned:
            self._show_views([view])

    def fingerprint_of(self, view: View) -> str:
        """Hash of the map's file, and of the way to fit it into the view if there is one."""
        file, steps = hash_file(self._path(view)), steps_fingerprint(view)
        if steps and told_by_shape(view, *self._size(view)) is None and self._show_views([view]):
            steps += b"views"
        return hashlib.blake2b(file.encode() + steps, digest_size=16).hexdigest() if steps else file

    def extract(self, views: Sequence[View]) -> Iterator[Float[Tensor, "T h w"]]:
        """Yields the views' maps in order, normalised to unit length per pixel; pixels of zero length stay zero.

        The next two maps are read while one is used, so that at most three are in memory.
        """
        if any(view.stored for view in views):
            self._show_views(views)
        coming, tiny = iter(views), []
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
                if features[0].numel() == 1 < view.image[..., 0].numel():
                    tiny.append(view.name)
                del future  # it holds the map too
                yield features
                del features
        finally:
            pool.shutdown(cancel_futures=True)
            if tiny and not self._has_said_tiny:
                self._has_said_tiny = True
                log.warning(
                    "%s: holds maps of a single pixel, such as that of %s: such a photo gets one feature",
                    self.folder, tiny[0],
                )  # fmt: skip

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
        return require_file(self.folder, view, MAP_SUFFIXES, WHAT)

    def _open(self, view: View, *, mapped: bool = False) -> Shaped[Tensor, "T h w"]:
        """The view's map of any float type, with its type and shape checked; `mapped` reads no values."""
        path = self._path(view)
        if path.suffix != ".npy":
            loaded = read_torch(path, WHAT, REMEDY, mapped=mapped)
        elif (array := read_array(path, WHAT, REMEDY, mapped=True)).dtype.kind != "f":
            loaded = array
        elif mapped:
            loaded = torch.zeros(()).expand(array.shape)
        else:
            loaded = torch.from_numpy(array.astype(np.float32))  # torch has neither long nor big-endian floats
        features = _as_map(loaded, path)
        check_map(path, view, *features.shape)
        return features

    def _read(self, view: View) -> Float[Tensor, "T h w"]:
        features = self._open(view).float()
        largest = features.abs().amax()
        if not largest.isfinite():
            raise UserError(f"{self._path(view)}: holds NaN or infinite values, or some beyond float32; {REMEDY}")
        if largest > 0 and not TINY < largest < HUGE:
            features = features / largest
        if told_by_shape(view, features.shape[2], features.shape[1]) is None:
            view = as_made(view, bool(self._are_of_views))
        return F.normalize(fit_map(view, features), dim=0, eps=1e-8)

    def _show_views(self, views: Iterable[View]) -> bool:
        """Whether maps whose shape does not tell show views, by all maps of the scene, or of these views without one.

        Found out once.
        """
        if self._are_of_views is None:
            stored = (view for view in self.views or views if view.stored is not None)
            found = (view for view in stored if find_file(self.folder, view, MAP_SUFFIXES, WHAT))
            self._are_of_views = told_by_folder(self.folder, ((view, *self._size(view)) for view in found))
        return self._are_of_views

    def _size(self, view: View) -> tuple[int, int]:
        """Width and height of the view's map; reads no values."""
        _, height, width = self._open(view, mapped=True).shape
        return width, height

    def _check_channels(self, features: Shaped[Tensor, "T h w"], path: Path) -> None:
        if self._dim is not None and len(features) != self._dim:
            raise UserError(
                f"{path}: has {len(features)} channels, but the other maps or {TEXT_FILE} have {self._dim}; "
                f"make all files in {self.folder} with one network"
            )
        self._dim = len(features)


def _as_map(loaded: object, path: Path) -> Shaped[Tensor, "T h w"]:
    """The loaded object as a map [T, h, w] of any float type. Raises `UserError` if it is not a map."""
    features = loaded
    if isinstance(features, Tensor) and features.ndim == 4 and len(features) == 1:
        features = features[0]
    is_float = isinstance(features, Tensor) and features.is_floating_point() and features.layout == torch.strided
    if not isinstance(features, Tensor) or not is_float or features.ndim != 3 or features.is_meta:
        is_array = isinstance(loaded, Tensor | np.ndarray)
        came = f"{loaded.dtype} {list(loaded.shape)}" if is_array else type(loaded).__name__
        raise UserError(f"{path}: expected a float tensor [channels, height, width], got {came}; {REMEDY}")
    if features.numel() == 0:
        raise UserError(f"{path}: the map is empty, {list(features.shape)}; {REMEDY}")
    return features.detach()
