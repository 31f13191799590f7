"""What a deletion by text takes of its object and of the others, for every class of labelled runs.

    python scripts/study_editing.py [runs/demo ...] [--max-changed 0.01]

Every class is deleted by its text as `python -m gsdff.edit` does it: without the rim (`--no-rim`), without it but with
one round of `--grow`, and as it is by default; beside them, by the truth, the Gaussians that show more of the object
than of all else. Measured on the held-out views, which training did not see:

- removed: the share of the object's pixels' blending weights that is taken out, in all views together. What is in front
  of or behind an object counts against it, so that not even the truth reaches 100 %.
- changed: the share of all pixels of other objects of which a channel changes by more than 8 (or 2) levels of 255.

- beside: the share of all pixels of other objects in which what is extracted shows by more than 8 levels, and what is
  extracted by the truth does not; parts of the object that others hide come into view with both. An extraction keeps
  exactly what a deletion takes out: what is removed there is kept here.

Prints a Markdown table a run, in percent.
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
from jaxtyping import Bool, Float, UInt8
from study_tools import markdown_table
from torch import Tensor
from tqdm import tqdm

from gsdff.cli import run_door
from gsdff.editing.functional import delete, extract
from gsdff.editing.selector import Selector
from gsdff.errors import UserError
from gsdff.field.field import load
from gsdff.gaussians import Gaussians
from gsdff.labels import find_truth
from gsdff.render import render_features, render_rgb
from gsdff.scene import View
from gsdff.training.lift import FeatureTarget, lift_features

LEVELS = (8, 2)
"""Of 255: the first is about what can be seen side by side, the second all but rounding."""
BACKGROUND = ("wall", "floor", "rug")
"""Of the built-in scene: what is deleted of it leaves nothing to look at; told, but not counted."""


@dataclass(frozen=True)
class Options:
    """How much of an object goes where its text is deleted, and how much of the others."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional] = (Path("runs/demo"),)
    """Runs on scenes with exact labels."""
    min_removed: float = 0.95
    """The aim for the object."""
    max_changed: float = 0.01
    """The aim for the others."""


@dataclass(frozen=True)
class Figures:
    """Of one class deleted in one way."""

    removed: float
    changed: tuple[float, ...]
    """By `LEVELS`."""
    beside: float

    def __str__(self) -> str:
        shares = (*self.changed, self.beside)
        return " / ".join([f"{100 * self.removed:.1f}", *(f"{100 * share:.2f}" for share in shares)])

    def met(self, aim: Options) -> tuple[bool, ...]:
        """Whether a deletion meets it, by `LEVELS`; and whether an extraction does."""
        return tuple(self.removed >= aim.min_removed and s <= aim.max_changed for s in (*self.changed, self.beside))


class Measured:
    """A run, the truth of its held-out views, and what they show of which Gaussian."""

    def __init__(self, folder: Path):
        self.field = load(folder, device="cpu")
        self.field.require_features()
        scene = self.field.scene
        truth = find_truth(scene, None, self.field.knows)
        if truth is None:
            raise UserError(f"{folder}: expected a run on a scene with label images")
        self.names = [row.query for row in truth.competing]
        pairs = ((scene.views[i], truth.load(scene.views[i])) for i in scene.test_ids)
        self.views: list[tuple[View, UInt8[Tensor, "H W"]]] = [pair for pair in pairs if pair[1] is not None]
        self.working: Gaussians = self.field.working
        self.before = [self.draw(self.working, view) for view, _ in self.views]

    @cached_property
    def weights(self) -> Float[Tensor, "N Q"]:
        """Every Gaussian's blending weights, in pixels, by the true class of the pixel."""
        num_classes = len(self.names)

        def render(features: Float[Tensor, "N D"], target: FeatureTarget) -> Float[Tensor, "H W D"]:
            return render_features(self.working, target.camera, features=features).image

        def targets() -> Iterator[FeatureTarget]:
            for view, labels in self.views:
                classes = labels.long().clamp_max(num_classes)
                one_hot = F.one_hot(classes, num_classes + 1)[..., :-1].float()
                yield FeatureTarget(view.camera, one_hot, torch.ones(labels.shape))

        lifted = lift_features(render, targets(), len(self.working))
        return lifted.features * lifted.weights[:, None]

    @torch.no_grad()
    def draw(self, gaussians: Gaussians, view: View) -> Float[Tensor, "H W 3"]:
        """As a photo would be."""
        return render_rgb(gaussians, view.camera).image.clamp(0, 1)

    def measure(self, mask: Bool[Tensor, "N"], true: Bool[Tensor, "N"], class_id: int) -> Figures:
        """What it means to take the Gaussians of `mask` for the class, of which `true` are by the truth."""
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
        """What each way selects."""
        whole = Selector(self.names[class_id])
        bare = self.subject.select(self.subject.gaussians, replace(whole, rim=False))
        share = self.weights[:, class_id] / self.weights.sum(1).clamp_min(1e-6)
        return {
            "--no-rim": bare.mask,
            "--no-rim --grow 1": bare.grow(self.subject.gaussians.means).mask,
            "default": self.subject.select(self.subject.gaussians, whole).mask,
            "by the truth": share > 0.5,
        }


def study(folder: Path, options: Options) -> str:
    """The table of one run."""
    measured, rows, met = Measured(folder), [], {}
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
    """Prints a table a run."""
    options = tyro.cli(Options, description=Options.__doc__)
    for folder in options.runs:
        print(f"## {folder}\n\n{study(folder, options)}\n")


if __name__ == "__main__":
    run_door(main)
