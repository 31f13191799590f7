"""Felzenszwalb and Huttenlocher's segmentation (IJCV 2004), which needs no network."""

import torch
from jaxtyping import Int32, UInt8
from skimage.segmentation import felzenszwalb
from torch import Tensor

from gsdff.config.smoothing import MaskConfig
from gsdff.errors import UserError
from gsdff.masks.partition import MAX_SEGMENTS, number_by_area
from gsdff.scene import View

VERSION = 1
"""Raise it when this code makes other segments with the same settings."""


class FelzenszwalbSegmenter:
    """Segmenter by colour alone; its segments cover the whole image."""

    name = "felzenszwalb"

    def __init__(self, config: MaskConfig, device: torch.device | str = "cpu"):
        self.config = config.felzenszwalb
        self.fingerprint = repr((VERSION, self.config))

    def check(self, view: View) -> None:
        """Accepts every view."""

    def fingerprint_of(self, view: View) -> str:
        """Empty: nothing but the image matters."""
        return ""

    def segment(self, view: View, image: UInt8[Tensor, "H W 3"]) -> Int32[Tensor, "H W"]:
        """Segments with ids from 1 by falling area. Raises `UserError` if there are too many."""
        config = self.config
        segments = felzenszwalb(image.cpu().numpy(), scale=config.scale, sigma=config.sigma, min_size=config.min_size)
        labels = number_by_area(torch.from_numpy(segments) + 1)
        if (num_segments := int(labels.max())) > MAX_SEGMENTS:
            raise UserError(
                f"photo {view.name} has {num_segments} segments by felzenszwalb, expected at most {MAX_SEGMENTS}; "
                f"raise `masks.felzenszwalb.min_size` or `masks.felzenszwalb.scale`"
            )
        return labels
