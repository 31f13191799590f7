"""Places for files and folders: whether they can be written, and why not, with the space there is."""

import errno
import os
import shutil
import stat
from pathlib import Path

from gsdff.errors import UserError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""Errors of a disk that takes no more, whatever the file."""
LONGEST_NAME = 255
"""Bytes in a name, on all common file systems."""


def make_folder(path: Path) -> None:
    """Makes a folder and those above it, if they are missing; raises `UserError` if that is not possible."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(describe_failure(path, error)) from error


def check_place(path: Path, *, parameter: str = "", is_folder: bool = False) -> None:
    """Raises `UserError` if a file or a folder cannot be written at this path, before the work for it is done.

    The message starts with the parameter that gave the path, if one did. Missing folders may be made later.
    """
    name = f"`{parameter}` {path}" if parameter else str(path)
    kind = "folder" if is_folder else "file"
    try:
        above = path
        while not os.path.lexists(above):
            above = above.parent
        mode = above.stat().st_mode
    except FileNotFoundError:  # a link to nothing, which will be replaced
        return
    except (OSError, ValueError) as error:  # a link to itself, a zero byte
        raise UserError(f"{name}: cannot be written ({error}); choose another name") from error
    if len(os.fsencode(path.name)) > LONGEST_NAME:
        raise UserError(f"{name}: its name is too long, with more than {LONGEST_NAME} bytes; choose a shorter one")
    if above == path and not (stat.S_ISDIR(mode) if is_folder else stat.S_ISREG(mode)):
        there = "folder" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "pipe or a device"
        raise UserError(f"{name}: expected the name of a {kind}, there is a {there} of that name; choose another")
    if above != path and not stat.S_ISDIR(mode):
        raise UserError(f"{name}: {above} is no folder; choose another place")
    folder = above if stat.S_ISDIR(mode) else above.parent
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"{name}: no permission to write into {folder}; choose another place")


def describe_failure(path: Path | str, error: OSError) -> str:
    """The message for a file or folder that cannot be written: its name, the cause and, on a full disk, free space."""
    place = Path(path)
    causes = {
        errno.ENOSPC: f"the disk is full, {free_space(place)}; make room and do it again",
        errno.EDQUOT: f"the quota of this user is used up ({free_space(place)} on the disk); make room and do it again",
        errno.EFBIG: f"it is larger than files may be here ({free_space(place)}; see ulimit -f); choose another place",
        errno.EROFS: "the disk is read-only; choose another place",
        errno.EACCES: f"no permission to write into {place.parent}; choose another place",
        errno.EPERM: f"no permission to write into {place.parent}; choose another place",
        errno.EEXIST: "there is a file of that name; choose another",
        errno.ENOTDIR: "a part of its path is a file, not a folder; choose another place",
        errno.EISDIR: "there is a folder of that name; choose another",
        errno.ENOENT: f"the folder {place.parent} is not there; make it",
        errno.ENAMETOOLONG: "its name is too long; choose a shorter one",
    }
    number = errno.ENOSPC if is_short_write(error) else error.errno
    return f"{path}: cannot be written: {causes.get(number or 0) or error.strerror or error}"


def free_space(path: Path) -> str:
    """Free space on the disk of a path that need not exist: 12.3 MiB free."""
    while not path.exists() and path != path.parent:
        path = path.parent
    try:
        return f"{shutil.disk_usage(path).free / 2**20:,.1f} MiB free"
    except OSError as error:
        return f"free space unknown ({error.strerror})"


def is_short_write(error: OSError) -> bool:
    """Whether NumPy could not write all of an array, which it says without a number of the cause."""
    return error.errno is None and "requested and" in str(error)
