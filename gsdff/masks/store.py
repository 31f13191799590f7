"""Store on disk of the segments of a scene's views, with pictures of them."""

import colorsys
import hashlib
import logging
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int32, UInt8, UInt16
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor
from tqdm import tqdm

from gsdff.errors import UserError
from gsdff.files.checked import checksum, disk_size
from gsdff.files.reading import open_picture
from gsdff.files.writing import whole_file
from gsdff.masks import Segmenter
from gsdff.masks.partition import MAX_SEGMENTS
from gsdff.ranks import this_job
from gsdff.scene import View

log = logging.getLogger("gsdff")

LAYOUT = "gsdff-masks-1"
FINGERPRINT = "gsdff-fingerprint"
"""Key of the PNG text that identifies the inputs of a label map, so that map and fingerprint are one file."""
CHECKSUM = "gsdff-checksum"
"""Key of the PNG text with the checksum of fingerprint and pixels; files of earlier versions have none."""
PREVIEW_FOLDER = "preview"
TINT = 0.5
"""Opacity of a segment's colour over the image in a preview."""


@dataclass(frozen=True)
class MaskStore:
    """Label maps as 16-bit `<key>.png`, 0 for no segment, and pictures in `preview/`."""

    folder: Path

    def load(self, view: View) -> Int32[Tensor, "H W"]:
        """Label map of a view on the CPU, at its image's size. Raises `UserError` if it is missing or damaged."""
        path = self.folder / f"{view.key}.png"
        found = _read(path)
        if found is None:
            raise UserError(f"{path}: missing or damaged; run the command again to make it")
        if found[0].shape != (view.camera.height, view.camera.width):
            raise UserError(f"{path}: has shape {list(found[0].shape)}, another than its photo; remove it")
        return torch.from_numpy(found[0].astype(np.int32))

    def holds(self, view: View) -> bool:
        """Whether `load` would return a label map."""
        try:
            self.load(view)
        except UserError:
            return False
        return True


def make_masks(
    segmenter: Segmenter,
    views: Sequence[View],
    folder: Path,
    image_of: Callable[[View], UInt8[Tensor, "H W 3"]] = lambda view: view.image,
    cache: Path | None = None,
) -> MaskStore:
    """Makes the missing label maps of these views in `folder`, which belongs to one run.

    `image_of` returns the image to segment, by default the photo. A map is kept if it was made from the same image by
    the same segmenter with the same settings. Such maps of other runs are copied from `cache`, and new ones are added
    to it: a map is never replaced there by another one. Every file is written atomically, so a run that was killed
    continues where it stopped. Ranks share the views, and all maps are there at the end. Raises `UserError` for any
    error of the segmenter.
    """
    ranks = this_job()
    views, in_step = ranks.share(views), ranks.share_evenly(views)
    (folder / PREVIEW_FOLDER).mkdir(parents=True, exist_ok=True)
    num_made, num_segments, covered = 0, 0, 0.0
    used: set[Path] = set()
    for view in tqdm(views, total=len(views), desc=f"masks by {segmenter.name}", unit="view"):
        image = image_of(view)
        fingerprint = _fingerprint(segmenter, view, image)
        places = [folder / f"{view.key}.png"]
        if cache is not None:
            places.append(cache / view.key / f"{fingerprint}.png")
            used.add(places[1])
        found = {place: entry[0] for place in places if (entry := _read(place)) and entry[1] == fingerprint}
        if found:
            labels = torch.from_numpy(next(iter(found.values())).astype(np.int32))
        else:
            labels = segmenter.segment(view, image)
            assert labels.shape == image.shape[:2] and labels.min() >= 0 and labels.max() <= MAX_SEGMENTS
            num_made += 1
        if places[0] not in found:
            _save(folder / PREVIEW_FOLDER / f"{view.key}.png", overlay(image, labels).numpy())
        for place in places:
            if place not in found:
                _save(place, labels.numpy().astype(np.uint16), fingerprint)
        num_segments += len(labels[labels > 0].unique())
        covered += float((labels > 0).float().mean())
    for view in in_step[len(views) :]:
        image_of(view)  # as often as others, as ranks with a part of a scene each render together
    counts = ranks.gather((num_made, num_segments, covered, len(views)))
    num_made, num_segments, covered, num_views = (sum(column) for column in zip(*counts, strict=True))
    log.info(
        "masks: %d views segmented by %s and %d reused, %.0f segments per view cover %.0f %% of it; pictures in %s",
        num_made, segmenter.name, num_views - num_made, num_segments / max(1, num_views),
        100 * covered / max(1, num_views), folder / PREVIEW_FOLDER,
    )  # fmt: skip
    if cache is not None:
        used = {path for paths in ranks.gather(used) for path in paths}
        if ranks.is_first:
            _mention_others(cache, used)
    return MaskStore(folder)


