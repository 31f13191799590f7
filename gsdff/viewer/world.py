"""What all tabs look at and none of them changes: the scene, its photos, its colours for features."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gsdff.cameras import Camera, WorldFrame
from gsdff.errors import UserError
from gsdff.field.field import Field
from gsdff.gaussians import Gaussians
from gsdff.io.camera_paths import find_up
from gsdff.io.pictures import PcaBasis
from gsdff.render import render_depth
from gsdff.rotation import quats_to_matrices
from gsdff.scene import View
from gsdff.viewer.progress import Progress
from gsdff.viewer.turns import Turns

log = logging.getLogger("gsdff")

Way = Literal["browser", "server"]
"""Who draws: the browser, splats with colours, or this process, exactly."""
BROWSER_LIMIT = 1_000_000
"""Gaussians that a laptop's browser still sorts while it is dragged."""


@dataclass(eq=False)
class World:
    """A scene to look at. Cameras and what is drawn are in the working frame, edits in the input's."""

    field: Field
    views: list[View]
    """All photos in name order; empty for a PLY without photos."""
    frame: WorldFrame
    folder: Path
    """Where everything goes that is saved from the page."""
    names_given: set[Path] = dataclass_field(default_factory=set)
    """In that folder, to what is being written or was."""
    rendering: Turns = dataclass_field(default_factory=Turns)
    """Held while something is drawn, or a step is trained: two at once would both be late."""
    training: Progress | None = None
    """Of the run that makes the scene; None for one that is finished, which alone can be edited."""

    def become(self, field: Field, training: Progress | None) -> None:
        """Shows another field of the same photos, with colours and words of its own."""
        for name in ("feature_colors", "names", "depth"):
            field.read.pop(name, None)
        self.field, self.training = field, training

    @contextmanager
    def asking(self) -> Iterator[None]:
        """While texts are looked up: a teacher may load its network, which draws from the generators of training."""
        if self.training is None:
            yield
            return
        devices = [self.device] if self.device.type == "cuda" else []
        with self.rendering, torch.random.fork_rng(devices):
            yield

    @property
    def gaussians(self) -> Gaussians:
        """In the input's frame."""
        return self.field.gaussians

    @property
    def way(self) -> Way:
        """Who draws until the page says otherwise."""
        return "server" if self.device.type == "cuda" or len(self.gaussians) > BROWSER_LIMIT else "browser"

    @property
    def device(self) -> torch.device:
        """Where the Gaussians are."""
        return self.gaussians.means.device

    @property
    def pca(self) -> PcaBasis | None:
        """The colours of features, the same in all views and tabs; None without features."""
        return None if self.gaussians.features is None else self.field.feature_colors

    @property
    def names(self) -> tuple[str, ...]:
        """All names of a closed vocabulary; empty if any words can be queried, or none."""
        if "names" not in self.field.read:
            self.field.read["names"] = self._find_names()
        return self.field.read["names"]

    def _find_names(self) -> tuple[str, ...]:
        try:
            vocabulary = self.field.vocabulary if self.field.has_features else None
        except UserError as error:
            log.warning("%s", error)
            return ()
        return () if vocabulary is None else tuple(vocabulary.vectors)

    @property
    def backdrop(self) -> np.ndarray:
        """One pixel of what is behind the scene, as large as the window where a browser draws."""
        return np.full((1, 1, 3), [round(255 * channel) for channel in self.field.background], np.uint8)

    @cached_property
    def up(self) -> Float[Tensor, "3"]:
        """What the photos' horizons are level to; the input's +z without photos."""
        cameras = [view.camera for view in self.views]
        return find_up(cameras).float() if cameras else torch.tensor([0.0, 0.0, 1.0])

    @cached_property
    def first_camera(self) -> Camera:
        """Where a new tab stands: at the photo in the middle of their order, or, without any, so far away that most of
        the scene is seen."""
        if self.views:
            return self.views[len(self.views) // 2].camera
        forward = torch.tensor([0.0, 1.0, 0.0])
        down = -self.up
        R = torch.stack([torch.linalg.cross(down, forward), down, forward])
        viewmat = torch.eye(4)
        viewmat[:3, :3], viewmat[:3, 3] = R, R @ (2.5 * forward)
        return Camera(viewmat, torch.tensor([[800.0, 0, 400], [0, 800, 300], [0, 0, 1]]), 800, 600)

    @property
    def depth(self) -> float:
        """How far away most photos see things; half as far is what the depth mode draws brightest."""
        if "depth" not in self.field.read:
            self.field.read["depth"] = self._typical_depth()
        return self.field.read["depth"]

    def _typical_depth(self) -> float:
        depths = [self.depth_at(view.camera) for view in self.views[:: -(-len(self.views) // 8)]] if self.views else []
        return float(torch.tensor(depths or [self.depth_at(self.first_camera)]).median())

    def depth_at(self, camera: Camera) -> float:
        """How far away, along its axis, is what a camera shows in the middle; 1 where it shows nothing there."""
        part = camera.cropped(camera.width // 4, camera.height // 4, camera.width // 2, camera.height // 2)
        small = part.resized(32, 24).to(self.device)
        with torch.no_grad():
            rendered = render_depth(self.gaussians.to_working_frame(self.frame), small)
        solid = rendered.image[rendered.alpha > 0.5]
        return float(solid.median()) if len(solid) else 1.0

    def nearest_view(self, camera: Camera) -> View | None:
        """The photo taken from nearest by, of those that look the same way; None without photos."""
        if not self.views:
            return None
        position, forward = camera.position, camera.viewmat[2, :3]

        def distance(view: View) -> float:
            turned = 1 - float(view.camera.viewmat[2, :3] @ forward)
            return float((view.camera.position - position).norm()) + turned

        return min(self.views, key=distance)


def open_world(field: Field) -> World:
    """A field to look at; logs once which of features and photos it lacks."""
    if not field.has_features:
        log.info("no queries: %s", field.why_no_features)
    source = field.source
    folder = source / "viewer" if source.is_dir() else source.with_name(f"{source.stem}_viewer")
    return World(field, field.scene.views if field.has_photos else [], field.frame, folder)


def make_camera(wxyz: np.ndarray, position: np.ndarray, fov: float, width: int, height: int) -> Camera:
    """A camera in the working frame, as a browser describes it: OpenCV axes, `fov` vertical and in radians."""
    R = quats_to_matrices(torch.as_tensor(np.asarray(wxyz, dtype=np.float64))).T
    viewmat = torch.eye(4, dtype=torch.float64)
    viewmat[:3, :3] = R
    viewmat[:3, 3] = -R @ torch.as_tensor(np.asarray(position, dtype=np.float64))
    focal = 0.5 * height / float(np.tan(0.5 * fov))
    K = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return Camera(viewmat.float(), K, width, height)
