"""Study of reliability: whether weighing Gaussians by the agreement of their views improves what is made of them.

    python scripts/study_reliability.py runs/demo
    python scripts/study_reliability.py runs/camvid --maps build/camvid_maps
    python scripts/study_reliability.py runs/room_a --maps build/room_a_maps --labels build/room_a_labels/labels

The Gaussians are a run's, their features are lifted anew; nothing is trained. Every row changes one thing: how the lift
diffuses over neighbouring Gaussians, how features of things are pooled, how labels of Gaussians are drawn, how
Gaussians are cut out. Scored on the held-out views: mIoU, mIoU in the 3 px band, with the toy teacher the error to its
clean maps; for cuts the boundary IoU of things; for names the share of things whose name is the class they show most.
"""

import gsdff  # noqa: F401  # isort: skip  # before torch: it sets how torch's threads wait

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Annotated

import torch
import torch.nn.functional as F
import tyro
from ablation_arms import MIN_AREA, make_label_masks
from jaxtyping import Float, Int32, UInt8
from study_tools import markdown_table, mean_and_spread
from torch import Tensor
from tqdm import tqdm

from gsdff.cli import run_door
from gsdff.config.options import FeatureConfig, TeacherConfig
from gsdff.config.smoothing import GraphConfig, MaskConfig, ThingsConfig
from gsdff.errors import UserError
from gsdff.evaluation.classes import GroundTruth, find_classes
from gsdff.evaluation.cuts import CutScores
from gsdff.evaluation.label_metrics import boundary_distance
from gsdff.field.load import load
from gsdff.gaussians import Gaussians
from gsdff.latents import MIN_NORM, encode, teacher_cosine, text_cosine
from gsdff.masks.precomputed import PrecomputedSegmenter
from gsdff.metrics import confusion_matrix, label_scores
from gsdff.render import render_features
from gsdff.scene import VOID, Scene, View
from gsdff.smoothing import diffuse
from gsdff.teachers import open_teacher
from gsdff.teachers.store import open_store
from gsdff.teachers.toy import ToyTeacher
from gsdff.things import ThingPool, Things, draw_thing_map, spread_features
from gsdff.training.graph_file import build_smoothing_graph
from gsdff.training.lift import FeatureTarget, Lifted, lift_features
from gsdff.training.smoothing_losses import purity_weights
from gsdff.training.teacher_targets import enlarge_target, make_target
from gsdff.training.thing_targets import find_things


@dataclass(frozen=True)
class Options:
    """Measures what reliability is good for, on one scene with label images."""

    run: Annotated[Path, tyro.conf.Positional]
    """Run whose Gaussians are used."""
    maps: Path | None = None
    """Maps of a precomputed teacher; by default the teacher is the simulated toy teacher."""
    labels: Path | None = None
    """Label images; by default the scene's own."""
    seeds: int = 1
    """Number of draws of the toy teacher's noise and mistakes, and of SAM-like masks."""
    work: Path = Path("runs/reliability")
    """Folder for maps and masks."""


