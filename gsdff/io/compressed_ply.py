"""Decodes SuperSplat's compressed PLY: 16 bytes for a Gaussian, relative to the bounds of its chunk of 256.

Layout: playcanvas/splat-transform (`decompress-ply.ts`); the writing side is `gsplat.exporter`'s.
"""

from collections.abc import Mapping
from math import sqrt
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float64, UInt32
from torch import Tensor

from gsdff.errors import UserError
from gsdff.gaussians import SH_C0, Gaussians

CHUNK = 256
"""Gaussians that share the bounds of positions, scales and colours."""
PACKED = ("packed_position", "packed_rotation", "packed_scale", "packed_color")
BOUNDS = {"position": ("", "xyz"), "scale": ("scale_", "xyz"), "color": ("", "rgb")}
"""Names of a chunk's bounds after min_ and max_: before, and for each channel. Early files have none for colours."""
SH_COUNTS = (9, 24, 45)
"""Numbers of harmonics in the element sh, for degrees 1 to 3."""


def decode_compressed_ply(path: Path, elements: Mapping[str, np.ndarray]) -> Gaussians:
    """The Gaussians of the elements of a compressed PLY; raises `UserError` if one is missing or of another kind."""
    num = len(elements["vertex"])
    chunks = _columns(path, elements, "chunk", -(-num // CHUNK), np.float32)
    packed = _columns(path, elements, "vertex", num, np.uint32)
    missing = [name for name in PACKED if name not in packed]
    missing += [name for kind in ("position", "scale") for pair in _bounds(kind) for name in pair if name not in chunks]
    if missing:
        raise UserError(f"{path}: expected a compressed PLY, it lacks {', '.join(missing)} as 32 bits; export it again")
    of_chunk = np.arange(num) // CHUNK

    def unpack(kind: str, shares: Float64[np.ndarray, "N 3"]) -> Float64[np.ndarray, "N 3"]:
        low, high = (np.stack([chunks[name] for name in names], axis=1).astype(np.float64) for names in _bounds(kind))
        return (1 - shares) * low[of_chunk] + shares * high[of_chunk]

    colors = _shares(packed["packed_color"], (24, 8), (16, 8), (8, 8))
    if all(name in chunks for names in _bounds("color") for name in names):
        colors = unpack("color", colors)
    alphas = _shares(packed["packed_color"], (0, 8))[:, 0]
    positions, scales = (
        unpack(kind, _shares(packed[f"packed_{kind}"], (21, 11), (11, 10), (0, 11))) for kind in ("position", "scale")
    )
    return Gaussians(
        means=_tensor(positions),
        quats=_tensor(_rotations(packed["packed_rotation"])),
        log_scales=_tensor(scales),
        logit_opacities=_tensor(alphas).logit(),
        sh0=_tensor((colors - 0.5) / SH_C0)[:, None],
        shN=_harmonics(path, elements, num),
    )


def _bounds(kind: str) -> tuple[list[str], list[str]]:
    """Names of the lower and the upper bounds of positions, scales or colours."""
    before, channels = BOUNDS[kind]
    low, high = ([f"{end}_{before}{channel}" for channel in channels] for end in ("min", "max"))
    return low, high


def _columns(
    path: Path, elements: Mapping[str, np.ndarray], name: str, count: int, kind: type
) -> dict[str, np.ndarray]:
    """The properties of an element that are of a kind, by name."""
    data = elements.get(name, np.zeros(0))
    if len(data) != count:
        raise UserError(
            f"{path}: expected a compressed PLY with {count} rows in the element {name}, got {len(data)}; "
            "export it again"
        )
    names = data.dtype.names or ()
    return {column: data[column] for column in names if data.dtype[column].newbyteorder("=") == kind}


def _shares(packed: UInt32[np.ndarray, "N"], *fields: tuple[int, int]) -> Float64[np.ndarray, "N F"]:
    """Bit fields, each given by its lowest bit and its number of bits, as shares of their largest value."""
    shares = [(packed >> np.uint32(first) & np.uint32(2**bits - 1)) / (2**bits - 1) for first, bits in fields]
    return np.stack(shares, axis=1)


def _rotations(packed: UInt32[np.ndarray, "N"]) -> Float64[np.ndarray, "N 4"]:
    """Quaternions wxyz: the index of the largest component in two bits, the others in order in ten bits each."""
    others = (_shares(packed, (20, 10), (10, 10), (0, 10)) - 0.5) * sqrt(2)
    largest = np.sqrt(np.clip(1 - (others**2).sum(axis=1), 0, None))
    which = (packed >> np.uint32(30)).astype(np.int64)
    quats = np.empty((len(packed), 4))
    for index in range(4):
        rows = which == index
        quats[rows] = np.insert(others[rows], index, largest[rows], axis=1)
    return quats


def _harmonics(path: Path, elements: Mapping[str, np.ndarray], num: int) -> Float[Tensor, "N B 3"]:
    """Higher bands of the harmonics, a byte each from -4 to 4; none without the element sh."""
    if "sh" not in elements or not elements["sh"].dtype.names:
        return torch.zeros(num, 0, 3)
    columns = _columns(path, elements, "sh", num, np.uint8)
    if len(columns) not in SH_COUNTS or any(f"f_rest_{i}" not in columns for i in range(len(columns))):
        raise UserError(f"{path}: expected 9, 24 or 45 f_rest of a byte, got {len(columns)}; export it again")
    levels = np.stack([columns[f"f_rest_{i}"] for i in range(len(columns))], axis=1).astype(np.float64)
    # a byte stands for the middle of its step, but for the ends
    values = np.where(levels == 0, -4, np.where(levels == 255, 4, (levels + 0.5) / 32 - 4))
    return _tensor(values).reshape(num, 3, len(columns) // 3).transpose(1, 2).contiguous()


def _tensor(values: np.ndarray) -> Tensor:
    """A float32 tensor; numbers too large for it become infinite."""
    with np.errstate(over="ignore"):
        return torch.from_numpy(values.astype(np.float32))
