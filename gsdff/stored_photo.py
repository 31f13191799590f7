"""Geometry of a photo as its file stores it: which way up it is, and the distortion of its lens.

Views are upright and undistorted. Pictures that were made from the file, such as label images, masks and teacher maps,
are brought into the view by the same steps.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor

from gsdff.cameras import Camera

UPRIGHT = 1
"""EXIF orientation of a file whose first row is the top."""
UNMIRRORED = {2: 1, 4: 3, 5: 6, 7: 8}
"""The turn without the mirror, for EXIF's mirrored orientations: no camera shows a scene mirrored."""
LATTICE_STEP = 8
"""Pixels between two points of a distortion's lattice; linear in between, which is exact to about 0.01 pixels."""
LEAST_CELLS = 64
"""Cells of a lattice along a side, unless that has fewer pixels: a small photo bends as much as a large one."""
Pixels = TypeVar("Pixels", np.ndarray, Tensor)


@dataclass(frozen=True, eq=False)
class StoredPhoto:
    """Steps from a photo's file to its view: turned, undistorted, turned.

    A turn before the undistortion belongs to poses of turned photos, one after it to poses of stored photos, which is
    COLMAP's convention.
    """

    width: int
    """Width of the file's pixels, after downscaling."""
    height: int
    turn_before: int = UPRIGHT
    """EXIF orientation."""
    turn_after: int = UPRIGHT
    lattice: Float32[Tensor, "h w 2"] | None = None
    """Positions in the photo, as shares of its width and height, at evenly spaced points of the undistorted photo, from
    border to border; None without distortion."""

    @property
    def is_turned(self) -> bool:
        """Whether the view is another way up than the file."""
        return (self.turn_before, self.turn_after) != (UPRIGHT, UPRIGHT)

    @property
    def fingerprint(self) -> bytes:
        """Bytes that differ for other steps."""
        lattice = b"" if self.lattice is None else self.lattice.numpy().tobytes()
        return repr((self.turn_before, self.turn_after)).encode() + lattice

    def is_shape_of_file(self, width: int, height: int) -> bool:
        """Whether a picture has the shape of the file."""
        return is_same_shape((width, height), (self.width, self.height))

    def to_view(self, pixels: Float[Tensor, "h w D"], size: tuple[int, int], mode: str) -> Float[Tensor, "H W D"]:
        """A picture of the whole file, at any resolution, as a picture of the view at `size` (height, width).

        `mode` is nearest or bilinear; a pixel is a square of which the value is that of the centre.
        """
        pixels = turn(pixels, self.turn_before)
        height, width = reversed(size) if is_transposed(self.turn_after) else size
        where = _unit_grid(height, width) if self.lattice is None else _enlarge(self.lattice, height, width)
        grid = (where * 2 - 1).to(pixels)[None]
        options = {"padding_mode": "border", "align_corners": False}
        sampled = F.grid_sample(pixels.permute(2, 0, 1)[None], grid, mode=mode, **options)
        return turn(sampled[0].permute(1, 2, 0), self.turn_after).contiguous()


def is_same_shape(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two sizes (width, height) have one ratio, but for a pixel of the coarser one."""
    (w, h), (W, H) = sorted((size, other), key=lambda sides: sides[0] * sides[1])
    return min(abs(w * H / W - h), abs(h * W / H - w)) <= 1


def turn(pixels: Pixels, orientation: int) -> Pixels:
    """Puts pixels [H, W, ...], stored with an EXIF orientation (1 to 8), upright; flips are along rows and columns."""
    if is_transposed(orientation):
        pixels = pixels.swapaxes(0, 1)
    axes = [axis for axis, codes in ((0, (3, 4, 7, 8)), (1, (2, 3, 6, 7))) if orientation in codes]
    if isinstance(pixels, np.ndarray):
        return np.ascontiguousarray(np.flip(pixels, tuple(axes)))
    return pixels.flip(axes)


def is_transposed(orientation: int) -> bool:
    """Whether an EXIF orientation swaps width and height."""
    return orientation >= 5


def turn_camera(camera: Camera, orientation: int) -> Camera:
    """The camera whose pixels are those of `camera` after `turn`, for orientations without a mirror (1, 3, 6, 8)."""
    if orientation == UPRIGHT:
        return camera
    width, height = camera.width, camera.height
    rows = {
        3: ((-1, 0, width), (0, -1, height)),
        6: ((0, -1, height), (1, 0, 0)),
        8: ((0, 1, 0), (-1, 0, width)),
    }[orientation]
    pixels = torch.tensor((*rows, (0, 0, 1)), dtype=torch.float64)  # from old pixel positions to new ones
    rotation = torch.eye(4, dtype=torch.float64)
    rotation[:2, :2] = pixels[:2, :2]
    K = pixels @ camera.K.double() @ rotation[:3, :3].T
    viewmat = rotation @ camera.viewmat.double()
    if is_transposed(orientation):
        width, height = height, width
    return Camera(viewmat.float(), K.float(), width, height)


def make_lattice(grid: Float32[np.ndarray, "H W 2"], width: int, height: int) -> Float32[Tensor, "h w 2"]:
    """The lattice of a distortion from the positions, in pixels of a `width` x `height` photo, of all pixel centres."""
    positions = np.asarray(grid, np.float32)
    for axis in (0, 1):
        positions = _at_shares(positions, axis)
    return torch.from_numpy(positions / np.array([width, height], np.float32))


def _at_shares(values: np.ndarray, axis: int) -> np.ndarray:
    """Values at evenly spaced points from border to border of an axis, from those at its pixel centres; linear."""
    length = values.shape[axis]
    num_points = min(length, max(LEAST_CELLS, -(-length // LATTICE_STEP))) + 1
    if length == 1:
        return np.repeat(values, num_points, axis)
    at = np.linspace(0, length, num_points) - 0.5
    first = np.clip(np.floor(at).astype(int), 0, length - 2)
    share = (at - first).astype(np.float32)  # below 0 and above 1 in the half pixels at the borders
    share = share.reshape(tuple(-1 if dim == axis else 1 for dim in range(values.ndim)))
    return values.take(first, axis) * (1 - share) + values.take(first + 1, axis) * share


def _unit_grid(height: int, width: int) -> Float[Tensor, "H W 2"]:
    """Centres of the pixels, as shares of width and height."""
    rows, columns = ((torch.arange(n) + 0.5) / n for n in (height, width))
    return torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)


def _enlarge(lattice: Float32[Tensor, "h w 2"], height: int, width: int) -> Float32[Tensor, "H W 2"]:
    """The lattice's values at the centres of `height` x `width` pixels."""
    at = _unit_grid(height, width)[None] * 2 - 1
    values = F.grid_sample(lattice.permute(2, 0, 1)[None], at, mode="bilinear", align_corners=True)
    return values[0].permute(1, 2, 0)
