"""Paths for a camera: around what photos look at, along where they were taken, smoothly through given cameras.

All is in the frame of the cameras that are given, whichever it is (a scene's views are in its working frame).
Computed in float64; the cameras that come back have the size of the first one and lie on its device.
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
"""Cameras are all around what they look at where no gap between neighbouring azimuths is wider."""
_FACING = 0.7
"""Cosine between a camera's axis and the direction of a point that it still looks at: 45 degrees."""
_LEAST_FACING = 0.5
"""Share of the cameras that must look at one point for a turn about it."""
_LEAST_CONVERGENCE = 1e-3
"""Of optical axes: the squared sine of half the angle between two of them. Below, where they meet is chance."""
_BANDWIDTH = radians(15)
"""Standard deviation, in azimuth, of the weights that cameras have for the path beside them."""
_SMOOTHING = 0.02
"""Standard deviation of the smoothing of the cameras' own path, as a share of it: a hand's tremble goes, turns stay."""


def orbit(cameras: Sequence[Camera], num_frames: int) -> list[Camera]:
    """A path that shows the scene from where its photos were taken, with the first camera's intrinsics. Logs which:

    - where the cameras are all around what they look at, one turn about it, counter-clockwise from above, from the
      first camera's azimuth to one step before it, so that a video loops;
    - where they are around a part of it, along that arc there and back, slowing down at its ends; it loops too;
    - where they look at no common point (a drive down a street, a room seen from its middle), along their own path,
      once, in the order given and smoothed.

    A turn has at each azimuth the distance, elevation and aim of the cameras near it: round a table it is a circle, in
    a long room it is not. Up is what the cameras' horizons are level to. Raises ValueError for no cameras or no frames.
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
    """A smooth path through cameras, from the first to the last one, at an even speed.

    Positions, quaternions (then normalised) and intrinsics are cubic between keyframes (Catmull and Rom 1974, on knots
    as far apart as the keyframes are). A step is as long as it moves, in units of the largest distance of a keyframe
    from their mean, and turns, in radians, and zooms, in factors of e. Raises ValueError for no keyframes or frames,
    and for keyframes that differ in size.
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
    differs = F.pad(steps > 1e-6, (1, 0), value=True)  # from the one before
    knots = F.pad(steps[differs[1:]].cumsum(0), (1, 0))
    path = _cubic(knots, values[differs], torch.linspace(0, 1, num_frames, dtype=torch.float64) * knots[-1])
    flown = torch.eye(4, dtype=torch.float64).repeat(num_frames, 1, 1)
    flown[:, :3, :3], flown[:, :3, 3] = quats_to_matrices(path[:, 3:7]), path[:, :3]
    like = [replace(keyframes[0], K=K.reshape(3, 3).to(keyframes[0].K)) for K in path[:, 7:]]
    return [_camera(pose, camera) for pose, camera in zip(flown, like, strict=True)]


