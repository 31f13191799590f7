"""Segments from files: a folder of label images, or of masks written by segment-anything's scripts/amg.py."""

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
"""Raise it when this code makes other segments from the same files and settings."""
METADATA_FILE = "metadata.csv"


class PrecomputedSegmenter:
    """Segmenter that reads, by the photo's stem, the first of these that exists:

    - `<stem>.png`, an 8- or 16-bit image of ids, 0 for no segment, used unchanged;
    - `<stem>.json`, masks as run lengths, as amg.py writes them with --convert-to-rle, or a file of SA-1B;
    - `<stem>/`, masks `0.png`, `1.png`, ... and metadata.csv, as amg.py writes them by default.

    Masks go through `partition`. All files cover their whole image and are resized to it first (nearest neighbour).
    """

    name = "precomputed"

    def __init__(self, config: MaskConfig, device: torch.device | str = "cpu"):
        if config.folder is None:
            raise UserError("`masks.folder`: expected the folder of the masks' <stem>.png or .json files")
        if not config.folder.is_dir():
            raise UserError(
                f"{config.folder}: no such folder; `masks.folder` expects a folder of label images or masks"
            )
        self.config = config
        self.folder = config.folder
        self.fingerprint = repr((VERSION, config.min_area, config.nms_iou, config.level))

    def check(self, view: View) -> None:
        """Raises `UserError` if the view has neither a label image nor masks."""
        self._find(view)

    def fingerprint_of(self, view: View) -> str:
        """Hash of the names and contents of the view's files."""
        path = self._find(view)
        digest = hashlib.blake2b(digest_size=16)
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            digest.update(repr((file.name, file.stat().st_size)).encode())
            digest.update(file.read_bytes())
        return digest.hexdigest()

    def segment(self, view: View, image: UInt8[Tensor, "H W 3"]) -> Int32[Tensor, "H W"]:
        """Segments of the view, at the image's size; nothing else of the image matters."""
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
        for path, exists in ((image, image.is_file()), (runs, runs.is_file()), (masks, masks.is_dir())):
            if exists:
                return path
        raise UserError(
            f"{image}: missing; photo {view.name} needs this label image in {self.folder} (or {runs.name}, or a folder "
            f"{masks.name} with {METADATA_FILE}, as segment-anything's amg.py writes them)"
        )


def _read_folder(path: Path, height: int, width: int) -> Iterator[tuple[Bool[Tensor, "H W"], float]]:
    """Yields the masks, with the network's scores, of a folder written by amg.py."""
    try:
        with (path / METADATA_FILE).open(encoding="utf-8", newline="") as file:
            rows = [(int(row["id"]), float(row["predicted_iou"])) for row in csv.DictReader(file)]
    except FileNotFoundError:
        raise UserError(f"{path / METADATA_FILE}: missing; expected amg.py's list of the masks") from None
    except (KeyError, TypeError, ValueError, csv.Error) as error:  # ValueError: not a number, or not text
        raise UserError(f"{path / METADATA_FILE}: expected columns id and predicted_iou with numbers") from error
    for number, score in rows:
        file = path / f"{number}.png"
        if not file.is_file():
            raise UserError(f"{file}: missing, but {METADATA_FILE} lists it; copy the folder again")
        yield read_instances(file, (width, height)) > 0, score


def _read_runs(path: Path, height: int, width: int) -> Iterator[tuple[Bool[Tensor, "H W"], float]]:
    """Yields the masks, with the network's scores, of a JSON file."""
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
    """Decodes COCO's run lengths, uncompressed (a list) or compressed (a text), to a mask.

    Runs go down the columns, one column after the other, alternately outside and inside, starting outside.
    Raises ValueError if they are not valid.
    """
    height, width = segmentation["size"]
    counts = segmentation["counts"]
    counts = np.array(_decompress(counts) if isinstance(counts, str) else counts, dtype=np.int64)
    if min(height, width) < 1 or counts.ndim != 1 or (counts < 0).any() or counts.sum() != height * width:
        raise ValueError(f"{len(counts)} runs do not give {height} x {width} pixels")
    inside = np.arange(len(counts)) % 2 == 1
    return np.repeat(inside, counts).reshape(width, height).T


def _decompress(text: str) -> list[int]:
    """Decodes COCO's compressed run lengths (pycocotools' rleFrString): numbers in pieces of 5 bits, lowest first.

    A character stands for a piece, counted from `0`, plus 32 if another piece follows; the highest bit of the last
    piece is the sign. From the fourth on, numbers are differences to the number two places before.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        piece = ord(character) - ord("0")
        if not 0 <= piece < 64:
            raise ValueError(f"{character!r} is not part of compressed run lengths")
        value |= (piece & 31) << shift
        shift += 5
        if piece & 32:
            continue
        if piece & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("compressed run lengths are truncated")
    return counts
