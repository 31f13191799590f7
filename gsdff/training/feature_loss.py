"""Features in stage 2: latents lifted from a teacher, and the loss that trains them."""

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
from gsdff.config.smoothing import needs_segments
from gsdff.device import send
from gsdff.errors import UserError
from gsdff.gaussians import Gaussians
from gsdff.io.runs import RunFolder
from gsdff.latents import Basis
from gsdff.ranks import this_job
from gsdff.render import render_features
from gsdff.scene import Scene
from gsdff.smoothing import diffuse
from gsdff.teachers import open_teacher
from gsdff.teachers.store import FeatureStore, open_store
from gsdff.things import Things
from gsdff.training.graph_file import build_or_load_graph, build_smoothing_graph
from gsdff.training.lift import FeatureTarget, Lifted, keep_in_step, lift_features
from gsdff.training.pace import Pace, is_due
from gsdff.training.parts import add_parts, count_all, share_of_mean
from gsdff.training.smoothing_losses import (
    THINGS,
    GraphTerm,
    RenderedStrip,
    SmoothingLoss,
    filter_target,
    open_filters,
    open_smoothing_losses,
    purity_weights,
    strip_error,
)
from gsdff.training.teacher_targets import FilteredMaps, enlarge_target, make_target, take_strip
from gsdff.training.terms import Term
from gsdff.training.thing_targets import ThingTargets
from gsdff.training.view_data import ViewCache, ViewData
from gsdff.training.view_masks import ViewSegments, check_masks

log = logging.getLogger("gsdff")