@dataclass(frozen=True)
class _Ring:
    """Where the cameras that look at a point are around it."""

    centre: Float[Tensor, "3"]
    axes: Float[Tensor, "3 3"]
    """Rows: azimuth zero, azimuth a quarter, up."""
    azimuths: Float[Tensor, "C"]
    elevations: Float[Tensor, "C"]
    distances: Float[Tensor, "C"]
    targets: Float[Tensor, "C 3"]
    """What each looks at: of its axis, the point nearest to the centre."""

    @property
    def gaps(self) -> Float[Tensor, "C"]:
        """From each azimuth, in their order, to the next; the last one's goes round to the first."""
        ordered = self.azimuths.sort().values
        return torch.cat([ordered, ordered[:1] + 2 * pi]).diff()

    @property
    def covered(self) -> tuple[float, float]:
        """Where the arc starts that is all but the widest gap, and how long it is."""
        widest = int(self.gaps.argmax())
        start = self.azimuths.sort().values[(widest + 1) % len(self.azimuths)]
        return float(start), 2 * pi - float(self.gaps[widest])

    def look_from(self, azimuths: Float[Tensor, "F"]) -> Float[Tensor, "F 4 4"]:
        """Cameras to world that are as far and as high as their neighbours and look where those look."""
        gaps = self.gaps.sort().values
        inner = gaps if gaps[-1] <= _FULL_TURN_GAP else gaps[:-1]
        away = torch.remainder(azimuths[:, None] - self.azimuths + pi, 2 * pi) - pi
        # as wide as the widest gap: the path does not jump from one camera's distance to the next one's
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
    """The cameras around what most of them look at; None where there is no such point, or they mostly drive at it."""
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
    """The point nearest to all optical axes, in least squares; None where they are all but parallel."""
    positions, forwards = poses[:, :3, 3], poses[:, :3, 2]
    across = torch.eye(3, dtype=poses.dtype) - forwards[:, :, None] * forwards[:, None]
    normal = across.mean(0)
    if torch.linalg.eigvalsh(normal)[0] < _LEAST_CONVERGENCE:
        return None
    return torch.linalg.solve(normal, (across @ positions[:, :, None]).mean(0)[:, 0])


def find_up(cameras: Sequence[Camera]) -> Float[Tensor, "3"]:
    """The direction, float64 on the CPU, most perpendicular to the cameras' horizons, on the side of their mean up.

    Raises ValueError for no cameras.
    """
    return _up_of(_poses(cameras, 1))


def _up_of(poses: Float[Tensor, "C 4 4"]) -> Float[Tensor, "3"]:
    """The direction most perpendicular to the cameras' horizons, on the side of their mean up.

    The mean itself leans back where all look down from one side. It decides where the horizons leave it open.
    """
    rights, mean_up = poses[:, :3, 0], -F.normalize(poses[:, :3, 1].mean(0), dim=0)
    horizons = (rights[:, :, None] * rights[:, None]).mean(0) - 1e-3 * mean_up[:, None] * mean_up
    up = torch.linalg.eigh(horizons).eigenvectors[:, 0]
    return up if up @ mean_up >= 0 else -up


def _smoothed(poses: Float[Tensor, "C 4 4"]) -> Float[Tensor, "C 4 4"]:
    """Each camera the mean of its neighbours in the order given, with Gaussian weights."""
    index = torch.arange(len(poses), dtype=torch.float64)
    weights = (-0.5 * ((index[:, None] - index) / (_SMOOTHING * len(poses))) ** 2).softmax(-1)
    smoothed = poses.clone()
    smoothed[:, :3, 3] = weights @ poses[:, :3, 3]
    smoothed[:, :3, :3] = quats_to_matrices(weights @ _aligned_quats(poses))
    return smoothed


def _aligned_quats(poses: Float[Tensor, "C 4 4"]) -> Float[Tensor, "C 4"]:
    """Unit quaternions, each of the sign that is nearer to the one before."""
    quats = matrices_to_quats(poses[:, :3, :3])
    nearer = torch.where((quats[1:] * quats[:-1]).sum(-1) < 0, -1.0, 1.0).double()
    return quats * F.pad(nearer, (1, 0), value=1).cumprod(0)[:, None]


def _cubic(knots: Float[Tensor, "C"], values: Float[Tensor, "C V"], times: Float[Tensor, "F"]) -> Float[Tensor, "F V"]:
    """Through the values at the knots, which increase; the slope at one is that of the parabola through three."""
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
    """Cameras to world in float64; ValueError for none, and for a path of no frames."""
    if not cameras or num_frames < 1:
        raise ValueError(f"a path needs cameras and frames, got {len(cameras)} and {num_frames}")
    return torch.linalg.inv(torch.stack([camera.viewmat for camera in cameras]).cpu().double())


def _camera(pose: Float[Tensor, "4 4"], like: Camera) -> Camera:
    """The camera at this camera-to-world matrix, otherwise as another."""
    return replace(like, viewmat=torch.linalg.inv(pose).to(like.viewmat))
