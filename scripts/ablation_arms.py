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
    "bilateral target": _smooth("bilateral", "target"),
    "bilateral consistency, own guide": _smooth(
        "bilateral", "consistency", **LAMBDA, guide="features", sigma_range=0.3
    ),
    "lift + graph": merge(LIFT, GRAPH),
    "graph": GRAPH,
    "graph consistency": {"smoothing": {"graph": {"form": "consistency", **LAMBDA}}},
    "paper: tv": _preset("paper_tv"),
    "paper: bilateral": _preset("paper_bilateral"),
    "robust + graph (default)": merge(ROBUST, GRAPH),
    "robust + graph + bilateral render": merge(ROBUST, GRAPH, _preset("bilateral")),
}
WITH_MASKS = {
    "tv inside segments": merge(_preset("tv"), {"smoothing": {"tv": {"segments": True}}}),
    "sam render": _smooth("sam", "render", **ALIKE),
    "sam consistency": _smooth("sam", "consistency", **LAMBDA, **ALIKE),
    "sam target": _smooth("sam", "target", **ALIKE),
    "sam consistency, segment mean": _smooth("sam", "consistency", **LAMBDA, window=0, purity=8.0),
    "tv + sam consistency": merge(_preset("tv"), _smooth("sam", "consistency", **LAMBDA, **ALIKE)),
    "paper: sam": _preset("paper_sam"),
    "pooled teacher": _smooth("sam", "target", window=0, purity=0.0),
    "pooled teacher, purity": POOLED,
    "robust + graph + pooled, purity (best)": merge(ROBUST, GRAPH, POOLED),
    "things": _preset("sam"),
    "robust + graph + things": merge(ROBUST, GRAPH, _preset("sam")),
}
SHIFTED = (
    "sam render",
    "sam consistency",
    "sam target",
    "pooled teacher",
    "robust + graph + pooled, purity (best)",
    "robust + graph + things",
)
"""Arms that are also run with shifted masks."""
SAM_LIKE = ("robust + graph + pooled, purity (best)", "things", "robust + graph + things")
"""Arms that are also run with SAM-like masks."""
ALSO = {"shifted": SHIFTED, "sam-like": SAM_LIKE}
"""Arms for which there are masks of these kinds; those of the other kinds are for all."""
CORE = (
    "lift only", "naive", "gaussian consistency", "tv", "bilateral target", "lift + graph", "robust + graph (default)",
    "robust + graph + bilateral render",
    "sam render, exact masks", "sam consistency, exact masks", "sam target, exact masks",
    "pooled teacher, exact masks", "robust + graph + pooled, purity (best), exact masks",
    "robust + graph + things, exact masks",
    "sam consistency, felzenszwalb masks", "robust + graph + pooled, purity (best), felzenszwalb masks",
)  # fmt: skip
"""Arms with all seeds and all levels of noise."""


def all_arms() -> list[Arm]:
    """All arms: first those without masks, then the others with each kind of masks."""
    arms = [Arm(name, options) for name, options in PLAIN.items()]
    for name, options in WITH_MASKS.items():
        arms += [Arm(name, options, masks) for masks in MASKS if name in ALSO.get(masks, WITH_MASKS)]
    return arms


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
