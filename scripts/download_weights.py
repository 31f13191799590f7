"""Fetches published network weights: python scripts/download_weights.py lseg

Without a name it lists the weights. A download that was cut short continues when the command is run again; a file gets
its own name only once it is complete and its checksum is right.
"""

import hashlib
import os
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from pathlib import Path

import tyro
from tqdm import tqdm

from gsdff.cli import run_door
from gsdff.errors import UserError
from gsdff.weights import WEIGHTS, Weights, weights_folder

BLOCK = 1 << 20
TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Options:
    """Fetches network weights by name; lists them if no name is given."""

    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """Weights to fetch: lseg, sam_vit_b, sam_vit_l, sam_vit_h."""
    folder: Path = field(default_factory=weights_folder)
    """Folder for the files; those outside the default folder have to be passed to the commands that need them."""


def main() -> None:
    """Fetches the weights that the command line names, or prints the table."""
    options = tyro.cli(Options, description=Options.__doc__)
    if unknown := [name for name in options.names if name not in WEIGHTS]:
        raise UserError(f"{unknown[0]}: no such weights; expected {', '.join(WEIGHTS)}")
    if not options.names:
        print(table(options.folder))
    for name in options.names:
        print(download(WEIGHTS[name], options.folder))


def table(folder: Path) -> str:
    """Formats a table of the weights, with those in the folder marked."""
    rows = [("name", "size", "file", "published at", "")]
    for weights in WEIGHTS.values():
        state = "here" if (folder / weights.file).is_file() else ""
        rows.append((weights.name, f"{weights.size / 1e9:.1f} GB", weights.file, weights.page, state))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, f"kept in {folder}; fetch with `python scripts/download_weights.py NAME`"])


def download(weights: Weights, folder: Path) -> Path:
    """Returns the complete, verified file in `folder`, fetched if it is missing; raises `UserError` if that fails.

    A part of it stays as `<file>.part`, to be continued; a complete file with another checksum as `<file>.unverified`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target, part = folder / weights.file, folder / f"{weights.file}.part"
    if target.is_file():
        if (found := sha256(target)) != weights.sha256:
            raise UserError(f"{target}: has SHA-256 {found}, expected {weights.sha256}; remove it and fetch it again")
        return target
    if part.is_file() and part.stat().st_size > weights.size:
        part.unlink()
    if not part.is_file() or part.stat().st_size < weights.size:
        fetch(weights, part)
    if (found := sha256(part)) != weights.sha256:
        unverified = part.with_suffix(".unverified")
        os.replace(part, unverified)
        raise UserError(
            f"{unverified}: came whole from {weights.url} but has SHA-256 {found}, expected {weights.sha256}; remove "
            f"it and try again, or, if you trust it, pass it with --{weights.option}"
        )
    os.replace(part, target)
    return target


def fetch(weights: Weights, part: Path) -> None:
    """Appends the missing rest of the file to `part`."""
    there = part.stat().st_size if part.is_file() else 0
    with open_from(weights, there) as response:
        start = first_byte(response, there)
        check_response(response, weights, start)
        bar = tqdm(total=weights.size, initial=start, desc=weights.file, unit="B", unit_scale=True, file=sys.stderr)
        with bar, part.open("r+b" if start else "wb") as file:
            file.truncate(start)
            file.seek(start)
            while block := read_block(response, weights):
                file.write(block)
                bar.update(len(block))
            file.flush()
            os.fsync(file.fileno())
    if (size := part.stat().st_size) != weights.size:
        raise UserError(f"{part}: {size} of {weights.size} bytes came; run the command again to go on from there")


def open_from(weights: Weights, start: int) -> HTTPResponse:
    """Requests the file from byte `start` on; returns the response."""
    headers = {"User-Agent": "gsdff"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        return urllib.request.urlopen(urllib.request.Request(weights.url, headers=headers), timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        raise UserError(f"{weights.url}: answers {error.code} {error.reason}; {elsewhere(weights)}") from error
    except urllib.error.URLError as error:
        raise UserError(f"{weights.url}: cannot be reached ({error.reason}); {elsewhere(weights)}") from error
    except (OSError, HTTPException) as error:
        raise UserError(f"{weights.url}: cannot be reached ({error}); {elsewhere(weights)}") from error


def first_byte(response: HTTPResponse, start: int) -> int:
    """Offset of the response in the file; a server that cannot continue sends all of it, from 0."""
    if response.status != 206:
        return 0
    came = response.headers.get("Content-Range", "nothing")
    if not came.startswith(f"bytes {start}-"):
        raise UserError(
            f"{response.url}: requested bytes from {start} on, got {came}; remove the .part file, try again"
        )
    return start


def check_response(response: HTTPResponse, weights: Weights, start: int) -> None:
    """Raises `UserError` if the response cannot be the file, before all of it is fetched."""
    if response.headers.get_content_type() == "text/html":
        raise UserError(
            f"{weights.url}: answers a web page where {weights.file} was expected, as happens when too many have "
            f"fetched it today; {elsewhere(weights)}"
        )
    length = response.headers.get("Content-Length")
    if length is not None and start + int(length) != weights.size:
        raise UserError(
            f"{weights.url}: offers {start + int(length)} bytes where {weights.file} has {weights.size}, so it is "
            f"another file; {elsewhere(weights)}"
        )


def read_block(response: HTTPResponse, weights: Weights) -> bytes:
    """Reads the next bytes; none at the end."""
    try:
        return response.read(BLOCK)
    except (OSError, HTTPException) as error:
        raise UserError(f"{weights.url}: the connection broke ({error}); run the command again to go on") from error


def elsewhere(weights: Weights) -> str:
    """Advice for the case that this server fails."""
    return f"try later, or get the file by hand ({weights.page}) and pass it with --{weights.option}"


def sha256(path: Path) -> str:
    """SHA-256 of the file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


if __name__ == "__main__":
    run_door(main)
