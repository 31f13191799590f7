"""Teacher maps made beforehand: a folder of `<stem>_fmap_CxHxW.pt`, as DFF and Feature 3DGS write them."""

import hashlib
import io
import pickle
import zipfile
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gsdff.errors import UserError
from gsdff.scene import View

MAP_SUFFIX = "_fmap_CxHxW.pt"
TEXT_FILE = "text_features.npz"


class PrecomputedTeacher:
    """Reads maps, tensors [T, h, w] of any float type, by the photo's stem.

    A map covers its whole image whatever the shapes of the two; a square map of a wide photo is a squashed one. An
    optional `text_features.npz` (names [n], vectors [n, T]) answers text queries by name.
    """

    name = "precomputed"
    fingerprint = "precomputed"

    def __init__(self, folder: Path | None):
        if folder is None:
            raise UserError(f"--teacher.maps: the precomputed teacher needs the folder of its *{MAP_SUFFIX} files")
        if not folder.is_dir():
            raise UserError(f"{folder}: --teacher.maps must be a folder of *{MAP_SUFFIX} files, there is none")
        self.folder = folder
        self._texts = _read_texts(folder / TEXT_FILE)
        # Known from the text vectors or the first map; every later map must have as many channels.
        self._dim = len(next(iter(self._texts.values()))) if self._texts else None

    def check(self, view: View) -> None:
        """`UserError` where the view has no map."""
        if not self._path(view).is_file():
            raise UserError(f"{self._path(view)}: missing; photo {view.name} needs this teacher map in {self.folder}")

    def fingerprint_of(self, view: View) -> str:
        """Hash of the map file's bytes."""
        self.check(view)
        digest = hashlib.blake2b(digest_size=16)
        with self._path(view).open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()

    def extract(self, view: View) -> Float[Tensor, "T h w"]:
        """The view's map normalised to unit length per pixel, float32; pixels of zero length stay zero."""
        self.check(view)
        path = self._path(view)
        content = io.BytesIO(path.read_bytes())  # read here, so that an OSError below can only mean a damaged file
        try:
            features = torch.load(content, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
            raise UserError(f"{path}: not a tensor saved by torch.save, or damaged; make the map again") from error
        self._check_map(features, path)
        return F.normalize(features.float(), dim=0, eps=1e-8)

    def knows(self, name: str) -> bool:
        """Whether `text_features.npz` lists this name."""
        return _key(name) in self._texts

    def text(self, names: Sequence[str]) -> Float[Tensor, "Q T"]:
        """The listed vectors of these names, of unit length."""
        source = self.folder / TEXT_FILE
        if not self._texts:
            raise UserError(f"{source}: missing, so these maps cannot be queried by text; expected names and vectors")
        for name in names:
            if not self.knows(name):
                near = ", ".join(get_close_matches(_key(name), self._texts, n=3)) or "nothing like it"
                raise UserError(f"{source}: knows no {name!r} among its {len(self._texts)} names; closest: {near}")
        return torch.stack([self._texts[_key(name)] for name in names])

    def _path(self, view: View) -> Path:
        return self.folder / f"{view.stem}{MAP_SUFFIX}"

    def _check_map(self, features: object, path: Path) -> None:
        if not isinstance(features, Tensor) or not features.is_floating_point() or features.ndim != 3:
            shape = f"{features.dtype} {list(features.shape)}" if isinstance(features, Tensor) else ""
            came = shape or type(features).__name__
            raise UserError(f"{path}: expected a float tensor [channels, height, width], got {came}")
        if features.numel() == 0:
            raise UserError(f"{path}: the map is empty, {list(features.shape)}")
        if self._dim is not None and features.shape[0] != self._dim:
            raise UserError(
                f"{path}: has {features.shape[0]} channels where the other maps or {TEXT_FILE} have {self._dim}; "
                f"make all of {self.folder} with one network"
            )
        if not features.isfinite().all():
            raise UserError(f"{path}: holds NaN or infinite values; make the map again")
        self._dim = features.shape[0]


def _key(name: str) -> str:
    return name.strip().lower()


def _read_texts(path: Path) -> dict[str, Float[Tensor, "T"]]:
    """Unit vectors by lower-case name; empty where there is no such file. The first of equal names counts."""
    if not path.is_file():
        return {}
    try:
        with np.load(path, allow_pickle=False) as data:
            names, vectors = data["names"], data["vectors"]
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: expected an .npz with arrays `names` [n] and `vectors` [n, T]: {error}") from error
    if vectors.ndim != 2 or names.shape != vectors.shape[:1] or vectors.dtype.kind != "f" or vectors.size == 0:
        raise UserError(
            f"{path}: expected names [n] and float vectors [n, T], got names {list(names.shape)} and "
            f"{vectors.dtype} vectors {list(vectors.shape)}"
        )
    unit = F.normalize(torch.from_numpy(vectors.astype(np.float32)), dim=1, eps=1e-8)
    if not unit.isfinite().all() or (unit.norm(dim=1) < 0.5).any():
        raise UserError(f"{path}: a text vector is zero, NaN or infinite")
    texts: dict[str, Tensor] = {}
    for name, vector in zip(names, unit, strict=True):
        texts.setdefault(_key(str(name)), vector)
    return texts
