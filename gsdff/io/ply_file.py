"""Opens a PLY of any content after its header has been checked, against itself and against the size of the file."""

import io
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gsdff.files.reading import check_file, reading

log = logging.getLogger("gsdff")

LONGEST_HEADER = 1 << 20
"""Bytes in which a header must end."""
ENCODINGS = ("ascii", "binary_little_endian", "binary_big_endian")
SIZES = {
    "char": 1, "uchar": 1, "short": 2, "ushort": 2, "int": 4, "uint": 4, "float": 4, "double": 8,
    "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4, "float32": 4, "float64": 8,
}  # fmt: skip
"""Bytes of a number, by its type."""


@dataclass
class _Element:
    """Declaration of an element: rows of one kind."""

    name: str
    count: int
    sizes: dict[str, int] = field(default_factory=dict)
    """Bytes of each property, of a list those of its length."""
    has_lists: bool = False

    def num_bytes(self, *, is_text: bool) -> int:
        """Least number of bytes of all rows; as text, a digit and a space for every number."""
        return self.count * (2 * len(self.sizes) if is_text else sum(self.sizes.values()))


@dataclass
class _Header:
    encoding: str
    elements: list[_Element]


@dataclass(frozen=True)
class Ply:
    """Content of a PLY."""

    elements: dict[str, np.ndarray]
    """Structured arrays by the name of the element; a list property is a column of objects."""
    comments: list[str]


def read_elements(path: Path, what: str, remedy: str) -> Ply:
    """Reads all elements of a PLY, in binary of either byte order or as text, with any line ends and comments.

    Raises `UserError` for a file that is none or that holds less than its header declares; warns of one that holds
    more.
    """
    from plyfile import PlyData, PlyParseError

    check_file(path, what)
    with reading(path, what, remedy), path.open("rb") as file:
        lines, given = _split_header(file.read(LONGEST_HEADER))
        header = _parse_header(lines)
        _check_size(path, header, path.stat().st_size - len(given))
        source: str | io.BytesIO = str(path)
        plain = "".join(f"{line}\n" for line in lines).encode("ascii", "replace")
        file.seek(len(given))
        if header.encoding == "ascii":
            rows = [line for line in file.read().splitlines() if line.strip()]
            _warn_of_more(path, len(rows) - sum(element.count for element in header.elements if element.sizes), "rows")
            source = io.BytesIO(plain + b"\n".join([*rows, b""]))
        elif plain != given:  # with line ends or letters that plyfile does not read
            source = io.BytesIO(plain + file.read())
        try:
            ply = PlyData.read(source)
        except PlyParseError as error:
            raise ValueError(error) from error
    comments = [*ply.comments, *(comment for element in ply for comment in element.comments)]
    return Ply({element.name: element.data for element in ply}, comments)


def header_of(table: np.ndarray, comments: Sequence[str] = ()) -> str:
    """Header of a PLY whose only element, vertex, has the little-endian rows of a structured array, and comments."""
    from plyfile import PlyData, PlyElement

    return PlyData([PlyElement.describe(table, "vertex", comments=comments)], byte_order="<").header


def _split_header(start: bytes) -> tuple[list[str], bytes]:
    """The lines of the header that say something, and its bytes; raises ValueError if it has no beginning or end."""
    line_end = next((end for end in (b"\r\n", b"\n", b"\r") if start.startswith(b"ply" + end)), None)
    if line_end is None:
        raise ValueError("it does not begin with the line ply")
    found = re.search(rb"%send_header[ \t]*%s" % (line_end, line_end), start)
    if found is None:
        raise ValueError("its header has no end")
    header = start[: found.end()]
    lines = [line.decode("utf-8", "replace").rstrip() for line in header.split(line_end)]
    return [line for line in lines if line and not line.startswith("obj_info")], header


def _parse_header(lines: list[str]) -> _Header:
    """The declarations of a header; raises ValueError for one that contradicts itself."""
    encodings: list[str] = []
    elements: list[_Element] = []
    for line in lines[1:]:
        match line.split():
            case ["comment" | "end_header", *_]:
                continue
            case ["format", encoding, "1.0"] if encoding in ENCODINGS and not elements:
                encodings.append(encoding)
            case ["element", name, count] if re.fullmatch("[0-9]{1,18}", count):
                if any(name == other.name for other in elements):
                    raise ValueError(f"two elements are named {name}")
                elements.append(_Element(name, int(count)))
            case ["property", kind, name] if kind in SIZES and elements:
                _add_property(elements[-1], name, SIZES[kind])
            case ["property", "list", length, kind, name] if length in SIZES and kind in SIZES and elements:
                _add_property(elements[-1], name, SIZES[length])
                elements[-1].has_lists = True
            case _:
                raise ValueError(f"its header has the line {line.strip()[:80]!r}")
    if len(encodings) != 1:
        raise ValueError("its header has no line with the format, or several")
    return _Header(encodings[0], elements)


def _add_property(element: _Element, name: str, size: int) -> None:
    if name in element.sizes:
        raise ValueError(f"two properties of {element.name} are named {name}")
    element.sizes[name] = size


def _check_size(path: Path, header: _Header, num_bytes: int) -> None:
    """Raises ValueError if the file holds less than its header declares; warns if a binary one holds more."""
    is_text = header.encoding == "ascii"
    declared = sum(element.num_bytes(is_text=is_text) for element in header.elements)
    if declared > num_bytes + is_text:  # no space after the last number
        counts = ", ".join(f"{element.count:,} of {element.name}" for element in header.elements)
        raise ValueError(f"its header declares {counts}, at least {declared:,} bytes, and {num_bytes:,} follow")
    is_exact = not is_text and not any(element.has_lists for element in header.elements)
    if is_exact and num_bytes - declared > 2:  # more than a line end
        _warn_of_more(path, num_bytes - declared, "bytes")


def _warn_of_more(path: Path, count: int, what: str) -> None:
    """Warns of rows or bytes that a file holds and its header does not declare."""
    if count > 0:
        log.warning("%s: its header declares less than the file holds: %s %s are not read", path, f"{count:,}", what)
