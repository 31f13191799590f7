"""A field of a few Gaussians, a camera or nine around it, and maps to distil: what the feature tests share."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from gsdff.cameras import Camera, WorldFrame
from gsdff.config.options import FeatureConfig, Stage1Config, Stage2Config, TeacherConfig, TrainConfig
from gsdff.config.smoothing import GraphConfig, SmoothingConfig
from gsdff.gaussians import Gaussians, RasterizeMode
from gsdff.scene import Scene, View
from gsdff.training.feature_loss import PreparedFeatures, prepare_features
from gsdff.training.view_data import ViewData


def make_gaussians(count: int, generator: torch.Generator, dim: int | None = None) -> Gaussians:
    """Gaussians scattered around the origin; `dim` gives them random latents."""
    return Gaussians(
        means=torch.randn(count, 3, generator=generator) * torch.tensor([0.8, 0.8, 0.3]),
        quats=torch.randn(count, 4, generator=generator),
        log_scales=torch.rand(count, 3, generator=generator) - 2.2,
        logit_opacities=torch.randn(count, generator=generator),
        sh0=torch.zeros(count, 1, 3),
        shN=torch.zeros(count, 0, 3),
        features=None if dim is None else torch.randn(count, dim, generator=generator),
    )


def make_camera(angle: float = 0.0, width: int = 13, height: int = 9) -> Camera:
    """Looks at the origin from three units away, turned about y."""
    viewmat = torch.eye(4)
    viewmat[0, 0] = viewmat[2, 2] = math.cos(angle)
    viewmat[0, 2], viewmat[2, 0] = -math.sin(angle), math.sin(angle)
    viewmat[2, 3] = 3.0
    K = torch.tensor([[width, 0, width / 2], [0, height * 1.4, height / 2], [0, 0, 1]])
    return Camera(viewmat, K, width, height)


def make_scene(root: Path, num_views: int = 9, width: int = 13, height: int = 9) -> Scene:
    """Black photos `v0.png`, ... from an arc; v0 and v8 are held out."""
    photo = torch.zeros(height, width, 3, dtype=torch.uint8)
    cameras = [make_camera(0.1 * (i - num_views / 2), width, height) for i in range(num_views)]
    views = [View(f"v{i}.png", camera, photo) for i, camera in enumerate(cameras)]
    return Scene(root, views, torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.uint8), WorldFrame())


def write_maps(folder: Path, scene: Scene, generator: torch.Generator, *, channels: int = 6, size: int = 8) -> Path:
    """Random square maps of all views."""
    folder.mkdir(parents=True, exist_ok=True)
    for view in scene.views:
        features = torch.randn(channels, size, size, generator=generator)
        torch.save(features.half(), folder / f"{view.stem}_fmap_CxHxW.pt")
    return folder


UNSMOOTHED = SmoothingConfig(graph=GraphConfig(form="off"))
"""The default diffuses the lift."""


@dataclass(frozen=True)
class Distillation:
    """All that stage 2's features are prepared from, and where."""

    config: TrainConfig
    scene: Scene
    gaussians: Gaussians
    run: Path

    @staticmethod
    def write(root: Path, generator: torch.Generator) -> "Distillation":
        """A scene with maps of 6 channels, to be distilled into 4; errors are squared, and a step sees a whole view."""
        scene = make_scene(root)
        config = TrainConfig(
            teacher=TeacherConfig("precomputed", write_maps(root / "maps", scene, generator)),
            features=FeatureConfig(4),
            stage1=Stage1Config(steps=100),
            stage2=Stage2Config(feature_weight=0.5, parts=1, huber=0.0),
            smoothing=UNSMOOTHED,
        )
        (root / "run").mkdir()
        return Distillation(config, scene, make_gaussians(20, generator), root / "run")

    def prepare(self, *, lift: bool = True, **changes: object) -> tuple[torch.Tensor | None, list]:
        """Features and terms with these options changed."""
        prepared = self.prepare_all(lift=lift, **changes)
        return prepared.features, list(prepared.terms)

    def prepare_all(
        self, *, lift: bool = True, reliability: torch.Tensor | None = None, **changes: object
    ) -> PreparedFeatures:
        """All that stage 2 starts with; `reliability` is that of a resumed run."""
        config = replace(self.config, **changes)
        data = ViewData(self.scene.views, "cpu")
        return prepare_features(config, self.scene, self.gaussians, self.run, data, lift, reliability)

    def carrying(self, features: torch.Tensor, mode: RasterizeMode | None = None) -> Gaussians:
        """The Gaussians with these features, rasterised in their own mode or in another."""
        return replace(self.gaussians, features=features, rasterize_mode=mode or self.gaussians.rasterize_mode)


def random_photos(scene: Scene, generator: torch.Generator) -> Scene:
    """The same views with other photos."""
    views = [
        replace(view, image=torch.randint(0, 256, view.image.shape, dtype=torch.uint8, generator=generator))
        for view in scene.views
    ]
    return replace(scene, views=views)
