"""Tables, figures and the page of the smoothness study."""

import csv
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from bench_rasterizer import machine, name_device
from PIL import Image
from study_tools import markdown_table, mean_and_spread

from gsdff.evaluation.label_metrics import boundary_distance
from gsdff.io.pictures import GAP, TITLE_HEIGHT, save_png, stacked, titled
from gsdff.scene import Scene, picture_name

FOLDER = "smoothness"
"""Folder of the study, inside the documents' folder."""
EARLIER = "earlier"
"""Folder in it for runs on a preset before; of these only the paper's arms are on the page."""
COLUMNS = {
    "cosine": ("cosine to teacher", 4),
    "clean_error": ("error to clean field", 4),
    "miou": ("mIoU", 3),
    "boundary_3px": ("3 px band", 3),
    "boundary_5px": ("5 px band", 3),
    "speckles": ("speckles, %", 2),
    "gradient_energy": ("gradient energy x 1000", 2),
    "consistency": ("view consistency", 3),
    "seconds": ("seconds", 0),
}
SCALES = {"speckles": 100, "gradient_energy": 1000}
SHOWN = {
    "naive": "naive",
    "tv": "tv",
    "robust + graph (default)": "default",
    "sam render, exact masks": "sam render",
    "pooled teacher, exact masks": "pooled teacher",
    "robust + graph + pooled, purity, felzenszwalb masks": "pooled, felzenszwalb",
    "robust + graph + pooled, purity, exact masks": "pooled, exact masks",
    "robust + graph + things, sam-like masks": "things, SAM-like masks",
    "robust + graph + things, exact masks": "things, exact masks",
}
"""Arms in the figure, with their titles in it."""
SHORT = (
    "naive", "robust + graph (default)",
    "robust + graph + things, sam-like masks", "robust + graph + things, exact masks",
)  # fmt: skip
"""Arms in the short figure of the README."""
CROP = (96, 72)
"""Width and height of the crops in the figure, in pixels of the photo."""
CROPS = 3
ZOOM = 2
PAPER = {
    "baseline": (24.05, 0.5425, 0.9696, "naive"),
    "TV": (24.31, 0.5479, 0.9792, "paper: tv"),
    "bilateral": (23.97, 0.5372, 0.9799, "paper: bilateral"),
    "SAM": (24.11, 0.5469, 0.9768, "paper: sam, exact masks"),
}
"""Rows of the paper (a NeRF of one scene at 480x360): PSNR, SSIM, cosine to the teacher, and the corresponding arm."""


