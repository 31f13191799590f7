"""Stage 2's features: from a teacher to latents to train and the loss that trains them."""

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from gsdff.config import TrainConfig
from gsdff.errors import UserError
from gsdff.features import squared_error
from gsdff.gaussians import Gaussians
from gsdff.lift import FeatureTarget, lift_features
from gsdff.render import RasterizeMode, Rendered, render_features
from gsdff.runs import RunFolder
from gsdff.scene import Scene, View
from gsdff.teachers import open_teacher
from gsdff.teachers.basis import Basis
from gsdff.teachers.store import FeatureStore, open_store

log = logging.getLogger("gsdff")

READY_BYTES = 5e8
"""The most that targets kept in memory take: reading and shrinking one costs a tenth of a step."""


def make_target(latents: Float[Tensor, "h w K"], view: View) -> FeatureTarget:
    """A latent map as a target for `view`'s camera, at the map's own size but no finer than the photo.

    Maps are often square whatever the photo's shape, so pixels are not: the camera resized to the map sees exactly the
    squashed picture the network saw. A side finer than the photo's is averaged down to it, because rendering costs by
    the pixel and the Gaussians know no finer detail. Pixels where the teacher says nothing count for nothing.
    """
    photo = view.camera
    height, width = min(latents.shape[0], photo.height), min(latents.shape[1], photo.width)
    weights = (latents.square().sum(-1) > 0).to(latents.dtype)
    if (height, width) != tuple(latents.shape[:2]):
        stacked = torch.cat([latents, weights[..., None]], dim=-1).permute(2, 0, 1)
        resized = F.interpolate(stacked[None], (height, width), mode="area")[0].permute(1, 2, 0)
        weights = resized[..., -1]
        latents = resized[..., :-1] / weights.clamp_min(1e-6)[..., None]
    camera = photo.resized(width, height).to(latents.device)
    is_coarse = (width, height) != (photo.width, photo.height)
    return FeatureTarget(camera, latents.contiguous(), weights.contiguous(), is_coarse)


def take_strip(target: FeatureTarget, part: int, parts: int) -> FeatureTarget:
    """The `part`-th of `parts` strips of a target, from the top, as a camera sees it that looks at nothing else.

    The whole target where it has fewer rows than parts.
    """
    height = target.camera.height
    if height < parts:
        return target
    top, bottom = height * part // parts, height * (part + 1) // parts
    K = target.camera.K.clone()
    K[1, 2] -= top
    camera = replace(target.camera, K=K, height=bottom - top)
    return replace(target, camera=camera, latents=target.latents[top:bottom], weights=target.weights[top:bottom])


def enlarge_target(target: FeatureTarget, view: View) -> FeatureTarget:
    """The same target at the photo's size, each pixel taking the answer under its centre."""
    camera = view.camera.to(target.latents.device)
    stacked = torch.cat([target.latents, target.weights[..., None]], dim=-1).permute(2, 0, 1)
    stacked = F.interpolate(stacked[None], (camera.height, camera.width), mode="nearest-exact")[0].permute(1, 2, 0)
    return FeatureTarget(camera, stacked[..., :-1], stacked[..., -1])


def render_at(
    gaussians: Gaussians,
    target: FeatureTarget,
    rasterize_mode: RasterizeMode,
    features: Float[Tensor, "N D"] | None = None,
) -> Rendered:
    """Features (the Gaussians' own by default) at a target's size, as they would look averaged down from the photo's.

    `classic` fattens Gaussians by a blur of constant size in pixels, which on a coarse map is several of the photo's:
    features trained that way fall apart at the photo's size. So coarse targets are rendered `antialiased`; those of the
    photo's size in the run's own mode.
    """
    mode = "antialiased" if target.is_coarse else rasterize_mode
    return render_features(gaussians, target.camera, features=features, rasterize_mode=mode)


@dataclass(frozen=True)
class FeatureTargets:
    """The targets of a scene's training views, read from the store when asked for; as many as fit stay ready."""

    store: FeatureStore
    scene: Scene
    device: torch.device
    _ready: dict[int, FeatureTarget] = field(default_factory=dict)

    def __getitem__(self, view_id: int) -> FeatureTarget:
        if view_id in self._ready:
            return self._ready[view_id]
        view = self.scene.views[view_id]
        target = make_target(self.store.load(view).to(self.device), view)
        if (len(self._ready) + 1) * target.latents.nbytes <= READY_BYTES:
            self._ready[view_id] = target
        return target