class Measured:
    """A scene's Gaussians with the lift of a teacher, and the ground truth of the held-out views."""

    def __init__(self, options: Options, seed: int):
        self.field = load(options.run, device="cpu")
        self.scene: Scene = self.field.scene
        self.gaussians: Gaussians = replace(self.field.trained, features=None, reliability=None)
        config = TeacherConfig(name="toy")
        config = replace(config, toy=replace(config.toy, seed=seed))
        if options.maps is not None:
            config = TeacherConfig(name="precomputed", maps=options.maps)
        teacher = open_teacher(config, self.scene)
        assert teacher is not None, "the study has a teacher"
        self.toy = teacher if isinstance(teacher, ToyTeacher) else None
        self.home = options.work / options.run.name / f"seed{seed}"
        train = [self.scene.views[i] for i in self.scene.train_ids]
        self.store = open_store(teacher, train, self.home / "features", FeatureConfig(), torch.device("cpu"))
        self.B = self.store.basis.B
        scored = find_classes(teacher, self.scene, options.labels, ())
        if scored is None:
            raise UserError(f"{self.scene.root}: expected label images of classes that the teacher knows")
        self.scored = scored
        self.texts = teacher.text(scored.queries)
        self.counting = [i for i, entry in enumerate(scored.classes) if entry.counts]
        self.test: list[tuple[View, GroundTruth]] = [
            (view, truth)
            for view in (self.scene.views[i] for i in self.scene.test_ids)
            if (truth := scored.load(view)) is not None
        ]
        self.lifted = self._lift()
        self.reliability = self.lifted.reliability
        self.mask_seed = seed
        make_label_masks(self.scene, options.labels, self.home / "masks")

    def target(self, view_id: int) -> FeatureTarget:
        view = self.scene.views[view_id]
        return make_target(self.store.load(view), view)

    def render(self, values: Float[Tensor, "N D"], view: View) -> Float[Tensor, "H W D"]:
        return render_features(self.gaussians, view.camera, features=values).image

    def _lift(self) -> Lifted:
        def render(values: Tensor, target: FeatureTarget) -> Tensor:
            return render_features(self.gaussians, target.camera, features=values).image

        targets = (enlarge_target(self.target(view_id)) for view_id in self.scene.train_ids)
        return lift_features(render, targets, len(self.gaussians))

    # --- scores

    @torch.no_grad()
    def score(self, features: Float[Tensor, "N K"]) -> dict[str, float]:
        """Scores of rendered features."""
        labels, errors = [], []
        for view, _ in self.test:
            latents = self.render(features, view)
            labels.append(self.best(latents))
            if self.toy is not None:
                clean = self.toy.clean(view).permute(1, 2, 0)
                camera = view.camera.resized(clean.shape[1], clean.shape[0])
                small = render_features(self.gaussians, camera, features=features).image
                errors.append(1 - float(teacher_cosine(small, encode(clean, self.B))[clean.any(-1)].mean()))
        return self.compare(labels) | ({"error": fmean(errors)} if errors else {})

    def best(self, latents: Float[Tensor, "*S K"]) -> UInt8[Tensor, "*S"]:
        """The class with the largest cosine, VOID without a feature."""
        best = text_cosine(latents, self.texts, self.B).argmax(-1).byte()
        return best.masked_fill(latents.norm(dim=-1) < MIN_NORM, VOID)

    def compare(self, labels: list[UInt8[Tensor, "H W"]]) -> dict[str, float]:
        """mIoU of label maps of the held-out views, everywhere and in the 3 px band."""
        num = len(self.scored.classes)
        whole, band = torch.zeros(2, num, num + 1, dtype=torch.long)
        for found, (_, truth) in zip(labels, self.test, strict=True):
            near = truth.labels.masked_fill(boundary_distance(truth.ids) > 3, VOID)
            whole, band = whole + confusion_matrix(found, truth.labels, num), band + confusion_matrix(found, near, num)
        ious = [float(label_scores(counts).iou[self.counting].nanmean()) for counts in (whole, band)]
        return {"miou": ious[0], "3px": ious[1]}

    # --- uses of reliability

    def graph(self, weights: Float[Tensor, "N"] | None) -> Float[Tensor, "N K"]:
        """The lift diffused over neighbouring Gaussians, each of which counts by its weight."""
        options = GraphConfig()
        graph = build_smoothing_graph(self.gaussians, self.lifted.features, options)
        graph = graph if weights is None else graph.weighed(weights)
        return diffuse(self.lifted.features, graph, options.steps)

    @torch.no_grad()
    def votes(self, features: Float[Tensor, "N K"], weights: Float[Tensor, "N"] | None) -> dict[str, float]:
        """Scores of the Gaussians' own labels drawn in the views, each voting by its weight."""
        labels = self.best(features).long()
        shares = F.one_hot(labels.clamp_max(len(self.texts)), len(self.texts) + 1)[:, :-1].float()
        shares = shares if weights is None else shares * weights[:, None]
        drawn = []
        for view, _ in self.test:
            most, best = self.render(shares, view).max(-1)
            drawn.append(best.byte().masked_fill(most <= 0, VOID))
        return self.compare(drawn)

    @torch.no_grad()
    def cuts(self, features: Float[Tensor, "N K"], is_sure: Tensor | None) -> dict[str, float]:
        """Boundary IoU of things cut out of the Gaussians by text; those that are not sure belong to no cut."""
        labels = self.best(features)
        labels = labels if is_sure is None else labels.masked_fill(~is_sure, VOID)
        scores = CutScores(("gaussians",), (3,))
        for view, truth in self.test:
            drawn = torch.full(truth.labels.shape, VOID, dtype=torch.uint8)
            shown = [i for i in truth.labels.unique().tolist() if i != VOID]
            columns = torch.stack([torch.ones(len(labels)), *((labels == i).float() for i in shown)], 1)
            alpha, *parts = self.render(columns, view).unbind(-1)
            for index, part in zip(shown, parts, strict=True):
                drawn[(alpha > 0) & (part >= 0.5 * alpha)] = index
            scores.add({"gaussians": drawn}, truth)
        names = [entry.name for entry in self.scored.classes]
        return {"cut": scores.result(names, are_instances=self.scored.instances is not None)["gaussians"]["3px"]}

    def masks(self, kind: str) -> dict[int, Int32[Tensor, "H W"]]:
        """Label maps of the training views."""
        folder = self.home / "masks" / f"{kind}_labels"
        segmenter = PrecomputedSegmenter(MaskConfig("precomputed", folder=folder, min_area=MIN_AREA, level="whole"))
        views = {i: self.scene.views[i] for i in self.scene.train_ids}
        return {i: segmenter.segment(view, view.image) for i, view in views.items()}

    @torch.no_grad()
    def pooled(
        self, things: Things, segments: dict[int, Tensor], own: Float[Tensor, "N K"], weights: Tensor | None
    ) -> Float[Tensor, "N K"]:
        """Features per thing; a pixel counts by the blended weight of the Gaussians that it shows."""
        options, pool = ThingsConfig(), ThingPool(len(things))
        for number, view_id in enumerate(self.scene.train_ids):
            drawn = draw_thing_map([segments[view_id]], [things.owners[number]])
            target = self.target(view_id)
            counted = purity_weights(drawn, target, options.purity)
            target = enlarge_target(target, "bilinear")
            if weights is not None:
                columns = torch.stack([weights, torch.ones_like(weights)], 1)
                blended, alpha = self.render(columns, self.scene.views[view_id]).unbind(-1)
                counted = counted * blended / alpha.clamp_min(MIN_NORM)
            pool.add(drawn, target.latents, target.weights * counted)
        pooled, is_known = pool.features(options.spread)
        return spread_features(things, pooled, is_known, own, sharpness=options.sharpness, share=options.own_share)

    def names(self, things: Things, features: Float[Tensor, "N K"], weights: Tensor | None) -> dict[str, float]:
        """Share of the things whose name by text is the class that they show most in the held-out views."""
        num, count = len(self.texts), len(things) + 1
        shown = torch.zeros(count, num + 1)
        members = F.one_hot(things.instance_ids.long(), count).float()
        for view, truth in self.test:
            best = self.render(members, view).argmax(-1).flatten()
            index = best, truth.labels.flatten().long().clamp_max(num)
            shown.index_put_(index, torch.ones(1), accumulate=True)
        unit = F.normalize(features, dim=1, eps=MIN_NORM)
        each = things.shares[:, 0] ** 4 * self.gaussians.opacities * (1 if weights is None else weights)
        means = unit.new_zeros(count, unit.shape[1]).index_add_(0, things.instance_ids.long(), unit * each[:, None])
        found, true = self.best(means)[1:].long(), shown[1:, :-1].argmax(1)
        counted = shown[1:, :-1].sum(1) > 0
        return {"named": float((found == true)[counted].float().mean())}


