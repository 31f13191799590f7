"""Store on disk of a teacher's maps of the training views, projected onto their basis."""

import hashlib
import json
import logging
import re
import shlex
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from gsdff.config.options import FeatureConfig
from gsdff.errors import UserError
from gsdff.files.checked import REMEDY, checksum, disk_size, load_array, save_array
from gsdff.files.reading import read_json
from gsdff.files.writing import whole_file
from gsdff.latents import Basis, fit_basis
from gsdff.ranks import Ranks, this_job
from gsdff.scene import View
from gsdff.teachers import Teacher

log = logging.getLogger("gsdff")

INDEX_FILE = "index.json"
BASIS_FILE = "basis.safetensors"
LOCK_FILE = ".lock"
FULL_FOLDER = ".full"
"""Folder in a store's for maps of all T channels, until there is a basis to project them onto."""
LAYOUT = "gsdff-store-2"
"""Part of every fingerprint; another one would make all maps again."""
FULL_BYTES = 4e9
"""Limit on the disk space of maps of all channels; in a larger scene, only every n-th view defines the basis."""
IN_FLIGHT = 4
"""Number of maps that are written while the teacher makes the next ones."""
WHAT = "a stored teacher map"


@dataclass(frozen=True)
class FeatureStore:
    """Latent maps Bᵀf as float16 `<key>.npy` [h, w, K], memory-mapped, at the network's own resolution."""

    folder: Path
    """Folder of these maps alone, named by their fingerprint; in earlier versions the cache itself."""
    basis: Basis

    def load(self, view: View) -> Float[Tensor, "h w K"]:
        """Latent map of a view, float32 on the CPU; zero at pixels without a feature.

        Raises `UserError` if it is damaged or of other features, and `OSError` if it is missing.
        """
        path, K = self.path(view), self.basis.B.shape[1]
        is_checked = self.folder.name == self.basis.fingerprint
        latents = load_array(path, self._identify(view), WHAT, is_checked=is_checked)
        if latents.dtype != np.float16 or latents.ndim != 3 or latents.shape[2] != K or latents.size == 0:
            got = f"{latents.dtype} {list(latents.shape)}"
            raise UserError(f"{path}: expected float16 values [h, w, {K}], got {got}; {REMEDY}")
        return torch.from_numpy(latents).float()

    def save(self, view: View, latents: Float[Tensor, "h w K"]) -> None:
        """Writes the latent map of a view."""
        path = self.path(view)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_array(path, latents.half().cpu().numpy(), self._identify(view))

    def path(self, view: View) -> Path:
        """Path of a view's map."""
        return self.folder / f"{view.key}.npy"

    def missing(self, views: Sequence[View]) -> list[View]:
        """Views whose maps are missing or damaged."""

        def is_stored(view: View) -> bool:
            try:
                self.load(view)
            except (FileNotFoundError, UserError):
                return False
            return True

        return [view for view in views if not is_stored(view)]

    def _identify(self, view: View) -> str:
        """Text that a map of another view, teacher or basis has not."""
        return f"{self._basis_checksum} {view.key}"

    @cached_property
    def _basis_checksum(self) -> str:
        return checksum(self.basis.fingerprint, [self.basis.B.cpu().numpy()])


def find_store(folder: Path, basis: Basis) -> FeatureStore | None:
    """The maps that a basis was made of, in a cache or in the run's folder of maps; None if there are none."""
    own = folder / basis.fingerprint
    if own.parent == folder and own.is_dir():
        return FeatureStore(own, basis)
    return FeatureStore(folder, basis) if _is_indexed(folder, basis.fingerprint) else None


def open_store(
    teacher: Teacher,
    views: Sequence[View],
    folder: Path,
    features: FeatureConfig,
    device: torch.device | str = "cpu",
) -> FeatureStore:
    """Opens the store of these views in a cache; existing maps are kept, missing and damaged ones are made.

    The maps are in a folder of the cache that is named by the fingerprint of the teacher, views and settings, so that
    processes with others do not meet. Of processes with the same, one makes the maps and the others wait for it.

    The ranks of a job share the work: among all that see the same cache, each map is made by one. Caches of several
    machines hold the same maps in the same basis; only moments and basis are exchanged.

    The teacher makes every map once. Its maps, float16 in all channels, stay on disk until their second moment has
    given the basis; then each is projected and removed. If the maps of a scene would take more than `FULL_BYTES`, the
    basis comes from every n-th view, and the others are projected at once. Memory: T x T and a few maps.

    Every file is written atomically, so a run that was killed continues where it stopped. Raises `UserError` for any
    error of the teacher, and if all maps are zero.
    """
    device = torch.device(device)
    fingerprint = _fingerprint(teacher, views, features)
    own = folder / fingerprint
    if not own.is_dir() and _is_indexed(folder, fingerprint) and _saved_basis(folder, fingerprint):
        log.info("%s: made by an earlier version, so without checksums", folder)
        own = folder
    ranks = this_job()
    store = _finished(own, views, fingerprint)
    if not all(ranks.gather(store is not None)):
        own.mkdir(parents=True, exist_ok=True)
        crew = ranks.who_see(own)
        with _alone(own) if crew.is_first else nullcontext():
            ranks.wait()  # until the first of each crew is alone
            store = _finished(own, views, fingerprint)
            if not all(ranks.gather(store is not None)):
                store = _make(teacher, views, _Place(own, fingerprint, crew), features, device)
    else:
        log.info("%s: reused, nothing has changed", own)
    assert store is not None, "made above"
    _mention_others(folder, own)
    return store