@dataclass(frozen=True)
class FeatureTerm:
    """The feature loss of one training view, a term of stage 2 (`gsdff.trainer.Term`)."""

    targets: FeatureTargets
    weight: float
    rasterize_mode: RasterizeMode = "classic"
    parts: int = 1
    """Strips of a map, one a step: a fraction of the cost, and as good after as many steps (docs/features.md)."""

    def __call__(self, gaussians: Gaussians, view_id: int, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean over a strip's pixels of Σ_k (ẑ - z*)², weighted by rendered alpha; reported as `feature`.

        A view shows its next strip in every pass over the views, and neighbouring views start with different ones.

        Differentiable in `gaussians.features` only: geometry and opacity are detached, and so is alpha.
        """
        epoch = step // len(self.targets.scene.train_ids)
        target = take_strip(self.targets[view_id], (epoch + view_id) % self.parts, self.parts)
        rendered = render_at(gaussians, target, self.rasterize_mode)
        error = squared_error(rendered.image, target.latents, rendered.alpha[..., 0].detach() * target.weights)
        return error, {"feature": error}


def check_features(config: TrainConfig, scene: Scene) -> None:
    """Raises `UserError` for what would stop stage 2, without reading a map: to be asked before stage 1 starts."""
    teacher = open_teacher(config.teacher, scene)
    if teacher is None:
        return
    names: dict[str, str] = {}
    for view in scene.views:
        teacher.check(view)
        if names.setdefault(view.stem, view.name) != view.name:
            raise UserError(
                f"{scene.root}: photos {names[view.stem]} and {view.name} share the stem {view.stem}, by which maps "
                f"are matched; rename one"
            )


def prepare_features(
    config: TrainConfig,
    scene: Scene,
    gaussians: Gaussians,
    run_folder: Path,
    device: torch.device | str,
    lift: bool = True,
) -> tuple[Float[Tensor, "N K"] | None, list[FeatureTerm]]:
    """What stage 2 starts from: lifted latents for every Gaussian, and the loss terms; (None, []) without a teacher.

    Writes `run_folder/basis.safetensors`, and the training views' latent maps into `run_folder/features/` or
    `features.cache`. With `lift=False` (a resumed run has its latents already) features are None, and a basis other
    than the one on disk is a `UserError`, since those latents would mean nothing in it.
    """
    device = torch.device(device)
    teacher = open_teacher(config.teacher, scene, device)
    if teacher is None:
        return None, []
    check_features(config, scene)
    views = [scene.views[view_id] for view_id in scene.train_ids]
    store = open_store(teacher, views, config.features.cache or run_folder / "features", config.features, device)
    path = RunFolder(run_folder).basis
    if not lift:
        _require_same_basis(path, store.basis)
    store.basis.save(path)
    targets = FeatureTargets(store, scene, device)
    term = FeatureTerm(targets, config.stage2.feature_weight, config.stage1.rasterize_mode, config.stage2.parts)
    return (_lift(gaussians, term) if lift else None), [term]


def _lift(gaussians: Gaussians, term: FeatureTerm) -> Float[Tensor, "N K"]:
    """At the photo's size: on a coarse map many Gaussians are too faint to be seen, and would get no feature at all."""
    scene = term.targets.scene
    targets = (enlarge_target(term.targets[view_id], scene.views[view_id]) for view_id in scene.train_ids)
    progress = tqdm(targets, desc="lift", unit="view", total=len(scene.train_ids), leave=False)

    def render(features: Tensor, target: FeatureTarget) -> Tensor:
        return render_at(gaussians, target, term.rasterize_mode, features).image

    lifted = lift_features(render, progress, len(gaussians))
    log.info("lift: %d of %d Gaussians were seen by a training view", int((lifted.weights > 0).sum()), len(gaussians))
    return lifted.features


def _require_same_basis(path: Path, basis: Basis) -> None:
    before = Basis.load(path)
    if before.fingerprint != basis.fingerprint:
        raise UserError(
            f"{path}: belongs to other teacher maps or settings than the ones given now, so this run's features cannot "
            f"be resumed; give it the same maps, or start a new run"
        )
