"""Data that all tabs share and none of them changes: field, photos, frame, colours of features, render lock."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from pathlib import Path

import numpy as np
import torch

from gsdff.cameras import Camera, WorldFrame
from gsdff.field.field import Field
from gsdff.gaussians import Gaussians
from gsdff.io.pictures import PcaBasis
from gsdff.render import render_depth
from gsdff.rotation import quats_to_matrices
from gsdff.scene import View
from gsdff.viewer.fair_lock import FairLock
from gsdff.viewer.page.start import choose_cameras
from gsdff.viewer.training_progress import TrainingProgress

log = logging.getLogger("gsdff")

MOST_IN_BROWSER = 1_000_000
"""Number of Gaussians that a laptop's browser still sorts while the camera moves."""


@dataclass(eq=False)
class SharedScene:
    """The scene that all tabs show. Cameras and rendering use the working frame, edits the input's."""

    field: Field
    views: list[View]
    """All photos in name order; empty for a PLY without photos."""
    frame: WorldFrame
    folder: Path
    """Folder of all files that are saved from the page."""
    reserved_paths: set[Path] = dataclass_field(default_factory=set)
    """Paths in that folder that some tab writes or has written."""
    render_lock: FairLock = dataclass_field(default_factory=FairLock)
    """Held while an image is rendered or a step is trained: two at once would both be late."""
    training: TrainingProgress | None = None
    """Progress of the run that trains the scene; None for a finished one. Only a finished one can be edited."""

    def replace_field(self, field: Field, training: TrainingProgress | None) -> None:
        """Shows another field of the same photos, whose colours of features and depth are computed anew."""
        for name in ("feature_colors", "depth"):
            field.read.pop(name, None)
        self.field, self.training = field, training

    @contextmanager
    def encoding_text(self) -> Iterator[None]:
        """Context for encoding texts during training: loading a teacher's network draws from torch's generators."""
        if self.training is None:
            yield
            return
        devices = [self.device] if self.device.type == "cuda" else []
        with self.render_lock, torch.random.fork_rng(devices):
            yield

    @property
    def gaussians(self) -> Gaussians:
        """The Gaussians in the input's world frame."""
        return self.field.gaussians

    @property
    def is_large(self) -> bool:
        """Whether there are too many Gaussians for a browser: pages have no harmonics, and this process draws."""
        return len(self.gaussians) > MOST_IN_BROWSER

    @property
    def device(self) -> torch.device:
        """Device of the Gaussians."""
        return self.gaussians.means.device

    @property
    def pca(self) -> PcaBasis | None:
        """Colours of features, the same in all views and tabs; None without features."""
        return None if self.gaussians.features is None else self.field.feature_colors

    @property
    def typical_depth(self) -> float:
        """Median over photos of the depth in their middle; half of it is brightest in the depth mode."""
        if "depth" not in self.field.read:
            self.field.read["depth"] = self._measure_depth()
        return self.field.read["depth"]

    def _measure_depth(self) -> float:
        some = self.views[:: -(-len(self.views) // 8)] if self.views else []
        cameras = [view.camera for view in some] or choose_cameras(self.field)
        return float(torch.tensor([self.depth_at(camera) for camera in cameras]).median())

    def depth_at(self, camera: Camera) -> float:
        """Median depth in the middle of a camera's image; 1 if nothing is there."""
        part = camera.cropped(camera.width // 4, camera.height // 4, camera.width // 2, camera.height // 2)
        small = part.resized(32, 24).to(self.device)
        with torch.no_grad():
            rendered = render_depth(self.gaussians.to_working_frame(self.frame), small)
        solid = rendered.image[rendered.alpha > 0.5]
        return float(solid.median()) if len(solid) else 1.0

    def nearest_view(self, camera: Camera) -> View | None:
        """Photo with the nearest position and direction; None without photos."""
        if not self.views:
            return None
        position, forward = camera.position, camera.viewmat[2, :3]

        def distance(view: View) -> float:
            turned = 1 - float(view.camera.viewmat[2, :3] @ forward)
            return float((view.camera.position - position).norm()) + turned

        return min(self.views, key=distance)


def open_shared_scene(field: Field) -> SharedScene:
    """The scene of a loaded field; logs once if it lacks features or photos."""
    if not field.has_features:
        log.info("no queries: %s", field.why_no_features)
    source = field.source
    folder = source / "viewer" if source.is_dir() else source.with_name(f"{source.stem}_viewer")
    return SharedScene(field, field.scene.views if field.has_photos else [], field.frame, folder)


def make_camera(wxyz: np.ndarray, position: np.ndarray, fov: float, width: int, height: int) -> Camera:
    """Camera in the working frame from a browser's description: OpenCV axes, `fov` vertical and in radians."""
    R = quats_to_matrices(torch.as_tensor(np.asarray(wxyz, dtype=np.float64))).T
    viewmat = torch.eye(4, dtype=torch.float64)
    viewmat[:3, :3] = R
    viewmat[:3, 3] = -R @ torch.as_tensor(np.asarray(position, dtype=np.float64))
    focal = 0.5 * height / float(np.tan(0.5 * fov))
    K = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return Camera(viewmat.float(), K, width, height)
