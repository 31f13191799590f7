"""From the names that a dataset lists to photo files on disk, in one way for every format."""

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path, PurePosixPath

import numpy as np

from gsdff.data.capture import PHOTO_SUFFIXES, Shot, report_missing
from gsdff.errors import UserError
from gsdff.files.finder import Finder

LONGEST_NAME = 1000
"""Letters of a listed path; systems allow some thousand bytes, and messages quote it."""

logger = logging.getLogger("gsdff")


@dataclass(frozen=True)
class Found:
    """The file of a listed photo."""

    path: Path
    """The photo at its full size, which may not exist if `file` is a smaller copy."""
    file: Path
    """File to read."""
    shrink: int
    """Factor by which the file is still to be downscaled."""
    is_exact: bool
    """Whether it is named as it is listed, but for the suffix."""


@dataclass(frozen=True)
class Place:
    """Folders in which the photos that a file lists are looked for."""

    source: Path
    """The file that lists them; messages name it."""
    base: Path
    """Folder that listed paths are relative to."""
    root: Path
    """The dataset's folder."""
    limit: Path
    """Folder that no path may leave, unless that is allowed."""
    downscale: int = 1
    allow_outside: bool = False


def find_photos(names: Sequence[str], place: Place) -> list[Found | None]:
    """Finds the file of each listed photo, None for those that do not exist, which are logged with their number.

    A name may differ from its file in case, suffix and slashes. If no photo of a kind of path is there (absolute or
    leading out, or inside), as many of their common first folders are dropped as it takes to find most photos: those
    are the folders of another machine. For a factor above 1 a copy in `images_N` beside `images` comes first. Raises
    `UserError` if none exists, if several files may be meant, and for photos outside of `place.limit`.
    """
    search = _Search(place, list(dict.fromkeys(names)))
    found = {
        name: photo for name, path in search.paths.items() if search.may_read(path) and (photo := search.look(path))
    }
    for group in search.unfound(found):
        found |= search.below_other_folders(group)
    outside = [name for name in search.paths if name not in found and search.leads_out(name)]
    if outside:
        raise UserError(
            f"{place.source}: {len(outside)} of {len(names)} photos lie outside {place.limit} (first: {outside[0]!r}); "
            "put them into the dataset's folder, or set `dataset.allow_outside` if you trust this file"
        )
    missing = [str(search.paths[name]) for name in names if name not in found]
    if len(missing) == len(names):
        search.suggest_downscale()
    report_missing(missing, len(names), place.source)
    search.report_unusual(found)
    return [found.get(name) for name in names]


def keep_one_each(
    shots: list[Shot], are_exact: list[bool], held_out: set[str], source: Path
) -> tuple[list[Shot], set[str]]:
    """Merges entries of one photo that say the same; one of them that is held out holds out the photo.

    A photo found under another spelling gives way to the one that is listed exactly. Raises `UserError` if a photo has
    several poses or lenses. Returns the shots, and the names of those that are held out.
    """
    entries: dict[str, list[int]] = {}
    for i, shot in enumerate(shots):
        entries.setdefault(os.path.realpath(shot.path), []).append(i)
    kept, kept_out, merged, lost = [], set(), [], []
    for ids in entries.values():
        if not all(_is_same_camera(shots[ids[0]], shots[i]) for i in ids):
            exact = [i for i in ids if are_exact[i]]
            lost += [shots[i].name for i in ids if not are_exact[i]] if exact else []
            ids = exact or ids
            if not all(_is_same_camera(shots[ids[0]], shots[i]) for i in ids):
                names = " and ".join(dict.fromkeys(shots[i].name for i in ids))
                raise UserError(
                    f"{source}: {names}: {len(ids)} entries with different poses or lenses are of the one photo "
                    f"{shots[ids[0]].path}; keep the right one"
                )
        first = shots[ids[0]]
        kept.append(first)
        merged += [first.name] if len(ids) > 1 else []
        if any(shots[i].name in held_out for i in ids):
            kept_out.add(first.name)
    if merged:
        logger.warning("%s: %d photos are listed several times with one pose and are used once, held out if any entry "
                       "is (first: %s)", source, len(merged), merged[0])  # fmt: skip
    if lost:
        logger.warning("%s: %d listed photos do not exist and are skipped; the files of like names are other photos "
                       "(first: %s)", source, len(lost), lost[0])  # fmt: skip
    return kept, kept_out


def _is_same_camera(one: Shot, other: Shot) -> bool:
    return one.lens == other.lens and np.allclose(one.viewmat, other.viewmat, rtol=1e-12, atol=1e-9)


def check_name(name: str, source: Path) -> None:
    """Raises `UserError` for a name that no file can have, or that cannot be written as UTF-8."""
    if not 0 < len(name) <= LONGEST_NAME or "\0" in name or any("\ud800" <= letter <= "\udfff" for letter in name):
        raise UserError(f"{source}: {name[:80]!r} cannot be the name of a photo; rename it, there and on disk")


def resolve(base: Path, name: str) -> Path:
    """The path of a listed name; Windows writes backslashes, which no folder of photos on Linux has."""
    exact = base / name
    path = exact if os.path.isfile(exact) else base / name.replace("\\", "/")
    return Path(os.path.normpath(path))


