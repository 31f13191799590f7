"""Stage 2's features: from a teacher to latents to train and the loss that trains them."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from gsdff.config.options import TrainConfig
from gsdff.errors import UserError
from gsdff.files import whole_file
from gsdff.gaussians import Gaussians
from gsdff.io.runs import RunFolder
from gsdff.latents import Basis
from gsdff.render import render_features
from gsdff.scene import Scene
from gsdff.smoothing import NeighbourGraph, build_graph, diffuse
from gsdff.teachers import open_teacher
from gsdff.teachers.store import FeatureStore, open_store
from gsdff.training.lift import FeatureTarget, lift_features
from gsdff.training.smoothing_losses import (
    GraphTerm,
    Look,
    Smoother,
    compare,
    count_pure,
    filter_target,
    graph_settings,
    needs_segments,
    open_filters,
    open_smoothers,
)
from gsdff.training.teacher_targets import PhotoMaps, Ready, enlarge_target, make_target, take_strip
from gsdff.training.view_masks import ViewSegments, check_segments

log = logging.getLogger("gsdff")


@dataclass(frozen=True)
class FeatureTerm:
    """The feature loss of one training view, a term of stage 2 (`gsdff.training.trainer.Term`)."""

    targets: Ready[FeatureTarget]
    num_views: int
    """Training views."""
    weight: float
    parts: int = 1
    """Strips of a view, one a step: a fraction of the cost, and as good after as many steps (docs/features.md)."""
    huber: float = 0.0
    smoothers: Sequence[Smoother] = ()
    first_step: int = 0
    """Steps before stage 2."""
    refresh: Callable[[Gaussians, int], None] = lambda gaussians, step: None
    """Called before every step of stage 2 with its number; may make masks anew."""

    def __call__(self, gaussians: Gaussians, view_id: int, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The comparison of a strip with the teacher, reported as `feature`, and what the smoothers add or put instead.

        The comparison is the mean over the strip's pixels of `feature_error`, weighted by rendered alpha. Rendering is
        at the photo's size; a coarser map is compared with the mean over each of its pixels. A view shows its next
        strip in every pass over the views, and neighbouring views start with different ones.

        Differentiable in `gaussians.features` only: geometry and opacity are detached, and so is alpha.
        """
        self.refresh(gaussians, step - self.first_step)
        epoch = step // self.num_views
        strip = take_strip(self.targets[view_id], view_id, (epoch + view_id) % self.parts, self.parts)
        rendered = render_features(gaussians, strip.camera)
        look = Look(strip, rendered.image, rendered.alpha[..., 0].detach())
        error = compare(look.latents, look.alpha, strip, self.huber)
        shares = [smoother.share(step - self.first_step) for smoother in self.smoothers]
        replaced = max((share for share, row in zip(shares, self.smoothers, strict=True) if row.replaces), default=0.0)
        # where it is replaced altogether it is only told, and costs no backward pass
        loss, scalars = (1 - replaced) * error if replaced < 1 else torch.zeros_like(error), {"feature": error}
        for share, smoother in zip(shares, self.smoothers, strict=True):
            if share > 0:
                scalars[smoother.name] = smoother.measure(look)
                loss = loss + share * smoother.schedule.weight * scalars[smoother.name]
        return loss, scalars


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
    check_segments(config, scene)


def prepare_features(
    config: TrainConfig,
    scene: Scene,
    gaussians: Gaussians,
    run_folder: Path,
    device: torch.device | str,
    lift: bool = True,
) -> tuple[Float[Tensor, "N K"] | None, list[FeatureTerm | GraphTerm]]:
    """What stage 2 starts from: lifted latents for every Gaussian, and the loss terms; (None, []) without a teacher.

    Writes `run_folder/basis.safetensors`, the training views' latent maps into `run_folder/features/` or
    `features.cache`, and where smoothing wants them masks and filtered maps. With `lift=False` (a resumed run has its
    latents already) features are None, masks stay as they are, and a basis other than the one on disk is a
    `UserError`, since those latents would mean nothing in it.
    """
    device = torch.device(device)
    teacher = open_teacher(config.teacher, scene, device)
    if teacher is None:
        return None, []
    check_features(config, scene)
    folder = RunFolder(run_folder)
    views = [scene.views[view_id] for view_id in scene.train_ids]
    store = open_store(teacher, views, config.features.cache or run_folder / "features", config.features, device)
    if not lift:
        _require_same_basis(folder.basis, store.basis)
    store.basis.save(folder.basis)

    segments = ViewSegments(config, scene, folder, device)
    if needs_segments(config.smoothing) and (lift or not segments.are_there()):
        segments.make(gaussians)
    targets = TeacherTargets(config, scene, store, segments, folder)
    starts = tqdm(targets.prepare(), desc="lift", unit="view", total=len(views), leave=False)
    features = None
    if lift:
        features = _lift(gaussians, starts)
    else:
        deque(starts, maxlen=0)
    terms: list[FeatureTerm | GraphTerm] = [open_term(config, scene, targets)]
    options = config.smoothing.graph
    if options.form == "lift" and features is not None:
        graph = build_graph(gaussians, features=features, **graph_settings(options))
        features = diffuse(features, graph, options.steps)
    if options.form == "consistency":
        graph = _keep_graph(folder.graph, config, gaussians, features)
        terms.append(GraphTerm(graph, config.stage2.feature_weight * options.weight))
    return features, terms


