"""Study of things: how well the masks of all views are joined into objects, against exact instances.

    python scripts/study_things.py RUN [--seeds 3] [--masks exact sam-like]

RUN is a run (stage 1 suffices) on a scene with instance images: the built-in one, or one with `instances/` beside its
labels. Exact masks get new ids in every view; SAM-like ones are made from them by scripts/sam_like.py. Reported, for
things that cover at least 0.2 % of the pixels: the share found at IoU >= 0.5 among the Gaussians (by their blending
weights) and in the held-out views, the panoptic quality over all things there, and the adjusted Rand index.
"""

import gsdff  # noqa: F401  # isort: skip  # before torch: it sets how torch's threads wait

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from jaxtyping import Float, Int, Int32
from PIL import Image
from sam_like import Errors, write_masks
from study_tools import markdown_table, mean_and_spread
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.cli import run_door
from gsdff.config.smoothing import MaskConfig
from gsdff.errors import UserError
from gsdff.field.load import load
from gsdff.labels import ENDINGS, INSTANCES_FOLDER, LABEL_IMAGE, find_label_images, read_instances
from gsdff.masks.precomputed import PrecomputedSegmenter
from gsdff.photo_files import require_file
from gsdff.render import render_features
from gsdff.scene import VOID, Scene, View
from gsdff.things import JoinOptions, MaskWeights, Things, ViewMasks, assign_things, collect_weights, join_masks

Masks = dict[int, list[Int32[Tensor, "H W"]]]
"""Label maps of the training views, by the index of the view."""
MIN_COVER = 0.002
"""Share of the pixels of all views from which a thing counts."""


@dataclass(frozen=True)
class Options:
    """Measures things against exact instances."""

    run: Annotated[Path, tyro.conf.Positional]
    """Run on a scene with instance images."""
    masks: tuple[str, ...] = ("exact", "sam-like")
    """Kinds of masks."""
    seeds: int = 1
    """Number of draws of scrambled ids and of SAM-like errors."""
    min_area: int = 50
    """Least pixels of a SAM-like mask that is used."""
    work: Path = Path("runs/things")
    """Folder for the masks."""
    join: JoinOptions = field(default_factory=JoinOptions)


@dataclass(frozen=True)
class Found:
    """Scores of one draw."""

    in_3d: float
    in_views: float
    panoptic: float
    ari: float
    count: int
    seconds: float
    missing: tuple[int, ...]
    """True ids that are not found in 3D."""


def read_truth(scene: Scene) -> dict[int, Int[Tensor, "H W"]]:
    """Exact instances of every view: one id per class and instance, 0 for void."""
    images = find_label_images(scene, None)
    instances = images.folder.parent / INSTANCES_FOLDER
    if not instances.is_dir():
        raise UserError(f"{instances}: expected instance images")
    truth = {}
    for number, view in enumerate(scene.views):
        classes = images.load(view).long()
        path = require_file(instances, view, ENDINGS, LABEL_IMAGE)
        objects = read_instances(path, view, (classes.shape[1], classes.shape[0]))
        # a surface without instances is one thing
        truth[number] = torch.where(classes == VOID, 0, 1 + classes + 256 * objects)
    codes = torch.cat([ids.flatten() for ids in truth.values()]).unique()
    codes = codes[codes > 0]
    return {number: torch.where(ids > 0, torch.searchsorted(codes, ids) + 1, 0) for number, ids in truth.items()}


def write_exact(scene: Scene, truth: dict[int, Tensor], folder: Path, seed: int) -> None:
    """Exact masks as label images, with ids that mean nothing between views."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in scene.train_ids:
        rng = np.random.default_rng([seed, number])
        names = np.concatenate([[0], 1 + rng.permutation(int(truth[number].max()))])
        Image.fromarray(names[truth[number].numpy()].astype(np.uint16)).save(folder / f"{scene.views[number].key}.png")


def read_masks(scene: Scene, folder: Path, levels: tuple[str, ...], min_area: int) -> Masks:
    """Label maps of the training views, one per level."""
    config = MaskConfig(name="precomputed", folder=folder, min_area=min_area)
    segmenters = [PrecomputedSegmenter(replace(config, level=level)) for level in levels]
    views = {number: scene.views[number] for number in scene.train_ids}
    return {n: [segmenter.segment(view, view.image) for segmenter in segmenters] for n, view in views.items()}


class Measured:
    """A scene's Gaussians and truth."""

    def __init__(self, run: Path):
        self.field = load(run, device="cpu")
        self.scene = self.field.scene
        self.gaussians = self.field.trained
        self.truth = read_truth(self.scene)
        self.num_true = max(int(ids.max()) for ids in self.truth.values())
        counts = torch.cat([ids.flatten() for ids in self.truth.values()]).bincount(minlength=self.num_true + 1)
        self.cover = counts / counts.sum()
        views = [ViewMasks(view.camera, [self.truth[n].int()]) for n, view in enumerate(self.scene.views)]
        weights = collect_weights(self.render, views, len(self.gaussians))
        votes = torch.zeros(len(self.gaussians), self.num_true + 1)
        for layer in weights.layers:
            votes.index_put_((layer.rows.long(), layer.masks.long()), layer.weights, accumulate=True)
        self.weights = votes.sum(1)
        self.true = votes.argmax(1)

    def render(self, values: Float[Tensor, "N D"], camera: Camera) -> Float[Tensor, "H W D"]:
        return render_features(self.gaussians, camera, features=values).image

    def collect(self, masks: Masks) -> MaskWeights:
        views = [ViewMasks(self.scene.views[n].camera, layers) for n, layers in masks.items()]
        return collect_weights(self.render, views, len(self.gaussians))

    def score(self, things: Things, seconds: float) -> Found:
        """Scores against the truth."""
        table = torch.zeros(self.num_true + 1, len(things) + 1, dtype=torch.double)
        table.index_put_((self.true, things.instance_ids.long()), self.weights.double(), accumulate=True)
        best, counts = ious(table), self.cover >= MIN_COVER
        counts[0] = False
        pixels = torch.zeros(self.num_true + 1, len(things) + 1, dtype=torch.double)
        for number in self.scene.test_ids:
            shown = draw_things(self, things, self.scene.views[number])
            index = self.truth[number].flatten(), shown.flatten()
            pixels.index_put_(index, torch.ones(1, dtype=torch.double), accumulate=True)
        in_views, seen = ious(pixels), pixels.sum(1) > 0
        found = best.amax(1) >= 0.5
        missing = tuple((counts & ~found).nonzero()[:, 0].tolist())
        there = counts & seen
        return Found(
            float(found[counts].float().mean()), float((in_views.amax(1)[there] >= 0.5).float().mean()),
            panoptic_quality(pixels), adjusted_rand(pixels[1:]), len(things), seconds, missing,
        )  # fmt: skip


