"""Atomic writing of files and of sets of files, reproducible .safetensors files, and file hashes."""

import fcntl
import hashlib
import json
import logging
import os
import re
import secrets
import socket
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gsdff.errors import UserError
from gsdff.files.places import check_place, describe_failure, is_short_write

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger("gsdff")

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mts", ".3gp", ".mpg", ".mpeg", ".wmv")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path that replaces `path` if the block ends without an error and is deleted otherwise.

    A reader of `path`, at any moment and after any crash, finds the old file or the new one, complete. Within a block
    of `together` the file is replaced at the end of that one. Raises `UserError` if it cannot be written: a full disk
    or quota, no permission, a folder or a device of that name.
    """
    check_place(path)
    _sweep(path.parent)
    partial = partial_path(path)
    try:
        with _writing(path, partial):
            yield partial
            _sync(partial)
        if (pending := _pending.get()) is None:
            _replace([_Replacement(path, partial)])
        else:
            pending.files[path] = _Replacement(path, partial)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def together(*heads: Path) -> Iterator[None]:
    """Files that the block writes with `whole_file`, or removes with `discard`, are replaced at its end: all or none.

    After any error in the block, a full disk among them, the old ones are as they were. `heads` are those files that
    are read first: after a kill between two replacements, which takes a moment, `settle` of one of them completes the
    set as far as it lies in that file's folder or below. Blocks within a block are part of it.
    """
    if (outer := _pending.get()) is not None:
        outer.heads.update(dict.fromkeys(heads))
        yield
        return
    for head in heads:
        settle(head)
    pending = _Pending(dict.fromkeys(heads))
    token = _pending.set(pending)
    try:
        yield
    except BaseException:
        for file in pending.files.values():
            if file.partial is not None:
                file.partial.unlink(missing_ok=True)
        raise
    finally:
        _pending.reset(token)
    files = sorted(pending.files.values(), key=lambda file: file.path not in pending.heads)
    with _alone(heads[0].parent) if heads else nullcontext():
        _replace(files, list(pending.heads))


def discard(path: Path) -> None:
    """Removes a file if it is there; within a block of `together`, at its end unless the block writes it."""
    if (pending := _pending.get()) is None:
        path.unlink(missing_ok=True)
    elif path.exists():
        pending.files.setdefault(path, _Replacement(path, None))


def written(path: Path) -> Path:
    """The place where the bytes of `path` are: elsewhere if they were written in a block that is not yet at its end."""
    pending = _pending.get()
    file = None if pending is None else pending.files.get(path)
    return path if file is None or file.partial is None else file.partial


def settle(path: Path) -> None:
    """Completes a set of files whose replacement a kill interrupted (`together`), with a warning.

    A file that has been changed since is left as it is. Raises `UserError` if that is not possible here.
    """
    if os.path.lexists(journal := _journal_of(path)):
        with _alone(path.parent):
            _complete(path, journal)


def _complete(path: Path, journal: Path) -> None:
    """`settle`, while no other process replaces files of the folder."""
    if not os.path.lexists(journal):  # another process was at it, and has finished
        return
    try:
        files = [_Replacement.read(entry, path.parent) for entry in json.loads(journal.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{journal}: lists files to be replaced, and cannot be read ({error}); remove it") from error
    with _writing(path):
        ready = [file for file in files if file.partial is None or file.partial.exists()]
        for file in ready:
            if _identify(file.path) == file.replaced:
                file.perform()
            elif file.partial is not None and file.partial.exists():
                log.warning("%s: has been changed since its replacement was interrupted; it is left", file.path)
                file.partial.unlink(missing_ok=True)
        for file in (*files, _Replacement(path, None)):  # the lists of other heads are parts of this one
            _journal_of(file.path).unlink(missing_ok=True)
    if ready:
        log.warning("%s: completed a set of %d files whose replacement had been interrupted", path, len(files))


def write_text(path: Path, text: str) -> None:
    """Writes a text in UTF-8, atomically; raises `UserError` for a name in it that is no text (not UTF-8)."""
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        line = text[text.rfind("\n", 0, error.start) + 1 :].partition("\n")[0]
        raise UserError(
            f"{path}: cannot hold {printable(line)}, as that name is not in UTF-8; rename the file or folder"
        ) from error
    with whole_file(path) as partial:
        partial.write_bytes(data)


def printable(text: str) -> str:
    """The text with what cannot be encoded, such as bytes of names that are not UTF-8, as escapes."""
    return text.encode(errors="backslashreplace").decode()


CHECKSUM = "blake2b"
"""Entry of a .safetensors file's metadata with the hash of all else that it holds (`hash_tensors`)."""


