"""The teacher's maps of a scene's training views, projected onto their basis, on disk."""

import hashlib
import json
import logging
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from gsdff.config.options import FeatureConfig
from gsdff.errors import UserError
from gsdff.files import whole_file
from gsdff.latents import Basis, fit_basis
from gsdff.scene import View
from gsdff.teachers import Teacher

log = logging.getLogger("gsdff")

INDEX_FILE = "index.json"
BASIS_FILE = "basis.safetensors"
FULL_FOLDER = "full"
"""Below the store's: maps of all T channels, until there is a basis to project them onto."""
LAYOUT = "gsdff-store-2"
FULL_BYTES = 4e9
"""The most that maps of all channels may take on disk; of a larger scene, every n-th view makes the basis."""
IN_FLIGHT = 4
"""Maps being written while the teacher makes the next ones."""


@dataclass(frozen=True)
class FeatureStore:
    """Latent maps Bᵀf as float16 `<stem>.npy` [h, w, K], memory-mapped, at the network's own resolution."""

    folder: Path
    basis: Basis

    def load(self, view: View) -> Float[Tensor, "h w K"]:
        """One view's latent map, float32 on the CPU; all zero at pixels the teacher says nothing about."""
        return torch.from_numpy(self.mapped(view)).float()

    def mapped(self, view: View) -> np.ndarray:
        """The file, mapped into memory; an OSError or ValueError where it is missing or cut short."""
        return np.load(self.folder / f"{view.stem}.npy", mmap_mode="c")  # torch takes none that is read-only


def open_store(
    teacher: Teacher,
    views: Sequence[View],
    folder: Path,
    features: FeatureConfig,
    device: torch.device | str = "cpu",
) -> FeatureStore:
    """The store of these views in `folder`: what is there of it already is kept, what is missing is made.

    The teacher is asked for every map once. Its maps, float16 in all channels, wait on disk until their second moment
    has given the basis; then each is projected and removed. A scene whose maps would take more than `FULL_BYTES` gets
    its basis from every n-th view, and the others are projected as they come. Memory: T x T and a few maps.

    The folder's index says which teacher, views and settings it belongs to, by their fingerprint; a folder of others is
    emptied. Every file in it is whole, so a run that was killed goes on where it was. Raises `UserError` for what the
    teacher raises it for, and where all maps are zero.
    """
    device = torch.device(device)
    fingerprint = _fingerprint(teacher, views, features)
    _claim(folder, fingerprint)
    basis = _saved_basis(folder)
    if basis is not None and not _missing(FeatureStore(folder, basis), views):
        log.info("%s: reused, nothing has changed", folder)
        return FeatureStore(folder, basis)
    with tqdm(total=len(views), desc=f"maps of teacher {teacher.name}", unit="view") as bar:
        if basis is None:
            _save_full(teacher, views, folder, bar)
            moment = _second_moment(views, folder, device, teacher.name)
            basis = fit_basis(moment, features.dim, features.energy, teacher=teacher.name, fingerprint=fingerprint)
            basis.save(folder / BASIS_FILE)
        store = FeatureStore(folder, basis)
        _project(teacher, views, store, device, bar)
    _finish(store, views, fingerprint)
    return store


def _fingerprint(teacher: Teacher, views: Sequence[View], features: FeatureConfig) -> str:
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps([LAYOUT, teacher.name, teacher.fingerprint, features.dim, features.energy]).encode())
    for view in tqdm(views, desc="fingerprints", unit="view", leave=False):
        digest.update(json.dumps([view.stem, teacher.fingerprint_of(view)]).encode())
    return digest.hexdigest()


def _claim(folder: Path, fingerprint: str) -> None:
    """Makes `folder` the one of this fingerprint, empty unless it was so before."""
    index = folder / INDEX_FILE
    if index.is_file():
        try:
            before = json.loads(index.read_text(encoding="utf-8"))["fingerprint"]
        except (ValueError, KeyError, TypeError):
            before = None
        if before == fingerprint:
            return
        log.info("%s: made from other maps or settings, making it again", folder)
    folder.mkdir(parents=True, exist_ok=True)
    for stale in (index, folder / BASIS_FILE, *folder.glob("*.npy")):
        stale.unlink(missing_ok=True)
    shutil.rmtree(folder / FULL_FOLDER, ignore_errors=True)
    _write_index(folder, {"layout": LAYOUT, "fingerprint": fingerprint})


def _write_index(folder: Path, content: dict) -> None:
    with whole_file(folder / INDEX_FILE) as partial:
        partial.write_text(json.dumps(content, indent=2), encoding="utf-8")


def _saved_basis(folder: Path) -> Basis | None:
    if not (folder / BASIS_FILE).is_file():
        return None
    try:
        return Basis.load(folder / BASIS_FILE)
    except UserError as error:
        log.warning("%s; making the maps again", error)
        for stale in folder.glob("*.npy"):
            stale.unlink()
        return None


