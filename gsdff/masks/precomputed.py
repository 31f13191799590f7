"""Segments from files: a folder of label images, or of masks written by segment-anything's scripts/amg.py."""

import csv
import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int32, UInt8
from torch import Tensor

from gsdff.config.smoothing import MaskConfig
from gsdff.errors import UserError
from gsdff.files.reading import MOST_PIXELS, read_bytes, read_json, read_text
from gsdff.labels import read_instances, show_views
from gsdff.masks.partition import partition
from gsdff.photo_files import as_made, check_picture, fit_picture, require_file, steps_fingerprint
from gsdff.scene import View

VERSION = 1
"""Raise it when this code makes other segments from the same files and settings."""
METADATA_FILE = "metadata.csv"
ENDINGS = (".png", ".json", f"/{METADATA_FILE}")
"""Endings of what may lie in the folder, in the order in which it is looked for."""
WHAT = "a file of masks"


class PrecomputedSegmenter:
    """Segmenter that reads, by the photo's name (`gsdff.photo_files.find_file`), the first of these that exists:

    - `<name>.png`, an 8- or 16-bit image of ids, 0 for no segment, used unchanged;
    - `<name>.json`, masks as run lengths, as amg.py writes them with --convert-to-rle, or a file of SA-1B;
    - `<name>/`, masks `0.png`, `1.png`, ... and metadata.csv, as amg.py writes them by default.

    Masks go through `partition`. All files cover their whole image and are resized to it first (nearest neighbour);
    they have its shape. Label images of `gsdff segment` show views, all others the photos.
    """

    name = "precomputed"

    def __init__(self, config: MaskConfig, device: torch.device | str = "cpu"):
        if config.folder is None:
            raise UserError("`masks.folder`: expected the folder of the masks' <name>.png or .json files")
        if not config.folder.is_dir():
            raise UserError(
                f"{config.folder}: no such folder; `masks.folder` expects a folder of label images or masks"
            )
        self.config = config
        self.folder = config.folder
        self.are_of_views = show_views(config.folder)
        self.fingerprint = repr((VERSION, config.min_area, config.nms_iou, config.level))

    def check(self, view: View) -> None:
        """Raises `UserError` if the view has neither a label image nor masks."""
        self._find(view)

    def fingerprint_of(self, view: View) -> str:
        """Hash of the names and contents of the view's files."""
        path = self._find(view)
        digest = hashlib.blake2b(digest_size=16)
        in_folder = (file for file in path.parent.iterdir() if file.is_file())
        for file in sorted(in_folder) if path.name == METADATA_FILE else [path]:
            content = read_bytes(file, WHAT)
            digest.update(repr((file.name, len(content))).encode(errors="surrogateescape"))
            digest.update(content)
        digest.update(steps_fingerprint(as_made(view, self.are_of_views)))
        return digest.hexdigest()

    def segment(self, view: View, image: UInt8[Tensor, "H W 3"]) -> Int32[Tensor, "H W"]:
        """Segments of the view, at the image's size; nothing else of the image matters."""
        path, view = self._find(view), as_made(view, self.are_of_views)
        height, width = image.shape[:2]
        if path.suffix == ".png":
            return read_instances(path, view).int()
        masks = torch.zeros(0, height, width, dtype=torch.bool)
        scores = []
        read = _read_folder if path.name == METADATA_FILE else _read_runs
        if found := list(read(path, view)):
            masks = torch.stack([mask for mask, _ in found])
            scores = [score for _, score in found]
        config = self.config
        return partition(
            masks, torch.tensor(scores), min_area=config.min_area, nms_iou=config.nms_iou, level=config.level
        )

    def _find(self, view: View) -> Path:
        return require_file(self.folder, view, ENDINGS, WHAT)


def _read_folder(path: Path, view: View) -> Iterator[tuple[Bool[Tensor, "H W"], float]]:
    """Yields the masks, with the network's scores, that a metadata.csv of amg.py lists."""
    text = read_text(path, "amg.py's list of masks")
    try:
        rows = [(int(row["id"]), _to_score(row["predicted_iou"])) for row in csv.DictReader(text.splitlines())]
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise UserError(f"{path}: expected columns id and predicted_iou with numbers") from error
    for number, score in rows:
        file = path.with_name(f"{number}.png")
        if not file.exists():
            raise UserError(f"{file}: missing, but {METADATA_FILE} lists it; copy the folder again")
        yield read_instances(file, view) > 0, score


def _read_runs(path: Path, view: View) -> Iterator[tuple[Bool[Tensor, "H W"], float]]:
    """Yields the masks, with the network's scores, of a JSON file."""
    content = read_json(path, WHAT)
    records = content.get("annotations") if isinstance(content, dict) else content
    if not isinstance(records, list):
        raise UserError(f'{path}: expected a list of masks, or {{"annotations": [...]}}')
    for index, record in enumerate(records):
        try:
            score = _to_score(record["predicted_iou"])
            if not isinstance(record["segmentation"], dict):
                raise ValueError("its segmentation is no object")
            mask = decode_runs(record["segmentation"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise UserError(
                f'{path}: mask {index}: expected a "predicted_iou" and a "segmentation" {{"size": [height, width], '
                f'"counts": run lengths that sum to height x width}} ({error})'
            ) from error
        check_picture(path, view, mask.shape[1], mask.shape[0])
        yield torch.from_numpy(fit_picture(view, mask)), score


def _to_score(value: Any) -> float:
    """A predicted IoU as a number; raises ValueError if it is not finite."""
    score = float(value)
    if not math.isfinite(score):
        raise ValueError(f"{value} is no score")
    return score


def decode_runs(segmentation: dict[str, Any]) -> Bool[np.ndarray, "h w"]:
    """Decodes COCO's run lengths, uncompressed (a list) or compressed (a text), to a mask.

    Runs go down the columns, one column after the other, alternately outside and inside, starting outside.
    Raises ValueError if they are not valid.
    """
    height, width = segmentation["size"]
    counts = segmentation["counts"]
    counts = _decompress(counts) if isinstance(counts, str) else list(counts)
    if not all(type(number) is int and number >= 0 for number in (height, width, *counts)):
        raise ValueError("sizes and run lengths must be whole numbers from 0")
    if not 1 <= height * width <= MOST_PIXELS or sum(counts) != height * width:
        raise ValueError(f"{len(counts)} runs do not give {height} x {width} pixels")
    inside = np.arange(len(counts)) % 2 == 1
    return np.repeat(inside, counts).reshape(width, height).T


LONGEST = 60
"""Most bits of a compressed run length."""


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
        if shift > LONGEST:
            raise ValueError("a run length has too many digits")
        if piece & 32:
            continue
        if piece & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("compressed run lengths are truncated")
    return counts
