"""Filters on feature maps, total variation, and diffusion over neighbouring Gaussians."""

from gsdff.smoothing.filters import bilateral_blur, gaussian_blur, segment_blur
from gsdff.smoothing.graph import NeighbourGraph, build_graph, diffuse
from gsdff.smoothing.variation import total_variation

__all__ = [
    "NeighbourGraph", "bilateral_blur", "build_graph", "diffuse", "gaussian_blur", "segment_blur", "total_variation",
]  # fmt: skip
