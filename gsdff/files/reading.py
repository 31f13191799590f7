"""Turns a file of one format into data, in one place per format and with one wording for what is wrong with it.

Every function raises `UserError` for a file that is not what it is expected to be, whatever its bytes are: damaged,
truncated, of another format, nested too deep, or declaring more data than it holds. A file that cannot be opened
(missing, no permission) raises `OSError` as usual, and the command prints it in one line.
"""

import errno
import io
import json
import math
import os
import pickle
import stat
import struct
import sys
import threading
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gsdff.errors import UserError
from gsdff.files.writing import CHECKSUM, hash_tensors, settle

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:  # loaded by the functions that need them: options are read in files before numpy is
    import numpy as np
    import torch
    from PIL import Image

AGAIN = "make it again, or copy it again"
MOST_TEXT = 2_000_000_000
"""Largest text in bytes that is read; transforms.json of 100,000 photos has 100 million."""
CHANGED = "its bytes have changed since it was written, their checksum differs"
DAMAGE = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, EOFError, ArithmeticError, RuntimeError, MemoryError,
    SyntaxError, AssertionError, struct.error, zipfile.BadZipFile, zlib.error, pickle.UnpicklingError,
    tokenize.TokenError,
)  # fmt: skip
"""Errors of the libraries for bytes that they cannot read; RecursionError and NotImplementedError are RuntimeErrors."""


class _Quiet:
    """Context without Python's warnings, also if threads are in it at the same time: what it changes is global."""

    def __init__(self) -> None:
        self._lock, self._num_inside = threading.Lock(), 0
        self._filters = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if self._num_inside == 0:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.simplefilter("ignore")
            self._num_inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._num_inside -= 1
            if self._num_inside == 0:
                self._filters.__exit__(None, None, None)


_quiet = _Quiet()


@contextmanager
def reading(path: Path, what: str, remedy: str = AGAIN) -> Iterator[None]:
    """Turns any error of a library that reads `path` into "PATH: cannot be read as WHAT (cause); REMEDY".

    For the call of a library alone: the own code's mistakes would be hidden as well.
    """
    try:
        with _quiet:  # warnings are of damage without consequence, or of what is refused here
            yield
    except DAMAGE as error:
        cause = " ".join(str(error).split())[:200] or type(error).__name__
        if isinstance(error, RecursionError):
            cause = "nested too deep"
        elif "set_int_max_str_digits" in cause:  # advice for programmers
            cause = f"it has a whole number of more than {sys.get_int_max_str_digits():,} digits"
        raise UserError(f"{path}: cannot be read as {what} ({cause}); {remedy}") from error
    except OSError as error:
        if error.filename is not None:  # it cannot be opened; libraries also fail to seek to where no byte is
            raise
        raise UserError(f"{path}: cannot be read as {what} ({error}); {remedy}") from error


def check_file(path: Path, what: str) -> None:
    """Raises `UserError` if `path` is a folder, a pipe or another thing that is not a file; reading it could hang.

    Raises `OSError` if it does not exist. Completes a set of files whose replacement a kill interrupted (`settle`).
    """
    settle(path)
    try:
        mode = os.stat(path).st_mode
    except ValueError as error:  # a zero byte in the name
        raise UserError(f"{str(path)!r}: expected the path of {what} ({error})") from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UserError(f"{path}: expected {what}, it is a link that leads back to itself") from error
        raise
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
        raise UserError(f"{path}: expected {what}, it is {kind}")


def exists(path: Path, what: str) -> bool:
    """Whether a file is there; raises `UserError` if a folder, a pipe or a link to nowhere has its name."""
    if not os.path.lexists(path):
        return False
    try:
        check_file(path, what)
    except FileNotFoundError as error:
        raise UserError(f"{path}: expected {what}, it is a link to nowhere") from error
    return True


def read_bytes(path: Path, what: str) -> bytes:
    """Reads all bytes of a file."""
    check_file(path, what)
    return path.read_bytes()


def read_text(path: Path, what: str, remedy: str = AGAIN) -> str:
    """Reads a text in UTF-8, with or without a byte order mark; also in UTF-16 if it has one."""
    check_file(path, what)
    if (num_bytes := path.stat().st_size) > MOST_TEXT:
        raise UserError(f"{path}: cannot be read as {what} (it has {num_bytes:,} bytes, expected a text); {remedy}")
    data = path.read_bytes()
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    with reading(path, what, remedy):
        return data.decode(encoding).replace("\r\n", "\n")


def read_json(path: Path, what: str, remedy: str = AGAIN) -> Any:
    """Reads a JSON file; its numbers are finite or, as Python writes them, NaN and Infinity."""
    text = read_text(path, what, remedy)
    with reading(path, what, remedy):
        return json.loads(text)


def read_toml(path: Path, what: str, remedy: str = AGAIN) -> dict[str, Any]:
    """Reads a TOML file."""
    text = read_text(path, what, remedy)
    with reading(path, what, remedy):
        return tomllib.loads(text)