def find_other(name: str, base: Path, place: Place, finder: Finder) -> Path | None:
    """Finds another file that a dataset lists, such as a mask or point cloud, as photos are found; None without.

    Of a path of another machine as few first folders are dropped as it takes, but not all. Raises `UserError` for a
    file outside of `place.limit`, unless that is allowed.
    """
    check_name(name, place.source)
    path = finder.find(resolve(base, name))
    if path is None and _is_foreign(name):
        parts = PurePosixPath(os.path.normpath(name.replace("\\", "/"))).parts
        tails = (parts[drop:] for drop in range(1, len(parts) - 1))
        path = next(
            (found for tail in tails if ".." not in tail and (found := finder.find(base.joinpath(*tail)))), None
        )
    if path and not (place.allow_outside or path.is_relative_to(place.limit)):
        raise UserError(
            f"{place.source}: {path} lies outside {place.limit}; put it into the dataset's folder, or set "
            "`dataset.allow_outside` if you trust this file"
        )
    return path


def _is_foreign(name: str) -> bool:
    """Whether a name begins at the root of a disk."""
    return bool(re.match(r"[A-Za-z]:[\\/]|[\\/]", name))


class _Search:
    """One search for the photos that a file lists."""

    def __init__(self, place: Place, names: list[str]) -> None:
        for name in names:
            check_name(name, place.source)
        self.place = place
        self.finder = Finder(PHOTO_SUFFIXES)
        self.paths = {name: resolve(place.base, name) for name in names}
        self.copies = {copy for path in self.paths.values() for copy in self._copies(path) if os.path.isfile(copy)}

    def may_read(self, path: Path) -> bool:
        """Whether a photo of this path may be read."""
        return self.place.allow_outside or path.is_relative_to(self.place.limit)

    def leads_out(self, name: str) -> bool:
        """Whether this photo exists, but is not to be read."""
        return not self.may_read(self.paths[name]) and self.finder.find(self.paths[name]) is not None

    def look(self, path: Path) -> Found | None:
        """Finds the smaller copy of a photo, or else the photo itself."""
        full = self.finder.find(path)
        for copy in self._copies(full or path):
            if small := self.finder.find(copy, self.copies):
                return Found(full or path, small, 1, self._is_exact(path, full or path.with_name(small.name)))
        return Found(full, full, self.place.downscale, self._is_exact(path, full)) if full else None

    def unfound(self, found: dict[str, Found]) -> list[list[str]]:
        """The absolute paths and those that lead out, and the others, if none of them was found."""
        foreign = [name for name in self.paths if self._is_foreign(name)]
        inside = [name for name in self.paths if not self._is_foreign(name)]
        missing = [name for name in foreign if name not in found]
        return [missing, [] if any(name in found for name in inside) else inside]

    def below_other_folders(self, names: list[str]) -> dict[str, Found]:
        """Photos that are found when some of the names' common first folders are dropped: few, to find the most."""
        parts = {name: PurePosixPath(os.path.normpath(name.replace("\\", "/"))).parts for name in names}
        columns = zip(*(p[:-1] for p in parts.values()), strict=False)
        num_common = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))
        best: dict[str, Found] = {}
        for drop in range(1, num_common + 1):
            paths = {name: self.place.base.joinpath(*p[drop:]) for name, p in parts.items()}
            if not any(".." in path.parts for path in paths.values()):
                found = {name: replace(photo, is_exact=False) for name in paths if (photo := self.look(paths[name]))}
                best = max(best, found, key=len)
        return best

    def suggest_downscale(self) -> None:
        """Raises `UserError` if there are smaller copies of the photos and nothing else."""
        path = next(iter(self.paths.values()))
        for above in self._folders_above(path):
            beside = above.parent.glob(f"{above.name}_*") if above.parent.is_dir() else []
            factors = {
                int(folder.name.rpartition("_")[2]): folder
                for folder in beside
                if re.fullmatch(r"_[0-9]{1,3}", folder.name.removeprefix(above.name))
                if self.finder.find(folder / path.relative_to(above))
            }
            if factors:
                raise UserError(
                    f"{self.place.source}: only smaller copies of the photos are there "
                    f"({', '.join(factors[n].name for n in sorted(factors))}); set `dataset.downscale` to "
                    f"{' or '.join(str(n) for n in sorted(factors))}"
                )

    def report_unusual(self, found: dict[str, Found]) -> None:
        """Logs how many photos were found under another name than the listed one, or outside the dataset's folder."""
        outside = [photo.path for photo in found.values() if not photo.path.is_relative_to(self.place.root)]
        if outside:
            logger.info("%s: %d photos lie outside %s (first: %s)", self.place.source, len(outside), self.place.root,
                        outside[0])  # fmt: skip
        changed = [name for name, photo in found.items() if not photo.is_exact]
        if changed:
            logger.info("%s: %d of %d photos are spelled otherwise than listed (first: %s is %s)", self.place.source,
                        len(changed), len(found), changed[0], found[changed[0]].file)  # fmt: skip

    def _is_foreign(self, name: str) -> bool:
        return not self.paths[name].is_relative_to(self.place.base) or _is_foreign(name)

    def _is_exact(self, path: Path, found: Path) -> bool:
        return path.parent == found.parent and self.finder.is_same(path.name, found.name)

    def _copies(self, path: Path) -> list[Path]:
        """Paths of smaller copies: `images_N` beside each folder between the dataset's and the photo."""
        n = self.place.downscale
        return [] if n == 1 else [
            above.with_name(f"{above.name}_{n}") / path.relative_to(above) for above in self._folders_above(path)
        ]  # fmt: skip

    def _folders_above(self, path: Path) -> list[Path]:
        """Folders of the photo below the dataset's one, from the outside in; for photos outside the nearest one."""
        if not path.is_relative_to(self.place.root):
            return [path.parent]
        return [above for above in reversed(path.parents) if above.is_relative_to(self.place.root)][1:]
