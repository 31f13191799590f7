"""Options of smoothing: the filters, and the segments that some of them need (`gsdff.config.options` has the others).

A new filter is a file with its class, named by a class of options here, and a field of `SmoothingConfig`.
"""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from gsdff.config.checks import MOST_PIXELS, check, check_at_least, check_positive, check_share, check_window
from gsdff.config.choices import SEGMENTERS, SegmenterName, describe


@dataclass(frozen=True)
class SamConfig:
    """Settings of segment-anything's automatic mask generator, with its own defaults."""

    model: Literal["auto", "vit_b", "vit_l", "vit_h"] = "auto"
    """Network; `auto` takes the one of the checkpoint, or the largest whose weights have been downloaded."""
    points_per_side: int = 32
    """Number of points along each side of the grid of points at which masks are predicted."""
    points_per_batch: int = 64
    """Number of points in one pass of the network; fewer take less memory."""
    pred_iou_thresh: float = 0.88
    """Lowest IoU predicted by the network at which a mask is kept, in [0, 1]."""
    stability_score_thresh: float = 0.95
    """Lowest stability at which a mask is kept, in [0, 1]: how little it changes with the threshold of its logits."""
    crop_n_layers: int = 0
    """Number of layers of crops that are segmented too: 4 crops in the first, 16 in the second.
    Crops find smaller objects and take longer."""
    min_mask_region_area: int = 0
    """Smallest island or hole that a mask keeps, in pixels; more than 0 needs OpenCV."""

    def __post_init__(self) -> None:
        check_at_least(1, self, "points_per_side", "points_per_batch")
        check_at_least(0, self, "crop_n_layers", "min_mask_region_area")
        check_share(self, "pred_iou_thresh", "stability_score_thresh")


@dataclass(frozen=True)
class FelzenszwalbConfig:
    """Settings of Felzenszwalb and Huttenlocher's graph-based segmentation."""

    scale: float = 60.0
    """Scale of observation; larger values give larger segments."""
    sigma: float = 0.5
    """Standard deviation of the blur before segmentation, in pixels."""
    min_size: int = 20
    """Smallest segment, in pixels; smaller ones are merged with a neighbour."""

    def __post_init__(self) -> None:
        check_positive(self, "scale")
        check_at_least(0, self, "sigma", most=MOST_PIXELS)
        check_at_least(0, self, "min_size")


_MASKS_HELP = (
    "Segmenter that makes the masks. `auto` takes `precomputed` if `folder` is given, `sam` if `checkpoint` is given "
    "or has been downloaded, otherwise `felzenszwalb`." + describe(SEGMENTERS)
)


@dataclass(frozen=True)
class MaskConfig:
    """Segments of every view, inside which features are smoothed."""

    name: Annotated[SegmenterName, arg(name="masks", prefix_name=False, help=_MASKS_HELP)] = "auto"
    folder: Path | None = None
    """Folder of label images `<stem>.png` (0: no segment), or of masks from segment-anything's amg.py (precomputed)."""
    checkpoint: Path | None = None
    """Checkpoint of segment-anything; by default one that scripts/download_weights.py downloads (sam)."""
    min_area: int = 500
    """Smallest mask that is kept, in pixels (sam, precomputed masks)."""
    nms_iou: float = 0.8
    """IoU of two masks above which only the one with the better score is kept (sam, precomputed masks)."""
    source: Literal["rendered", "photo"] = "rendered"
    """Images that are segmented: renderings of the scene after stage 1, which agree between views, or the photos."""
    refresh: int = 0
    """Steps of stage 2 after which masks of renderings are made again; 0 keeps the first ones."""
    cache: Path | None = None
    """Folder through which runs on one scene and stage 1 share their masks; each has copies in its own folder."""
    level: Literal["part", "whole"] = "part"
    """Choice between overlapping masks: the smaller wins; `whole` first drops masks that are inside a larger one
    (sam, precomputed masks)."""
    sam: SamConfig = field(default_factory=SamConfig)
    felzenszwalb: FelzenszwalbConfig = field(default_factory=FelzenszwalbConfig)

    def __post_init__(self) -> None:
        check_at_least(0, self, "min_area", "refresh")
        check_share(self, "nms_iou")


