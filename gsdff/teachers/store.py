"""The teacher's maps of a scene's training views, projected onto their basis, on disk."""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from gsdff.errors import UserError
from gsdff.files import whole_file
from gsdff.scene import View
from gsdff.teachers import Teacher
from gsdff.teachers.basis import Basis, fit_basis

log = logging.getLogger("gsdff")

INDEX_FILE = "index.json"
BASIS_FILE = "basis.safetensors"
LAYOUT = "gsdff-store-1"


@dataclass(frozen=True)
class FeatureStore:
    """Latent maps Bᵀf as float16 `<stem>.npy` [h, w, K], memory-mapped, at the network's own resolution."""

    folder: Path
    basis: Basis

    def load(self, view: View) -> Float[Tensor, "h w K"]:
        """One view's latent map, float32 on the CPU; all zero at pixels the teacher says nothing about."""
        return torch.from_numpy(self._mapped(view).astype(np.float32))

    def _mapped(self, view: View) -> np.ndarray:
        return np.load(self.folder / f"{view.stem}.npy", mmap_mode="r")


def open_store(
    teacher: Teacher, views: Sequence[View], folder: Path, dim: int, device: torch.device | str = "cpu"
) -> FeatureStore:
    """The store of these views, in `folder`: reused where its fingerprint is theirs, otherwise made there.

    The fingerprint covers the teacher, what every map is made from, the views in their order, and `dim`. The index is
    written last, so a store cut short is made again. Two passes over the maps: one for the basis, one to project.
    Memory: T x T and one map. Raises `UserError` for what the teacher raises it for, and where all maps are zero.
    """
    fingerprint = _fingerprint(teacher, views, dim)
    if (store := _reuse(views, folder, fingerprint)) is not None:
        return store
    folder.mkdir(parents=True, exist_ok=True)
    for stale in (folder / INDEX_FILE, *folder.glob("*.npy")):
        stale.unlink(missing_ok=True)
    moment = _second_moment(teacher, views, device)
    basis = fit_basis(moment, dim, teacher=teacher.name, fingerprint=fingerprint)
    basis.save(folder / BASIS_FILE)
    _project(teacher, views, folder, basis.B.to(device))
    with whole_file(folder / INDEX_FILE) as partial:
        partial.write_text(json.dumps({"layout": LAYOUT, "fingerprint": fingerprint}), encoding="utf-8")
    _report(views, folder, basis)
    return FeatureStore(folder, basis)


def _fingerprint(teacher: Teacher, views: Sequence[View], dim: int) -> str:
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps([LAYOUT, teacher.name, teacher.fingerprint, dim]).encode())
    for view in tqdm(views, desc="teacher maps", unit="view", leave=False):
        digest.update(json.dumps([view.stem, teacher.fingerprint_of(view)]).encode())
    return digest.hexdigest()


def _reuse(views: Sequence[View], folder: Path, fingerprint: str) -> FeatureStore | None:
    """The store in `folder` if it is this one and whole."""
    if not (folder / INDEX_FILE).is_file():
        return None
    try:
        index = json.loads((folder / INDEX_FILE).read_text())
        store = FeatureStore(folder, Basis.load(folder / BASIS_FILE))
        for view in views if index == {"layout": LAYOUT, "fingerprint": fingerprint} else ():
            store._mapped(view)  # a short file does not map
    except (ValueError, OSError, UserError) as error:
        log.warning("%s: damaged (%s), making it again", folder, error)
        return None
    if index != {"layout": LAYOUT, "fingerprint": fingerprint}:
        log.info("%s: made from other maps or settings, making it again", folder)
        return None
    log.info("%s: reused, nothing has changed", folder)
    return store


def _second_moment(teacher: Teacher, views: Sequence[View], device: torch.device | str) -> Float[Tensor, "T T"]:
    """Σ f fᵀ over every pixel of every map, float64."""
    moment: Tensor | None = None
    for view in tqdm(views, desc="basis", unit="view", leave=False):
        features = teacher.extract(view).to(device).flatten(1)
        product = (features @ features.T).double()
        moment = product if moment is None else moment + product
    assert moment is not None, "a store needs at least one view"
    if float(moment.trace()) == 0:
        raise UserError(f"teacher {teacher.name}: every pixel of all {len(views)} maps is zero; make the maps again")
    return moment.cpu()


def _project(teacher: Teacher, views: Sequence[View], folder: Path, B: Float[Tensor, "T K"]) -> None:
    for view in tqdm(views, desc="project", unit="view", leave=False):
        features = teacher.extract(view).to(B.device)
        latents = torch.einsum("thw,tk->hwk", features, B)
        path = folder / f"{view.stem}.npy"
        with whole_file(path) as partial, partial.open("wb") as file:
            np.save(file, latents.half().cpu().contiguous().numpy())


def _report(views: Sequence[View], folder: Path, basis: Basis) -> None:
    channels, dim = basis.B.shape
    size = sum((folder / f"{view.stem}.npy").stat().st_size for view in views)
    log.info(
        "features: %d of %d channels keep %.4f of the teacher's energy; %d maps, %.2f MB each (%.2f MB at full width)",
        dim,
        channels,
        basis.energy,
        len(views),
        size / len(views) / 1e6,
        size / len(views) / 1e6 * channels / dim,
    )
