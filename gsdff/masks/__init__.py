"""Masks: every view cut into segments.

A new segmenter is a file here and a row of `gsdff.config.choices.SEGMENTERS`.
"""

import logging
from pkgutil import resolve_name
from typing import Protocol

import torch
from jaxtyping import Int32, UInt8
from torch import Tensor

from gsdff.config.choices import SEGMENTERS
from gsdff.config.smoothing import MaskConfig
from gsdff.scene import View
from gsdff.weights import WEIGHTS, is_downloaded

log = logging.getLogger("gsdff")


class Segmenter(Protocol):
    """Interface of every segmenter. Constructing one is cheap: a network is loaded for the first image."""

    name: str
    fingerprint: str
    """Text that changes whenever the segments of the same input would change (network, weights, settings)."""

    def check(self, view: View) -> None:
        """Raises `UserError` if this view cannot be segmented. Cheap enough to run before training."""
        ...

    def fingerprint_of(self, view: View) -> str:
        """Text that changes whenever inputs of this view's segments other than the image change."""
        ...

    def segment(self, view: View, image: UInt8[Tensor, "H W 3"]) -> Int32[Tensor, "H W"]:
        """Segments of an image of this view, its photo or a rendered one: ids 1 to 65535, 0 for no segment."""
        ...


def open_segmenter(config: MaskConfig, device: torch.device | str = "cpu") -> Segmenter | None:
    """Opens the segmenter named in the configuration; None for `none`.

    A network runs on `device`. Raises `UserError` if something that the segmenter needs is missing.
    """
    name = choose_segmenter(config)
    return None if name == "none" else resolve_name(SEGMENTERS[name].location)(config, device)


def choose_segmenter(config: MaskConfig) -> str:
    """Name of the configured segmenter; `auto` is replaced by the best one whose inputs are available, and logged."""
    if config.name != "auto":
        return config.name
    if config.folder is not None:
        return "precomputed"
    has_weights = any(is_downloaded(name) for name in WEIGHTS if name.startswith("sam_"))
    if config.checkpoint is not None or has_weights:
        return "sam"
    log.info(
        "masks: felzenszwalb, which needs no weights; for segment-anything's masks, download a checkpoint with "
        "`python scripts/download_weights.py sam_vit_b`"
    )
    return "felzenszwalb"
