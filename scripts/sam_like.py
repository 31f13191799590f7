"""SAM-like masks, made from exact ones: what segment-anything's automatic masks get wrong, seeded.

    python scripts/sam_like.py EXACT OUT [--seed 0]

EXACT is a folder of instance images, 0 for nothing. Every view is treated by itself, and ids mean nothing between
views. OUT gets one `<name>.json` per image in the form of segment-anything's amg.py (overlapping masks as run lengths),
which `--masks.folder OUT` reads.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from jaxtyping import Bool, Int
from PIL import Image
from scipy import ndimage


@dataclass(frozen=True)
class Errors:
    """What is wrong with the masks."""

    cut: float = 0.5
    """Probability that a thing is cut into parts in a view: 2 to 4 cells around random pixels of it."""
    whole_too: float = 0.5
    """Probability that the whole of a thing that is cut is there too, over its parts."""
    missed: float = 0.1
    """Probability that a mask is missing."""
    merged: float = 0.05
    """Probability, per pair of neighbours in a view, that they have one mask."""
    border: int = 1
    """Pixels by which a mask's border is grown or shrunk, either with probability 1/2."""
    highlight: float = 0.15
    """Probability that a disc of up to a fifth of a mask's width is cut out of it."""
    min_area: int = 25
    """Least number of pixels of a mask; SAM's own limit for small islands is of this size."""


def make_masks(
    instances: Int[np.ndarray, "H W"], errors: Errors, rng: np.random.Generator
) -> Bool[np.ndarray, "M H W"]:
    """Masks of one view, overlapping, in random order."""
    ids = _merge_neighbours(instances, errors, rng)
    masks = []
    for thing in np.unique(ids[ids > 0]):
        whole = ids == thing
        found = [whole]
        if rng.random() < errors.cut:
            parts = _cut(whole, rng)
            found = [whole, *parts] if rng.random() < errors.whole_too else parts
        masks += [_err(mask, errors, rng) for mask in found if rng.random() >= errors.missed]
    masks = [mask for mask in masks if mask.sum() >= errors.min_area]
    rng.shuffle(masks)
    return np.stack(masks) if masks else np.zeros((0, *instances.shape), bool)


def _merge_neighbours(ids: Int[np.ndarray, "H W"], errors: Errors, rng: np.random.Generator) -> np.ndarray:
    right = np.stack([ids[:, :-1].ravel(), ids[:, 1:].ravel()], 1)
    below = np.stack([ids[:-1].ravel(), ids[1:].ravel()], 1)
    pairs = np.concatenate([right, below])
    pairs = np.unique(np.sort(pairs[(pairs[:, 0] != pairs[:, 1]) & (pairs > 0).all(1)], axis=1), axis=0)
    merged = ids.copy()
    for one, other in pairs[rng.random(len(pairs)) < errors.merged]:
        names = [merged[ids == name][0] for name in (one, other)]
        merged[merged == names[1]] = names[0]
    return merged


def _cut(mask: Bool[np.ndarray, "H W"], rng: np.random.Generator) -> list[np.ndarray]:
    """Cells of the mask's pixels around 2 to 4 of them."""
    pixels = np.argwhere(mask)
    centres = pixels[rng.integers(len(pixels), size=rng.integers(2, 5))]
    cell = ((pixels[:, None] - centres) ** 2).sum(-1).argmin(1)
    parts = []
    for number in np.unique(cell):
        part = np.zeros_like(mask)
        part[tuple(pixels[cell == number].T)] = True
        parts.append(part)
    return parts


def _err(mask: Bool[np.ndarray, "H W"], errors: Errors, rng: np.random.Generator) -> Bool[np.ndarray, "H W"]:
    """The mask with its border off, and perhaps a highlight cut out."""
    if errors.border:
        move = ndimage.binary_dilation if rng.random() < 0.5 else ndimage.binary_erosion
        mask = move(mask, iterations=errors.border)
    if mask.any() and rng.random() < errors.highlight:
        pixels = np.argwhere(mask)
        y, x = pixels[rng.integers(len(pixels))]
        radius = 0.1 * np.ptp(pixels, axis=0).min() * rng.random() + 1
        rows, columns = np.ogrid[: mask.shape[0], : mask.shape[1]]
        mask = mask & ((rows - y) ** 2 + (columns - x) ** 2 > radius**2)
    return mask


def encode_runs(mask: Bool[np.ndarray, "H W"]) -> dict:
    """COCO's uncompressed run lengths: down the columns, starting outside."""
    flat = mask.T.ravel()
    ends = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff(np.concatenate([[0], ends, [flat.size]])).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if flat[0] else counts}


@dataclass(frozen=True)
class Options:
    """Writes SAM-like masks of a folder of instance images."""

    exact: Annotated[Path, tyro.conf.Positional]
    """Folder of instance images."""
    out: Annotated[Path, tyro.conf.Positional]
    """Folder to write."""
    seed: int = 0
    errors: Errors = Errors()


def write_masks(exact: Path, out: Path, seed: int, errors: Errors) -> None:
    """Writes the masks of every image; each has its own random numbers, from the seed and its place."""
    out.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(sorted(exact.glob("*.png"))):
        with Image.open(path) as image:
            instances = np.asarray(image).astype(np.int64)
        rng = np.random.default_rng([seed, number])
        masks = make_masks(instances, errors, rng)
        records = [{"segmentation": encode_runs(mask), "predicted_iou": float(rng.random())} for mask in masks]
        (out / f"{path.stem}.json").write_text(json.dumps(records))


def main() -> None:
    """Writes the masks."""
    options = tyro.cli(Options, description=Options.__doc__)
    write_masks(options.exact, options.out, options.seed, options.errors)


if __name__ == "__main__":
    main()