def _mention_others(cache: Path, used: set[Path]) -> None:
    """Logs the disk space of masks in the cache that this run does not use."""
    others = [path for path in cache.rglob("*.png") if path not in used]
    if others:
        log.info(
            "%s: %d masks of other runs or settings take %.1f MB; every run has its own copies, so the folder may be "
            "removed: rm -r %s",
            cache, len(others), sum(map(disk_size, others)) / 1e6, shlex.quote(str(cache)),
        )  # fmt: skip


def overlay(image: UInt8[Tensor, "H W 3"], labels: Int32[Tensor, "H W"]) -> UInt8[Tensor, "H W 3"]:
    """Image tinted by segment, always in the same colour for the same id, with borders; unchanged without segments."""
    image, labels = image.cpu().float(), labels.cpu()
    tinted = torch.where((labels > 0)[..., None], torch.lerp(image, _COLORS[labels.long() % len(_COLORS)], TINT), image)
    tinted[_borders(labels)] = 255
    return tinted.round().byte()


def _borders(labels: Int32[Tensor, "H W"]) -> Bool[Tensor, "H W"]:
    """Mask of pixels whose right or lower neighbour has another label."""
    borders = torch.zeros_like(labels, dtype=torch.bool)
    borders[:, :-1] |= labels[:, 1:] != labels[:, :-1]
    borders[:-1] |= labels[1:] != labels[:-1]
    return borders


def _colors(num_colors: int) -> Float[Tensor, "num_colors 3"]:
    """Colours in 0 to 255 with hues a golden angle apart, in three tiers of saturation and brightness."""
    tiers = [(0.75, 0.95), (0.9, 0.6), (0.4, 0.85)]
    colors = [colorsys.hsv_to_rgb(i * 0.61803398875 % 1, *tiers[i % 3]) for i in range(num_colors)]
    return torch.tensor(colors) * 255


_COLORS = _colors(256)


def _fingerprint(segmenter: Segmenter, view: View, image: UInt8[Tensor, "H W 3"]) -> str:
    """Hash of all inputs of a label map."""
    made_by = (LAYOUT, segmenter.name, segmenter.fingerprint, segmenter.fingerprint_of(view), tuple(image.shape))
    digest = hashlib.blake2b(repr(made_by).encode(), digest_size=16)
    digest.update(image.cpu().contiguous().numpy().data)
    return digest.hexdigest()


def _read(path: Path) -> tuple[UInt16[np.ndarray, "H W"], str | None] | None:
    """A label map and its fingerprint; None if the file is missing, damaged, or none of ours."""
    try:
        with open_picture(path, "masks") as image:
            pixels, fingerprint, stored = np.asarray(image), *map(image.info.get, (FINGERPRINT, CHECKSUM))
    except (OSError, UserError):
        return None
    is_ours = pixels.dtype == np.uint16 and pixels.ndim == 2
    is_intact = stored is None or stored == checksum(str(fingerprint), [pixels])
    return (pixels, fingerprint) if is_ours and is_intact else None


def _save(path: Path, pixels: np.ndarray, fingerprint: str | None = None) -> None:
    """Writes a PNG atomically, with its fingerprint and checksum."""
    texts = PngInfo()
    if fingerprint is not None:
        texts.add_text(FINGERPRINT, fingerprint)
        texts.add_text(CHECKSUM, checksum(fingerprint, [pixels]))
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial:
        Image.fromarray(pixels).save(partial, format="PNG", pnginfo=texts)
