"""Filters on feature maps and total variation."""

from gsdff.smoothing.filters import bilateral_blur, gaussian_blur, segment_blur
from gsdff.smoothing.variation import total_variation

__all__ = ["bilateral_blur", "gaussian_blur", "segment_blur", "total_variation"]
