"""Camera paths for videos: around the subject of the photos, along the cameras, or smoothly through keyframes.

Everything is in the frame of the given cameras, whichever it is (a scene's views are in its working frame). Computed in
float64; the returned cameras have the size of the first one and lie on its device.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import degrees, pi, radians

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.rotation import matrices_to_quats, quats_to_matrices

log = logging.getLogger("gsdff")

_FULL_TURN_GAP = radians(90)
"""Cameras are all around their subject if no gap between neighbouring azimuths is wider than this."""
_FACING = 0.7
"""Least cosine between a camera's axis and the direction of a point that it looks at: 45 degrees."""
_LEAST_FACING = 0.5
"""Least share of the cameras that must look at one point for a path around it."""
_LEAST_CONVERGENCE = 1e-3
"""Least squared sine of half the angle between two optical axes; below it, the point where they meet is arbitrary."""
_BANDWIDTH = radians(15)
"""Standard deviation, in azimuth, of the weights of the cameras near a point of the path."""
_SMOOTHING = 0.02
"""Standard deviation of the smoothing of the cameras' own path, as a share of it: removes hand shake, keeps turns."""


def orbit(cameras: Sequence[Camera], num_frames: int) -> list[Camera]:
    """Path that shows the scene from near its cameras, with the first camera's intrinsics. Logs which path it takes:

    - if the cameras are all around their subject, one turn around it, counter-clockwise seen from above, from the first
      camera's azimuth to one step before it, so that a video loops;
    - if they are around a part of it, along that arc and back, slowing down at its ends; it loops too;
    - if they look at no common point (a drive down a street, a room seen from its middle), along their own path, once,
      in the order given and smoothed.

    At each azimuth the path has the distance, elevation and aim of the cameras near it: around a table it is a circle,
    in a long room it is not. Up is perpendicular to the cameras' horizons. Raises ValueError for no cameras or frames.
    """
    poses = _poses(cameras, num_frames)
    ring = _find_ring(poses)
    if ring is None:
        log.info("the cameras look at no common point: the video follows their own path")
        smoothed = _smoothed(poses)
        return interpolate([_camera(pose, cameras[0]) for pose in smoothed], num_frames)
    start, span = ring.covered
    turn = torch.arange(num_frames, dtype=torch.float64) * (2 * pi / num_frames)
    if span > 2 * pi - _FULL_TURN_GAP:
        log.info("the cameras are all around what they look at: the video turns about it once")
        azimuths = ring.azimuths[0] + turn
    else:
        log.info("the cameras are on one side of what they look at: the video sweeps their %.0f degrees", degrees(span))
        azimuths = start + span / 2 * (1 + turn.sin())
    return [_camera(pose, cameras[0]) for pose in ring.look_from(azimuths)]


def interpolate(keyframes: Sequence[Camera], num_frames: int) -> list[Camera]:
    """Smooth path through cameras, from the first to the last one, at an even speed.

    Positions, quaternions (then normalised) and intrinsics are cubic between keyframes (Catmull and Rom 1974, on knots
    as far apart as the keyframes are). The length of a step is the sum of its translation, in units of the largest
    distance of a keyframe from their mean, its rotation, in radians, and the change of its log focal length. Raises
    ValueError for no keyframes or frames, and for keyframes that differ in size.
    """
    poses = _poses(keyframes, num_frames)
    if len({(camera.width, camera.height) for camera in keyframes}) > 1:
        raise ValueError("keyframes must be of one size, in pixels; see Camera.resized")
    quats, positions = _aligned_quats(poses), poses[:, :3, 3]
    Ks = torch.stack([camera.K for camera in keyframes]).cpu().double()
    extent = (positions - positions.mean(0)).norm(dim=-1).max().clamp_min(1e-12)
    turned = 2 * (quats[1:] * quats[:-1]).sum(-1).clamp(-1, 1).acos()
    steps = positions.diff(dim=0).norm(dim=-1) / extent + turned + Ks[:, 0, 0].log().diff().abs()
    values = torch.cat([positions, quats, Ks.flatten(1)], dim=1)
    differs = F.pad(steps > 1e-6, (1, 0), value=True)  # from the previous one
    knots = F.pad(steps[differs[1:]].cumsum(0), (1, 0))
    path = _cubic(knots, values[differs], torch.linspace(0, 1, num_frames, dtype=torch.float64) * knots[-1])
    flown = torch.eye(4, dtype=torch.float64).repeat(num_frames, 1, 1)
    flown[:, :3, :3], flown[:, :3, 3] = quats_to_matrices(path[:, 3:7]), path[:, :3]
    like = [replace(keyframes[0], K=K.reshape(3, 3).to(keyframes[0].K)) for K in path[:, 7:]]
    return [_camera(pose, camera) for pose, camera in zip(flown, like, strict=True)]