@dataclass(frozen=True)
class _Place:
    """A folder in which maps are made, and the ranks that make them there."""

    folder: Path
    fingerprint: str
    crew: Ranks
    """This rank among those that see the folder."""


def _make(
    teacher: Teacher, views: Sequence[View], place: _Place, features: FeatureConfig, device: torch.device
) -> FeatureStore:
    """Makes what is missing; all ranks return when everything is there."""
    ranks, folder, fingerprint, crew = this_job(), place.folder, place.fingerprint, place.crew
    with tqdm(total=len(crew.share(views)), desc=f"maps of teacher {teacher.name}", unit="view") as bar:
        saved = ranks.gather(_saved_basis(folder, fingerprint))
        basis = next((each for each in saved if each is not None), None)
        if basis is None:
            if crew.is_first and (folder / BASIS_FILE).exists():
                log.warning("%s: damaged; making all maps again", folder / BASIS_FILE)
            full = FullMaps(folder / FULL_FOLDER, fingerprint)
            _save_full(teacher, views, full, crew, bar)
            moment = _second_moment(views, full, device, teacher.name)
            basis = fit_basis(moment, features.dim, features.energy, teacher=teacher.name, fingerprint=fingerprint)
            basis = ranks.from_first(basis)
        if crew.is_first and _saved_basis(folder, fingerprint) is None:
            basis.save(folder / BASIS_FILE)
        store = FeatureStore(folder, basis)
        _project(teacher, views, store, device, crew, bar)
    if crew.is_first:
        _finish(store, views)
    ranks.wait()
    return store


def _fingerprint(teacher: Teacher, views: Sequence[View], features: FeatureConfig) -> str:
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps([LAYOUT, teacher.name, teacher.fingerprint, features.dim, features.energy]).encode())
    for view in tqdm(views, desc="fingerprints", unit="view", leave=False):
        digest.update(json.dumps([view.key, teacher.fingerprint_of(view)]).encode())
    return digest.hexdigest()


def _is_indexed(folder: Path, fingerprint: str) -> bool:
    """Whether a folder has the index of maps of this fingerprint. Earlier versions wrote it into the cache itself."""
    try:
        index = read_json(folder / INDEX_FILE, "the index of stored maps")
    except (OSError, UserError):
        return False
    return isinstance(index, dict) and index.get("fingerprint") == fingerprint


def _finished(folder: Path, views: Sequence[View], fingerprint: str) -> FeatureStore | None:
    """The store if it has every map and its index, which is written last; None otherwise."""
    basis = _saved_basis(folder, fingerprint) if _is_indexed(folder, fingerprint) else None
    store = None if basis is None else FeatureStore(folder, basis)
    return None if store is None or store.missing(views) else store


def _saved_basis(folder: Path, fingerprint: str) -> Basis | None:
    """The store's basis; None if there is none, or if it is damaged."""
    try:
        basis = Basis.load(folder / BASIS_FILE)
    except UserError:
        return None
    return basis if basis.fingerprint == fingerprint else None


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Makes other processes wait until the block ends; if this one ends in any way, the next goes on."""
    lock = FileLock(folder / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("%s: another process makes these maps; waiting for it", folder)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _mention_others(folder: Path, own: Path) -> None:
    """Logs the disk space of maps in the cache that this run does not use."""
    others = [path for path in folder.iterdir() if re.fullmatch("[0-9a-f]{32}", path.name) and path != own]
    if own != folder:
        others += [*folder.glob("*.npy"), *folder.glob(BASIS_FILE), *folder.glob(INDEX_FILE)]  # of earlier versions
    if others:
        log.info(
            "%s: maps of other teachers, photos, settings or versions take %.1f MB; if no run needs them: rm -r %s",
            folder, sum(map(disk_size, others)) / 1e6, shlex.join(map(str, others[:3])) + " ..." * (len(others) > 3),
        )  # fmt: skip


@dataclass(frozen=True)
class FullMaps:
    """Maps of all channels as float16 `<key>.npy` [T, h, w]."""

    folder: Path
    fingerprint: str

    def load(self, view: View) -> Float[Tensor, "T h w"] | None:
        """Map of a view; None if it is missing or damaged."""
        try:
            features = load_array(self.path(view), f"{self.fingerprint} {view.key}", WHAT)
        except (FileNotFoundError, UserError):
            return None
        return torch.from_numpy(features)

    def save(self, view: View, features: Float[Tensor, "T h w"]) -> None:
        """Writes the map of a view."""
        path = self.path(view)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_array(path, features.half().cpu().numpy(), f"{self.fingerprint} {view.key}")

    def path(self, view: View) -> Path:
        """Path of a view's map."""
        return self.folder / f"{view.key}.npy"


