"""Reads and writes Gaussians as 3DGS's PLY; writes them as .splat and compressed PLY."""

import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Integer, UInt8
from torch import Tensor
from tqdm import tqdm

from gsdff.errors import UserError
from gsdff.files import whole_file
from gsdff.gaussians import Gaussians, keep_drawable
from gsdff.io.compressed_ply import decode_compressed_ply
from gsdff.io.ply_file import header_of, read_elements

log = logging.getLogger("gsdff")

ROWS_AT_A_TIME = 1 << 14
"""Vertices written between two moves of the progress bar."""
MANY = 20_000
"""From so many Gaussians on a compressed PLY takes seconds."""

SH_REST_COUNTS = (0, 9, 24, 45)
"""Numbers of f_rest properties, by degree: 3 ((degree + 1)^2 - 1)."""
PROPERTIES = {
    "means": ["x", "y", "z"],
    "sh0": ["f_dc_0", "f_dc_1", "f_dc_2"],
    "logit_opacities": ["opacity"],
    "log_scales": ["scale_0", "scale_1", "scale_2"],
    "quats": ["rot_0", "rot_1", "rot_2", "rot_3"],
}
"""PLY properties that every 3DGS file has, by the attribute they hold."""


def write_ply(path: Path, gaussians: Gaussians, *, labels: Integer[Tensor, "N"] | None = None) -> None:
    """Writes 3DGS's PLY, binary little-endian float32, with features appended as `semantic_0` ...; atomically.

    Property order and channel-major f_rest are INRIA's (`GaussianModel.save_ply`). The header holds no comment: some
    viewers expect the element on its third line. Values are stored as they are, so `read_ply` returns the same bits;
    only what is not finite is not written (`keep_drawable`).

    `labels` come last as an int property `label`, of four bytes so that rows stay multiples of four. `read_ply` ignores
    it, as do other programs that read properties by name (docs/interchange.md lists those tried). Programs that expect
    rows of exactly 3DGS's 62 floats can read neither `label` nor `semantic_*`.
    """
    labels = None if labels is None else labels.cpu()[gaussians.is_drawable.cpu()]
    gaussians = keep_drawable(gaussians, path)
    num = len(gaussians)
    columns = {name: _rows(getattr(gaussians, name)) for name in PROPERTIES}
    rest = _rows(gaussians.shN.transpose(1, 2))
    features = gaussians.means.new_zeros(num, 0) if gaussians.features is None else gaussians.features
    blocks = [
        (PROPERTIES["means"], columns["means"]),
        (["nx", "ny", "nz"], torch.zeros_like(columns["means"])),
        (PROPERTIES["sh0"], columns["sh0"]),
        (_numbered("f_rest", rest.shape[1]), rest),
        (PROPERTIES["logit_opacities"], columns["logit_opacities"]),
        (PROPERTIES["log_scales"], columns["log_scales"]),
        (PROPERTIES["quats"], columns["quats"]),
        (_numbered("semantic", features.shape[1]), features),
    ]
    names = [name for block_names, _ in blocks for name in block_names]
    label_column = [] if labels is None else [("label", "<i4")]
    table = np.empty(num, dtype=[*((name, "<f4") for name in names), *label_column])
    flat = table.view("<f4").reshape(num, len(names) + len(label_column))
    start = 0
    for block_names, values in blocks:
        flat[:, start : start + len(block_names)] = values.detach().cpu().numpy()
        start += len(block_names)
    if labels is not None:
        table["label"] = labels.numpy()
    _write_vertices(path, table)


def write_points(
    path: Path, points: Float[Tensor, "P 3"], colors: UInt8[Tensor, "P 3"], labels: Integer[Tensor, "P"]
) -> None:
    """Writes a labelled point cloud: float x y z, uchar red green blue, int label; binary little-endian, atomically.

    The names are the usual ones of point clouds.
    """
    drawable = points.isfinite().all(dim=-1)
    points, colors, labels = points[drawable], colors[drawable], labels[drawable]
    names = [*"xyz", "red", "green", "blue", "label"]
    table = np.empty(len(points), dtype=list(zip(names, ["<f4"] * 3 + ["u1"] * 3 + ["<i4"], strict=True)))
    columns = [*points.detach().cpu().unbind(1), *colors.cpu().unbind(1), labels.cpu()]
    for name, values in zip(names, columns, strict=True):
        table[name] = values.numpy()
    _write_vertices(path, table)


