"""Segments made beforehand: a folder of label images, or of what segment-anything's scripts/amg.py writes."""

import csv
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int32, UInt8
from torch import Tensor

from gsdff.config.smoothing import MaskConfig
from gsdff.errors import UserError
from gsdff.labels import read_instances
from gsdff.masks.partition import partition
from gsdff.scene import View

VERSION = 1
"""Raised where this code makes other segments of the same files and settings."""
METADATA_FILE = "metadata.csv"


class PrecomputedSegmenter:
    """Reads, by the photo's stem, the first that is there of

    - `<stem>.png`, an 8- or 16-bit image of ids, 0 for none, kept as they are;
    - `<stem>.json`, masks as run lengths: what amg.py writes with --convert-to-rle, or SA-1B's files;
    - `<stem>/`, masks `0.png`, `1.png`, ... and metadata.csv: what amg.py writes without.

    Masks go through `partition`. All cover their whole image, and are brought to its size first (nearest neighbour).
    """

    name = "precomputed"

    def __init__(self, config: MaskConfig, device: torch.device | str = "cpu"):
        if config.folder is None:
            raise UserError("--masks.folder: precomputed masks need the folder of their <stem>.png or .json files")
        if not config.folder.is_dir():
            raise UserError(f"{config.folder}: --masks.folder must be a folder of label images, there is none")
        self.config = config
        self.folder = config.folder
        self.fingerprint = repr((VERSION, config.min_area, config.nms_iou, config.level))

    def check(self, view: View) -> None:
        """`UserError` where the view has neither label image nor masks."""
        self._find(view)

    def fingerprint_of(self, view: View) -> str:
        """Hash of names and bytes of the view's files."""
        path = self._find(view)
        digest = hashlib.blake2b(digest_size=16)
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            digest.update(repr((file.name, file.stat().st_size)).encode())
            digest.update(file.read_bytes())
        return digest.hexdigest()

    def segment(self, view: View, image: UInt8[Tensor, "H W 3"]) -> Int32[Tensor, "H W"]:
        """The view's segments, at the image's size; of the image nothing else counts."""
        path = self._find(view)
        height, width = image.shape[:2]
        if path.suffix == ".png":
            return read_instances(path, (width, height)).int()
        masks = torch.zeros(0, height, width, dtype=torch.bool)
        scores = []
        read = _read_folder if path.is_dir() else _read_runs
        if found := list(read(path, height, width)):
            masks = torch.stack([mask for mask, _ in found])
            scores = [score for _, score in found]
        config = self.config
        return partition(
            masks, torch.tensor(scores), min_area=config.min_area, nms_iou=config.nms_iou, level=config.level
        )

    def _find(self, view: View) -> Path:
        image, runs, masks = (self.folder / f"{view.stem}{suffix}" for suffix in (".png", ".json", ""))
        for path, is_there in ((image, image.is_file()), (runs, runs.is_file()), (masks, masks.is_dir())):
            if is_there:
                return path
        raise UserError(
            f"{image}: missing; photo {view.name} needs this label image in {self.folder} (or {runs.name}, or a folder "
            f"{masks.name} with {METADATA_FILE}, as segment-anything's amg.py writes them)"
        )


def _read_folder(path: Path, height: int, width: int) -> Iterator[tuple[Bool[Tensor, "H W"], float]]:
    """Masks and the network's scores of a folder that amg.py has written."""
    try:
        with (path / METADATA_FILE).open(encoding="utf-8", newline="") as file:
            rows = [(int(row["id"]), float(row["predicted_iou"])) for row in csv.DictReader(file)]
    except FileNotFoundError:
        raise UserError(f"{path / METADATA_FILE}: missing; it lists the masks in its folder, as amg.py does") from None
    except (KeyError, TypeError, ValueError, csv.Error) as error:  # ValueError: no number, or no text
        raise UserError(f"{path / METADATA_FILE}: expected columns id and predicted_iou, of numbers") from error
    for number, score in rows:
        file = path / f"{number}.png"
        if not file.is_file():
            raise UserError(f"{file}: missing, but {METADATA_FILE} lists it; copy the folder again")
        yield read_instances(file, (width, height)) > 0, score


def _read_runs(path: Path, height: int, width: int) -> Iterator[tuple[Bool[Tensor, "H W"], float]]:
    """Masks and the network's scores of a JSON file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error})") from error
    records = content.get("annotations") if isinstance(content, dict) else content
    if not isinstance(records, list):
        raise UserError(f'{path}: expected a list of masks, or {{"annotations": [...]}}')
    for index, record in enumerate(records):
        try:
            mask = decode_runs(record["segmentation"])
            score = float(record["predicted_iou"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise UserError(
                f'{path}: mask {index}: expected a "predicted_iou" and a "segmentation" {{"size": [height, width], '
                f'"counts": run lengths that sum to height x width}} ({error})'
            ) from error
        rows = (np.arange(height) * 2 + 1) * mask.shape[0] // (2 * height)
        columns = (np.arange(width) * 2 + 1) * mask.shape[1] // (2 * width)
        yield torch.from_numpy(mask[rows][:, columns]), score


def decode_runs(segmentation: dict[str, Any]) -> Bool[np.ndarray, "h w"]:
    """A mask from COCO's run lengths, uncompressed (a list) or compressed (a text); ValueError where they are wrong.

    Runs go down the columns, column after column, and are outside and inside by turns, starting outside.
    """
    height, width = segmentation["size"]
    counts = segmentation["counts"]
    counts = np.array(_decompress(counts) if isinstance(counts, str) else counts, dtype=np.int64)
    if min(height, width) < 1 or counts.ndim != 1 or (counts < 0).any() or counts.sum() != height * width:
        raise ValueError(f"{len(counts)} runs do not make {height} x {width} pixels")
    inside = np.arange(len(counts)) % 2 == 1
    return np.repeat(inside, counts).reshape(width, height).T


def _decompress(text: str) -> list[int]:
    """COCO's compressed run lengths (pycocotools' rleFrString): numbers in pieces of 5 bits, the lowest first.

    A character, from `0` on, is a piece, and 32 more where another follows; the last piece's highest bit is the sign.
    From the fourth on, numbers are differences to the one before the last.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        piece = ord(character) - ord("0")
        if not 0 <= piece < 64:
            raise ValueError(f"{character!r} is no part of compressed run lengths")
        value |= (piece & 31) << shift
        shift += 5
        if piece & 32:
            continue
        if piece & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("compressed run lengths are cut short")
    return counts