def _save_full(teacher: Teacher, views: Sequence[View], full: FullMaps, crew: Ranks, bar: tqdm) -> None:
    """Saves the missing maps that define the basis, with all channels."""
    ranks, first = this_job(), views[0]
    if crew.is_first and full.load(first) is None:
        full.save(first, next(teacher.extract([first])))
        bar.update()
    num_bytes = ranks.from_first(full.path(first).stat().st_size if ranks.is_first else 0)
    every = -(-len(views) * num_bytes // int(FULL_BYTES))
    ranks.wait()
    missing = [view for view in crew.share(views[:: max(1, every)]) if full.load(view) is None]
    with _write_behind() as write:
        for view, features in zip(missing, teacher.extract(missing), strict=True):
            write(full.save, view, features)
            bar.update()
    ranks.wait()


def _second_moment(views: Sequence[View], full: FullMaps, device: torch.device, name: str) -> Float[Tensor, "T T"]:
    """Σ f fᵀ over every pixel of every saved map, float64.

    Of one product per map, in float32, a sum in float64 is exact unless they differ by more than 2^29 in size, so that
    ranks, which share the maps, get the bits of one rank.
    """
    ranks = this_job()
    saved = [view for view in views if full.path(view).exists()]
    moment: Tensor | None = None
    num_maps = 0
    for view in tqdm(ranks.share(saved), desc="basis", unit="view", leave=False):
        if (features := full.load(view)) is None:
            continue
        pixels = features.to(device).float().flatten(1)
        product = (pixels @ pixels.T).double()
        moment = product if moment is None else moment + product
        num_maps += 1
    channels = next(size for size in ranks.gather(0 if moment is None else len(moment)) if size)
    moment = torch.zeros(channels, channels, dtype=torch.float64) if moment is None else moment.cpu()
    ranks.add_up([moment])
    num_maps = sum(ranks.gather(num_maps))
    if float(moment.trace()) == 0:
        raise UserError(f"teacher {name}: every pixel of all {num_maps} maps is zero; make the maps again")
    return moment


def _project(
    teacher: Teacher, views: Sequence[View], store: FeatureStore, device: torch.device, crew: Ranks, bar: tqdm
) -> None:
    """Saves the missing latent maps, from the maps with all channels if they are saved, and removes those."""
    B = store.basis.B.to(device)
    full = FullMaps(store.folder / FULL_FOLDER, store.basis.fingerprint)
    missing, unseen = store.missing(crew.share(views)), []
    if damaged := [store.path(view) for view in missing if store.path(view).exists()]:
        log.warning("%d stored maps are damaged, such as %s; making them again", len(damaged), damaged[0])

    def encode(features: Float[Tensor, "T h w"]) -> Float[Tensor, "h w K"]:
        # through float16, so that maps that were saved with all channels and others give the same bits
        return torch.einsum("thw,tk->hwk", features.half().to(device).float(), B).contiguous()

    with _write_behind() as write:
        for view in tqdm(missing, desc="project", unit="view", leave=False):
            if (features := full.load(view)) is None:
                unseen.append(view)
            else:
                write(store.save, view, encode(features))
        for view, features in zip(unseen, teacher.extract(unseen), strict=True):
            write(store.save, view, encode(features))
            bar.update()
    this_job().wait()
    if crew.is_first:
        shutil.rmtree(full.folder, ignore_errors=True)


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


def _finish(store: FeatureStore, views: Sequence[View]) -> None:
    """Logs and stores the energy that the basis keeps and the disk space of the maps."""
    channels, dim = store.basis.B.shape
    num_bytes = sum(store.path(view).stat().st_size for view in views) / len(views)
    height, width = views[0].image.shape[:2]
    facts = {
        "layout": LAYOUT,
        "fingerprint": store.basis.fingerprint,
        "channels": channels,
        "dim": dim,
        "energy": store.basis.energy,
        "bytes_per_view": round(num_bytes),
        "bytes_per_view_full": 2 * channels * height * width,
    }
    with whole_file(store.folder / INDEX_FILE) as partial:
        partial.write_text(json.dumps(facts, indent=2), encoding="utf-8")
    log.info(
        "features: %d of %d channels keep %.4f of the teacher's energy; %d maps of %.2f MB each "
        "(%.0f MB each with all channels at the photo's size)",
        dim, channels, store.basis.energy, len(views), num_bytes / 1e6, facts["bytes_per_view_full"] / 1e6,
    )  # fmt: skip