def rows_of(measured: Measured) -> Iterator[tuple[str, dict[str, float]]]:
    """All rows: what was done, and its scores."""
    r, lifted = measured.reliability, measured.lifted
    agreement, views = lifted.agreement.square(), (1 - 1 / lifted.views.clamp_min(1)).clamp_min(0)
    yield "lift", measured.score(lifted.features)
    plain = measured.graph(None)
    yield "diffusion (default)", measured.score(plain)
    weights = {"reliability": r, "reliability squared": r.square(), "agreement": agreement, "number of views": views}
    for name, values in weights.items():
        yield f"diffusion, by {name}", measured.score(measured.graph(values))
    yield "labels of Gaussians, drawn", measured.votes(plain, None)
    yield "labels of Gaussians, drawn by reliability", measured.votes(plain, r)
    yield "cuts by text", measured.cuts(plain, None)
    for least in (0.2, 0.5):
        yield f"cuts by text, reliability of at least {least}", measured.cuts(plain, r >= least)
    for kind in ("exact", "sam-like"):
        segments = measured.masks(kind)
        things = find_things(measured.gaussians, measured.scene, segments, ThingsConfig())
        for name, values in {"": None, ", by reliability": r, ", by reliability squared": r.square()}.items():
            yield f"things, {kind} masks{name}", measured.score(measured.pooled(things, segments, plain, values))
        for name, values in {"": None, ", by reliability": r}.items():
            yield f"names, {kind} masks{name}", measured.names(things, plain, values)


def main() -> None:
    """Prints a table."""
    options = tyro.cli(Options, description=Options.__doc__)
    found: dict[str, list[dict[str, float]]] = {}
    for seed in range(options.seeds):
        measured = Measured(options, seed)
        r = measured.reliability[measured.lifted.weights > 0]
        low, middle, high = r.quantile(torch.tensor([0.25, 0.5, 0.75])).tolist()
        print(f"seed {seed}: quartiles of the reliability {low:.2f}, {middle:.2f}, {high:.2f}")
        for name, scores in tqdm(rows_of(measured), desc=options.run.name, unit="row", leave=False):
            found.setdefault(name, []).append(scores)
            tqdm.write(f"{name}: {scores}")
    columns = ("miou", "3px", "error", "cut", "named")
    rows = [
        [name, *("" if key not in runs[0] else mean_and_spread([run[key] for run in runs], 4) for key in columns)]
        for name, runs in found.items()
    ]
    print(markdown_table(["what", "mIoU", "3 px", "error to the clean field", "cut, 3 px", "named right"], rows))


if __name__ == "__main__":
    run_door(main)