def read_ply(path: Path) -> Gaussians:
    """Reads the Gaussians of a 3DGS PLY, or of a compressed one, in the file's own frame; float32 on the CPU.

    Binary of either byte order or ASCII, any numeric type, properties in any order; unknown ones (normals among them)
    are ignored. Infinite opacities and scales become finite ones, and Gaussians that cannot be drawn are dropped with a
    warning (`keep_drawable`). Raises UserError for a file that is not a PLY, holds no Gaussians, or ends early.
    """
    if not path.exists():
        raise UserError(f"{path}: expected a 3DGS PLY, there is no such file")
    elements = read_elements(path, "a 3DGS PLY", "copy or export it again").elements
    if "vertex" not in elements:
        got = f"got one without the element vertex but with {_listed(elements)}"
        raise UserError(f"{path}: expected a 3DGS PLY, {got}; export it as Gaussian splats")
    data = elements["vertex"]
    names = set(data.dtype.names or ())
    if "packed_position" in names:
        return keep_drawable(decode_compressed_ply(path, elements), path)
    missing = [name for wanted in PROPERTIES.values() for name in wanted if name not in names]
    if missing:
        raise UserError(_explain_no_gaussians(path, names, missing))
    rest_names = _numbered("f_rest", _count_numbered("f_rest", names))
    if len(rest_names) not in SH_REST_COUNTS:
        raise UserError(
            f"{path}: expected 0, 9, 24 or 45 f_rest properties (SH degree 0 to 3), got {len(rest_names)}; "
            "export it again with a degree of at most 3"
        )
    num_features = _count_numbered("semantic", names)
    arrays = {name: _floats(path, data, wanted) for name, wanted in PROPERTIES.items()}
    rest = _floats(path, data, rest_names).reshape(len(data), 3, len(rest_names) // 3)
    gaussians = Gaussians(
        means=arrays["means"],
        quats=arrays["quats"],
        log_scales=arrays["log_scales"],
        logit_opacities=arrays["logit_opacities"][:, 0].contiguous(),
        sh0=arrays["sh0"][:, None, :],
        shN=rest.transpose(1, 2).contiguous(),
        features=_floats(path, data, _numbered("semantic", num_features)) if num_features else None,
    )
    return keep_drawable(gaussians, path)


def write_splat(path: Path, gaussians: Gaussians) -> None:
    """Writes antimatter15's `.splat` (32 bytes per Gaussian; no SH beyond sh0, no features), atomically."""
    from gsplat.exporter import splat2splat_bytes

    g = _to_write(path, gaussians)
    data = splat2splat_bytes(g.means, g.log_scales, g.quats, g.logit_opacities, g.sh0[:, 0])
    with whole_file(path) as partial:
        partial.write_bytes(data)


def write_compressed_ply(path: Path, gaussians: Gaussians) -> None:
    """Writes SuperSplat's compressed PLY (16 bytes per Gaussian, SH bytes after it; no features), atomically.

    Gaussians of opacity below 1/255 are left out, as gsplat's exporter does.
    """
    from gsplat.exporter import splat2ply_bytes_compressed

    g = _to_write(path, gaussians)
    visible = g.opacities > 1 / 255
    g = g.map(lambda tensor: tensor[visible])
    if not len(g):
        raise UserError(f"{path}: nothing to write, no Gaussian has an opacity above 1/255")
    rest = _rows(g.shN.transpose(1, 2))
    if len(g) > MANY:
        log.info("compressing %s Gaussians; gsplat takes about two minutes for a million", f"{len(g):,}")
    data = splat2ply_bytes_compressed(g.means, g.log_scales, g.quats, g.logit_opacities, g.sh0[:, 0], rest)
    if not rest.shape[1]:  # the exporter declares the element even when it has no property
        data = data.replace(f"element sh {len(g)}\n".encode(), b"", 1)
    with whole_file(path) as partial:
        partial.write_bytes(data)


def _write_vertices(path: Path, table: np.ndarray) -> None:
    """Writes a structured array as a PLY's only element."""
    with whole_file(path) as partial, partial.open("wb") as stream:
        stream.write(f"{header_of(table)}\n".encode("ascii"))
        for start in tqdm(range(0, len(table), ROWS_AT_A_TIME), desc=f"writing {path.name}", leave=False, delay=1):
            table[start : start + ROWS_AT_A_TIME].tofile(stream)


def _explain_no_gaussians(path: Path, names: set[str], missing: list[str]) -> str:
    got = f"its vertices lack {', '.join(missing)} and have {_listed(names)} (a mesh or point cloud?)"
    return f"{path}: expected a 3DGS PLY, {got}; export it as Gaussian splats"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"


def _numbered(prefix: str, count: int) -> list[str]:
    return [f"{prefix}_{i}" for i in range(count)]


def _count_numbered(prefix: str, names: set[str]) -> int:
    """Number of names prefix_0, prefix_1, ... without a gap."""
    count = 0
    while f"{prefix}_{count}" in names:
        count += 1
    return count


def _column(path: Path, data: np.ndarray, name: str) -> np.ndarray:
    if data.dtype[name].kind not in "fiu":
        raise UserError(f"{path}: expected one number per vertex in property {name}, got a list")
    return data[name]


def _floats(path: Path, data: np.ndarray, names: list[str]) -> Float[Tensor, "N P"]:
    """Reads some properties as one float32 tensor; doubles too large for it become infinite."""
    columns = torch.empty(len(data), len(names))
    with np.errstate(over="ignore"):
        for i, name in enumerate(tqdm(names, desc=f"reading {path.name}", unit="property", leave=False, delay=1)):
            columns[:, i] = torch.from_numpy(_column(path, data, name).astype(np.float32))
    return columns


def _to_write(path: Path, gaussians: Gaussians) -> Gaussians:
    """The rows that gsplat's exporters can take, on the CPU; raises `UserError` if there are none."""
    if not len(gaussians):
        raise UserError(f"{path}: nothing to write, the scene has no Gaussian")
    return keep_drawable(gaussians.map(lambda tensor: tensor.detach().cpu()), path)


def _rows(tensor: Tensor) -> Float[Tensor, "N P"]:
    """Reshapes an attribute to one row per Gaussian (also without Gaussians or columns)."""
    return tensor.reshape(len(tensor), tensor.shape[1:].numel())
