"""Reads what a page's file holds, and writes things for a tiny run."""

import base64
import json
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gsdff.run_folder import RunFolder
from gsdff.things import Things
from gsdff.things.store import save_things


def read_page(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and columns, which have a row per Gaussian; those of one value are flat."""
    text = path.read_text()

    def element(name: str) -> str:
        (found,) = re.findall(rf'<script[^>]* id="{name}">(.*?)</script>', text, re.DOTALL)
        return found

    header = json.loads(element("scene-header"))
    data = zlib.decompress(base64.b64decode(element("scene-columns")))
    columns = {}
    for name, column in header["columns"].items():
        kind, count = np.dtype(column["type"]), column["rows"] * column["columns"]
        values = np.frombuffer(data, kind, count, column["start"]).reshape(column["columns"], column["rows"]).T
        columns[name] = values[:, 0] if column["columns"] == 1 else values
    return header, columns


def write_things(folder: Path, number: int = 2) -> None:
    """Two things of sixty Gaussians: the first has twenty, the last (`number`) twelve; the others are in none."""
    ids = torch.tensor([1] * 20 + [number] * 12 + [0] * 28).int()
    shares = torch.where(ids > 0, 0.9, 0.0)
    members, shares = torch.stack([ids, ids * 0], 1), torch.stack([shares, shares * 0], 1)
    things = Things(members, shares, (ids > 0).int(), torch.linspace(90, 10, number), [])
    save_things(RunFolder(folder).things, things)