def save_tensors(path: Path, tensors: Mapping[str, "Tensor"], metadata: Mapping[str, str]) -> None:
    """Writes a .safetensors file with a checksum, atomically; the same values give the same bytes.

    The library itself writes metadata in random order, and makes files that only their owner may read.
    """
    from safetensors.torch import save

    data = save(dict(tensors))
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = {name: printable(value) for name, value in sorted(metadata.items())}
    header["__metadata__"][CHECKSUM] = hash_tensors(header, data[end:])
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the tensors after it begin at a multiple of eight
    with whole_file(path) as partial:
        partial.write_bytes(len(text).to_bytes(8, "little") + text + data[end:])


def hash_tensors(header: Mapping[str, Any], values: bytes) -> str:
    """BLAKE2b hash of a .safetensors file's header, but for an older hash in it, and of the bytes of its tensors."""
    metadata = {name: value for name, value in header.get("__metadata__", {}).items() if name != CHECKSUM}
    text = json.dumps({**header, "__metadata__": metadata}, sort_keys=True)
    return hashlib.blake2b(text.encode() + values, digest_size=16).hexdigest()


def hash_file(path: Path) -> str:
    """BLAKE2b hash of a file's bytes, 32 hexadecimal digits; reads the file in blocks."""
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_paths(paths: Mapping[str, Path | None]) -> None:
    """Raises `UserError` if nothing is at one of the paths, with the most similar name beside it.

    The keys are the names of the parameters, which the message starts with.
    """
    for parameter, path in paths.items():
        if path is not None and not path.exists():
            similar = _similar_path(path)
            hint = f"; did you mean {similar}?" if similar is not None else ""
            raise UserError(f"`{parameter}` {path}: no such file or folder{hint}")


def _similar_path(path: Path) -> Path | None:
    """The path with its first missing part replaced by the most similar name there is; None if none is similar."""
    missing = path
    while not missing.parent.exists():
        missing = missing.parent
    try:
        names = [other.name for other in missing.parent.iterdir()]
    except OSError:  # a file, or a folder that may not be listed
        return None
    found = get_close_matches(missing.name, names, n=1)
    if not found:
        return None
    similar = missing.with_name(found[0])
    whole = similar / path.relative_to(missing)
    return whole if whole.exists() else similar


@dataclass(frozen=True)
class _Replacement:
    """A file that is to be replaced, or removed."""

    path: Path
    partial: Path | None
    """The new file, complete and on the disk; None to remove the old one."""
    replaced: list[int] | None = None
    """Identity of the old file (`_identify`), in a journal; None if there is none."""

    def perform(self) -> None:
        """Replaces or removes the file; no effect if it has been done."""
        if self.partial is None:
            self.path.unlink(missing_ok=True)
        else:
            with suppress(FileNotFoundError):  # a reader has completed the set
                os.replace(self.partial, self.path)

    def entry(self, folder: Path) -> list[Any]:
        """Values for a journal in this folder."""
        partial = None if self.partial is None else self.partial.name
        return [self.path.relative_to(folder).as_posix(), partial, _identify(self.path)]

    @staticmethod
    def read(entry: Any, folder: Path) -> "_Replacement":
        """Reads `entry`; ValueError for files that do not lie in the folder or below, as a journal may be anyone's."""
        name, partial, replaced = entry
        path = folder / name
        is_own = partial is None or (os.path.basename(partial) == partial and _OWN.match(partial) is not None)
        if not is_own or folder.resolve() not in (path.parent.resolve() / path.name).parents:
            raise ValueError(f"{name} is not a file of this folder")
        if partial is None and replaced is None:
            raise ValueError(f"{name} is not said to exist")
        return _Replacement(path, None if partial is None else path.with_name(partial), replaced)


