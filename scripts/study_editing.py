"""Study of deletions by text: how much of the object and of other objects they remove, for every class of a run.

    python scripts/study_editing.py [runs/demo ...] [--max-changed 0.01]

Every class is deleted by its text as in `python -m gsdff.edit`: without the rim (`--no-rim`), without it but with one
round of `--grow`, and by default; and by the ground truth: the Gaussians with more blending weight in pixels of the
object than in all others. In a run with things (`--config sam`) also by thing, as with `--delete thing:12`: all things
that show more of the class than of any other. Measured on the held-out views:

- removed: the share of the blending weights in the object's pixels that is deleted, over all views. Gaussians in front
  of or behind an object count against it, so that even the ground truth does not reach 100 %.
- changed: the share of the pixels of other objects in which a channel changes by more than 8 (or 2) levels of 255.
- beside: the share of the pixels of other objects in which the extraction shows by more than 8 levels, and the
  extraction by ground truth does not; hidden parts of the object come into view with both. An extraction keeps exactly
  the Gaussians that a deletion removes, so that `removed` is the share that it keeps.

Prints a Markdown table for every run, in percent.
"""

import gsdff  # noqa: F401  # isort: skip  # before torch: it sets how torch's threads wait

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F
import tyro
from bench_rasterizer import DeviceName
from jaxtyping import Bool, Float, Int, UInt8
from study_tools import markdown_table
from torch import Tensor
from tqdm import tqdm

from gsdff.cli import run_door
from gsdff.device import choose_device
from gsdff.editing.functional import delete, extract
from gsdff.editing.selector import Selector
from gsdff.errors import UserError
from gsdff.field.load import load
from gsdff.field.objects import read_things
from gsdff.gaussians import Gaussians
from gsdff.labels import find_truth
from gsdff.render import render_features, render_rgb
from gsdff.run_folder import RunFolder
from gsdff.scene import View
from gsdff.training.lift import FeatureTarget, lift_features

LEVELS = (8, 2)
"""Levels of 255: the first is just visible side by side, the second is little more than rounding."""
BACKGROUND = ("wall", "floor", "rug")
"""Classes of the built-in scene without which little remains to look at; reported, but not counted."""