def _missing(store: FeatureStore, views: Sequence[View]) -> list[View]:
    """Views whose latents are not there, or damaged."""

    def is_there(view: View) -> bool:
        try:
            return store.mapped(view).shape[-1] == store.basis.B.shape[1]  # a short file does not map
        except (OSError, ValueError):
            return False

    return [view for view in views if not is_there(view)]


def _full_path(folder: Path, view: View) -> Path:
    return folder / FULL_FOLDER / f"{view.stem}.npy"


def _save_full(teacher: Teacher, views: Sequence[View], folder: Path, bar: tqdm) -> None:
    """Saves the maps that make the basis as they are, those that are not there yet."""
    (folder / FULL_FOLDER).mkdir(exist_ok=True)
    first = views[0]
    if not _full_path(folder, first).is_file():
        _save_map(_full_path(folder, first), next(teacher.extract([first])))
        bar.update()
    bytes_each = _full_path(folder, first).stat().st_size
    every = -(-len(views) * bytes_each // int(FULL_BYTES))
    missing = [view for view in views[:: max(1, every)] if not _full_path(folder, view).is_file()]
    with _write_behind() as write:
        for view, features in zip(missing, teacher.extract(missing), strict=True):
            write(_save_map, _full_path(folder, view), features)
            bar.update()


def _second_moment(views: Sequence[View], folder: Path, device: torch.device, name: str) -> Float[Tensor, "T T"]:
    """Σ f fᵀ over every pixel of every saved map, float64."""
    moment: Tensor | None = None
    saved = [path for view in views if (path := _full_path(folder, view)).is_file()]
    for path in tqdm(saved, desc="basis", unit="view", leave=False):
        features = torch.from_numpy(np.load(path)).to(device).float().flatten(1)
        product = (features @ features.T).double()
        moment = product if moment is None else moment + product
    assert moment is not None, "a store needs at least one view"
    if float(moment.trace()) == 0:
        raise UserError(f"teacher {name}: every pixel of all {len(saved)} maps is zero; make the maps again")
    return moment.cpu()


def _project(teacher: Teacher, views: Sequence[View], store: FeatureStore, device: torch.device, bar: tqdm) -> None:
    """Saves the latents that are not there yet, from maps saved in full where they are, and removes those."""
    B = store.basis.B.to(device)
    missing = _missing(store, views)
    saved = [view for view in missing if _full_path(store.folder, view).is_file()]
    unseen = [view for view in missing if not _full_path(store.folder, view).is_file()]

    def encode(features: Float[Tensor, "T h w"]) -> Float[Tensor, "h w K"]:
        # through float16, so that a map that was saved in full and one that was not give the same bits
        return torch.einsum("thw,tk->hwk", features.half().to(device).float(), B).contiguous()

    with _write_behind() as write:
        for view in tqdm(saved, desc="project", unit="view", leave=False):
            features = torch.from_numpy(np.load(_full_path(store.folder, view)))
            write(_save_map, store.folder / f"{view.stem}.npy", encode(features))
        for view, features in zip(unseen, teacher.extract(unseen), strict=True):
            write(_save_map, store.folder / f"{view.stem}.npy", encode(features))
            bar.update()
    shutil.rmtree(store.folder / FULL_FOLDER, ignore_errors=True)


def _save_map(path: Path, features: Float[Tensor, "..."]) -> None:
    with whole_file(path) as partial, partial.open("wb") as file:
        np.save(file, features.half().cpu().numpy())


@contextmanager
def _write_behind() -> Iterator[Callable]:
    """A function that calls another one in the background, `IN_FLIGHT` at a time; all are done when the block ends."""
    pending: deque[Future] = deque()
    with ThreadPoolExecutor(2, thread_name_prefix="store") as pool:

        def write(function: Callable, *arguments: object) -> None:
            if len(pending) == IN_FLIGHT:
                pending.popleft().result()
            pending.append(pool.submit(function, *arguments))

        yield write
        while pending:
            pending.popleft().result()


def _finish(store: FeatureStore, views: Sequence[View], fingerprint: str) -> None:
    """Says and stores what the basis keeps and what the maps take."""
    channels, dim = store.basis.B.shape
    num_bytes = sum((store.folder / f"{view.stem}.npy").stat().st_size for view in views) / len(views)
    height, width = views[0].image.shape[:2]
    facts = {
        "channels": channels,
        "dim": dim,
        "energy": store.basis.energy,
        "bytes_per_view": round(num_bytes),
        "bytes_per_view_full": 2 * channels * height * width,
    }
    _write_index(store.folder, {"layout": LAYOUT, "fingerprint": fingerprint, **facts})
    log.info(
        "features: %d of %d channels keep %.4f of the teacher's energy; %d maps of %.2f MB each "
        "(%.0f MB each in all channels at the photo's size)",
        dim, channels, store.basis.energy, len(views), num_bytes / 1e6, facts["bytes_per_view_full"] / 1e6,
    )  # fmt: skip
