"""Initial points of a scene: a coloured point cloud from a PLY; and how far away its cameras look."""

import logging
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Shaped, UInt8

from gsdff.errors import UserError
from gsdff.files.reading import read_bytes
from gsdff.gaussians import SH_C0
from gsdff.origin import ZERO, find_origin

# gsdff.io.ply, which reads Gaussians, ranks above this package; a point cloud needs six columns only.
PLY_TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4",
    "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4",
    "float32": "f4", "float64": "f8",
}  # fmt: skip
BYTE_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": "="}
COLOR_NAMES = (
    ("red", "green", "blue"), ("diffuse_red", "diffuse_green", "diffuse_blue"), ("r", "g", "b"),
    ("f_dc_0", "f_dc_1", "f_dc_2"),
)  # fmt: skip
UNKNOWN_COLOR = 128
BRIGHTEST = 2.0
"""Largest colour that is taken for an overexposed one of 0 to 1; a cloud of bytes this dark is black."""
COARSE = 1e-4
"""Share of the points' extent by which float32 may round them without a word."""

logger = logging.getLogger("gsdff")


def read_points(path: Path) -> tuple[Float64[np.ndarray, "P 3"], UInt8[np.ndarray, "P 3"]]:
    """Reads positions and colours of a PLY's vertices; mid-grey, which is logged, if it has no colours.

    Colours are `red`, `diffuse_red` or `r` and so on, as `to_bytes` reads them, or the first band of a 3DGS scene.
    Raises `UserError` for a file that is not a PLY, is truncated, or has no x, y, z.
    """
    data = read_bytes(path, "a point cloud")
    try:
        table = read_vertices(data)
    except (ValueError, KeyError, IndexError, OverflowError) as error:
        raise UserError(f"{path}: not a readable point cloud in PLY format ({error}); export it again") from error
    names = table.dtype.names or ()
    if not {"x", "y", "z"} <= set(names):
        raise UserError(f"{path}: a point cloud needs the properties x, y and z, this one has {', '.join(names)}")
    points = np.stack([table[axis].astype(np.float64) for axis in "xyz"], axis=1)
    if any(table.dtype[axis].itemsize <= 4 and table.dtype[axis].kind == "f" for axis in "xyz"):
        warn_coarse(points, path)
    header = data.partition(b"\nend_header")[0].decode("ascii").splitlines()
    comments = (line.removeprefix("comment ") for line in header if line.startswith("comment "))
    points += find_origin(path, comments) or ZERO
    for channels in COLOR_NAMES:
        if set(channels) <= set(names):
            values = np.stack([table[channel] for channel in channels], axis=1)
            if channels[0].startswith("f_dc"):
                logger.info("%s: the points start in the colours of its Gaussians (f_dc)", path)
                values = (0.5 + SH_C0 * values.astype(np.float64)).clip(0, 1)
            return points, to_bytes(values, path)
    logger.warning("%s: has no colours (red, green, blue), so its points start grey", path)
    return points, np.full((len(points), 3), UNKNOWN_COLOR, np.uint8)


def to_bytes(colors: Shaped[np.ndarray, "P 3"], source: Path) -> UInt8[np.ndarray, "P 3"]:
    """Colours as bytes, from bytes or 16-bit integers, or floats that reach from 0 to 1, to 255 or to 65535.

    Which of them they are follows from the largest; all but bytes and floats up to 1 are logged. What is no colour at
    all, such as NaN, becomes mid-grey, and is logged with its number.
    """
    if colors.dtype == np.uint8:
        return colors
    values = colors.astype(np.float64)
    values[values < 0] += 256 if colors.dtype == np.int8 else 0
    usable = ((values >= 0) & (values <= 65535)).all(1)  # False for NaN
    values[~usable] = 0
    largest = values.max(initial=0)
    is_whole = colors.dtype.kind in "iu" or (values % 1 == 0).all()
    if largest <= 1 and colors.dtype.kind == "f":
        values *= 255
    elif largest <= BRIGHTEST and not is_whole:
        logger.warning("%s: colours reach %g, they are read as 0 to 1 and cut off there", source, largest)
        values *= 255
    elif largest > 255:
        logger.warning("%s: colours reach %g, they are read as 16-bit ones", source, largest)
        values /= 257
    elif colors.dtype.kind == "f":
        logger.info("%s: colours are floats up to %g, they are read as 0 to 255", source, largest)
    if not usable.all():
        logger.warning("%s: %d of %d points have a colour that is negative, not finite or above 65535, and start grey",
                       source, int((~usable).sum()), usable.size)  # fmt: skip
        values[~usable] = UNKNOWN_COLOR
    return np.round(values).clip(0, 255).astype(np.uint8)