@dataclass(frozen=True)
class Options:
    """Measures how much of an object a deletion by text removes, and how much of other objects."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional] = (Path("runs/demo"),)
    """Runs of scenes with exact labels."""
    device: DeviceName = "auto"
    """Device to render on."""
    min_removed: float = 0.95
    """Least share of the object to remove."""
    max_changed: float = 0.01
    """Largest share of other objects to change."""


@dataclass(frozen=True)
class Figures:
    """Figures of one class that is deleted in one way."""

    removed: float
    changed: tuple[float, ...]
    """Share for each of `LEVELS`."""
    beside: float

    def __str__(self) -> str:
        shares = (*self.changed, self.beside)
        return " / ".join([f"{100 * self.removed:.1f}", *(f"{100 * share:.2f}" for share in shares)])

    def met(self, aim: Options) -> tuple[bool, ...]:
        """Whether a deletion meets the aim, for each of `LEVELS`, and whether an extraction does."""
        return tuple(self.removed >= aim.min_removed and s <= aim.max_changed for s in (*self.changed, self.beside))


class Measured:
    """A run, the ground truth of its held-out views, and the blending weights of its Gaussians."""

    def __init__(self, folder: Path, device: str):
        self.field = load(folder, device=device)
        self.field.require_features()
        scene = self.field.scene
        truth = find_truth(scene, None, self.field.knows)
        if truth is None:
            raise UserError(f"{folder}: expected a run on a scene with label images")
        self.names = [entry.query for entry in truth.competing if entry.query is not None]
        views = [scene.views[i] for i in scene.test_ids]
        self.views: list[tuple[View, UInt8[Tensor, "H W"]]] = [
            (view.to(self.field.device), labels.to(self.field.device))
            for view in views
            if (labels := truth.load(view)) is not None
        ]
        self.working: Gaussians = self.field.working
        self.before = [self.draw(self.working, view) for view, _ in self.views]

    @cached_property
    def weights(self) -> Float[Tensor, "N Q"]:
        """Blending weights of every Gaussian, in pixels, by the true class of the pixel."""
        num_classes = len(self.names)

        def render(features: Float[Tensor, "N D"], target: FeatureTarget) -> Float[Tensor, "H W D"]:
            return render_features(self.working, target.camera, features=features).image

        def targets() -> Iterator[FeatureTarget]:
            for view, labels in self.views:
                classes = labels.long().clamp_max(num_classes)
                one_hot = F.one_hot(classes, num_classes + 1)[..., :-1].float()
                yield FeatureTarget(view.camera, one_hot, torch.ones(labels.shape, device=labels.device))

        lifted = lift_features(render, targets(), len(self.working))
        return lifted.features * lifted.weights[:, None]

    @cached_property
    def classes_of_things(self) -> Int[Tensor, "T"]:
        """Class of which every thing shows most, by its number from 1; empty for a run without things."""
        if not RunFolder(self.field.source).things.is_file():
            return torch.zeros(0, dtype=torch.long)
        things = read_things(self.field)
        sums = torch.zeros(len(things) + 1, len(self.names))
        classes = sums.index_add_(0, things.instance_ids.long(), self.weights).argmax(1)
        return torch.cat([torch.tensor([-1]), classes[1:]])

    @torch.no_grad()
    def draw(self, gaussians: Gaussians, view: View) -> Float[Tensor, "H W 3"]:
        """Renders a view, clamped to [0, 1]."""
        return render_rgb(gaussians, view.camera).image.clamp(0, 1)

    def measure(self, mask: Bool[Tensor, "N"], true: Bool[Tensor, "N"], class_id: int) -> Figures:
        """Figures of a selection `mask` for the class; `true` is the selection by ground truth."""
        weights, without = self.weights[:, class_id], delete(self.working, mask)
        alone, truly_alone = extract(self.working, mask), extract(self.working, true)
        counts, total = torch.zeros(len(LEVELS) + 1), 0
        for (view, labels), before in zip(self.views, self.before, strict=True):
            others = (labels != class_id) & (labels < len(self.names))
            change = (self.draw(without, view) - before).abs().amax(-1)[others]
            shows, may_show = (
                self.draw(part, view).amax(-1)[others] > LEVELS[0] / 255 for part in (alone, truly_alone)
            )
            counts += torch.tensor([*((change > level / 255).sum() for level in LEVELS), (shows & ~may_show).sum()])
            total += len(change)
        *changed, beside = (counts / total).tolist()
        return Figures(float(weights[mask].sum() / weights.sum()), tuple(changed), beside)

    def ways(self, class_id: int) -> dict[str, Bool[Tensor, "N"]]:
        """Selections of the class, by the way they are made."""
        whole = Selector(self.names[class_id])
        gaussians = self.field.gaussians
        bare = self.field.select(gaussians, replace(whole, rim=False))
        share = self.weights[:, class_id] / self.weights.sum(1).clamp_min(1e-6)
        by_thing = torch.zeros_like(bare.mask)
        for number in (self.classes_of_things == class_id).nonzero()[:, 0].tolist():
            by_thing |= self.field.select_thing(number, rim=True).mask
        return {
            "--no-rim": bare.mask,
            "--no-rim --grow 1": bare.grow(gaussians.means).mask,
            "default": self.field.select(gaussians, whole).mask,
            **({"thing": by_thing} if len(self.classes_of_things) else {}),
            "by the truth": share > 0.5,
        }


def study(folder: Path, options: Options) -> str:
    """Formats the table of one run."""
    measured, rows, met = Measured(folder, options.device), [], {}
    for class_id, name in enumerate(tqdm(measured.names, desc=str(folder), unit="class", leave=False)):
        if measured.weights[:, class_id].sum() == 0:
            continue
        ways = measured.ways(class_id)
        figures = {way: measured.measure(mask, ways["by the truth"], class_id) for way, mask in ways.items()}
        counts = name not in BACKGROUND
        rows.append([name if counts else f"({name})", *figures.values()])
        for way, each in figures.items():
            if counts:
                met.setdefault(way, []).append(each.met(options))
    num = max(map(len, met.values()))
    totals = [" / ".join(str(sum(column)) for column in zip(*flags, strict=True)) for flags in met.values()]
    header = [f"removed / changed by > {' / > '.join(map(str, LEVELS))} / beside, %", *met]
    return markdown_table(header, [*rows, [f"**of {num} deletions / again / extractions meet the aim**", *totals]])


def main() -> None:
    """Prints the table of every run."""
    options = tyro.cli(Options, description=Options.__doc__)
    for folder in options.runs:
        print(f"## {folder}, on {choose_device(options.device).type}\n\n{study(folder, options)}\n")


if __name__ == "__main__":
    run_door(main)
