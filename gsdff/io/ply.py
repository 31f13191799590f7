"""Reads and writes Gaussians as 3DGS's PLY; writes them as .splat and compressed PLY."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Integer, Shaped, UInt8
from torch import Tensor
from tqdm import tqdm

from gsdff.errors import UserError
from gsdff.files.writing import settle, whole_file
from gsdff.gaussians import FARTHEST, Gaussians, keep_drawable
from gsdff.io.compressed_ply import decode_compressed_ply
from gsdff.io.ply_file import header_of, read_elements
from gsdff.origin import COMMENT, ZERO, Point, choose_origin, find_origin, format_point

log = logging.getLogger("gsdff")

ROWS_AT_A_TIME = 1 << 14
"""Vertices written between two moves of the progress bar."""
COARSE = 1e-4
"""Steps of stored positions, in widths of a scene, above which reading warns: some tenths of a pixel."""
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
RELIABILITY = "reliability"


def write_ply(
    path: Path,
    gaussians: Gaussians,
    *,
    labels: Integer[Tensor, "N"] | Mapping[str, Shaped[Tensor, "N"]] | None = None,
) -> None:
    """Writes 3DGS's PLY, binary little-endian float32, with features appended as `semantic_0` ...; atomically.

    Property order and channel-major f_rest are INRIA's (`GaussianModel.save_ply`). Values are stored as they are, so
    `read_ply` returns the same bits; only what is not finite is not written (`keep_drawable`). An origin other than
    zero is stated as `comment offset X Y Z` behind the line of the element, which the SIBR viewer expects to be the
    third; all other files are without a comment. Behind the features comes `reliability`, if it is known.

    `labels` come last as an int property `label`, or as several by their names, int or float: of four bytes, so that
    rows stay multiples of four. `read_ply` ignores them, as do other programs that read properties by name
    (docs/interchange.md lists those tried). Programs that expect rows of exactly 3DGS's 62 floats can read neither them
    nor `semantic_*`.
    """
    labels = {} if labels is None else {"label": labels} if isinstance(labels, Tensor) else labels
    labels = {name: values.cpu()[gaussians.is_drawable.cpu()] for name, values in labels.items()}
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
    if gaussians.reliability is not None:
        blocks.append(([RELIABILITY], gaussians.reliability[:, None]))
    names = [name for block_names, _ in blocks for name in block_names]
    kinds = [(name, "<f4" if values.is_floating_point() else "<i4") for name, values in labels.items()]
    table = np.empty(num, dtype=[*((name, "<f4") for name in names), *kinds])
    flat = table.view("<f4").reshape(num, len(names) + len(labels))
    start = 0
    for block_names, values in blocks:
        flat[:, start : start + len(block_names)] = values.detach().cpu().numpy()
        start += len(block_names)
    for name, values in labels.items():
        table[name] = values.numpy()
    _tell_origin(path, gaussians, "which its header states as `comment offset`")
    _write_vertices(path, table, _comments(gaussians.origin))


def write_points(
    path: Path, points: Float[Tensor, "P 3"], colors: UInt8[Tensor, "P 3"], labels: Integer[Tensor, "P"]
) -> None:
    """Writes a labelled point cloud: x y z, uchar red green blue, int label; binary little-endian, atomically.

    The names are the usual ones of point clouds. Positions are float, or double if they are given in float64.
    """
    drawable = points.isfinite().all(dim=-1)
    points, colors, labels = points[drawable], colors[drawable], labels[drawable]
    names = [*"xyz", "red", "green", "blue", "label"]
    real = "<f8" if points.dtype == torch.float64 else "<f4"
    table = np.empty(len(points), dtype=list(zip(names, [real] * 3 + ["u1"] * 3 + ["<i4"], strict=True)))
    columns = [*points.detach().cpu().unbind(1), *colors.cpu().unbind(1), labels.cpu()]
    for name, values in zip(names, columns, strict=True):
        table[name] = values.numpy()
    _write_vertices(path, table)


def read_ply(path: Path) -> Gaussians:
    """Reads the Gaussians of a 3DGS PLY, or of a compressed one; float32 on the CPU, relative to the file's origin.

    Binary of either byte order or ASCII, any numeric type, properties in any order; unknown ones (normals among them)
    are ignored. Infinite opacities and scales become finite ones, and Gaussians that cannot be drawn are dropped with a
    warning (`keep_drawable`). Positions in float64 that are too large for float32 get an origin. Raises UserError for a
    file that is not a PLY, holds no Gaussians, or ends early.
    """
    settle(path)
    if not path.exists():
        raise UserError(f"{path}: expected a 3DGS PLY, there is no such file")
    ply = read_elements(path, "a 3DGS PLY", "copy or export it again")
    if "vertex" not in ply.elements:
        got = f"got one without the element vertex but with {_listed(ply.elements)}"
        raise UserError(f"{path}: expected a 3DGS PLY, {got}; export it as Gaussian splats")
    data, stated = ply.elements["vertex"], find_origin(path, ply.comments)
    names = set(data.dtype.names or ())
    if "packed_position" in names:
        gaussians = decode_compressed_ply(path, ply.elements)
        return keep_drawable(replace(gaussians, origin=stated or ZERO), path)
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
    arrays = {name: _floats(path, data, wanted) for name, wanted in PROPERTIES.items() if name != "means"}
    rest = _floats(path, data, rest_names).reshape(len(data), 3, len(rest_names) // 3)
    means, origin = _relative_positions(path, data, stated)
    gaussians = Gaussians(
        means=means,
        quats=arrays["quats"],
        log_scales=arrays["log_scales"],
        logit_opacities=arrays["logit_opacities"][:, 0].contiguous(),
        sh0=arrays["sh0"][:, None, :],
        shN=rest.transpose(1, 2).contiguous(),
        features=_floats(path, data, _numbered("semantic", num_features)) if num_features else None,
        reliability=_floats(path, data, [RELIABILITY])[:, 0].nan_to_num(0).clamp(0, 1)
        if RELIABILITY in names
        else None,
        origin=origin,
    )
    return keep_drawable(gaussians, path)


def write_splat(path: Path, gaussians: Gaussians) -> None:
    """Writes antimatter15's `.splat` (32 bytes per Gaussian; no SH beyond sh0, no features), atomically."""
    from gsplat.exporter import splat2splat_bytes

    g = _to_write(path, gaussians)
    _tell_origin(path, g, "which a .splat has no place for: note it")
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
    _tell_origin(path, g, "which its header states as `comment offset`")
    stated = "".join(f"comment {comment}\n" for comment in _comments(g.origin))
    data = data.replace(b"end_header\n", f"{stated}end_header\n".encode(), 1)
    with whole_file(path) as partial:
        partial.write_bytes(data)


