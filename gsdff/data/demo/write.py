"""Renders the built-in scene and writes it as an ordinary COLMAP folder."""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from gsdff.data.demo.model import sample_points, write_model
from gsdff.data.demo.photo import TracedPhoto
from gsdff.data.demo.world import CATEGORIES, DemoWorld, build_world, viewpoints
from gsdff.errors import UserError
from gsdff.interrupts import worker_threads
from gsdff.scene import HOLD_OUT_EVERY
from gsdff.weights import weights_folder

log = logging.getLogger("gsdff")

_VERSION = 1
"""Increased with every change of the rendered scene."""
_SETTINGS_FILE = "demo.json"
_NUM_POINTS = 6000
_POINT_NOISE = 0.003
"""Standard deviation of the points' noise, per axis, over their distance to the camera that saw them."""
_README = (
    "The built-in demo scene of gsdff: a table in a room, ray-traced, with exact labels (labels/, classes.json) and "
    "objects (instances/, objects.json).\nMetres, z up, floor at z = 0. demo.json holds the settings.\n"
)


def write_demo_scene(folder: Path, *, views: int = 40, width: int = 256, height: int = 192, seed: int = 0) -> None:
    """Writes the built-in scene: images/, sparse/0/, labels/, instances/, classes.json, objects.json, README.txt.

    A folder that already holds the scene with these settings is left unchanged; one with other settings is replaced.
    The folder is written atomically. `seed` displaces the cameras slightly and draws the points; all else is fixed.
    Raises `UserError` if the folder holds something else.
    """
    settings = {"version": _VERSION, "views": views, "width": width, "height": height, "seed": seed}
    names = [f"view_{index:03d}.png" for index in range(views)]
    if _holds(folder, settings, names):
        log.info("%s holds the demo scene already", folder)
        return
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and _settings_of(folder) is None)):
        raise UserError(f"{folder}: expected no folder, an empty one or a demo scene; move it away or name another")
    partial, old = (folder.with_name(f".{folder.name}.{os.getpid()}.{part}") for part in ("partial", "old"))
    try:
        _write(partial, settings, names)
        if _holds(folder, settings, names):  # another process was faster, and may be read already
            return
        if folder.exists():
            os.replace(folder, old)
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def copy_demo_scene(folder: Path) -> None:
    """Copies the built-in scene to the new folder `folder`.

    It is rendered once and kept with the downloaded weights (`gsdff.weights`) until the code that renders it changes.
    """
    kept = weights_folder() / f"demo-{_source_key()}"
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_demo_scene(kept)
    except OSError as error:  # a full disk, or a home that cannot be written to
        log.warning("%s: cannot keep the demo scene for the next run (%s)", kept, error.strerror)
        write_demo_scene(folder)
        return
    shutil.copytree(kept, folder)


def _source_key() -> str:
    """Fingerprint of the code that renders the scene."""
    digest = hashlib.blake2b(digest_size=6)
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _settings_of(folder: Path) -> dict | None:
    """Settings of the folder's demo scene; None if it holds no demo scene."""
    try:
        return json.loads((folder / _SETTINGS_FILE).read_text())
    except (OSError, ValueError):
        return None


def _holds(folder: Path, settings: dict, names: list[str]) -> bool:
    files = [f"{kind}/{name}" for kind in ("images", "labels", "instances") for name in names]
    files += [f"sparse/0/{stem}.bin" for stem in ("cameras", "images", "points3D")] + ["classes.json", "objects.json"]
    return _settings_of(folder) == settings and all((folder / file).is_file() for file in files)


def _write(folder: Path, settings: dict, names: list[str]) -> None:
    generator = torch.Generator().manual_seed(settings["seed"])
    for kind in ("images", "labels", "instances"):
        (folder / kind).mkdir(parents=True)
    places = viewpoints(settings["views"], settings["width"], settings["height"], generator)
    seen: list[tuple[Tensor, Tensor, Tensor]] = []
    with _single_threaded_torch() as num_workers, worker_threads(num_workers) as workers:
        bar = tqdm(total=len(places), desc="rendering the demo scene", unit="view", leave=False)
        bar.refresh()
        world = build_world()
        for index, photo in enumerate(workers.map(world.room.photograph, places)):
            _write_images(folder, names[index], photo, world)
            if index % HOLD_OUT_EVERY:
                seen.append((photo.points, photo.image, places[index].centre))
            bar.update()
        bar.close()
    points, colors = sample_points(seen, _NUM_POINTS, _POINT_NOISE, generator)
    write_model(folder / "sparse" / "0", names, places, points, colors)
    _write_names(folder, world)
    (folder / _SETTINGS_FILE).write_text(json.dumps(settings) + "\n")


def _write_images(folder: Path, name: str, photo: TracedPhoto, world: DemoWorld) -> None:
    labels = world.category_ids[photo.surface_ids]
    instances = world.instance_ids[photo.surface_ids]
    Image.fromarray(photo.image.numpy()).save(folder / "images" / name)
    Image.fromarray(labels.numpy()).save(folder / "labels" / name)
    Image.fromarray(instances.numpy().astype(np.uint16)).save(folder / "instances" / name)


def _write_names(folder: Path, world: DemoWorld) -> None:
    """classes.json, objects.json and README.txt."""
    classes = [
        {"id": index, "name": category.name, "text_query": category.text_query, "color": list(category.color)}
        for index, category in enumerate(CATEGORIES)
    ]
    objects = [
        {"id": number, "name": name, "class": world.category_of(number)}
        for number, name in enumerate(world.instance_names, 1)
    ]
    (folder / "classes.json").write_text(_rows("classes", classes, void=255))
    (folder / "objects.json").write_text(_rows("objects", objects))
    (folder / "README.txt").write_text(_README)


def _rows(key: str, rows: list[dict], **others: int) -> str:
    """Formats JSON with one row per line."""
    head = "".join(f" {json.dumps(name)}: {value},\n" for name, value in others.items())
    body = ",\n".join("  " + json.dumps(row) for row in rows)
    return f"{{\n{head} {json.dumps(key)}: [\n{body}\n ]\n}}\n"


@contextmanager
def _single_threaded_torch() -> Iterator[int]:
    """Yields torch's number of threads, and limits every operation to one thread until the block ends.

    The operations are small: rendering several photos at once keeps the cores busy, threads in an operation would not.
    """
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield num_threads
    finally:
        torch.set_num_threads(num_threads)