Form = Literal["off", "render", "consistency", "target"]


@dataclass(frozen=True)
class FilterConfig:
    """Use of a filter G in the feature loss; Z is the rendered map, T the teacher's."""

    location = ""
    """Module and class of the filter, called with these options, the photos and the masks of the training views."""
    needs_segments = False

    form: Form = "off"
    """Loss: `render` |G(Z) - T|² or `target` |Z - G(T)|² in place of |Z - T|²; `consistency` adds |Z - G(Z)|²."""
    weight: float = 1.0
    """Weight relative to the plain comparison |Z - T|²; both are times stage2.feature_weight."""
    start: int = 0
    """Number of steps of stage 2 before the filter counts."""
    ramp: int = 0
    """Number of steps over which its weight then rises from 0, while the comparison that it replaces fades out."""

    def __post_init__(self) -> None:
        check_at_least(0, self, "weight", "start", "ramp")


@dataclass(frozen=True)
class SegmentFilterConfig(FilterConfig):
    """Blur inside each segment of the masks, never across a border."""

    location = "gsdff.smoothing.view_filters:SegmentFilter"
    needs_segments = True

    window: int = 0
    """Side of the window in pixels of the photo, odd; 0 takes the mean of the whole segment."""
    sigma: float = 3.0
    """Standard deviation of the blur in pixels; has no effect without a window."""
    purity: float = 8.0
    """Exponent of a pixel's weight (target, consistency); 0 gives all pixels of the teacher's map the same weight.
    The weight is the share of the pixel's surroundings that lie in its own segment: mixed features count less."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window != 0:
            check_window(self, "window")
        check_positive(self, "sigma", most=MOST_PIXELS)
        check_at_least(0, self, "purity")


@dataclass(frozen=True)
class BilateralFilterConfig(FilterConfig):
    """Blur that stops where the guide changes."""

    location = "gsdff.smoothing.view_filters:BilateralFilter"

    guide: Literal["features", "rgb"] = "rgb"
    """Guide of the blur: the feature map itself, or the photo (joint bilateral filter)."""
    window: int = 15
    """Side of the window in pixels of the photo, odd."""
    sigma: float = 4.0
    """Standard deviation in space, in pixels."""
    sigma_range: float = 0.1
    """Standard deviation in the guide: of colours in [0, 1], or of features of length 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_window(self, "window")
        check_positive(self, "sigma", most=MOST_PIXELS)
        check_positive(self, "sigma_range")


@dataclass(frozen=True)
class GaussianFilterConfig(FilterConfig):
    """Plain Gaussian blur that ignores borders, as a control."""

    location = "gsdff.smoothing.view_filters:GaussianFilter"

    window: int = 11
    """Side of the window in pixels of the photo, odd."""
    sigma: float = 3.0
    """Standard deviation in pixels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_window(self, "window")
        check_positive(self, "sigma", most=MOST_PIXELS)


@dataclass(frozen=True)
class VariationConfig:
    """Anisotropic total variation of the rendered map."""

    weight: float = 0.0
    """Weight per pixel and channel; 0 turns it off."""
    segments: bool = False
    """Leave out differences across the borders of the masks' segments."""
    start: int = 0
    """Number of steps of stage 2 before it counts."""
    ramp: int = 0
    """Number of steps over which its weight then rises from 0."""

    def __post_init__(self) -> None:
        check_at_least(0, self, "weight", "start", "ramp")


@dataclass(frozen=True)
class GraphConfig:
    """Diffusion over the graph of nearest Gaussians, as in LUDVIG."""

    form: Literal["off", "lift", "consistency"] = "lift"
    """Use: `lift` diffuses the lifted features; `consistency` adds |z - G(z)|² (one step) over all Gaussians."""
    weight: float = 1.0
    """Weight relative to the plain comparison, times stage2.feature_weight (consistency)."""
    steps: int = 5
    """Number of diffusion steps (lift)."""
    neighbours: int = 16
    """Number of neighbours of each Gaussian."""
    sigma: float = 1.0
    """Standard deviation in space, in units of the distance to the neighbours."""
    sigma_color: float = 0.1
    """Standard deviation in colour, for values in [0, 1]."""
    sigma_feature: float = 0.3
    """Standard deviation in features, for features of length 1."""
    reliability: float = 0.0
    """Exponent by which a Gaussian counts for the agreement of the views on it, in its own mean and its neighbours';
    0 leaves it out."""

    def __post_init__(self) -> None:
        check_at_least(0, self, "weight", "reliability")
        check_at_least(1, self, "steps", "neighbours", most=1000)
        for key in ("sigma", "sigma_color", "sigma_feature"):
            check(self, key, getattr(self, key) > 0, "more than 0")  # infinity switches the factor off


