"""Finds files that are spelled otherwise on disk than where they are listed: upper and lower case, suffix, Unicode."""

import os
import unicodedata
from collections.abc import Collection, Sequence
from pathlib import Path

from gsdff.errors import UserError


class Finder:
    """Finds files and folders by path where only the spelling may differ; lists every folder once.

    A path may lack one of the known suffixes, have another of them, or differ in case or in Unicode's form (a Mac
    stores accents apart from their letters).
    """

    def __init__(self, suffixes: Sequence[str]) -> None:
        self._suffixes = tuple(suffixes)
        self._files: dict[Path, dict[str, list[str]]] = {}
        self._folders: dict[Path, Path | None] = {}

    def find(self, path: Path, besides: Collection[Path] = ()) -> Path | None:
        """Finds `path` itself, or else the one file that differs in spelling and is not in `besides`.

        The same letters with another case of the suffix, or with a suffix that `path` lacks, come before the rest.
        Raises `UserError` naming them if there are several; None if there is none.
        """
        if os.path.isfile(path):  # False also for names that no file can have
            return path
        folder = self.find_folder(path.parent)
        if folder is None:
            return None
        alike = self._list(folder).get(self.key(path.name), [])
        likely = [name for name in alike if self.is_same(path.name, name)]
        found = [folder / name for name in likely or alike if folder / name not in besides]
        if len(found) > 1:
            raise UserError(
                f"{path}: not there, and it may be {' or '.join(p.name for p in found)}; rename one of them"
            )
        return found[0] if found else None

    def find_folder(self, path: Path) -> Path | None:
        """Finds the folder `path`, or else the one that differs in case or in Unicode's form; None if there is none.

        Raises `UserError` naming them if there are several.
        """
        if path not in self._folders:
            self._folders[path] = path if os.path.isdir(path) else self._find_like(path)
        return self._folders[path]

    def is_same(self, listed: str, name: str) -> bool:
        """Whether a file's name is the listed one but for the case of its suffix, or a suffix that the listed lacks."""
        (stem, suffix), (other, other_suffix) = self.split(listed), self.split(name)
        return stem == other and suffix.lower() in ("", other_suffix.lower())

    def split(self, name: str) -> tuple[str, str]:
        """Splits a name into the part before its suffix and the suffix; one that is not known belongs to the name."""
        stem, suffix = os.path.splitext(name)
        return (stem, suffix) if suffix.lower() in self._suffixes else (name, "")

    def key(self, name: str) -> str:
        """What two spellings of one name or path share: its letters without case, Unicode's form and suffix."""
        return _fold(self.split(name)[0])

    def _find_like(self, path: Path) -> Path | None:
        parent = self.find_folder(path.parent) if path.parent != path else None
        if parent is None:
            return None
        wanted = _fold(path.name)
        found = [e.name for e in _entries(parent) if _fold(e.name) == wanted and os.path.isdir(e.path)]
        if len(found) > 1:
            raise UserError(f"{path}: not there, and it may be {' or '.join(sorted(found))}; rename one of them")
        return parent / found[0] if found else None

    def _list(self, folder: Path) -> dict[str, list[str]]:
        """Names of the folder's files with a known suffix, by what is compared of them."""
        if folder not in self._files:
            names: dict[str, list[str]] = {}
            for entry in _entries(folder):
                if self.split(entry.name)[1] and os.path.isfile(entry.path):
                    names.setdefault(self.key(entry.name), []).append(entry.name)
            self._files[folder] = names
        return self._files[folder]


def subfolders(folder: Path) -> list[Path]:
    """The folders directly in a folder that are not hidden, in name order; none if it cannot be listed."""
    names = [entry.name for entry in _entries(folder) if entry.is_symlink() or entry.is_dir()]
    return [folder / name for name in names if not name.startswith(".") and os.path.isdir(folder / name)]


def _fold(name: str) -> str:
    """A name without what case and Unicode's form add to it."""
    return unicodedata.normalize("NFC", name.casefold())


def _entries(folder: Path) -> list[os.DirEntry]:
    """Entries of a folder in name order; none if it may not be listed, as those of other users."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return []