@dataclass(frozen=True)
class FeatureTerm:
    """Feature loss of one training view, a term of stage 2 (`gsdff.training.terms.Term`)."""

    targets: ViewCache[FeatureTarget]
    num_views: int
    """Number of training views."""
    pace: Pace
    weight: float
    parts: int = 1
    """Strips of a view, one per step: a fraction of the cost, and as good after as many steps (docs/features.md)."""
    huber: float = 0.0
    smoothing_losses: Sequence[SmoothingLoss] = ()
    first_step: int = 0
    """Number of steps before stage 2."""
    refresh: Callable[[Gaussians, int], None] = lambda gaussians, step: None
    """Called before every step of stage 2 with its number; may renew the masks."""

    def __call__(self, gaussians: Gaussians, view_id: int, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the loss, and its parts as scalars to log: `feature` (the data term) and the smoothing losses.

        The data term is the mean of `feature_error` over the pixels of a strip, weighted by rendered alpha. Rendering
        is at the size of the photo, and is averaged down to the pixels of a coarser map. A view takes its next strip in
        every pass over the views, and neighbouring views start with different ones.

        Differentiable in `gaussians.features` only: geometry and opacity are detached, and so is alpha.
        """
        stage2_step = step - self.first_step
        self.refresh(gaussians, stage2_step)
        epoch = self.pace.turn(step) // self.num_views
        strip = take_strip(self.targets[view_id], view_id, (epoch + view_id) % self.parts, self.parts)
        image = render_features(gaussians, strip.camera, rows=strip.rows)
        rendered = RenderedStrip(strip, image.image, image.alpha[..., 0].detach())
        error = strip_error(rendered.latents, rendered.alpha, strip, self.huber)
        warmups = [smoothing.warmup(stage2_step) for smoothing in self.smoothing_losses]
        pairs = list(zip(self.smoothing_losses, warmups, strict=True))
        replaced = max((warmup for smoothing, warmup in pairs if smoothing.replaces), default=0.0)
        # a data term that is replaced completely is only logged, and costs no backward pass
        loss, scalars = (1 - replaced) * error if replaced < 1 else torch.zeros_like(error), {"feature": error}
        for smoothing, warmup in pairs:
            if warmup > 0:
                scalars[smoothing.name] = smoothing.measure(rendered)
                loss = loss + warmup * smoothing.schedule.weight * scalars[smoothing.name]
        return loss, scalars


@dataclass(frozen=True)
class PreparedFeatures:
    """All that stage 2 trains with; nothing without a teacher."""

    features: Float[Tensor, "N K"] | None
    """Lifted latents of every Gaussian; None if a resumed run has its own."""
    reliability: Float[Tensor, "N"] | None
    """Agreement of the views: that of the lift (`Lifted.reliability`) or, without one, what the resumed run has."""
    terms: Sequence[Term]


def check_features(config: TrainConfig, scene: Scene) -> None:
    """Raises `UserError` for what would stop stage 2; reads no values of maps, so that it can run before stage 1."""
    teacher = open_teacher(config.teacher, scene)
    if teacher is None:
        return
    for view in scene.views:
        teacher.check(view)
    check_masks(config, scene)


def prepare_features(
    config: TrainConfig,
    scene: Scene,
    gaussians: Gaussians,
    run_folder: Path,
    data: ViewData,
    lift: bool = True,
    reliability: Float[Tensor, "N"] | None = None,
    things: Things | None = None,
) -> PreparedFeatures:
    """Prepares stage 2: lifts the teacher's features, and opens the loss terms.

    Writes `run_folder/basis.safetensors`, latent maps of the training views into `run_folder/features/` or
    `features.cache`, and masks and filtered maps if smoothing needs them. With `lift=False` (a resumed run has its
    latents and their reliability already) nothing is lifted, masks stay as they are, and a basis other than the one on
    disk raises `UserError`, since the latents would mean nothing in it. With `things`, which have been joined from the
    masks, these stay as they are too.
    """
    teacher = open_teacher(config.teacher, scene, data.device)
    if teacher is None:
        return PreparedFeatures(None, None, [])
    check_features(config, scene)
    folder = RunFolder(run_folder)
    views = [scene.views[view_id] for view_id in scene.train_ids]
    store = open_store(teacher, views, config.features.cache or run_folder / "features", config.features, data.device)
    if not lift:
        _require_same_basis(folder.basis, store.basis)
    ranks = this_job()
    ranks.wait()
    if ranks.is_first:
        store.basis.save(folder.basis)

    segments = ViewSegments(config, scene, folder, data)
    if needs_segments(config.smoothing) and things is None and (lift or not segments.are_complete()):
        segments.make(gaussians)
    targets = TeacherTargets(config, scene, store, segments, folder)
    lift_targets = tqdm(targets.prepare(), desc="lift", unit="view", total=len(ranks.share(views)), leave=False)
    features = None
    if lift:
        lifted = _lift(gaussians, lift_targets, len(views))
        features, reliability = lifted.features, lifted.reliability
    else:
        _exhaust(lift_targets)
    terms: list[FeatureTerm | GraphTerm] = [open_feature_term(config, scene, targets)]
    options = config.smoothing.graph
    if options.form == "lift" and features is not None:
        graph = build_smoothing_graph(gaussians, features, options, reliability)
        features = diffuse(features, graph, options.steps)
    if config.smoothing.things.form != "off":
        features = ThingTargets(config.smoothing.things, scene, segments, targets.maps, folder).prepare(
            gaussians, features, reliability, targets.things, things
        )
    if options.form == "consistency":
        graph = build_or_load_graph(folder.graph, options, gaussians, features, reliability)
        terms.append(GraphTerm(graph, config.stage2.feature_weight * options.weight, share_of_mean(gaussians)))
    return PreparedFeatures(features, reliability, terms)


class TeacherTargets:
    """The teacher's maps of the training views: plain ones for the data term, filtered ones for the form `target`."""

    def __init__(
        self, config: TrainConfig, scene: Scene, store: FeatureStore, segments: ViewSegments, folder: RunFolder
    ):
        self.scene = scene
        self.store = store
        self.segments = segments
        self.smoothing = config.smoothing
        self.data = segments.data
        self.filters = open_filters(config.smoothing, self.data.views, segments)
        self.filtered = {
            name: FilteredMaps(folder.filtered / name, self.data)
            for name in self.filters
            if getattr(config.smoothing, name).form == "target"
        }
        is_target = config.smoothing.things.form == "target"
        self.things = FilteredMaps(folder.filtered / THINGS, self.data) if is_target else None
        self.maps = self.data.cache(self._load)

    def prepare(self) -> Iterator[FeatureTarget]:
        """Writes the filtered maps of each view; yields the target that is lifted, at the size of the photo.

        Those of this rank's share of the views. All ranks have written theirs at the end.
        That is the mean of the filtered maps by their weights, of those used from the first step; without any, the
        plain map.
        """
        for view_id in this_job().share(self.scene.train_ids):
            target, total = enlarge_target(self.maps[view_id]), 0.0
            for name, maps in self.filtered.items():
                options, filtered = getattr(self.smoothing, name), self._filter(name, view_id)
                maps.save(self.scene.views[view_id], filtered)
                if options.start == 0 and options.weight > 0:
                    total += options.weight
                    latents = target.latents.lerp(filtered.latents, options.weight / total)  # a running mean
                    target = replace(filtered, latents=latents)
            yield target
        this_job().wait()

    def refresh(self, gaussians: Gaussians) -> None:
        """Renews masks, and the maps that depend on them, for the scene in its present state."""
        self.segments.make(gaussians)
        self.maps.clear()
        _exhaust(self.prepare())

    def _load(self, view_id: int) -> FeatureTarget:
        view, sam = self.scene.views[view_id], self.smoothing.sam
        target = make_target(send(self.store.load(view), self.data.device), view)
        if sam.form != "consistency" or sam.purity == 0:
            return target
        # its file is read, as the cache of the segments belongs to the thread that trains
        weights = purity_weights(self.segments.load(view_id), target, sam.purity)
        whole = take_strip(target, view_id, 0, 1)
        return replace(target, weights=target.weights * whole.shrink(weights[..., None])[..., 0])

    def _filter(self, name: str, view_id: int) -> FeatureTarget:
        target, sam = self.maps[view_id], self.smoothing.sam
        is_weighted = name == "sam" and sam.purity > 0
        weights = purity_weights(self.segments[view_id], target, sam.purity) if is_weighted else 1.0
        return filter_target(self.filters[name], enlarge_target(target, "bilinear"), view_id, weights)


def open_feature_term(config: TrainConfig, scene: Scene, targets: TeacherTargets) -> FeatureTerm:
    """The feature loss with the options of the config."""
    smoothing, stage2, every, pace = config.smoothing, config.stage2, config.masks.refresh, Pace.of(config)

    filtered = targets.filtered | ({} if targets.things is None else {THINGS: targets.things})

    def refresh(gaussians: Gaussians, step: int) -> None:
        if every and step and is_due(step - pace.stride, step, every) and needs_segments(smoothing):
            targets.refresh(gaussians)

    return FeatureTerm(
        targets.maps,
        len(scene.train_ids),
        pace,
        stage2.feature_weight,
        stage2.parts,
        stage2.huber,
        open_smoothing_losses(smoothing, targets.filters, filtered, scene, targets.segments, stage2.huber),
        config.stage1.steps,
        refresh,
    )


def _lift(gaussians: Gaussians, targets: Iterable[FeatureTarget], num_views: int) -> Lifted:
    """Lifts at the size of the photos: in a coarse rendering many Gaussians are too faint to get any feature."""

    def render(features: Tensor, target: FeatureTarget) -> Tensor:
        return render_features(gaussians, target.camera, features=features).image

    if gaussians.is_part:
        targets = keep_in_step(iter(targets), num_views)
    lifted = lift_features(render, targets, len(gaussians), adds_ranks=not gaussians.is_part)
    num_visible = add_parts(gaussians, int((lifted.weights > 0).sum()))
    log.info("lift: %d of %d Gaussians are visible in a training view", num_visible, count_all(gaussians))
    return lifted


def _exhaust(targets: Iterable[FeatureTarget]) -> None:
    """Iterates for the side effects only."""
    deque(targets, maxlen=0)


def _require_same_basis(path: Path, basis: Basis) -> None:
    before = Basis.load(path)
    if before.fingerprint != basis.fingerprint:
        raise UserError(
            f"{path}: belongs to other teacher maps or settings than the ones given now, so the features of this run "
            f"cannot be resumed; give it the same maps, or start a new run"
        )
