"""The arms of the smoothness study: what each changes, and which masks it sees."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from gsdff.config import TrainConfig
from gsdff.config_file import lay_over
from gsdff.labels import find_label_images, read_instances
from gsdff.scene import VOID, Scene
from gsdff.teachers.toy import INSTANCES_FOLDER

SHIFT = 3
"""Pixels by which shifted masks are wrong, right and down."""
MASKS = ("exact", "felzenszwalb", "shifted")


@dataclass(frozen=True)
class Arm:
    """One row of the study."""

    name: str
    options: Mapping[str, Any]
    """Over the base: a table like a TOML file's."""
    masks: str = ""
    """Of `MASKS`; none where it needs none."""

    @property
    def title(self) -> str:
        return f"{self.name}, {self.masks} masks" if self.masks else self.name

    @property
    def key(self) -> str:
        """For file names."""
        return self.title.replace(" ", "_").replace(",", "").replace("+", "and")


BASE = {"stage2": {"freeze_radiance": True, "huber": 0.0}}
"""Radiance stands still: no arm could change it (features are not allowed to), and all see the very same scene."""
HUBER = {"stage2": {"huber": 0.3}}
BLUR = {"window": 11, "sigma": 3.0}
LAMBDA = 5.0
"""Weight of the consistency terms."""
POOLED = {"smoothing": {"sam": {"form": "target", "window": 0, "purity": 4.0}}}
GRAPH = {"smoothing": {"graph": {"form": "lift"}}}


def _smooth(name: str, form: str, **options: Any) -> dict:
    weight = {"weight": LAMBDA} if form == "consistency" else {}
    return {"smoothing": {name: {"form": form, **weight, **options}}}


def merge(*tables: Mapping[str, Any]) -> dict[str, Any]:
    """Nested tables laid over one another."""
    merged: dict[str, Any] = {}
    for table in tables:
        for key, value in table.items():
            merged[key] = merge(merged.get(key, {}), value) if isinstance(value, Mapping) else value
    return merged


PLAIN = {
    "lift only": {"stage2": {"steps": 0}},
    "naive": {},
    "robust": HUBER,
    "gaussian consistency": _smooth("gaussian", "consistency", **BLUR),
    "tv": {"smoothing": {"tv": {"weight": 3.0}}},
    **{f"bilateral {form}": _smooth("bilateral", form) for form in ("render", "consistency", "target")},
    "bilateral consistency, own guide": _smooth("bilateral", "consistency", guide="features", sigma_range=0.3),
    "lift + graph": merge({"stage2": {"steps": 0}}, GRAPH),
    "graph": GRAPH,
    "graph consistency": {"smoothing": {"graph": {"form": "consistency", "weight": LAMBDA}}},
    "paper: tv": {"smoothing": {"tv": {"weight": 0.01}}},
    "paper: bilateral": _smooth("bilateral", "render", window=15, guide="features", sigma=3.0, sigma_range=0.3),
    "robust + bilateral target + graph": merge(HUBER, _smooth("bilateral", "target"), GRAPH),
}
WITH_MASKS = {
    "tv inside segments": {"smoothing": {"tv": {"weight": 3.0, "segments": True}}},
    **{f"sam {form}": _smooth("sam", form, **BLUR, purity=0.0) for form in ("render", "consistency", "target")},
    "sam consistency, segment mean": _smooth("sam", "consistency", window=0, purity=4.0),
    "pooled teacher": _smooth("sam", "target", window=0, purity=0.0),
    "pooled teacher, purity": POOLED,
    "tv + sam consistency": merge(
        {"smoothing": {"tv": {"weight": 3.0}}}, _smooth("sam", "consistency", **BLUR, purity=0.0)
    ),
    "paper: sam": _smooth("sam", "render", window=3, sigma=0.8, purity=0.0),
    "best": merge(HUBER, POOLED, GRAPH),
}


def all_arms() -> list[Arm]:
    """Those without masks, then the others with each kind of masks."""
    arms = [Arm(name, options) for name, options in PLAIN.items()]
    return arms + [Arm(name, options, masks) for name, options in WITH_MASKS.items() for masks in MASKS]


def configure(arm: Arm, base: TrainConfig, masks_folder: Path) -> TrainConfig:
    """The base with an arm's options and masks; `masks_folder` holds those of `make_label_masks`."""
    config = lay_over(base, merge(BASE, arm.options), arm.title)
    if arm.masks == "felzenszwalb":
        masks = replace(config.masks, name="felzenszwalb", cache=masks_folder / "felzenszwalb")
    elif arm.masks:
        source = masks_folder / f"{arm.masks}_labels"
        masks = replace(config.masks, name="precomputed", folder=source, cache=masks_folder / arm.masks)
    else:
        masks = replace(config.masks, name="none")
    return replace(config, masks=masks)


def make_label_masks(scene: Scene, labels: Path | None, folder: Path) -> None:
    """Writes exact masks of the training views, a segment per class and instance, and the same shifted."""
    images = find_label_images(scene, labels)
    instances = images.folder.parent / INSTANCES_FOLDER
    for view_id in tqdm(scene.train_ids, desc="exact masks", unit="view", leave=False):
        view = scene.views[view_id]
        classes = images.load(view).numpy().astype(np.int64)
        codes = classes
        if instances.is_dir():
            size = classes.shape[1], classes.shape[0]
            codes = codes + 256 * read_instances(instances / f"{view.stem}.png", size).numpy()
        ids = np.unique(codes, return_inverse=True)[1].reshape(codes.shape) + 1
        ids[classes == VOID] = 0
        rows, columns = (np.arange(length) for length in ids.shape)
        shifted = ids[np.maximum(rows - SHIFT, 0)][:, np.maximum(columns - SHIFT, 0)]
        for kind, pixels in (("exact", ids), ("shifted", shifted)):
            path = folder / f"{kind}_labels" / f"{view.stem}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint16)).save(path)


def seeded(config: TrainConfig, seed: int, level: float) -> TrainConfig:
    """With a seed of its own, and `level` times the toy teacher's noise and mistakes."""
    toy = config.teacher.toy
    toy = replace(toy, seed=seed, noise=toy.noise * level, mistakes=min(1.0, toy.mistakes * level))
    return replace(config, seed=seed, teacher=replace(config.teacher, toy=toy))
