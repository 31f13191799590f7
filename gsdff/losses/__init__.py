"""The image loss of 3DGS: L1 and D-SSIM, with its gradient."""

from gsdff.losses.photometric import ImageLoss, image_loss
from gsdff.losses.ssim import ssim_map

__all__ = ["ImageLoss", "image_loss", "ssim_map"]
