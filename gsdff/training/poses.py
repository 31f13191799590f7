"""Poses of the training photos that are a little off: moved together with the Gaussians, in stage 1."""

import math
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.scene import Scene
from gsdff.training.pace import Pace

RATES = (0.1, 0.0002)
"""Learning rates of Adam at the start and at the end of stage 1, in pixels by which the scene's points move in a photo;
low at the end, so that the scene can settle."""
DAMPING = 0.01
"""What is added to the squares of pixels, as a share of their mean: a turn and a shift may move all points alike."""
MOST_POINTS = 2000
"""Number of points that tell how many pixels a motion is."""
CLOSEST = 0.05
"""Least depth of a point that does."""


class PoseRefinement:
    """A small rigid motion of every training camera, in the camera's own frame.

    What moves all cameras like the scene as a whole (three shifts, three turns, its size) is taken out, as photos
    cannot tell it: held-out photos keep their poses, and so does the world. Source: BARF (Lin et al. 2021), without its
    positional encoding, in the coordinates of CamP (Park et al. 2023): turns and shifts are measured in pixels, and
    what they do alike is one number, so that one learning rate suits all.
    """

    def __init__(self, scene: Scene, steps: int, pace: Pace, device: torch.device | str, *, is_on: bool):
        self.is_on = is_on
        self.steps = steps
        """Number of steps of stage 1."""
        self.pace = pace
        self.rates, self.start = RATES, 0.0
        self._rows = {view_id: row for row, view_id in enumerate(scene.train_ids)}
        self.numbers = torch.zeros(len(self._rows), 6, device=device, requires_grad=is_on)
        """Motions in pixels, in the basis of `_bases`."""
        self._optimizer = pace.make_adam(self.numbers, self.rates[0], 1e-15)
        if is_on:
            self._measure(scene, device)

    def _measure(self, scene: Scene, device: torch.device | str) -> None:
        """Finds the motions that are a pixel each, and those that all cameras make alike."""
        cameras = [scene.views[view_id].camera for view_id in scene.train_ids]
        points = scene.points[:: 1 + len(scene.points) // MOST_POINTS]
        bases = torch.stack([pixel_basis(camera, points) for camera in cameras])
        modes = find_gauge(torch.stack([camera.viewmat for camera in cameras]).double())
        in_pixels = (torch.linalg.inv(bases) @ modes.reshape(-1, 6, 7)).reshape(-1, 7)
        self._gauge = torch.linalg.qr(in_pixels).Q.float().to(device)
        self._bases = bases.float().to(device)

    @property
    def motions(self) -> Float[Tensor, "V 6"]:
        """Rotation vectors in radians, and shifts in units of the working frame."""
        numbers = self.numbers.flatten()
        own = numbers - self._gauge @ (self._gauge.T @ numbers)
        return (self._bases @ own.reshape(-1, 6, 1))[:, :, 0]

    def move(self, camera: Camera, view_id: int) -> Camera:
        """The camera of a training photo where it is now believed to be; differentiable in `numbers`."""
        if not self.is_on:
            return camera
        return replace(camera, viewmat=rigid_motion(self.motions[self._rows[view_id]]) @ camera.viewmat)

    def gradients(self) -> list[Tensor]:
        """The gradient of the numbers, if a step has moved cameras: on all ranks or on none."""
        return [] if self.numbers.grad is None else [self.numbers.grad]

    def after_step(self, step: int) -> None:
        """Follows the gradient; `step` is the number of finished steps."""
        if not self.is_on or self.numbers.grad is None:
            return
        if self.start * self.steps <= step <= self.steps:
            first, last = self.rates
            rate = first * (last / first) ** (step / self.steps)
            self._optimizer.param_groups[0]["lr"] = rate * self.pace.rate_factor
            self._optimizer.step()
        self._optimizer.zero_grad()

    def moved(self, scene: Scene) -> Scene:
        """The scene with the training photos where they are now believed to be."""
        views = list(scene.views)
        with torch.no_grad():
            for view_id in self._rows:
                camera = self.move(views[view_id].camera.to(self.numbers.device), view_id).to("cpu")
                views[view_id] = replace(views[view_id], camera=camera)
        return replace(scene, views=views)

    def start_from(self, other: "PoseRefinement") -> None:
        """Begins with the motions that another has found for the same photos."""
        with torch.no_grad():
            self.numbers.copy_(other.numbers)

    def state_dict(self) -> dict[str, Any]:
        """State as plain values and tensors."""
        return {"numbers": self.numbers.detach(), "optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from a `state_dict` of a run on the same photos."""
        if not self.is_on:
            return
        if "motions" in state:  # an earlier version's, in radians and units; its moments are of no use
            numbers = torch.linalg.solve(self._bases, state["motions"].to(self._bases)[..., None])[..., 0]
        else:
            numbers = state["numbers"]
            self._optimizer.load_state_dict(state["optimizer"])
        with torch.no_grad():
            self.numbers.copy_(numbers)


def rigid_motion(motion: Float[Tensor, "6"]) -> Float[Tensor, "4 4"]:
    """The matrix of a rotation vector (Rodrigues' formula) and a shift; smooth at zero too."""
    x, y, z = motion[:3].unbind()
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).reshape(3, 3)
    angle = (motion[:3].square().sum() + 1e-20).sqrt()
    once, twice = torch.sinc(angle / math.pi), 0.5 * torch.sinc(angle / (2 * math.pi)).square()
    rotation = torch.eye(3, device=motion.device, dtype=motion.dtype) + once * cross + twice * (cross @ cross)
    upper = torch.cat([rotation, motion[3:, None]], dim=1)
    return torch.cat([upper, torch.eye(4, device=motion.device, dtype=motion.dtype)[3:]])


def find_gauge(viewmats: Float[Tensor, "V 4 4"]) -> Float[Tensor, "numbers seven"]:
    """The motions [6 V] that all cameras make if the world turns, shifts or grows a little."""
    R, T = viewmats[:, :3, :3], viewmats[:, :3, 3]
    axes = torch.eye(3, dtype=viewmats.dtype)
    modes = []
    for axis in axes:  # x becomes x + axis times x: the camera turns back, about the world's zero
        turned = R @ axis
        modes.append(torch.cat([-turned, torch.linalg.cross(turned, T)], dim=1))
    modes += [torch.cat([torch.zeros_like(T), -(R @ axis)], dim=1) for axis in axes]
    modes.append(torch.cat([torch.zeros_like(T), T], dim=1))
    return torch.stack([mode.flatten() for mode in modes], dim=1)


def pixel_basis(camera: Camera, points: Float[Tensor, "P 3"]) -> Float64[Tensor, "6 6"]:
    """Motions of a camera, in columns, each of which moves the points in its photo by about a pixel on average.

    The inverse root of J^T J / P, J being the derivative of where points are projected, in pixels, by rotation vector
    and shift. A camera that sees no point takes all to be at depth 1.
    """
    R, T = camera.viewmat[:3, :3].double(), camera.viewmat[:3, 3].double()
    K = camera.K.double()
    seen = points.double() @ R.T + T
    column, row, depth = (seen @ K.T).unbind(-1)
    inside = (depth > CLOSEST) & (column > 0) & (row > 0) & (column < camera.width * depth)
    seen = seen[inside & (row < camera.height * depth)]
    if not len(seen):
        return torch.eye(6, dtype=torch.float64) / K[0, 0]
    x, y, z = seen.unbind(-1)
    zero = torch.zeros_like(x)
    across = torch.stack([K[0, 0] / z, zero, -K[0, 0] * x / z**2], dim=-1)
    down = torch.stack([zero, K[1, 1] / z, -K[1, 1] * y / z**2], dim=-1)
    jacobian = torch.cat([torch.cat([torch.linalg.cross(seen, by), by], dim=-1) for by in (across, down)])
    squares = jacobian.T @ jacobian / len(seen)
    squares = squares + DAMPING * squares.diagonal().mean() * torch.eye(6, dtype=torch.float64)
    values, vectors = torch.linalg.eigh(squares)
    return vectors * values.rsqrt() @ vectors.T
