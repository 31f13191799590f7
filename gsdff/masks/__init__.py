"""Masks: every view cut into segments. A new segmenter is a file here and a row in `_SEGMENTERS`."""

import logging
from collections.abc import Callable
from typing import Protocol

import torch
from jaxtyping import Int32, UInt8
from torch import Tensor

from gsdff.config.smoothing import MaskConfig
from gsdff.scene import Scene, View
from gsdff.weights import WEIGHTS, is_fetched

log = logging.getLogger("gsdff")


class Segmenter(Protocol):
    """What every segmenter offers. Making one is cheap: a network is loaded when its first image is segmented."""

    name: str
    fingerprint: str
    """Changes whenever the segmenter would answer otherwise for the same input (network, weights, settings)."""

    def check(self, view: View) -> None:
        """Raises `UserError` where it cannot serve this view; cheap enough to ask before training starts."""

    def fingerprint_of(self, view: View) -> str:
        """Changes whenever that changes which, besides the image, this view's segments are made from."""

    def segment(self, view: View, image: UInt8[Tensor, "H W 3"]) -> Int32[Tensor, "H W"]:
        """The segments of an image of this view (its photo, or a rendered one): ids 1 to 65535, 0 for none."""


def _open_sam(config: MaskConfig, scene: Scene, device: torch.device) -> Segmenter:
    from gsdff.masks.sam import SamSegmenter

    return SamSegmenter(config, device)


def _open_felzenszwalb(config: MaskConfig, scene: Scene, device: torch.device) -> Segmenter:
    from gsdff.masks.felzenszwalb import FelzenszwalbSegmenter

    return FelzenszwalbSegmenter(config.felzenszwalb)


def _open_precomputed(config: MaskConfig, scene: Scene, device: torch.device) -> Segmenter:
    from gsdff.masks.precomputed import PrecomputedSegmenter

    return PrecomputedSegmenter(config)


_SEGMENTERS: dict[str, Callable[[MaskConfig, Scene, torch.device], Segmenter]] = {
    "sam": _open_sam,
    "felzenszwalb": _open_felzenszwalb,
    "precomputed": _open_precomputed,
}


def open_segmenter(config: MaskConfig, scene: Scene, device: torch.device | str = "cpu") -> Segmenter | None:
    """The segmenter the configuration names, None for `none`; `UserError` where what it needs is not there.

    A network runs on `device`.
    """
    name = choose_segmenter(config)
    return None if name == "none" else _SEGMENTERS[name](config, scene, torch.device(device))


def choose_segmenter(config: MaskConfig) -> str:
    """The segmenter's name, and what `auto` stands for: whatever is at hand, said where nobody could have guessed."""
    if config.name != "auto":
        return config.name
    if config.folder is not None:
        return "precomputed"
    has_weights = any(is_fetched(name) for name in WEIGHTS if name.startswith("sam_"))
    if config.checkpoint is not None or has_weights:
        return "sam"
    log.info(
        "masks: felzenszwalb, which needs no weights; for segment-anything's fetch a checkpoint with "
        "`python scripts/download_weights.py sam_vit_b`"
    )
    return "felzenszwalb"
