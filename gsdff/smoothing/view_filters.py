"""The filters of feature maps that training applies to the views: each with its options, the photos and the masks."""

from typing import Protocol

from jaxtyping import Float, Int32
from torch import Tensor

from gsdff.config.smoothing import BilateralFilterConfig, GaussianFilterConfig, SegmentFilterConfig
from gsdff.scene import View
from gsdff.smoothing.filters import bilateral_blur, gaussian_blur, segment_blur
from gsdff.smoothing.pooling import segment_mean


class Views(Protocol):
    """The photos of the training views, on the device of the maps."""

    def __getitem__(self, view_id: int, /) -> View:
        """The photo of one view with its camera."""
        ...


class Segments(Protocol):
    """The masks of the training views."""

    def __getitem__(self, view_id: int, /) -> Int32[Tensor, "H W"]:
        """Segments of a view at the photo's size, on the features' device."""
        ...


class Filter(Protocol):
    """A filter G of feature maps, linear in the map that it filters."""

    def __call__(
        self, values: Float[Tensor, "H W D"], features: Float[Tensor, "H W K"], view_id: int, rows: slice
    ) -> Float[Tensor, "H W D"]:
        """Filters `values`. Both maps are these rows of the view at the photo's size; `features` may guide."""
        ...


class SegmentFilter:
    """Blur inside each segment of the masks, or the segment's mean if there is no window."""

    def __init__(self, options: SegmentFilterConfig, views: Views, segments: Segments):
        self.options = options
        self.segments = segments

    def __call__(
        self, values: Float[Tensor, "H W D"], features: Float[Tensor, "H W K"], view_id: int, rows: slice
    ) -> Float[Tensor, "H W D"]:
        """Filters `values`; `features` do not matter."""
        labels = self.segments[view_id][rows]
        if self.options.window == 0:
            return segment_mean(values, labels)
        return segment_blur(values, labels, window=self.options.window, sigma=self.options.sigma)


class BilateralFilter:
    """Blur guided by the features themselves or by the photo."""

    def __init__(self, options: BilateralFilterConfig, views: Views, segments: Segments):
        self.options = options
        self.views = views

    def __call__(
        self, values: Float[Tensor, "H W D"], features: Float[Tensor, "H W K"], view_id: int, rows: slice
    ) -> Float[Tensor, "H W D"]:
        """Filters `values`, guided by `features` or by the same rows of the photo."""
        if self.options.guide == "features":
            guide = features.detach()
        else:
            guide = self.views[view_id].image[rows].to(values) / 255
        return bilateral_blur(
            values,
            guide,
            window=self.options.window,
            sigma_space=self.options.sigma,
            sigma_range=self.options.sigma_range,
        )


class GaussianFilter:
    """Plain Gaussian blur."""

    def __init__(self, options: GaussianFilterConfig, views: Views, segments: Segments):
        self.options = options

    def __call__(
        self, values: Float[Tensor, "H W D"], features: Float[Tensor, "H W K"], view_id: int, rows: slice
    ) -> Float[Tensor, "H W D"]:
        """Filters `values`; nothing else matters."""
        return gaussian_blur(values, window=self.options.window, sigma=self.options.sigma)