def _write_vertices(path: Path, table: np.ndarray, comments: Sequence[str] = ()) -> None:
    """Writes a structured array as a PLY's only element, with comments behind its line in the header."""
    with whole_file(path) as partial, partial.open("wb") as stream:
        stream.write(f"{header_of(table, comments)}\n".encode("ascii"))
        for start in tqdm(range(0, len(table), ROWS_AT_A_TIME), desc=f"writing {path.name}", leave=False, delay=1):
            stream.write(table[start : start + ROWS_AT_A_TIME].tobytes())  # tofile has no word for a full disk


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
    with np.errstate(over="ignore", invalid="ignore"):
        for i, name in enumerate(tqdm(names, desc=f"reading {path.name}", unit="property", leave=False, delay=1)):
            columns[:, i] = torch.from_numpy(_column(path, data, name).astype(np.float32))
    return columns


def _to_write(path: Path, gaussians: Gaussians) -> Gaussians:
    """The rows that gsplat's exporters can take, on the CPU; raises `UserError` if there are none."""
    if not len(gaussians):
        raise UserError(f"{path}: nothing to write, the scene has no Gaussian")
    return keep_drawable(gaussians.map(lambda tensor: tensor.detach().cpu()), path)


def _relative_positions(path: Path, data: np.ndarray, stated: Point | None) -> tuple[Float[Tensor, "N 3"], Point]:
    """Positions relative to an origin, float32, and the origin: the stated one, or for float64 one near the scene.

    Warns of positions that float32 has spoilt already.
    """
    names = PROPERTIES["means"]
    columns = [_column(path, data, name) for name in names]
    with np.errstate(invalid="ignore"):  # of signalling NaN
        positions = np.stack([column.astype(np.float64) for column in columns], axis=1)
    finite = positions[(np.abs(positions) <= FARTHEST).all(1)]  # neither NaN
    if stated is not None or not len(finite):
        return _floats(path, data, names), stated or ZERO
    middle = np.median(finite, 0)
    size = 2 * float(np.quantile(np.linalg.norm(finite - middle, axis=1), 0.8))
    x, y, z = middle.tolist()
    origin = ZERO if size == 0 else choose_origin((x, y, z), size)
    step = float(np.spacing(np.float32(np.abs(middle).max())))
    if any(column.dtype.itemsize > 4 for column in columns):
        with np.errstate(over="ignore", invalid="ignore"):
            return torch.from_numpy((positions - origin).astype(np.float32)), origin
    if step > COARSE * size > 0:
        log.warning(
            "%s: positions around %s are stored as float32, in steps of %.2g, too coarse for a scene %.3g wide; write "
            "it relative to an origin, as `gsdff export` does",
            path, format_point((x, y, z)), step, size,
        )  # fmt: skip
    return _floats(path, data, names), ZERO


def _comments(origin: Point) -> list[str]:
    """Comment of a PLY that states the origin; none for zero."""
    return [] if origin == ZERO else [" ".join([COMMENT, *map(repr, origin)])]


def _tell_origin(path: Path, gaussians: Gaussians, place: str) -> None:
    """Warns that a file's positions are not those in the world."""
    if gaussians.origin == ZERO:
        return
    step = float(np.spacing(np.float32(max(map(abs, gaussians.origin)))))
    log.warning(
        "%s: its positions are relative to the offset %s, %s; added to it, float32 would round them to steps of %.2g "
        "(`origin` chooses another)",
        path, format_point(gaussians.origin), place, step,
    )  # fmt: skip


def _rows(tensor: Tensor) -> Float[Tensor, "N P"]:
    """Reshapes an attribute to one row per Gaussian (also without Gaussians or columns)."""
    return tensor.reshape(len(tensor), tensor.shape[1:].numel())
