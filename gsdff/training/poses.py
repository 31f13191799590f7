"""Poses of the training photos that are a little off: moved together with the Gaussians, in stage 1."""

import math
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.scene import Scene
from gsdff.training.pace import Pace

RATE = 2e-4
"""Learning rate of Adam, in radians and in units of the working frame, in which cameras are within 1."""
FINAL_RATE = 0.02
"""Learning rate at the end of stage 1, as a share of that."""
START = 0.1
"""Share of stage 1 before poses move: until then photos say little about them."""


class PoseRefinement:
    """A small rigid motion of every training camera, in the camera's own frame.

    What moves all cameras like the scene as a whole (three shifts, three turns, its size) is taken out, as photos
    cannot tell it: held-out photos keep their poses, and so does the world. Source: BARF (Lin et al. 2021), without its
    positional encoding.
    """

    def __init__(self, scene: Scene, steps: int, pace: Pace, device: torch.device | str, *, is_on: bool):
        self.is_on = is_on
        self.steps = steps
        """Number of steps of stage 1."""
        self.pace = pace
        self._rows = {view_id: row for row, view_id in enumerate(scene.train_ids)}
        self.motions = torch.zeros(len(self._rows), 6, device=device, requires_grad=is_on)
        """Rotation vectors in radians, and shifts in units of the working frame."""
        self._optimizer = pace.make_adam(self.motions, RATE, 1e-15)
        viewmats = torch.stack([scene.views[view_id].camera.viewmat for view_id in scene.train_ids])
        self._gauge = find_gauge(viewmats.double()).float().to(device)

    def move(self, camera: Camera, view_id: int) -> Camera:
        """The camera of a training photo where it is now believed to be; differentiable in `motions`."""
        if not self.is_on:
            return camera
        motions = self.motions.flatten()
        own = slice(6 * self._rows[view_id], 6 * self._rows[view_id] + 6)
        motion = motions[own] - self._gauge[own] @ (self._gauge.T @ motions)
        return replace(camera, viewmat=rigid_motion(motion) @ camera.viewmat)

    def gradients(self) -> list[Tensor]:
        """The gradient of the motions, if a step has moved cameras: on all ranks or on none."""
        return [] if self.motions.grad is None else [self.motions.grad]

    def after_step(self, step: int) -> None:
        """Follows the gradient; `step` is the number of finished steps."""
        if not self.is_on or self.motions.grad is None:
            return
        if START * self.steps <= step <= self.steps:
            self._optimizer.param_groups[0]["lr"] = RATE * FINAL_RATE ** (step / self.steps) * self.pace.rate_factor
            self._optimizer.step()
        self._optimizer.zero_grad()

    def moved(self, scene: Scene) -> Scene:
        """The scene with the training photos where they are now believed to be."""
        views = list(scene.views)
        with torch.no_grad():
            for view_id in self._rows:
                camera = self.move(views[view_id].camera.to(self.motions.device), view_id).to("cpu")
                views[view_id] = replace(views[view_id], camera=camera)
        return replace(scene, views=views)

    def state_dict(self) -> dict[str, Any]:
        """State as plain values and tensors."""
        return {"motions": self.motions.detach(), "optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from a `state_dict` of a run on the same photos."""
        with torch.no_grad():
            self.motions.copy_(state["motions"])
        self._optimizer.load_state_dict(state["optimizer"])


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
    """Orthonormal basis of the motions [6 V] that all cameras make if the world turns, shifts or grows a little."""
    R, T = viewmats[:, :3, :3], viewmats[:, :3, 3]
    axes = torch.eye(3, dtype=viewmats.dtype)
    modes = []
    for axis in axes:  # x becomes x + axis times x: the camera turns back, about the world's zero
        turned = R @ axis
        modes.append(torch.cat([-turned, torch.linalg.cross(turned, T)], dim=1))
    modes += [torch.cat([torch.zeros_like(T), -(R @ axis)], dim=1) for axis in axes]
    modes.append(torch.cat([torch.zeros_like(T), T], dim=1))
    return torch.linalg.qr(torch.stack([mode.flatten() for mode in modes], dim=1)).Q