@dataclass(frozen=True)
class _Ring:
    """Placement of the cameras around the point that they look at."""

    centre: Float[Tensor, "3"]
    axes: Float[Tensor, "3 3"]
    """Rows: direction of azimuth 0, of azimuth 90 degrees, and up."""
    azimuths: Float[Tensor, "C"]
    elevations: Float[Tensor, "C"]
    distances: Float[Tensor, "C"]
    targets: Float[Tensor, "C 3"]
    """Point that each camera looks at: the point of its axis nearest to the centre."""

    @property
    def gaps(self) -> Float[Tensor, "C"]:
        """Gap from each azimuth, in sorted order, to the next one; the last gap leads to the first azimuth."""
        ordered = self.azimuths.sort().values
        return torch.cat([ordered, ordered[:1] + 2 * pi]).diff()

    @property
    def covered(self) -> tuple[float, float]:
        """Start and length of the arc without the widest gap."""
        widest = int(self.gaps.argmax())
        start = self.azimuths.sort().values[(widest + 1) % len(self.azimuths)]
        return float(start), 2 * pi - float(self.gaps[widest])

    def look_from(self, azimuths: Float[Tensor, "F"]) -> Float[Tensor, "F 4 4"]:
        """Camera-to-world matrices at azimuths, with the distance, elevation and target of the cameras near them."""
        gaps = self.gaps.sort().values
        inner = gaps if gaps[-1] <= _FULL_TURN_GAP else gaps[:-1]
        away = torch.remainder(azimuths[:, None] - self.azimuths + pi, 2 * pi) - pi
        # at least as wide as the widest gap, so that the path does not jump from one camera's distance to the next
        weights = (-0.5 * (away / inner.max().clamp_min(_BANDWIDTH)) ** 2).softmax(-1)
        distances, elevations = weights @ self.distances, weights @ self.elevations
        flat = elevations.cos()
        directions = torch.stack([flat * azimuths.cos(), flat * azimuths.sin(), elevations.sin()], -1) @ self.axes
        positions = self.centre + distances[:, None] * directions
        forward = F.normalize(weights @ self.targets - positions, dim=-1)
        right = F.normalize(torch.linalg.cross(forward, self.axes[2].expand_as(forward)), dim=-1)
        poses = torch.eye(4, dtype=torch.float64).repeat(len(azimuths), 1, 1)
        poses[:, :3, :3] = torch.stack([right, torch.linalg.cross(forward, right), forward], dim=-1)
        poses[:, :3, 3] = positions
        return poses


def _find_ring(poses: Float[Tensor, "C 4 4"]) -> _Ring | None:
    """Finds the point that most cameras look at; None if there is no such point, or if they mostly move towards it."""
    positions, facing = poses[:, :3, 3], torch.ones(len(poses), dtype=torch.bool)
    for _ in range(10):
        centre = _nearest_to_axes(poses[facing])
        if centre is None:
            return None
        looks = F.cosine_similarity(centre - positions, poses[:, :3, 2], dim=-1) > _FACING
        if looks.sum() < max(2, _LEAST_FACING * len(poses)):
            return None
        settled, facing = looks.equal(facing), looks
        if settled:
            break
    up = _up_of(poses[facing])
    offsets = (positions - centre)[facing]
    distances = offsets.norm(dim=-1)
    directions = offsets / distances[:, None]
    around = distances.mean() * (1 - directions.mean(0).square().sum()).clamp_min(0).sqrt()
    if distances.std(correction=0) >= around:
        return None
    ahead = torch.linalg.cross(up, torch.eye(3, dtype=up.dtype)[up.abs().argmin()])
    axes = F.normalize(torch.stack([ahead, torch.linalg.cross(up, ahead), up]), dim=-1)
    x, y, z = (directions @ axes.T).unbind(-1)
    forwards = poses[facing, :3, 2]
    targets = positions[facing] - (offsets * forwards).sum(-1, keepdim=True) * forwards
    return _Ring(centre, axes, torch.atan2(y, x), z.clamp(-1, 1).asin(), distances, targets)


