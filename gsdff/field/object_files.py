"""Files of the things of a field: a list, pictures, label maps, and the Gaussians with their numbers."""

import html
import json
import math
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor
from tqdm import tqdm

from gsdff.errors import UserError
from gsdff.field.base import FieldBase
from gsdff.field.objects import SceneObject, draw_things, read_things
from gsdff.files.places import check_place, make_folder
from gsdff.files.reading import read_json
from gsdff.files.writing import together, write_text
from gsdff.io.pictures import save_png
from gsdff.io.ply import write_ply
from gsdff.io.sidecar import write_sidecar
from gsdff.labels import INSTANCES_FOLDER, write_instance_image
from gsdff.scene import View

OBJECTS = "gsdff.objects"
"""Mark `made_by` in the list of a folder that may be written again."""
LIST, PAGE, THUMBNAILS, SCENE = "objects.json", "index.html", "thumbnails", "scene.ply"
MARGIN = 0.15
"""Margin of a thumbnail around its thing, as a share of its longer side."""
DIMMED = 0.35
"""Brightness of what a thumbnail shows of other things."""


def check_objects_folder(folder: Path) -> None:
    """Raises `UserError` for a folder that holds something else."""
    check_place(folder, parameter="folder", is_folder=True)
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    try:
        content = read_json(folder / LIST, "a list of things")
    except (OSError, UserError):
        content = None
    if not (isinstance(content, dict) and content.get("made_by") == OBJECTS):
        raise UserError(f"`folder` {folder}: holds other files already; choose another folder")


def write_objects(field: FieldBase, objects: Sequence[SceneObject], folder: Path, views: Sequence[View]) -> None:
    """Writes objects.json, a page with thumbnails, scene.ply, and for `views` label maps of instances (16 bits).

    scene.ply has the int properties `instance_id` and `class_id`: the thing's number, 0 for none, and the index of its
    name in "classes" of objects.json, -1 for none.
    """
    check_objects_folder(folder)
    things = read_things(field)
    make_folder(folder / THUMBNAILS)
    classes = sorted({entry.name for entry in objects if entry.name is not None})
    by_view: dict[str, list[int]] = {}
    for entry in objects:
        if entry.views:
            by_view.setdefault(entry.views[0], []).append(entry.id)
    pictured = set()
    for name, ids in tqdm(by_view.items(), desc="thumbnails", unit="view", leave=False):
        view = field.find_view(name)
        drawn = draw_things(field, things, view).cpu()
        for number in ids:
            if (picture := _cut_out(view.image, drawn == number)) is not None:
                save_png(folder / THUMBNAILS / f"{number}.png", picture)
                pictured.add(number)
    for view in tqdm(views, desc="instances", unit="view", leave=False):
        write_instance_image(folder / INSTANCES_FOLDER / f"{view.key}.png", draw_things(field, things, view))
    class_ids = torch.full((len(things) + 1,), -1, dtype=torch.int32)
    for entry in objects:
        if entry.name is not None:
            class_ids[entry.id] = classes.index(entry.name)
    columns = {"instance_id": things.instance_ids, "class_id": class_ids[things.instance_ids.long()]}
    gaussians, sidecar = field.for_files(), field.describe()
    about = {"made_by": OBJECTS, "source": str(field.source), "classes": classes}
    rows = [_finite(asdict(entry)) for entry in objects]
    with together(folder / SCENE, folder / LIST):
        write_ply(folder / SCENE, gaussians, labels=columns)
        if sidecar is not None:
            write_sidecar(folder / SCENE, sidecar, gaussians.origin)
        write_text(folder / PAGE, _format_page(field, objects, pictured))
        write_text(folder / LIST, json.dumps(about | {"objects": rows}, indent=1) + "\n")


def format_objects(objects: Sequence[SceneObject]) -> str:
    """The things as an aligned table."""
    header = ["thing", "name", "score", "next", "score", "Gaussians", "size", "centroid", "best view"]
    rows = [_cells(entry) for entry in objects]
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
                     for row in [header, *rows])  # fmt: skip


def _cells(entry: SceneObject) -> list[str]:
    size = " x ".join(f"{side:.3g}" for side in entry.size)
    place = ", ".join(f"{value:.3g}" for value in entry.centroid)
    scores = [("" if math.isnan(score) else f"{score:.2f}") for score in (entry.score, entry.next_score)]
    return [
        str(entry.id), entry.name or "", scores[0], entry.next_name or "", scores[1], f"{entry.num_gaussians:,}", size,
        place, entry.views[0] if entry.views else "",
    ]  # fmt: skip


def _finite(row: dict) -> dict:
    """JSON has no NaN."""
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}


def _cut_out(image: UInt8[Tensor, "H W 3"], mask: Tensor) -> UInt8[Tensor, "h w 3"] | None:
    """The photo around the pixels of the mask, what lies outside of them dimmed; None if there are none."""
    rows, columns = mask.nonzero(as_tuple=True)
    if not len(rows):
        return None
    margin = 2 + round(MARGIN * max(int(rows.max() - rows.min()), int(columns.max() - columns.min())))
    window = tuple(
        slice(max(0, int(places.min()) - margin), int(places.max()) + margin + 1) for places in (rows, columns)
    )
    shown = torch.where(mask[..., None], image.cpu().float(), DIMMED * image.cpu().float())
    return shown.round().byte()[window]


def _format_page(field: FieldBase, objects: Sequence[SceneObject], pictured: Collection[int]) -> str:
    """The page of things; those without a thumbnail of this writing show none, whatever an earlier one has left."""
    cards = []
    for entry in objects:
        image = f'<img src="{THUMBNAILS}/{entry.id}.png" alt="">' if entry.id in pictured else ""
        _, name, score, other, next_score, count, size, _, view = map(html.escape, _cells(entry))
        texts = [f"{score}, then {other} {next_score}" if name else "", f"{count} Gaussians", size, view]
        lines = "".join(f"<div>{text}</div>" for text in texts if text)
        cards.append(f"<figure>{image}<figcaption><b>thing:{entry.id} {name}</b>{lines}</figcaption></figure>")
    title = html.escape(f"{field.source}: {len(objects)} things")
    style = (
        "body{font:14px sans-serif;margin:2em}figure{display:inline-block;width:190px;margin:8px;vertical-align:top}"
        "img{max-width:190px;max-height:160px}"
    )
    page = f"<title>{title}</title><style>{style}</style><h1>{title}</h1>{''.join(cards)}"
    return f'<!doctype html><html lang="en"><meta charset="utf-8">{page}</html>\n'