@dataclass(frozen=True)
class BordersConfig:
    """Gaussians that straddle a border between things, cut before stage 2 so that things can be cut out cleanly."""

    rounds: int = 0
    """Rounds in which Gaussians across a border are cut into three along their longest axis; 0 leaves them whole."""
    steps: int = 200
    """Steps of training after the cuts, in which colours follow the photos and Gaussians retreat into their things."""
    weight: float = 0.5
    """Weight in these steps of what Gaussians show outside their things, relative to the image loss."""

    def __post_init__(self) -> None:
        check_at_least(0, self, "rounds", most=10)
        check_at_least(0, self, "steps", "weight")


@dataclass(frozen=True)
class ThingsConfig:
    """Features pooled per thing: the masks of all views are joined into things, which get one feature each."""

    form: Literal["off", "lift", "target"] = "off"
    """Use: `lift` gives the lifted Gaussians the features of their things; `target` also compares renderings with
    them, where masks show a thing."""
    weight: float = 1.0
    """Weight relative to the plain comparison |Z - T|², which it replaces (target)."""
    start: int = 0
    """Number of steps of stage 2 before the targets count."""
    ramp: int = 0
    """Number of steps over which their weight then rises from 0, while the plain comparison fades out."""
    whole: float = 0.4
    """Share of the views that see two places of which so many must show them in one mask for both to be one thing."""
    part: float = 0.8
    """The same share for both to be one part of a thing."""
    purity: float = 8.0
    """Exponent of a pixel's weight: the share of its surroundings that lies in its own thing."""
    spread: float = 0.1
    """Distance of features below which views agree; beyond it a view that differs pulls no stronger (median instead
    of mean)."""
    reliability: float = 1.0
    """Exponent of a pixel's weight by the agreement of the views on the Gaussians that it shows; 0 leaves it out."""
    sharpness: float = 4.0
    """Exponent of a Gaussian's memberships in things; larger values let only the first of them count."""
    own_share: float = 0.1
    """Share of the features that stays the Gaussian's own, or the pixel's, so that parts of a thing can be told."""
    borders: BordersConfig = field(default_factory=BordersConfig)

    def __post_init__(self) -> None:
        check_at_least(0, self, "weight", "start", "ramp", "purity", "reliability", "sharpness")
        check_share(self, "whole", "part", "own_share")
        check(self, "spread", self.spread > 0, "more than 0")  # infinity takes the mean


@dataclass(frozen=True)
class SmoothingConfig:
    """Smoothing of features inside objects that keeps borders sharp; all of these can be combined."""

    sam: SegmentFilterConfig = field(default_factory=SegmentFilterConfig)
    bilateral: BilateralFilterConfig = field(default_factory=BilateralFilterConfig)
    gaussian: GaussianFilterConfig = field(default_factory=GaussianFilterConfig)
    tv: VariationConfig = field(default_factory=VariationConfig)
    graph: GraphConfig = field(default_factory=GraphConfig)
    things: ThingsConfig = field(default_factory=ThingsConfig)

    def filters(self) -> dict[str, FilterConfig]:
        """Options of the filters that are on, by the names of their fields."""
        options = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {name: row for name, row in options.items() if isinstance(row, FilterConfig) and row.form != "off"}


def needs_segments(config: SmoothingConfig) -> bool:
    """Whether smoothing uses the masks."""
    return (
        any(options.needs_segments for options in config.filters().values())
        or (config.tv.weight > 0 and config.tv.segments)
        or config.things.form != "off"
    )