def _nearest_to_axes(poses: Float[Tensor, "C 4 4"]) -> Float[Tensor, "3"] | None:
    """Point nearest to all optical axes, in least squares; None if they are almost parallel."""
    positions, forwards = poses[:, :3, 3], poses[:, :3, 2]
    across = torch.eye(3, dtype=poses.dtype) - forwards[:, :, None] * forwards[:, None]
    normal = across.mean(0)
    if torch.linalg.eigvalsh(normal)[0] < _LEAST_CONVERGENCE:
        return None
    return torch.linalg.solve(normal, (across @ positions[:, :, None]).mean(0)[:, 0])


def find_up(cameras: Sequence[Camera]) -> Float[Tensor, "3"]:
    """Up direction, float64 on the CPU: most perpendicular to the cameras' horizons, on the side of their mean up.

    Raises ValueError for no cameras.
    """
    return _up_of(_poses(cameras, 1))


def _up_of(poses: Float[Tensor, "C 4 4"]) -> Float[Tensor, "3"]:
    """Up direction: most perpendicular to the cameras' horizons, on the side of their mean up.

    The mean itself leans back if all look down from one side. It decides if the horizons are ambiguous.
    """
    rights, mean_up = poses[:, :3, 0], -F.normalize(poses[:, :3, 1].mean(0), dim=0)
    horizons = (rights[:, :, None] * rights[:, None]).mean(0) - 1e-3 * mean_up[:, None] * mean_up
    up = torch.linalg.eigh(horizons).eigenvectors[:, 0]
    return up if up @ mean_up >= 0 else -up


def _smoothed(poses: Float[Tensor, "C 4 4"]) -> Float[Tensor, "C 4 4"]:
    """Averages each camera with its neighbours in the order given, with Gaussian weights."""
    index = torch.arange(len(poses), dtype=torch.float64)
    weights = (-0.5 * ((index[:, None] - index) / (_SMOOTHING * len(poses))) ** 2).softmax(-1)
    smoothed = poses.clone()
    smoothed[:, :3, 3] = weights @ poses[:, :3, 3]
    smoothed[:, :3, :3] = quats_to_matrices(weights @ _aligned_quats(poses))
    return smoothed


def _aligned_quats(poses: Float[Tensor, "C 4 4"]) -> Float[Tensor, "C 4"]:
    """Unit quaternions of poses, each with the sign that is nearer to the previous one."""
    quats = matrices_to_quats(poses[:, :3, :3])
    nearer = torch.where((quats[1:] * quats[:-1]).sum(-1) < 0, -1.0, 1.0).double()
    return quats * F.pad(nearer, (1, 0), value=1).cumprod(0)[:, None]


def _cubic(knots: Float[Tensor, "C"], values: Float[Tensor, "C V"], times: Float[Tensor, "F"]) -> Float[Tensor, "F V"]:
    """Cubic interpolation of values at increasing knots; a knot's slope is that of the parabola through three."""
    if len(knots) == 1:
        return values.expand(len(times), -1)
    widths = knots.diff()[:, None]
    slopes = values.diff(dim=0) / widths
    inner = (widths[1:] * slopes[:-1] + widths[:-1] * slopes[1:]) / (widths[1:] + widths[:-1])
    first, last = (2 * slopes[0] - inner[0], 2 * slopes[-1] - inner[-1]) if len(inner) else (slopes[0], slopes[0])
    tangents = torch.cat([first[None], inner, last[None]])
    i = (torch.searchsorted(knots, times, right=True) - 1).clamp(0, len(knots) - 2)
    u = (times - knots[i])[:, None] / widths[i]
    return (
        (1 + 2 * u) * (1 - u) ** 2 * values[i]
        + u * (1 - u) ** 2 * widths[i] * tangents[i]
        + u**2 * (3 - 2 * u) * values[i + 1]
        + u**2 * (u - 1) * widths[i] * tangents[i + 1]
    )


def _poses(cameras: Sequence[Camera], num_frames: int) -> Float[Tensor, "C 4 4"]:
    """Camera-to-world matrices in float64; raises ValueError for no cameras or no frames."""
    if not cameras or num_frames < 1:
        raise ValueError(f"a path needs cameras and frames, got {len(cameras)} and {num_frames}")
    return torch.linalg.inv(torch.stack([camera.viewmat for camera in cameras]).cpu().double())


def _camera(pose: Float[Tensor, "4 4"], like: Camera) -> Camera:
    """A copy of `like` at this camera-to-world matrix."""
    return replace(like, viewmat=torch.linalg.inv(pose).to(like.viewmat))
