"""Initial points of a scene: a coloured point cloud from a PLY, or random points where the cameras look."""

from pathlib import Path

import numpy as np
from jaxtyping import Float64, Integer, UInt8

from gsdff.errors import UserError
from gsdff.origin import ZERO, find_origin

# gsdff.io.ply, which reads Gaussians, ranks above this package; a point cloud needs six columns only.
PLY_TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4",
    "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4",
    "float32": "f4", "float64": "f8",
}  # fmt: skip
BYTE_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": "="}
UNKNOWN_COLOR = 128


def read_points(path: Path) -> tuple[Float64[np.ndarray, "P 3"], UInt8[np.ndarray, "P 3"]]:
    """Reads positions and colours of a PLY's vertices; mid-grey if it has no red, green and blue.

    Colours may be bytes or floats in [0, 1]. Raises `UserError` for a file that is not a PLY, is truncated, or has no
    x, y, z.
    """
    data = path.read_bytes()
    try:
        table = read_vertices(data)
    except (ValueError, KeyError, IndexError) as error:
        raise UserError(f"{path}: not a readable point cloud in PLY format ({error}); export it again") from error
    names = table.dtype.names or ()
    if not {"x", "y", "z"} <= set(names):
        raise UserError(f"{path}: a point cloud needs the properties x, y and z, this one has {', '.join(names)}")
    header = data.partition(b"end_header")[0].decode("ascii").splitlines()
    comments = (line.removeprefix("comment ") for line in header if line.startswith("comment "))
    origin = find_origin(path, comments) or ZERO
    points = np.stack([table[axis].astype(np.float64) for axis in "xyz"], axis=1) + origin
    if not {"red", "green", "blue"} <= set(names):
        return points, np.full((len(points), 3), UNKNOWN_COLOR, np.uint8)
    colors = np.stack([table[channel] for channel in ("red", "green", "blue")], axis=1)
    if colors.dtype.kind == "f":
        colors = np.round(colors * 255)
    return points, colors.clip(0, 255).astype(np.uint8)


def read_vertices(data: bytes) -> np.ndarray:
    """Parses a PLY's vertex element, which must come first; raises ValueError or KeyError for anything else."""
    header, _, body = data.partition(b"end_header")
    rows = [line.split() for line in header.decode("ascii").splitlines()]
    if not rows or rows[0] != ["ply"] or not body:
        raise ValueError("it does not begin with a PLY header")
    rows = [row for row in rows if row and row[0] in ("format", "element", "property")]
    (_, encoding, _), (_, element, count), *rest = rows
    if element != "vertex":
        raise ValueError(f"its first element is {element}, expected vertex")
    order = BYTE_ORDERS[encoding]
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
        lines = body.split(b"\n")[: int(count)]
        if len(lines) < int(count):
            raise ValueError(f"found {len(lines)} of {count} vertices")
        return np.array([tuple(map(float, line.split()[: len(properties)])) for line in lines], dtype)
    if len(body) < int(count) * dtype.itemsize:
        raise ValueError(f"found {len(body)} bytes of vertices, expected {int(count) * dtype.itemsize}")
    return np.frombuffer(body, dtype, int(count))


def random_in_cube(num_points: int, half_side: float, seed: int = 0) -> Float64[np.ndarray, "P 3"]:
    """Uniformly distributed points in a cube around the origin, as 3DGS starts NeRF-synthetic scenes."""
    return np.random.default_rng(seed).uniform(-half_side, half_side, (num_points, 3))


def random_in_view(
    num_points: int,
    viewmats: Float64[np.ndarray, "C 4 4"],
    Ks: Float64[np.ndarray, "C 3 3"],
    sizes: Integer[np.ndarray, "C 2"],
    seed: int = 0,
) -> Float64[np.ndarray, "P 3"]:
    """Points along the rays of random pixels of random cameras, so that each is in view of at least one.

    Depths are log-uniform between a quarter and four times the distance at which the cameras look (`viewing_distance`),
    so that cameras around an object put most points around it and some behind it. `sizes` is (width,
    height) in pixels.
    """
    rng = np.random.default_rng(seed)
    camera_ids = rng.integers(len(viewmats), size=num_points)
    pixels = rng.uniform(size=(num_points, 2)) * sizes[camera_ids]
    depths = viewing_distance(viewmats) * 4.0 ** rng.uniform(-1, 1, num_points)
    Ks, viewmats = Ks[camera_ids], viewmats[camera_ids]
    rays = np.stack([*((pixels - Ks[:, :2, 2]) / Ks[:, [0, 1], [0, 1]]).T, np.ones(num_points)], axis=1)
    in_camera = rays * depths[:, None] - viewmats[:, :3, 3]
    return np.einsum("pji,pj->pi", viewmats[:, :3, :3], in_camera)


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
