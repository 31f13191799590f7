"""Study of `gsdff edit --delete THING --fill`: how near the filled hole is to the scene as it is without the thing.

    python scripts/study_fill.py runs/demo [runs/demo_1 ...] [--things sofa painting] [--out build/fill]

The built-in scene is rendered anew without each thing, with the light that then falls (its shadow and what it reflects
are gone too), for the held-out views. Errors are means of |rendering - truth| over channels and the pixels that show
the thing in the photo, in levels of 255: before (the thing is still there), deleted, and deleted and filled; beside it,
in a ring of 3 to 8 pixels around them, deleted and filled. Prints a Markdown table, of several runs the mean and half
the range, and writes a picture for each thing and run: photo | deleted | filled | truth, for every view.
"""

import gsdff  # noqa: F401  # isort: skip  # before torch: it sets how torch's threads wait

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from jaxtyping import Bool, Float
from PIL import Image
from study_tools import markdown_table, mean_and_spread
from torch import Tensor
from tqdm import tqdm

from gsdff import Delete, Field, load
from gsdff.cli import run_door
from gsdff.data.demo.furniture import furniture
from gsdff.data.demo.light import Lighting
from gsdff.data.demo.photo import LitRoom
from gsdff.data.demo.room import TABLE_TOP, rug, table, walls, window
from gsdff.data.demo.still_life import still_life
from gsdff.data.demo.world import viewpoints
from gsdff.editing.hole import widen
from gsdff.errors import UserError
from gsdff.render import render_view

THINGS = ("painting", "sofa", "cup", "clock", "bottle", "lamp", "potted plant", "teapot")
MARGIN = 12
"""Pixels around the thing in a picture."""
LEAST_PIXELS = 40
"""Views that show less of the thing are left out of its picture."""


@dataclass(frozen=True)
class Options:
    """Measures filled holes of the built-in scene against the truth."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional] = (Path("runs/demo"),)
    """Runs with features on the built-in scene, of the same views."""
    things: tuple[str, ...] = THINGS
    """Texts of the classes to delete."""
    out: Path = Path("build/fill")
    """Folder for truths, which are rendered once, and pictures."""


Images = dict[int, Float[Tensor, "H W 3"]]
"""Pictures by the index of the view."""


def render_truth(name: str, field: Field, folder: Path) -> Images:
    """The held-out views without any thing of a class."""
    settings = json.loads((field.scene.root / "demo.json").read_text())
    generator = torch.Generator().manual_seed(settings["seed"])
    places = viewpoints(settings["views"], settings["width"], settings["height"], generator)
    on_table = [solid for solid in [*table(), *still_life(TABLE_TOP)] if solid.category != name]
    around = [solid for solid in [rug(), *window(), *furniture()] if solid.category != name]
    room, truth = None, {}
    for view_id in field.scene.test_ids:
        path = folder / "truth" / f"{name}_{view_id}.png"
        if not path.is_file():
            room = room or LitRoom(walls(), [*on_table, *around], Lighting.of(on_table, around, TABLE_TOP))
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(room.photograph(places[view_id]).image.numpy()).save(path)
        truth[view_id] = torch.from_numpy(np.array(Image.open(path))).float() / 255
    return truth


def draw(field: Field) -> Images:
    """The held-out views of a field."""
    views = {view_id: field.scene.views[view_id] for view_id in field.scene.test_ids}
    return {view_id: render_view(field.working, view, field.background).cpu() for view_id, view in views.items()}


def error(images: Images, truth: Images, pixels: dict[int, Bool[Tensor, "H W"]]) -> float:
    """Mean absolute difference in these pixels, in levels of 255."""
    differences = [(images[view_id] - truth[view_id])[chosen].abs() for view_id, chosen in pixels.items()]
    return 255 * float(torch.cat(differences).mean())


def picture(columns: list[Images], pixels: dict[int, Bool[Tensor, "H W"]]) -> Image.Image:
    """Windows around the thing, a row for every view that shows it."""
    rows = []
    for view_id, shown in pixels.items():
        if int(shown.sum()) < LEAST_PIXELS:
            continue
        top, left = (shown.nonzero().amin(0) - MARGIN).clamp_min(0).tolist()
        bottom, right = (shown.nonzero().amax(0) + MARGIN + 1).tolist()
        window = torch.cat([images[view_id][top:bottom, left:right] for images in columns], 1)
        rows.append(np.asarray((255 * window).round().byte()))
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 2), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    return Image.fromarray(np.concatenate(padded))


@dataclass(frozen=True)
class Figures:
    """What deleting a thing from one run, and filling the hole, do to the held-out views."""

    errors: tuple[float, float, float]
    """Before, deleted and filled, in the pixels that show the thing."""
    beside: tuple[float, float]
    """Deleted and filled, beside them."""
    num_new: int

    @property
    def share(self) -> float:
        """Error of the filled hole over that of the unfilled one."""
        return self.errors[2] / self.errors[1]


def measure(field: Field, entry: dict[str, Any], out: Path) -> Figures:
    """Deletes a class of things with and without filling, and writes the picture."""
    text, root = entry["text_query"], field.scene.root
    truth = render_truth(entry["name"], field, out)
    labels = {i: np.array(Image.open(root / "labels" / f"{field.scene.views[i].stem}.png")) for i in truth}
    inside = {i: torch.from_numpy(label == entry["id"]) for i, label in labels.items()}
    beside = {i: widen(shown, 8) & ~widen(shown, 2) for i, shown in inside.items()}
    deleted, filled = field.edit(Delete(text)), field.edit(Delete(text, fill=True))
    before, *after = [draw(each) for each in (field, deleted, filled)]
    photos = {i: field.scene.views[i].target for i in truth}
    picture([photos, *after, truth], inside).save(out / f"{Path(field.source).name}_{text.replace(' ', '_')}.png")
    errors = error(before, truth, inside), error(after[0], truth, inside), error(after[1], truth, inside)
    around = error(after[0], truth, beside), error(after[1], truth, beside)
    count = re.search(r"(\d+) new Gaussians", filled.edits[-1].remark)
    return Figures(errors, around, int(count[1]) if count else 0)


def main() -> None:
    """Prints the table, and writes the pictures."""
    options = tyro.cli(Options, description=Options.__doc__)
    fields = [load(run, device="cpu") for run in options.runs]
    for run, field in zip(options.runs, fields, strict=True):
        if not (field.scene.root / "demo.json").is_file():
            raise UserError(f"{run}: expected a run on the built-in scene, whose truth can be rendered")
    root = fields[0].scene.root
    classes = {entry["text_query"]: entry for entry in json.loads((root / "classes.json").read_text())["classes"]}
    if unknown := set(options.things) - classes.keys():
        raise UserError(f"--things {', '.join(sorted(unknown))}: expected some of {', '.join(classes)}")
    rows = []
    for text in tqdm(options.things, unit="thing"):
        found = [measure(field, classes[text], options.out) for field in fields]
        columns = [*zip(*(each.errors for each in found), strict=True), [each.share for each in found]]
        columns += zip(*(each.beside for each in found), strict=True)
        figures = [mean_and_spread(column, 2 if column is columns[3] else 1) for column in columns]
        rows.append([text, *figures, " / ".join(str(each.num_new) for each in found)])
        print(*rows[-1], sep="\t", flush=True)
    header = ["levels of 255", "before", "deleted", "filled", "filled / deleted"]
    print(markdown_table([*header, "beside: deleted", "filled", "new Gaussians"], rows))


if __name__ == "__main__":
    run_door(main)
