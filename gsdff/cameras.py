"""Pinhole cameras, and the normalised frame that scenes are trained in."""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from gsdff.device import send
from gsdff.origin import Point, choose_origin


@dataclass(frozen=True)
class Camera:
    """One undistorted pinhole camera, OpenCV axes (x right, y down, z forward), pixel centres at +0.5."""

    viewmat: Float[Tensor, "4 4"]
    """Rigid world-to-camera matrix, float32."""
    K: Float[Tensor, "3 3"]
    """Intrinsic matrix in pixels of a `width` x `height` image, float32."""
    width: int
    height: int

    @property
    def camtoworld(self) -> Float[Tensor, "4 4"]:
        """Camera-to-world matrix: the inverse of `viewmat`, float32 (inverted in float64)."""
        return torch.linalg.inv(self.viewmat.double()).float()

    @property
    def position(self) -> Float[Tensor, "3"]:
        """Camera centre in the world."""
        return self.camtoworld[:3, 3]

    @property
    def fov_y(self) -> float:
        """Vertical field of view in radians, assuming that the principal point is in the middle."""
        return float(2 * torch.atan(0.5 * self.height / self.K[1, 1]))

    def resized(self, width: int, height: int) -> "Camera":
        """The same camera with another image size; the rows of K scale with the sides."""
        K = self.K.clone()  # rows and entries are changed in place: numbers need no transfer to K's device
        K[0] *= width / self.width
        K[1] *= height / self.height
        return replace(self, K=K, width=width, height=height)

    def cropped(self, left: int, top: int, width: int, height: int) -> "Camera":
        """The same camera for a window of its image, which may reach beyond it; moves K's principal point."""
        K = self.K.clone()
        K[0, 2] -= left
        K[1, 2] -= top
        return replace(self, K=K, width=width, height=height)

    def rays(self) -> Float[Tensor, "H W 3"]:
        """Directions in the world through the centres of all pixels, as long as one unit of depth."""
        rows, columns = (torch.arange(side, device=self.K.device) + 0.5 for side in (self.height, self.width))
        y, x = torch.meshgrid(
            (rows - self.K[1, 2]) / self.K[1, 1], (columns - self.K[0, 2]) / self.K[0, 0], indexing="ij"
        )
        return torch.stack([x, y, torch.ones_like(x)], -1) @ self.viewmat[:3, :3]

    def project(self, points: Float[Tensor, "*S 3"]) -> "Projections":
        """Places in the picture that points of the world fall on."""
        x, y, depths = ((points @ self.viewmat[:3, :3].T + self.viewmat[:3, 3]) @ self.K.T).unbind(-1)
        inside = (depths > 0) & (x > 0) & (y > 0) & (x < self.width * depths) & (y < self.height * depths)
        places = torch.stack([x, y], -1) / depths[..., None]
        return Projections(torch.where(inside[..., None], places, 0), depths, inside)

    def to(self, device: torch.device | str) -> "Camera":
        """The same camera with its tensors on `device`, where they are sent once: the result is the same object."""
        name = str(device)
        if name not in self._sent:
            self._sent[name] = replace(self, viewmat=send(self.viewmat, device), K=send(self.K, device))
        return self._sent[name]

    @cached_property
    def _sent(self) -> "dict[str, Camera]":
        """This camera on the devices that it has been sent to."""
        return {}


@dataclass(frozen=True, eq=False)
class Projections:
    """Places in a camera's picture that points fall on."""

    places: Float[Tensor, "*S 2"]
    """Columns and rows, with pixel centres at +0.5; 0 for points outside."""
    depths: Float[Tensor, "*S"]
    """Depths of the points along the optical axis."""
    inside: Bool[Tensor, "*S"]
    """Whether a point is in front of the camera and within its picture."""

    def take(self, picture: Tensor) -> Tensor:
        """Values of a picture [H, W, ...] at these places; those of its first pixel for points outside."""
        columns, rows = self.places.long().unbind(-1)
        return picture[rows.clamp_max(len(picture) - 1), columns.clamp_max(picture.shape[1] - 1)]


@dataclass(frozen=True)
class WorldFrame:
    """Similarity between the input's world and the working frame: working = (input - centre) / scale.

    No rotation, so view directions (and with them spherical harmonics) and quaternions are the same in both.
    """

    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: float = 1.0

    @staticmethod
    def around(positions: Float[Tensor, "C 3"]) -> "WorldFrame":
        """The frame in which these camera centres have mean zero and a largest distance of one from it.

        Keeps the input's scale if all cameras are at one point.
        """
        positions = positions.double()
        centre = positions.mean(0)
        radius = float((positions - centre).norm(dim=-1).max())
        return WorldFrame(tuple(centre.tolist()), radius if radius > 1e-9 else 1.0)

    @property
    def origin(self) -> Point:
        """Origin for positions that are stored as float32 in the input's world (`gsdff.origin`); mostly (0, 0, 0)."""
        return choose_origin(self.centre, 2 * self.scale)

    def relative_to(self, origin: Point) -> "WorldFrame":
        """The same frame for an input's world whose zero is moved to `origin`."""
        x, y, z = (value - shift for value, shift in zip(self.centre, origin, strict=True))
        return WorldFrame((x, y, z), self.scale)

    def points_to_working(self, points: Float[Tensor, "P 3"]) -> Float[Tensor, "P 3"]:
        """Converts points from the input's world to the working frame; float32 (computed in float64)."""
        centre = torch.tensor(self.centre, dtype=torch.float64, device=points.device)
        return ((points.double() - centre) / self.scale).float()

    def points_to_input(self, points: Float[Tensor, "P 3"]) -> Float64[Tensor, "P 3"]:
        """Converts points from the working frame to the input's world; float64, as float32 may not hold them."""
        centre = torch.tensor(self.centre, dtype=torch.float64, device=points.device)
        return points.double() * self.scale + centre

    def viewmats_to_working(self, viewmats: Float[Tensor, "*C 4 4"]) -> Float[Tensor, "*C 4 4"]:
        """Converts world-to-camera matrices of the input's world to take points of the working frame; float32."""
        viewmats = viewmats.double().clone()
        centre = torch.tensor(self.centre, dtype=torch.float64, device=viewmats.device)
        viewmats[..., :3, 3] = (viewmats[..., :3, :3] @ centre + viewmats[..., :3, 3]) / self.scale
        return viewmats.float()

    def viewmats_to_input(self, viewmats: Float[Tensor, "*C 4 4"]) -> Float64[Tensor, "*C 4 4"]:
        """Converts world-to-camera matrices of the working frame to take points of the input's world; float64."""
        viewmats = viewmats.double().clone()
        centre = torch.tensor(self.centre, dtype=torch.float64, device=viewmats.device)
        viewmats[..., :3, 3] = self.scale * viewmats[..., :3, 3] - viewmats[..., :3, :3] @ centre
        return viewmats