@dataclass(frozen=True)
class _Pending:
    """Files of a block of `together`."""

    heads: dict[Path, None]
    files: dict[Path, _Replacement] = field(default_factory=dict)


_pending: ContextVar[_Pending | None] = ContextVar("_pending", default=None)
_OWN = re.compile(r"\..+\.([0-9a-f]{8})-([0-9]+)-[0-9a-f]{6}\.partial$", re.DOTALL)
"""Names of `partial_path`."""
_HOST = f"{zlib.crc32(socket.gethostname().encode()):08x}"
STALE_SECONDS = 24 * 3600
"""Age from which a temporary file is removed whose process cannot be asked for, as it ran on another machine."""


def partial_path(path: Path) -> Path:
    """A new name beside `path`, unlike those of other processes and machines."""
    name = os.fsdecode(os.fsencode(path.name)[:200])
    return path.with_name(f".{name}.{_HOST}-{os.getpid()}-{secrets.token_hex(3)}.partial")


def _journal_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.unfinished")


def _replace(files: Sequence[_Replacement], heads: Sequence[Path] = ()) -> None:
    """Replaces files by their new ones, which are on the disk; what they are is noted beside the heads meanwhile."""
    journals, partials = [], [file.partial for file in files if file.partial is not None]
    try:
        for head in heads if len(files) > 1 else ():
            below = [file.entry(head.parent) for file in files if head.parent in file.path.parents]
            journals.append(journal := _journal_of(head))
            partials.append(partial := partial_path(journal))
            with _writing(journal, partial):
                partial.write_text(json.dumps(below), encoding="utf-8")
                _sync(partial)
                os.replace(partial, journal)
        for file in files:
            with _writing(file.path, file.partial):
                file.perform()
        for folder in {file.path.parent for file in files}:
            _sync_folder(folder)
    except UserError:  # after an interruption, by contrast, `settle` completes the set
        for path in (*partials, *journals):
            path.unlink(missing_ok=True)
        raise
    for journal in journals:
        journal.unlink(missing_ok=True)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Makes others that replace sets of files in this folder wait for the end of the block, so that sets do not mix.

    The folder itself is locked. Where that is not possible (some network disks) mixed sets are noticed by their hashes.
    """
    with ExitStack() as opened:
        with suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY)
            opened.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


@contextmanager
def _writing(path: Path, partial: Path | None = None) -> Iterator[None]:
    """Turns the error of a file that cannot be written into a `UserError`; errors of other files stay as they are."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        # torch's writer raises an error of its own while it handles the file's
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError) or isinstance(cause, ConnectionError):
            raise
        is_own = is_short_write(cause) or (cause.filename is None and cause.errno is not None)
        if not is_own and cause.filename not in (str(path), str(partial)):
            raise
        raise UserError(describe_failure(path, cause)) from cause


def _identify(path: Path) -> list[int] | None:
    """Time and size of a file, by which another one is known; None if there is none."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    return [status.st_mtime_ns, status.st_size]


@lru_cache(maxsize=1024)
def _sweep(folder: Path) -> None:
    """Removes what killed processes have left in a folder, once in a process; completes what they had almost done."""
    try:
        names = os.listdir(folder)
    except OSError:  # it is not there, or may not be listed
        return
    for name in names:
        if name.startswith(".") and name.endswith(".unfinished"):
            try:
                settle(folder / name[1:].removesuffix(".unfinished"))
            except UserError as error:
                log.warning("%s", error)
    for name in names:
        if name.startswith(".") and name.endswith(".partial") and _is_stale(folder / name):
            with suppress(OSError):
                (folder / name).unlink()


def _is_stale(partial: Path) -> bool:
    """Whether no process is writing this temporary file any more."""
    match = _OWN.match(partial.name)
    if match is not None and match[1] == _HOST and os.name == "posix":
        return not _is_running(int(match[2]))
    try:
        return time.time() - os.lstat(partial).st_mtime > STALE_SECONDS
    except OSError:
        return False


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True


def _sync_folder(folder: Path) -> None:
    """Flushes a folder, which holds the names of files, to the disk."""
    if os.name == "posix":
        _sync(folder)


def _sync(path: Path) -> None:
    """Flushes a file or folder to the disk (fsync)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
