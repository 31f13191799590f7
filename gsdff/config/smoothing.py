"""Options of masks and smoothing, as frozen dataclasses (`gsdff.config.options` has the others)."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from gsdff.config.choices import SEGMENTERS, SegmenterName, describe


@dataclass(frozen=True)
class SamConfig:
    """segment-anything's automatic mask generator; its own defaults."""

    model: Literal["auto", "vit_b", "vit_l", "vit_h"] = "auto"
    """Which network; `auto` takes the one of the checkpoint, or the largest whose weights have been fetched."""
    points_per_side: int = 32
    """A grid of this many points along either side asks for masks."""
    points_per_batch: int = 64
    """Points in one pass; fewer take less memory."""
    pred_iou_thresh: float = 0.88
    """Masks the network itself rates lower are dropped, in [0, 1]."""
    stability_score_thresh: float = 0.95
    """Masks that change more with the threshold of their logits are dropped, in [0, 1]."""
    crop_n_layers: int = 0
    """Ask again on crops, 4 of them in the first layer, 16 in the second; finds smaller things, takes longer."""
    min_mask_region_area: int = 0
    """Islands and holes of fewer pixels are removed from each mask; needs OpenCV."""


@dataclass(frozen=True)
class FelzenszwalbConfig:
    """Felzenszwalb and Huttenlocher's graph-based segmentation."""

    scale: float = 60.0
    """Larger ones prefer larger segments."""
    sigma: float = 0.5
    """Standard deviation, in pixels, of the blur before."""
    min_size: int = 20
    """Segments of fewer pixels join a neighbour."""


_MASKS_HELP = (
    "`none` makes no masks. `auto` takes `precomputed` if a folder is given, `sam` if a checkpoint is given or has "
    "been downloaded, otherwise `felzenszwalb`." + describe(SEGMENTERS)
)


@dataclass(frozen=True)
class MaskConfig:
    """Segments of every view, inside which features are smoothed."""

    name: Annotated[SegmenterName, arg(name="masks", prefix_name=False, help=_MASKS_HELP)] = "auto"
    folder: Path | None = None
    """precomputed: label images `<stem>.png` (0 is none), or masks as segment-anything's amg.py writes them."""
    checkpoint: Path | None = None
    """sam: a checkpoint of segment-anything; by default one that scripts/download_weights.py has fetched."""
    min_area: int = 500
    """sam, precomputed masks: those of fewer pixels are dropped."""
    nms_iou: float = 0.8
    """sam, precomputed masks: of two that overlap more than this (IoU) the one with the better score stays."""
    source: Literal["rendered", "photo"] = "rendered"
    """What is segmented: the scene as stage 1 leaves it, whose views agree with one another, or the photos."""
    refresh: int = 0
    """rendered: make them again every so many steps of stage 2; 0 never does."""
    cache: Path | None = None
    """Folder of the masks, which runs on one scene and stage 1 can share; by default `masks` in the run's."""
    level: Literal["part", "whole"] = "part"
    """sam, precomputed masks: where they overlap the smaller wins; `whole` first drops those inside a larger one."""
    sam: SamConfig = field(default_factory=SamConfig)
    felzenszwalb: FelzenszwalbConfig = field(default_factory=FelzenszwalbConfig)


Form = Literal["off", "render", "consistency", "target"]


@dataclass(frozen=True)
class FilterConfig:
    """How a filter G enters the feature loss; Z is the rendered map, T the teacher's."""

    form: Form = "off"
    """`render` |G(Z) - T|² and `target` |Z - G(T)|² take the place of |Z - T|²; `consistency` adds |Z - G(Z)|²."""
    weight: float = 1.0
    """Beside the plain comparison, whose weight is 1; both are times stage2.feature_weight."""
    start: int = 0
    """Steps of stage 2 before it counts."""
    ramp: int = 0
    """Steps over which its weight then rises from 0; what it replaces fades out meanwhile."""


@dataclass(frozen=True)
class SegmentFilterConfig(FilterConfig):
    """Blur inside each segment of the masks; nothing crosses a border."""

    window: int = 0
    """Side of the window in pixels of the photo, odd; 0 takes the mean of the whole segment."""
    sigma: float = 3.0
    """Standard deviation of the blur in pixels; without a window it says nothing."""
    purity: float = 8.0
    """target, consistency: where a pixel of the teacher straddles segments its answer is mixed; it counts by the share
    of its surroundings that lie in its own segment, to this power. 0 counts all alike."""


@dataclass(frozen=True)
class BilateralFilterConfig(FilterConfig):
    """Blur that stops where the guide changes."""

    guide: Literal["features", "rgb"] = "rgb"
    """The map itself, or the photo (joint bilateral)."""
    window: int = 15
    """Side of the window in pixels of the photo, odd."""
    sigma: float = 4.0
    """Standard deviation in space, in pixels."""
    sigma_range: float = 0.1
    """Standard deviation in the guide: of colours in [0, 1], or of features of length 1."""


@dataclass(frozen=True)
class GaussianFilterConfig(FilterConfig):
    """Plain blur, which knows no borders: the control."""

    window: int = 11
    """Side of the window in pixels of the photo, odd."""
    sigma: float = 3.0
    """Standard deviation in pixels."""


@dataclass(frozen=True)
class VariationConfig:
    """Anisotropic total variation of the rendered map."""

    weight: float = 0.0
    """Per pixel and channel; 0 is off."""
    segments: bool = False
    """No penalty across the border of a segment of the masks."""
    start: int = 0
    """Steps of stage 2 before it counts."""
    ramp: int = 0
    """Steps over which its weight then rises from 0."""


@dataclass(frozen=True)
class GraphConfig:
    """Diffusion over the graph of nearest Gaussians, as LUDVIG's."""

    form: Literal["off", "lift", "consistency"] = "lift"
    """`lift` diffuses the lifted features; `consistency` adds |z - G(z)|², one step of it, over all Gaussians."""
    weight: float = 1.0
    """consistency: beside the plain comparison, times stage2.feature_weight."""
    steps: int = 5
    """lift: steps of diffusion."""
    neighbours: int = 16
    """Of each Gaussian."""
    sigma: float = 1.0
    """Standard deviation in space, in units of the distance to the neighbours."""
    sigma_color: float = 0.1
    """Standard deviation in colour, of values in [0, 1]."""
    sigma_feature: float = 0.3
    """Standard deviation in features of length 1."""


@dataclass(frozen=True)
class SmoothingConfig:
    """What keeps features smooth inside things and sharp between them; any of it at once."""

    sam: SegmentFilterConfig = field(default_factory=SegmentFilterConfig)
    bilateral: BilateralFilterConfig = field(default_factory=BilateralFilterConfig)
    gaussian: GaussianFilterConfig = field(default_factory=GaussianFilterConfig)
    tv: VariationConfig = field(default_factory=VariationConfig)
    graph: GraphConfig = field(default_factory=GraphConfig)