def warn_coarse(points: Float64[np.ndarray, "P 3"], source: Path) -> None:
    """Logs by how much positions are rounded that were stored as float32 far from the origin."""
    points = points[(np.abs(points) < np.finfo(np.float32).max).all(1)]  # False for NaN
    if len(points) == 0:
        return
    farthest = np.abs(points).max(0)
    extent = float((np.percentile(points, 95, axis=0) - np.percentile(points, 5, axis=0)).max())
    step = float(np.spacing(farthest.astype(np.float32)).max())
    if step > COARSE * extent > 0:
        logger.warning("%s: its coordinates reach %.0f and are stored as float32, so they are rounded to %g; export it "
                       "with double", source, farthest.max(), step)  # fmt: skip


def read_vertices(data: bytes) -> np.ndarray:
    """Parses a PLY's vertex element, which must come first; raises ValueError or KeyError for anything else.

    The values of a text are float64 whatever type it declares, but integers stay integers.
    """
    header, _, body = data.partition(b"\nend_header")
    rows = [line.split() for line in header.decode("ascii").splitlines()]
    if not rows or rows[0] != ["ply"] or not body:
        raise ValueError("it does not begin with a PLY header")
    rows = [row for row in rows if row and row[0] in ("format", "element", "property")]
    (_, encoding, _), (_, element, declared), *rest = rows
    if element != "vertex":
        raise ValueError(f"its first element is {element}, expected vertex")
    if not declared.isdigit():
        raise ValueError(f"its number of vertices is {declared}")
    count, order = int(declared), BYTE_ORDERS[encoding]
    properties = []
    for row in rest:
        if row[0] == "element":
            break
        if row[1] == "list":
            raise ValueError("its vertices have list properties")
        properties.append((row[2], order + PLY_TYPES[row[1]]))
    dtype = np.dtype(properties)
    body = body[body.index(b"\n") + 1 :]
    if encoding == "ascii":
        return read_rows(body, count, dtype)
    if len(body) < count * dtype.itemsize:
        raise ValueError(f"found {len(body)} bytes of vertices, expected {count * dtype.itemsize}")
    return np.frombuffer(body, dtype, count)


def read_rows(body: bytes, count: int, dtype: np.dtype) -> np.ndarray:
    """Parses the vertices of a text; raises ValueError if there are fewer, or if one is not as many numbers."""
    names = dtype.names or ()
    lines = body.split(b"\n", count)[:count]
    if len(lines) < count:
        raise ValueError(f"found {len(lines)} of {count} vertices")
    rows = [tuple(map(float, line.split()[: len(names)])) for line in lines]
    if any(len(row) < len(names) for row in rows):
        raise ValueError(f"a vertex has fewer than {len(names)} values")
    types = [(name, np.int64 if dtype[name].kind in "iu" else np.float64) for name in names]
    return np.array(rows, types)


def viewing_distance(viewmats: Float64[np.ndarray, "C 4 4"]) -> float:
    """Typical depth at which the cameras look, from their poses alone.

    If most of them face the point nearest to all optical axes (cameras around an object), the median of its depths;
    otherwise (a walk, a panorama) twice the radius of their positions, or 1 if all are at one place.
    """
    rotations, translations = viewmats[:, :3, :3], viewmats[:, :3, 3]
    centres = -np.einsum("cji,cj->ci", rotations, translations)
    axes = rotations[:, 2]
    radius = float(np.linalg.norm(centres - centres.mean(0), axis=1).max())
    across = np.eye(3) - axes[:, :, None] * axes[:, None, :]  # distance to an axis is |across (point - centre)|
    normal = across.sum(0)
    if np.linalg.eigvalsh(normal)[0] > 1e-3 * len(viewmats):  # else the axes are all but parallel
        focus = np.linalg.solve(normal, np.einsum("cij,cj->i", across, centres))
        depths = np.einsum("ci,ci->c", axes, focus - centres)
        if (depths > 1e-2 * radius).mean() > 0.5 and radius > 0:
            return float(np.median(depths[depths > 0]))
    return 2 * radius or 1.0