class TeacherTargets:
    """The teacher's maps of the training views, as the steps and the lift want them."""

    def __init__(
        self, config: TrainConfig, scene: Scene, store: FeatureStore, segments: ViewSegments, folder: RunFolder
    ):
        self.scene = scene
        self.store = store
        self.segments = segments
        self.smoothing = config.smoothing
        self.filters = open_filters(config.smoothing, scene, segments)
        self.filtered = {
            name: PhotoMaps(folder.filtered / name, segments.device)
            for name in self.filters
            if getattr(config.smoothing, name).form == "target"
        }
        self.maps = Ready(self._load, lambda target: target.latents.nbytes)

    def prepare(self) -> Iterator[FeatureTarget]:
        """Writes the filtered maps; yields what the lift takes, at the photo's size.

        That is the filtered maps where they count from the first step, by their weights, else the maps themselves.
        """
        for view_id in self.scene.train_ids:
            target, total = enlarge_target(self.maps[view_id]), 0.0
            for name, maps in self.filtered.items():
                options, filtered = getattr(self.smoothing, name), self._filter(name, view_id)
                maps.save(self.scene.views[view_id], filtered)
                if options.start == 0 and options.weight > 0:
                    total += options.weight
                    latents = target.latents.lerp(filtered.latents, options.weight / total)  # a running mean
                    target = replace(filtered, latents=latents)
            yield target

    def refresh(self, gaussians: Gaussians) -> None:
        """Masks and all that depends on them, for the scene as it is now."""
        self.segments.make(gaussians)
        self.maps.clear()
        deque(self.prepare(), maxlen=0)

    def _load(self, view_id: int) -> FeatureTarget:
        view, sam = self.scene.views[view_id], self.smoothing.sam
        target = make_target(self.store.load(view).to(self.segments.device), view)
        if sam.form != "consistency" or sam.purity == 0:
            return target
        counts = count_pure(self.segments[view_id], target, sam.purity)
        whole = take_strip(target, view_id, 0, 1)
        return replace(target, weights=target.weights * whole.shrink(counts[..., None])[..., 0])

    def _filter(self, name: str, view_id: int) -> FeatureTarget:
        target, sam = self.maps[view_id], self.smoothing.sam
        is_weighted = name == "sam" and sam.purity > 0
        counts = count_pure(self.segments[view_id], target, sam.purity) if is_weighted else 1.0
        return filter_target(self.filters[name], enlarge_target(target, "bilinear"), view_id, counts)


def open_term(config: TrainConfig, scene: Scene, targets: TeacherTargets) -> FeatureTerm:
    """The feature loss as the options have it."""
    stage2, every = config.stage2, config.masks.refresh

    def refresh(gaussians: Gaussians, step: int) -> None:
        if every and step and step % every == 0 and needs_segments(config.smoothing):
            targets.refresh(gaussians)

    return FeatureTerm(
        targets.maps,
        len(scene.train_ids),
        stage2.feature_weight,
        stage2.parts,
        stage2.huber,
        open_smoothers(config.smoothing, targets.filters, targets.filtered, scene, targets.segments, stage2.huber),
        config.stage1.steps,
        refresh,
    )


def _lift(gaussians: Gaussians, targets: Iterable[FeatureTarget]) -> Float[Tensor, "N K"]:
    """At the photo's size: on a coarse map many Gaussians are too faint to be seen, and would get no feature at all."""

    def render(features: Tensor, target: FeatureTarget) -> Tensor:
        return render_features(gaussians, target.camera, features=features).image

    lifted = lift_features(render, targets, len(gaussians))
    log.info("lift: %d of %d Gaussians were seen by a training view", int((lifted.weights > 0).sum()), len(gaussians))
    return lifted.features


def _require_same_basis(path: Path, basis: Basis) -> None:
    before = Basis.load(path)
    if before.fingerprint != basis.fingerprint:
        raise UserError(
            f"{path}: belongs to other teacher maps or settings than the ones given now, so this run's features cannot "
            f"be resumed; give it the same maps, or start a new run"
        )


def _keep_graph(
    path: Path, config: TrainConfig, gaussians: Gaussians, features: Float[Tensor, "N K"] | None
) -> NeighbourGraph:
    """That of the lifted features; a resumed run, which has none, finds it in its folder."""
    if features is None:
        return NeighbourGraph(**torch.load(path, map_location=gaussians.means.device, weights_only=True))
    graph = build_graph(gaussians, features=features, **graph_settings(config.smoothing.graph))
    with whole_file(path) as partial:
        torch.save({"ids": graph.ids, "weights": graph.weights, "self_weights": graph.self_weights}, partial)
    return graph