def read_array(path: Path, what: str, remedy: str = AGAIN, *, mapped: bool = False) -> "np.ndarray":
    """Reads an array that numpy.save has written.

    A mapped array is read from the disk when it is used, and its changes are not stored.
    """
    import numpy as np

    check_file(path, what)
    with reading(path, what, remedy):
        with path.open("rb") as file:
            _check_array(file, path.stat().st_size)
        array = np.load(path, mmap_mode="c" if mapped else None, allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("it is an archive of arrays, not one array")
    return array


def read_arrays(path: Path, what: str, remedy: str = AGAIN) -> "dict[str, np.ndarray]":
    """Reads the arrays of a file that numpy.savez has written, by name."""
    import numpy as np

    check_file(path, what)
    with reading(path, what, remedy):
        arrays = {}
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                with archive.open(member) as file:
                    _check_array(file, member.file_size)
                with archive.open(member) as file:
                    arrays[member.filename.removesuffix(".npy")] = np.lib.format.read_array(file, allow_pickle=False)
    return arrays


def _check_array(file: Any, num_bytes: int) -> None:
    """Raises ValueError if an array's header declares more data than there are bytes, before any is reserved."""
    import numpy as np

    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(file)
    declared = math.prod(shape) * dtype.itemsize
    if declared > num_bytes:
        raise ValueError(f"it declares {declared:,} bytes of values, the file has {num_bytes:,}")


def read_torch(path: Path, what: str, remedy: str = AGAIN, *, mapped: bool = False) -> Any:
    """Reads plain values and tensors that torch.save has written, onto the CPU; executes no code of the file.

    Unless mapped, which reads only what is used, its bytes are compared with the checksums that torch wrote.
    """
    import torch

    check_file(path, what)
    with reading(path, what, remedy):
        source = path if mapped and zipfile.is_zipfile(path) else io.BytesIO(path.read_bytes())
        if isinstance(source, io.BytesIO) and zipfile.is_zipfile(source):
            damaged = zipfile.ZipFile(source).testzip()
            if damaged is not None:
                raise ValueError(f"{CHANGED} in {damaged}")
        if isinstance(source, io.BytesIO):
            source.seek(0)  # to look whether it is an archive moves it
        content = torch.load(source, map_location="cpu", weights_only=True, mmap=source is path)
        _check_tensors(content)
    return content


def _check_tensors(content: Any) -> None:
    """Raises ValueError for a tensor without values of its own: sparse, quantized, or of torch's device meta."""
    import torch

    if isinstance(content, torch.Tensor):
        if content.layout != torch.strided or content.is_quantized or content.device.type != "cpu":
            raise ValueError(f"it has a tensor of the kind {content.layout}, {content.dtype} on {content.device}")
    elif isinstance(content, dict | list | tuple):
        for value in content.values() if isinstance(content, dict) else content:
            _check_tensors(value)


def read_safetensors(path: Path, what: str, remedy: str = AGAIN) -> "tuple[dict[str, torch.Tensor], dict[str, str]]":
    """Reads the tensors and the metadata of a .safetensors file; compares them with its checksum, if it has one."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    data = read_bytes(path, what)  # safetensors opens no path that is not in UTF-8
    with reading(path, what, remedy):
        try:
            tensors = load(data)
        except SafetensorError as error:
            raise ValueError(error) from error
        end = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:end])
        metadata = dict(header.get("__metadata__") or {})
        checksum = metadata.pop(CHECKSUM, None)
        if checksum is not None and checksum != hash_tensors(header, data[end:]):
            raise ValueError(CHANGED)
    return tensors, metadata


MOST_PIXELS = 500_000_000
"""Largest picture that is decoded: 1.5 GB as RGB. Pillow refuses more than 179 million, a phone makes 200 million."""
HEIF_SUFFIXES = (".heic", ".heif")
_pillow_limit = threading.Lock()


@contextmanager
def open_picture(path: Path, what: str, remedy: str = AGAIN) -> "Iterator[Image.Image]":
    """Opens a picture of up to `MOST_PIXELS` in any format that Pillow knows.

    Errors within the block count as the file's, as Pillow decodes a picture when its pixels are used.
    """
    from PIL import Image

    check_file(path, what)
    with reading(path, what, remedy):
        try:
            with _open_large(path) as picture:
                if picture.width * picture.height > MOST_PIXELS:
                    most = f"{MOST_PIXELS / 1e6:.0f} million"
                    raise ValueError(
                        f"it declares {picture.width}x{picture.height} pixels, more than the {most} that are read"
                    )
                yield picture
        except Image.DecompressionBombError as error:
            raise ValueError(error) from error


def _open_large(path: Path) -> "Image.Image":
    """Opens a picture without Pillow's limit, which is one for the whole process and is put back at once."""
    from PIL import Image

    with _pillow_limit:
        if path.suffix.lower() in HEIF_SUFFIXES:
            require_heif(path)
        limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            return Image.open(path)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def require_heif(path: Path, number: int = 1) -> None:
    """Lets Pillow open HEIC photos, those of iPhones; raises `UserError` if pillow-heif is not installed."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise UserError(
            f"{path}: reading HEIC photos ({number} here) needs pillow-heif: `pip install gsdff[heic]`, or convert "
            "them to JPEG"
        ) from error
    register_heif_opener()