def show(group: Sequence[Mapping[str, Any]], column: str) -> str:
    """Formats the mean ± half the range of several runs."""
    values = [run[column] * SCALES.get(column, 1) for run in group if run[column] is not None]
    if not values:
        return ""
    digits = COLUMNS[column][1]
    return mean_and_spread(values, digits) if digits else f"{fmean(values):.0f}"


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Formats the rows of one level as a table, one line per arm, in the order of the runs."""
    shown = [name for name in COLUMNS if any(row[name] is not None for row in rows)]
    lines = []
    for arm in dict.fromkeys(row["arm"] for row in rows):
        group = [row for row in rows if row["arm"] == arm]
        lines.append([arm, *(show(group, name) for name in shown)])
    return markdown_table(["arm", *(COLUMNS[name][0] for name in shown)], lines)


def write_scene(docs: Path, name: str, facts: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes the CSV with every run, the facts, and the tables."""
    folder = docs / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    keys = ["arm", "level", "seed", *COLUMNS, "start_seconds"]
    with (folder / f"{name}.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(keys)
        writer.writerows([row[key] for key in keys] for row in rows)
    (folder / f"{name}.json").write_text(json.dumps(facts, indent=1) + "\n")
    levels = list(dict.fromkeys(row["level"] for row in rows))
    place = machine(facts["device"])
    parts = [
        f"## {name}",
        f"{place['date']}, {name_device(place)}. `python scripts/ablate_smoothing.py {shlex.join(facts['command'])}`",
        f"{facts['gaussians']:,} Gaussians, {facts['training_views']} training views, {facts['held_out_views']} held "
        f"out; {facts['steps']} steps of stage 2 on one stage 1, which all arms share (PSNR {facts['psnr']:.2f} dB, "
        f"SSIM {facts['ssim']:.4f}). {len(facts['classes'])} classes compete. "
        f"Mean ± half the range over up to {1 + max(row['seed'] for row in rows)} seeds. Speckles in the ground truth "
        f"itself: {100 * facts['speckles_of_truth']:.2f} %.",
    ]
    for level in levels:
        here = [row for row in rows if row["level"] == level]
        teacher = here[0]["teacher"]
        if len(levels) > 1:
            parts.append(f"### Noise and mistakes x {level:g}")
        scores = [teacher["miou"], *teacher["boundary_miou"].values(), teacher["view_consistency"]]
        words = ", ".join("-" if score is None else f"{score:.3f}" for score in scores)
        parts.append(
            f"The 2D teacher itself (seed 0): mIoU, 3 px band, 5 px band, view consistency {words}; speckles "
            f"{100 * teacher['speckle_share']:.2f} %."
        )
        parts.append(markdown(here))
    parts.append(f"![Crops of held-out views around borders]({FOLDER}/{name}.png)")
    (folder / f"{name}.md").write_text("\n\n".join(parts) + "\n")


def write_figures(path: Path, scene: Scene, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes the figure, with crops of photo, truth, teacher and the arms in `SHOWN`, and the short figure."""
    write_figure(path, scene, rows, tuple(SHOWN))
    write_figure(path.with_stem(f"{path.stem}_short"), scene, rows, SHORT)


def write_figure(path: Path, scene: Scene, rows: Sequence[Mapping[str, Any]], shown: Sequence[str]) -> None:
    """Writes one figure, with the crops that contain most borders."""
    first = {row["arm"]: row for row in rows if (row["level"], row["seed"]) == (rows[0]["level"], 0)}
    arms = [arm for arm in shown if arm in first]
    if not arms:
        return
    crops = []
    for view in [scene.views[view_id] for view_id in scene.test_ids][:CROPS]:
        drawn = Path("evaluation") / f"{picture_name(view)}_labels.png"
        panels = {arm: _panels(Path(first[arm]["folder"]) / drawn, view.image.shape[:2]) for arm in arms}
        photo, truth, teacher, _field = panels[arms[0]]
        window = _busiest(truth)
        row = {"photo": photo, "truth": truth, "teacher": teacher} | {SHOWN[arm]: panels[arm][3] for arm in arms}
        crops.append(titled({title: _enlarge(picture[window]) for title, picture in row.items()}))
    save_png(path, stacked(*crops))


def _enlarge(picture: torch.Tensor) -> torch.Tensor:
    return picture.repeat_interleave(ZOOM, 0).repeat_interleave(ZOOM, 1)


def _busiest(truth: torch.Tensor) -> tuple[slice, slice]:
    """The window that contains most borders."""
    colors = truth.long()
    near = (boundary_distance(colors[..., 0] * 65536 + colors[..., 1] * 256 + colors[..., 2], void=-1) < 2).double()
    width, height = (min(length, side) for length, side in zip(CROP, truth.shape[1::-1], strict=True))
    sums = torch.nn.functional.avg_pool2d(near[None, None], (height, width), stride=1)[0, 0]
    y, x = divmod(int(sums.argmax()), sums.shape[1])
    return slice(y, y + height), slice(x, x + width)


def _panels(path: Path, size: Sequence[int]) -> list[torch.Tensor]:
    """Cuts photo, truth, teacher and field, each of `size` [H, W], out of `<name>_labels.png` of an evaluation."""
    with Image.open(path) as image:
        pixels = torch.from_numpy(np.array(image.convert("RGB")))
    rows = slice(TITLE_HEIGHT, TITLE_HEIGHT + size[0])
    return [pixels[rows, left : left + size[1]] for left in range(0, 4 * (size[1] + GAP), size[1] + GAP)]


def write_page(docs: Path) -> None:
    """Writes smoothness.md: the findings (written by hand), the tables of the scenes, and the paper's."""
    folder = docs / FOLDER
    parts = [(folder / "findings.md").read_text().rstrip()] if (folder / "findings.md").is_file() else []
    order = ["demo", "room_a", "camvid"]
    pages = sorted(folder.glob("*.json"), key=lambda path: [*order, path.stem].index(path.stem))
    parts += [path.with_suffix(".md").read_text().rstrip() for path in pages]
    earlier = sorted((folder / EARLIER).glob("*.csv"))
    parts += ["## The paper's rows beside ours", paper_table([path.with_suffix(".csv") for path in pages] + earlier)]
    (docs / "smoothness.md").write_text("\n\n".join(parts) + "\n")


OURS = ("cosine", "miou", "boundary_3px")
"""Columns of our arms beside the paper's rows."""


def paper_table(tables: Sequence[Path]) -> str:
    """Formats the paper's rows, with the columns `OURS` of every scene that has the corresponding arms."""
    lines = [["", "PSNR", "SSIM", "cosine to teacher"]]
    lines += [[name, f"{psnr:.2f}", f"{ssim:.4f}", f"{cosine:.4f}"] for name, (psnr, ssim, cosine, _) in PAPER.items()]
    for table in tables:
        with table.open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["level"] == "1.0"]
        if {arm for *_, arm in PAPER.values()} <= {row["arm"] for row in rows}:
            name = f"{EARLIER}/{table.stem}" if table.parent.name == EARLIER else table.stem
            lines[0] += [f"{name}: {COLUMNS[column][0]}" for column in OURS]
            for line, (*_, arm) in zip(lines[1:], PAPER.values(), strict=True):
                group = [{name: float(row[name]) for name in OURS} for row in rows if row["arm"] == arm]
                line += [show(group, column) for column in OURS]
    return markdown_table(lines[0], lines[1:])