@torch.no_grad()
def draw_things(measured: Measured, things: Things, view: View) -> Int[Tensor, "H W"]:
    """The thing of every pixel: the one with most of the rendered memberships."""
    values = torch.zeros(len(measured.gaussians), len(things) + 1)
    values[:, 0] = 1 - things.shares.sum(1).clamp(0, 1)
    values.scatter_add_(1, things.members.long(), things.shares)
    return measured.render(values, view.camera).argmax(-1)


def ious(table: Float[Tensor, "true found"]) -> Float[Tensor, "true found"]:
    """IoU of every true with every found thing; 0 for none."""
    union = table.sum(1, keepdim=True) + table.sum(0) - table
    iou = torch.where(union > 0, table / union.clamp_min(1e-12), 0)
    iou[0], iou[:, 0] = 0, 0
    return iou


def panoptic_quality(pixels: Float[Tensor, "true found"]) -> float:
    """Sum of the IoUs above 1/2 over the mean number of true and found things; pixels without truth do not count."""
    counted = pixels.clone()
    counted[0] = 0
    iou = ious(counted)
    matched = iou > 0.5
    num_true, num_found = int((counted[1:].sum(1) > 0).sum()), int((counted[:, 1:].sum(0) > 0).sum())
    return float(iou[matched].sum() / max(1, (num_true + num_found) / 2))


def adjusted_rand(table: Float[Tensor, "true found"]) -> float:
    """Adjusted Rand index of two labellings, from the counts of their pairs."""

    def pairs(counts: Tensor) -> float:
        return float((counts * (counts - 1) / 2).sum())

    both, one, other, total = pairs(table), pairs(table.sum(1)), pairs(table.sum(0)), pairs(table.sum())
    expected = one * other / total
    return (both - expected) / ((one + other) / 2 - expected)


def open_masks(measured: Measured, kind: str, seed: int, options: Options) -> Masks:
    """Masks of one kind and draw."""
    scene, home = measured.scene, options.work / options.run.name
    exact = home / f"exact_{seed}"
    write_exact(scene, measured.truth, exact, seed)
    if kind == "exact":
        return read_masks(scene, exact, ("part",), 0)
    folder = home / f"sam_like_{seed}"
    write_masks(exact, folder, seed, Errors())
    return read_masks(scene, folder, ("part", "whole"), options.min_area)


def main() -> None:
    """Prints a table."""
    options = tyro.cli(Options, description=Options.__doc__)
    measured, rows = Measured(options.run), []
    for kind in options.masks:
        results = []
        for seed in range(options.seeds):
            masks = open_masks(measured, kind, seed, options)
            start = time.process_time()
            weights = measured.collect(masks)
            joined = join_masks(weights, measured.gaussians.means, options.join)
            things = assign_things(weights, joined)
            results.append(measured.score(things, time.process_time() - start))
            print(kind, seed, results[-1])
        columns = [[100 * r.in_3d for r in results], [100 * r.in_views for r in results]]
        cells = [mean_and_spread(values, 1) for values in columns]
        cells += [mean_and_spread([getattr(r, name) for r in results], 3) for name in ("panoptic", "ari")]
        rows.append([kind, *cells, f"{results[0].count}", f"{results[0].seconds:.0f}"])
    header = ["masks", "found in 3D, %", "found in views, %", "PQ", "ARI", "things", "CPU s"]
    counted = int((measured.cover[1:] >= MIN_COVER).sum())
    print(f"{options.run}: {counted} of {measured.num_true} things cover at least {100 * MIN_COVER} %")
    print(markdown_table(header, rows))


if __name__ == "__main__":
    run_door(main)
