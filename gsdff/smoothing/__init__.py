"""Filters on feature maps, total variation, and diffusion over neighbouring Gaussians."""

from gsdff.smoothing.filters import bilateral_blur, gaussian_blur, segment_blur, segment_shares
from gsdff.smoothing.graph import NeighbourGraph, build_graph, diffuse
from gsdff.smoothing.pooling import purity, segment_mean
from gsdff.smoothing.variation import total_variation

__all__ = [
    "NeighbourGraph", "bilateral_blur", "build_graph", "diffuse", "gaussian_blur", "purity", "segment_blur",
    "segment_mean", "segment_shares", "total_variation",
]  # fmt: skip
