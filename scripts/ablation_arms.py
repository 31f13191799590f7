"""Arms of the smoothness study: the options and the masks of each."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sam_like import Errors, write_masks
from tqdm import tqdm

from gsdff.config.file import find_preset, lay_over, read_table
from gsdff.config.options import TrainConfig
from gsdff.labels import ENDINGS, INSTANCES_FOLDER, LABEL_IMAGE, find_label_images, read_instances
from gsdff.photo_files import require_file
from gsdff.scene import VOID, Scene

SHIFT = 3
"""Offset of the shifted masks in pixels, to the right and down."""
MASKS = ("exact", "felzenszwalb", "shifted", "sam-like")
"""Kinds of masks; `sam-like` ones are made from exact ones by scripts/sam_like.py."""
MIN_AREA = 50
"""Least pixels of a SAM-like mask."""


@dataclass(frozen=True)
class Arm:
    """One row of the study."""

    name: str
    options: Mapping[str, Any]
    """Options laid over the base, as nested tables like a TOML file's."""
    masks: str = ""
    """One of `MASKS`; empty if the arm needs no masks."""

    @property
    def title(self) -> str:
        return f"{self.name}, {self.masks} masks" if self.masks else self.name

    @property
    def key(self) -> str:
        """Title as a file name."""
        return self.title.replace(" ", "_").replace("-", "_").replace(",", "").replace("+", "and")


def _preset(*names: str) -> dict[str, Any]:
    """Options of configs/NAME.toml, later ones over earlier ones."""
    return merge(*(read_table(find_preset(name)) for name in names))


def _smooth(name: str, form: str, **options: Any) -> dict:
    return {"smoothing": {name: {"form": form, **options}}}


def merge(*tables: Mapping[str, Any]) -> dict[str, Any]:
    """Merges nested tables, later ones over earlier ones."""
    merged: dict[str, Any] = {}
    for table in tables:
        for key, value in table.items():
            merged[key] = merge(merged.get(key, {}), value) if isinstance(value, Mapping) else value
    return merged


BASE = merge(_preset("naive"), {"stage2": {"freeze_radiance": True}})
"""Radiance is frozen: features do not change it in any arm, and all arms then have exactly the same scene."""
LIFT = {"stage2": {"steps": 0}}
ROBUST = {"stage2": {"huber": 0.3}}
GRAPH = {"smoothing": {"graph": {"form": "lift"}}}
RELIABLE = {"smoothing": {"graph": {"form": "lift", "reliability": 1.0}}}
LAMBDA = {"weight": 3.0}
"""Weight of the consistency losses."""
BLUR = {"window": 11, "sigma": 3.0}
ALIKE = BLUR | {"purity": 0.0}
POOLED = _smooth("sam", "target", window=0, purity=8.0)

PLAIN = {
    "lift only": LIFT,
    "naive": {},
    "robust": ROBUST,
    "gaussian consistency": _smooth("gaussian", "consistency", **LAMBDA, **BLUR),
    "tv": _preset("tv"),
    "bilateral render": _preset("bilateral"),
    "bilateral consistency": _smooth("bilateral", "consistency", **LAMBDA),
    "lift + graph": merge(LIFT, GRAPH),
    "graph": GRAPH,
    "paper: tv": _preset("paper_tv"),
    "paper: bilateral": _preset("paper_bilateral"),
    "robust + graph (default)": merge(ROBUST, GRAPH),
    "robust + graph by reliability": merge(ROBUST, RELIABLE),
}
THINGS = merge(ROBUST, GRAPH, _preset("sam"))
WITH_MASKS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "sam render": (_smooth("sam", "render", **ALIKE), ("exact",)),
    "paper: sam": (_preset("paper_sam"), ("exact",)),
    "pooled teacher": (_smooth("sam", "target", window=0, purity=0.0), ("exact",)),
    "pooled teacher, purity": (POOLED, ("exact",)),
    "robust + graph + pooled, purity": (merge(ROBUST, GRAPH, POOLED), MASKS),
    "things": (_preset("sam"), ("exact", "sam-like")),
    "robust + graph + things": (THINGS, MASKS),
    "robust + graph + things without reliability": (
        merge(THINGS, {"smoothing": {"things": {"reliability": 0.0}}}),
        ("exact", "sam-like"),
    ),
    "all together": (merge(THINGS, RELIABLE), ("exact", "sam-like")),
}
"""Options and kinds of masks of the arms that need masks."""
CORE = (
    "naive", "robust + graph (default)", "robust + graph by reliability",
    "robust + graph + pooled, purity, exact masks",
    "robust + graph + things, exact masks", "robust + graph + things, sam-like masks",
)  # fmt: skip
"""Arms with all seeds and all levels of noise."""


def all_arms() -> list[Arm]:
    """All arms: first those without masks, then the others with each kind of masks."""
    arms = [Arm(name, options) for name, options in PLAIN.items()]
    return arms + [Arm(name, options, masks) for name, (options, kinds) in WITH_MASKS.items() for masks in kinds]


def configure(arm: Arm, base: TrainConfig, masks_folder: Path) -> TrainConfig:
    """The base with the options and masks of an arm; `masks_folder` holds the masks of `make_label_masks`."""
    config = lay_over(base, merge(BASE, arm.options), arm.title)
    if arm.masks == "felzenszwalb":
        masks = replace(config.masks, name="felzenszwalb", cache=masks_folder / "felzenszwalb")
    elif arm.masks:
        source = masks_folder / f"{arm.masks}_labels"
        masks = replace(config.masks, name="precomputed", folder=source, cache=masks_folder / arm.masks)
        masks = replace(masks, min_area=MIN_AREA)
    else:
        masks = replace(config.masks, name="none")
    return replace(config, masks=masks)


def make_label_masks(scene: Scene, labels: Path | None, folder: Path) -> None:
    """Writes exact masks of the training views, one segment per class and instance, shifted and SAM-like copies."""
    images = find_label_images(scene, labels)
    instances = images.folder.parent / INSTANCES_FOLDER
    for view_id in tqdm(scene.train_ids, desc="exact masks", unit="view", leave=False):
        view = scene.views[view_id]
        classes = images.load(view).numpy().astype(np.int64)
        codes = classes
        if instances.is_dir():
            size = classes.shape[1], classes.shape[0]
            path = require_file(instances, view, ENDINGS, LABEL_IMAGE)
            codes = codes + 256 * read_instances(path, view, size).numpy()
        ids = np.unique(codes, return_inverse=True)[1].reshape(codes.shape) + 1
        ids[classes == VOID] = 0
        rows, columns = (np.arange(length) for length in ids.shape)
        shifted = ids[np.maximum(rows - SHIFT, 0)][:, np.maximum(columns - SHIFT, 0)]
        for kind, pixels in (("exact", ids), ("shifted", shifted)):
            path = folder / f"{kind}_labels" / f"{view.key}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint16)).save(path)
    write_masks(folder / "exact_labels", folder / "sam-like_labels", 0, Errors())


def seeded(config: TrainConfig, seed: int, level: float) -> TrainConfig:
    """The config with another seed, and `level` times the toy teacher's noise and mistakes."""
    toy = config.teacher.toy
    toy = replace(toy, seed=seed, noise=toy.noise * level, mistakes=min(1.0, toy.mistakes * level))
    return replace(config, seed=seed, teacher=replace(config.teacher, toy=toy))
