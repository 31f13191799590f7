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


def open_segmenter(config: MaskConfig, device: torch.device | str = "cpu") -> Segmenter | None:
    """Opens the segmenter named in the configuration; None for `none`.

    A network runs on `device`. Raises `UserError` if something that the segmenter needs is missing.
    """
    name = choose_segmenter(config)
    return None if name == "none" else resolve_name(SEGMENTERS[name].location)(config, device)


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
