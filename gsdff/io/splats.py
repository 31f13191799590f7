"""Reads Gaussians from a file of any format that gsdff knows, by its content: 3DGS PLY, compressed PLY, .splat."""

from pathlib import Path

import numpy as np
import torch

from gsdff.errors import UserError
from gsdff.files.reading import check_file, read_bytes
from gsdff.gaussians import SH_C0, Gaussians, keep_drawable
from gsdff.io.ply import read_ply

WHAT = "Gaussian splats"
SPLAT_ROW = np.dtype(
    [("means", "<f4", 3), ("scales", "<f4", 3), ("color", "u1", 3), ("opacity", "u1"), ("quats", "u1", 4)]
)
"""A Gaussian of antimatter15's .splat, which has no header: 32 bytes."""
UNIT = 0.1
"""Most that the length of a quaternion of a .splat may differ from 1, which tells it from other files."""
CONVERT = "convert it to a PLY, for example in SuperSplat"
OTHERS = {
    b"NGSP": f"an SPZ file, which gsdff does not read; {CONVERT}",
    b"\x1f\x8b": f"a compressed file (.spz or .gz), which gsdff does not read; {CONVERT}",
    b"PK\x03\x04": f"an archive (.sog or .zip), which gsdff does not read; {CONVERT}",
}
"""First bytes of files that are not read, and what they are."""


def read_splats(path: Path) -> Gaussians:
    """Reads the Gaussians of a 3DGS PLY, a compressed PLY or a .splat, whatever its name, in the file's own frame.

    Raises `UserError` for any other file. Gaussians that cannot be drawn are left out with a warning.
    """
    check_file(path, WHAT)
    with path.open("rb") as file:
        start = file.read(4)
    if start.startswith(b"ply"):
        gaussians = read_ply(path)
        if not len(gaussians):
            raise UserError(f"{path}: expected {WHAT}, it holds none; export the scene again")
        return gaussians
    for other, name in OTHERS.items():
        if start.startswith(other):
            raise UserError(f"{path}: expected {WHAT}, got {name}")
    return read_splat(path)


def read_splat(path: Path) -> Gaussians:
    """Reads the Gaussians of a .splat: of one colour for all directions, without features."""
    data = read_bytes(path, WHAT)
    rows = np.frombuffer(data[: len(data) // SPLAT_ROW.itemsize * SPLAT_ROW.itemsize], SPLAT_ROW)
    quats = (rows["quats"].astype(np.float32) - 128) / 128
    is_unit = np.abs(np.linalg.norm(quats, axis=1) - 1) < UNIT
    if len(data) % SPLAT_ROW.itemsize or not len(rows) or is_unit.mean() < 0.5:
        raise UserError(
            f"{path}: expected {WHAT} as a 3DGS PLY, a compressed PLY or a .splat, its bytes are none of these; "
            "copy or export it again"
        )
    scales = torch.from_numpy(rows["scales"].astype(np.float32))
    gaussians = Gaussians(
        means=torch.from_numpy(rows["means"].astype(np.float32)),
        quats=torch.from_numpy(quats),
        log_scales=scales.log(),
        logit_opacities=torch.from_numpy(rows["opacity"] / np.float32(255)).logit(),
        sh0=((torch.from_numpy(rows["color"] / np.float32(255)) - 0.5) / SH_C0)[:, None],
        shN=torch.zeros(len(rows), 0, 3),
    )
    return keep_drawable(gaussians, path)
