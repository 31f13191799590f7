"""Writes COLMAP's binary model: one PINHOLE camera, posed photos, coloured points without tracks.

File format: colmap.github.io/format.html. Little endian; poses are world to camera, quaternions wxyz.
"""

import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gsdff.data.demo.photo import Viewpoint

_PINHOLE = 1
_POINT_ERROR = 0.5
"""Reprojection error written for every point, pixels: typical of careful structure from motion."""


def write_model(folder: Path, names: list[str], places: list[Viewpoint], points: Tensor, colors: Tensor) -> None:
    """Writes cameras.bin, images.bin and points3D.bin into `folder`. Points [P, 3], colours [P, 3] uint8."""
    folder.mkdir(parents=True)
    first = places[0]
    camera = struct.pack("<IiQQ", 1, _PINHOLE, first.width, first.height)
    camera += struct.pack("<4d", first.focal, first.focal, first.width / 2, first.height / 2)
    (folder / "cameras.bin").write_bytes(struct.pack("<Q", 1) + camera)

    images = [struct.pack("<Q", len(places))]
    for number, (name, place) in enumerate(zip(names, places, strict=True), 1):
        to_camera = place.rotation.double().T.numpy()
        translation = -to_camera @ place.centre.double().numpy()
        pose = struct.pack("<I7dI", number, *quaternion(to_camera), *translation, 1)
        images.append(pose + name.encode() + b"\0" + struct.pack("<Q", 0))
    (folder / "images.bin").write_bytes(b"".join(images))

    rows = [struct.pack("<Q", len(points))]
    for number, (point, color) in enumerate(zip(points.tolist(), colors.tolist(), strict=True), 1):
        rows.append(struct.pack("<Q3d3BdQ", number, *point, *color, _POINT_ERROR, 0))
    (folder / "points3D.bin").write_bytes(b"".join(rows))


def quaternion(rotation: np.ndarray) -> np.ndarray:
    """The unit quaternion (wxyz, w >= 0) of a rotation matrix.

    It is the eigenvector of the largest eigenvalue of Bar-Itzhack's matrix (J. Guidance 23(6), 2000), which is exact
    for a true rotation and the nearest one for a slightly rounded one.
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation
    lower = np.array([
        [xx + yy + zz, 0, 0, 0],
        [zy - yz, xx - yy - zz, 0, 0],
        [xz - zx, xy + yx, yy - xx - zz, 0],
        [yx - xy, xz + zx, yz + zy, zz - xx - yy],
    ])  # fmt: skip
    largest = np.linalg.eigh(lower)[1][:, -1]  # reads the lower triangle only
    return largest * (1.0 if largest[0] >= 0 else -1.0)


def sample_points(
    photos: list[tuple[Tensor, Tensor, Tensor]], count: int, noise: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draws points [P, 3] and colours [P, 3] uint8 from pixels, each photo giving the same number.

    A photo is its points [H, W, 3], its image [H, W, 3] and the camera's centre [3]. A pixel's chance grows with the
    contrast around it, as with a feature detector. Positions get Gaussian noise per axis of `noise` times the
    distance to the camera.
    """
    points, colors = [], []
    for index, (seen, image, centre) in enumerate(photos):
        share = count * (index + 1) // len(photos) - count * index // len(photos)
        grey = image.float().mean(-1)
        contrast = torch.zeros_like(grey)
        contrast[1:-1, 1:-1] = (grey[1:-1, 2:] - grey[1:-1, :-2]).abs() + (grey[2:, 1:-1] - grey[:-2, 1:-1]).abs()
        chance = (contrast + 6).flatten()
        picked = torch.multinomial(chance, min(share, len(chance)), generator=generator)
        there = seen.reshape(-1, 3)[picked]
        depth = (there - centre).norm(dim=1, keepdim=True)
        points.append(there + noise * depth * torch.randn(there.shape, generator=generator))
        colors.append(image.reshape(-1, 3)[picked])
    return torch.cat(points), torch.cat(colors)
