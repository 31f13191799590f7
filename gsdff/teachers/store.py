"""Store on disk of a teacher's maps of the training views, projected onto their basis."""

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
"""Folder in the store's for maps of all T channels, until there is a basis to project them onto."""
LAYOUT = "gsdff-store-2"
FULL_BYTES = 4e9
"""Limit on the disk space of maps of all channels; in a larger scene, only every n-th view defines the basis."""
IN_FLIGHT = 4
"""Number of maps that are written while the teacher makes the next ones."""


@dataclass(frozen=True)
class FeatureStore:
    """Latent maps Bᵀf as float16 `<stem>.npy` [h, w, K], memory-mapped, at the network's own resolution."""

    folder: Path
    basis: Basis

    def load(self, view: View) -> Float[Tensor, "h w K"]:
        """Latent map of a view, float32 on the CPU; zero at pixels without a feature."""
        return torch.from_numpy(self.mapped(view)).float()

    def mapped(self, view: View) -> np.ndarray:
        """Maps a view's file into memory. Raises OSError or ValueError if it is missing or truncated."""
        return np.load(self.folder / f"{view.stem}.npy", mmap_mode="c")  # torch accepts no read-only array


def open_store(
    teacher: Teacher,
    views: Sequence[View],
    folder: Path,
    features: FeatureConfig,
    device: torch.device | str = "cpu",
) -> FeatureStore:
    """Opens the store of these views in `folder`; existing maps are kept, missing ones are made.

    The teacher makes every map once. Its maps, float16 in all channels, stay on disk until their second moment has
    given the basis; then each is projected and removed. If the maps of a scene would take more than `FULL_BYTES`, the
    basis comes from every n-th view, and the others are projected at once. Memory: T x T and a few maps.

    The folder's index holds a fingerprint of the teacher, views and settings; a folder with another fingerprint is
    emptied. Every file is written atomically, so a run that was killed continues where it stopped. Raises `UserError`
    for any error of the teacher, and if all maps are zero.
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
    """Marks `folder` with this fingerprint, after emptying it if it had another one."""
    index = folder / INDEX_FILE
    if index.is_file():
        try:
            before = json.loads(index.read_text(encoding="utf-8"))["fingerprint"]
        except (ValueError, KeyError, TypeError):
            before = None
        if before == fingerprint:
            return
        log.info("%s: made from other maps or settings; making it again", folder)
    folder.mkdir(parents=True, exist_ok=True)
    for stale in (index, folder / BASIS_FILE, *folder.glob("*.npy")):
        stale.unlink(missing_ok=True)
    shutil.rmtree(folder / FULL_FOLDER, ignore_errors=True)
    _write_index(folder, {"layout": LAYOUT, "fingerprint": fingerprint})


def _write_index(folder: Path, content: dict[str, object]) -> None:
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
    """Views whose latent maps are missing or damaged."""

    def is_stored(view: View) -> bool:
        try:
            return store.mapped(view).shape[-1] == store.basis.B.shape[1]  # mapping a truncated file raises
        except (OSError, ValueError):
            return False

    return [view for view in views if not is_stored(view)]


def _full_path(folder: Path, view: View) -> Path:
    return folder / FULL_FOLDER / f"{view.stem}.npy"


def _save_full(teacher: Teacher, views: Sequence[View], folder: Path, bar: tqdm) -> None:
    """Saves the missing maps that define the basis, with all channels."""
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
    """Saves the missing latent maps, from the maps with all channels if they are saved, and removes those."""
    B = store.basis.B.to(device)
    missing = _missing(store, views)
    saved = [view for view in missing if _full_path(store.folder, view).is_file()]
    unseen = [view for view in missing if not _full_path(store.folder, view).is_file()]

    def encode(features: Float[Tensor, "T h w"]) -> Float[Tensor, "h w K"]:
        # through float16, so that maps that were saved with all channels and others give the same bits
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
def _write_behind() -> Iterator[Callable[..., None]]:
    """Yields a function that makes calls in the background, at most `IN_FLIGHT` at a time; the block waits for all."""
    pending: deque[Future[None]] = deque()
    with ThreadPoolExecutor(2, thread_name_prefix="store") as pool:

        def write(function: Callable[..., None], *arguments: object) -> None:
            if len(pending) == IN_FLIGHT:
                pending.popleft().result()
            pending.append(pool.submit(function, *arguments))

        yield write
        while pending:
            pending.popleft().result()


def _finish(store: FeatureStore, views: Sequence[View], fingerprint: str) -> None:
    """Logs and stores the energy that the basis keeps and the disk space of the maps."""
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
        "(%.0f MB each with all channels at the photo's size)",
        dim, channels, store.basis.energy, len(views), num_bytes / 1e6, facts["bytes_per_view_full"] / 1e6,
    )  # fmt: skip
