"""Felzenszwalb and Huttenlocher's segments (IJCV 2004), which need no network."""

import torch
from jaxtyping import Int32, UInt8
from skimage.segmentation import felzenszwalb
from torch import Tensor

from gsdff.config.smoothing import MaskConfig
from gsdff.errors import UserError
from gsdff.masks.partition import MAX_SEGMENTS, number_by_area
from gsdff.scene import View

VERSION = 1
"""Raised where this code makes other segments with the same settings."""


class FelzenszwalbSegmenter:
    """Segments by colour alone that cover the whole image."""

    name = "felzenszwalb"

    def __init__(self, config: MaskConfig, device: torch.device | str = "cpu"):
        self.config = config.felzenszwalb
        self.fingerprint = repr((VERSION, self.config))

    def check(self, view: View) -> None:
        """Any view will do."""

    def fingerprint_of(self, view: View) -> str:
        """Nothing but the image counts."""
        return ""

    def segment(self, view: View, image: UInt8[Tensor, "H W 3"]) -> Int32[Tensor, "H W"]:
        """Ids from 1 by falling area; `UserError` where there are too many segments."""
        config = self.config
        segments = felzenszwalb(image.cpu().numpy(), scale=config.scale, sigma=config.sigma, min_size=config.min_size)
        labels = number_by_area(torch.from_numpy(segments) + 1)
        if (num_segments := int(labels.max())) > MAX_SEGMENTS:
            raise UserError(
                f"--masks.felzenszwalb: photo {view.name} has {num_segments} segments, expected {MAX_SEGMENTS} at "
                f"most; raise --masks.felzenszwalb.min-size or --masks.felzenszwalb.scale"
            )
        return labels
