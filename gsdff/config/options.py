"""Every option of a training run, as frozen dataclasses. The text under a field is its help.

Values come from three places, later ones winning: the defaults here, TOML files (`--config`), the command line.
The tables of a TOML file are the dataclasses (`[stage1]`), its keys their fields (`steps = 2000`).
"""

import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from gsdff.config.checks import check, check_at_least, check_share
from gsdff.config.choices import TEACHERS, TeacherName, describe
from gsdff.config.smoothing import MaskConfig, SmoothingConfig
from gsdff.errors import UserError
from gsdff.origin import FARTHEST_ORIGIN, OriginChoice, as_point
from gsdff.run_folder import DEMO

PosesChoice = Literal["auto", "stored", "turned"]
ExposureChoice = Literal["auto", "affine", "off"]
FewPhotosChoice = Literal["auto", "on", "off"]


@dataclass(frozen=True)
class DataConfig:
    """The photos and the initial points."""

    downscale: Annotated[int, arg(name="downscale", prefix_name=False)] = 1
    """Factor by which photos are reduced; those in `images_2`, `images_4` or `images_8` are read if they exist."""
    background: Literal["black", "white", "random"] = "black"
    """Colour behind transparent pixels and behind the last Gaussian; `random` draws a new one in every step."""
    random_points: int = 20_000
    """Number of initial points drawn at random, where photos agree, if the scene has no point cloud."""
    poses: PosesChoice = "auto"
    """Poses of photos that EXIF turns are those of the photo as `stored`, which is COLMAP's convention, or as EXIF has
    `turned` it; `auto` finds out by sizes, the points' colours and which way is up, or assumes `stored`."""
    made_from: Literal["photos", "views"] = "photos"
    """Label images, masks and teacher maps show `photos` as stored, and are undistorted and turned like them, or
    `views`, which are undistorted and upright."""
    masks: bool = True
    """Leave out what the photos' masks cover: `mask_path`, `dynamic_mask_*`, or a folder `masks` beside the photos."""
    memory: float = 4.0
    """Gigabytes of photos that stay in memory; larger datasets are read from a temporary file as they are used."""
    allow_outside: bool = False
    """Read photos that the dataset lists outside its folder (absolute, or with `..`); for files that you trust."""

    def __post_init__(self) -> None:
        check_at_least(1, self, "downscale", "random_points")
        check_at_least(0, self, "memory")

    @property
    def solid_background(self) -> tuple[float, float, float]:
        """Background of renderings that are scored or shown: white, or black for black and random."""
        return (1.0, 1.0, 1.0) if self.background == "white" else (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Stage1Config:
    """Stage 1 trains RGB alone: 3D Gaussian splatting with densification."""

    steps: int = 30_000
    """Number of steps in this stage."""
    sh_degree: int = 3
    """Highest degree of the spherical harmonics, 0 to 3."""
    sh_interval: int = 1000
    """Steps after which the degree of the spherical harmonics rises by one."""
    ssim_weight: float = 0.2
    """Weight of D-SSIM in the image loss, in [0, 1]; L1 has the rest."""
    refine_start: int = 500
    """Step after which Gaussians are added and removed."""
    refine_stop: int = 15_000
    """Step from which no more Gaussians are added or removed."""
    refine_every: int = 100
    """Steps between two rounds of adding and removing Gaussians."""
    reset_every: int = 3000
    """Steps between two resets of all opacities to nearly zero; 0 turns resets off."""
    grow_grad2d: float = 0.0002
    """Mean screen-space gradient above which a Gaussian is halved."""
    absgrad: bool = False
    """Sum absolute gradients, which do not cancel (AbsGS); needs a `grow_grad2d` about 4 times as large."""
    final_rates: float = 1.0
    """Learning rates at the end of the stage, as a share of `rates`; they decay over its second half.
    That of the means always decays to 1 %."""
    strategy: Literal["clones", "halves", "mcmc"] = "clones"
    """Way of adding Gaussians: `clones` small ones and splits large ones at random, as 3DGS does; `halves` puts two in
    the place of one so that the picture stays, and as many as fade; `mcmc` moves those that fade onto others and
    disturbs faint ones (3DGS-MCMC), without `grow_grad2d` and `reset_every`."""
    max_gaussians: int = 5_000_000
    """Upper limit on the number of Gaussians; those with the largest gradients are halved first."""
    prune_opacity: float = 0.005
    """Opacity below which a Gaussian is removed in every round of refinement; `mcmc` moves those below 0.005."""
    agreed_points: float = 0.0
    """Points to start from besides the dataset's own, where training photos agree, as a share of `max_gaussians`; only
    if there are at least 30."""
    rasterize_mode: Literal["classic", "antialiased"] = "classic"
    """Way of rasterising; `antialiased` keeps the energy of Gaussians smaller than a pixel (Mip-Splatting)."""
    exposure: ExposureChoice = "auto"
    """Exposure and white balance that change from photo to photo: `affine` gives every photo a map of its colours,
    `auto` does so if photos differ in brightness from what the others show there, `off` never."""
    few_photos: FewPhotosChoice = "auto"
    """Hold back from fitting a few photos alone, by their depths by stereo, where they agree: more points to start
    from, and views from between the cameras. `auto` does so if half of the points lie in fewer than ten photos. Neither
    does if hardly any depth is found."""
    refine_poses: bool = False
    """Move the training photos' cameras along with the Gaussians, for poses that are a little off; a short training
    looks for them first."""

    def __post_init__(self) -> None:
        check_at_least(0, self, "steps", "reset_every", "grow_grad2d")
        check_at_least(1, self, "sh_interval", "refine_every", "max_gaussians")
        check(self, "sh_degree", 0 <= self.sh_degree <= 3, "0 to 3")
        check_share(self, "ssim_weight", "final_rates", "agreed_points")
        check(self, "prune_opacity", 0 <= self.prune_opacity <= 0.1, "0 to 0.1")


@dataclass(frozen=True)
class LearningRates:
    """Learning rates of Adam for each attribute of `gsdff.gaussians.Gaussians`, as in 3DGS."""

    means: float = 1.6e-4
    """Learning rate of the means, times the scene's extent; decays to 1 % of it over stage 1."""
    quats: float = 1e-3
    """Learning rate of the rotations, as quaternions."""
    log_scales: float = 5e-3
    """Learning rate of the logarithms of the scales."""
    logit_opacities: float = 5e-2
    """Learning rate of the opacities before the sigmoid."""
    sh0: float = 2.5e-3
    """Learning rate of the constant band of the spherical harmonics."""
    shN: float = 1.25e-4
    """Learning rate of the higher bands of the spherical harmonics."""
    features: float = 1e-2
    """Learning rate of the latent features, in stage 2."""

    def __post_init__(self) -> None:
        check_at_least(0, self, *(entry.name for entry in fields(self)))


@dataclass(frozen=True)
class Stage2Config:
    """Stage 2 trains RGB and features together, with a fixed number of Gaussians."""

    steps: int = 3000
    """Number of steps in this stage; 0 keeps the lifted features as they are."""
    feature_weight: float = 1.0
    """Weight of the feature loss, relative to the image loss."""
    adam_eps: float = 1e-4
    """Epsilon of Adam for the features, about the gradient of one pixel of a map.
    A smaller one lets Gaussians that are hardly seen drift from their lifted features at random."""
    huber: float = 0.3
    """Threshold of the Huber loss: larger feature errors count by their length, not its square; 0 squares all.
    Teacher features have length 1. A threshold weakens the pull of views in which the teacher is wrong."""
    parts: int = 4
    """Number of strips that each photo is divided into; a step renders one strip, in turn."""
    freeze_radiance: bool = False
    """Train the features alone; colours, geometry and opacities stay as they are, but for cuts at borders of things."""

    def __post_init__(self) -> None:
        check_at_least(0, self, "steps", "feature_weight", "adam_eps", "huber")
        check_at_least(1, self, "parts")


@dataclass(frozen=True)
class ToyConfig:
    """Errors of the toy teacher, which simulates a network from label images."""

    channels: int = 64
    """Number of channels T of the maps; every class is a random unit vector."""
    size: int = 48
    """Longer side of the maps, in pixels."""
    blur: float = 1.0
    """Standard deviation of the blur across the borders of objects, in pixels of the maps."""
    noise: float = 0.5
    """Length of the random vector that is added to every pixel's unit vector, a new one in every view."""
    mistakes: float = 0.1
    """Share of the objects in a view that are given another class, different ones in every view."""
    seed: int = 0
    """Seed of the class vectors, the noise and the mistakes."""

    def __post_init__(self) -> None:
        check_at_least(2, self, "channels")
        check_at_least(1, self, "size")
        check_at_least(0, self, "blur", "noise")
        check_share(self, "mistakes")


_TEACHER_HELP = (
    "Teacher whose features are distilled. `none` trains stage 1 only. `auto` takes `precomputed` if `maps` is given, "
    "`lseg` if `checkpoint` is given, `toy` for the built-in scene, otherwise `lseg` if its checkpoint has been "
    "downloaded, and `none` if not." + describe(TEACHERS)
)


@dataclass(frozen=True)
class TeacherConfig:
    """The 2D network whose features are distilled."""

    name: Annotated[TeacherName, arg(name="teacher", prefix_name=False, help=_TEACHER_HELP)] = "auto"
    maps: Path | None = None
    """Folder with the maps `<stem>_fmap_CxHxW.pt` or `.npy`, and optionally `text_features.npz` (precomputed)."""
    checkpoint: Path | None = None
    """File demo_e200.ckpt as published; by default the one that scripts/download_weights.py downloads (lseg)."""
    model: str | None = None
    """Model of open_clip (clip; by default ViT-B-16-quickgelu) or of timm (dino; vit_small_patch14_dinov2.lvd142m)."""
    pretrained: str | None = None
    """File of weights (clip, dino), or a tag that open_clip downloads (clip; by default openai)."""
    size: int | None = None
    """Longer side of a photo as the network sees it, in pixels; by default the network's own (lseg, clip, dino)."""
    multi_scale: bool = False
    """Sum over scales 0.75 to 1.75 and mirrored photos, as published; takes about 25 times as long (lseg)."""
    batch: int = 4
    """Number of photos, or windows of photos, in one pass of the network (lseg, clip, dino)."""
    labels: Path | None = None
    """Folder of label images; by default `labels` in the scene's folder (labels, toy)."""
    toy: ToyConfig = field(default_factory=ToyConfig)

    def __post_init__(self) -> None:
        check_at_least(1, self, "batch")
        check(self, "size", self.size is None or self.size >= 32, "at least 32 pixels")


@dataclass(frozen=True)
class FeatureConfig:
    """The latent space of the features."""

    dim: int = 32
    """Number of latent channels K per Gaussian."""
    energy: float | None = None
    """Choose K as the smallest that keeps this share of the teacher's second moment, in (0, 1]."""
    cache: Path | None = None
    """Folder for the teacher's projected maps, which several runs can share, also at the same time; by default
    `features` in the run's folder."""

    def __post_init__(self) -> None:
        check_at_least(1, self, "dim")
        check(self, "energy", self.energy is None or 0 < self.energy <= 1, "a share above 0 and at most 1")


@dataclass(frozen=True)
class TrainConfig:
    """Options of a training run, of `gsdff train` and `gsdff.fit`."""

    data: Path = DEMO
    """COLMAP folder, folder with transforms.json, or `demo` for the built-in scene."""
    out: Path | None = None
    """Folder of the run; by default `runs/` and the name of the data."""
    stage1_from: Path | None = None
    """Skip stage 1: start stage 2 from this run's scene, or from this PLY or .splat in the photos' world frame."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device to train on; `auto` takes CUDA if there is a card."""
    seed: int = 0
    """Seed of all random numbers."""
    log_every: int = 10
    """Steps between lines of metrics.jsonl."""
    picture_every: int = 500
    """Steps between pictures and scores of held-out views."""
    checkpoint_every: int = 500
    """Steps between checkpoints."""
    count_views: bool = True
    """With several ranks (torchrun), which show a view each at a time: count every view as a step, and raise the rates
    by the square root of their number; otherwise all views together are one step, with the rates of one rank."""
    shard: Literal["none", "gaussians"] = "none"
    """With several ranks (torchrun), what each holds: the whole scene, or with `gaussians` a part of it, for scenes
    larger than a card; ranks then exchange projected splats, and features of neighbours across their parts."""
    origin: OriginChoice = "auto"
    """Point of the world that positions in scene.ply are relative to: `auto` is zero, or a point near the scene if its
    coordinates are too large for float32 (a map's), which the file states; `none` is zero; or X Y Z."""
    dataset: DataConfig = field(default_factory=DataConfig)
    stage1: Stage1Config = field(default_factory=Stage1Config)
    stage2: Stage2Config = field(default_factory=Stage2Config)
    rates: LearningRates = field(default_factory=LearningRates)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    features: FeatureConfig = field(default_factory=FeatureConfig)
    masks: MaskConfig = field(default_factory=MaskConfig)
    smoothing: SmoothingConfig = field(default_factory=SmoothingConfig)

    @property
    def run_folder(self) -> Path:
        """Folder of the run: `out`, or in `runs/` the name of the data's folder, or of the scene it starts from."""
        if self.out is not None:
            return self.out
        if self.stage1_from is not None:
            return Path("runs") / f"{self.stage1_from.absolute().stem}_features"
        place = Path(os.path.abspath(self.data))
        return Path("runs") / (place.parent if place.is_file() else place).name

    def __post_init__(self) -> None:
        check_at_least(1, self, "log_every", "picture_every", "checkpoint_every")
        is_known = self.origin in ("auto", "none") or as_point(self.origin) is not None
        check(self, "origin", is_known, f"auto, none or three numbers of at most {FARTHEST_ORIGIN:g}")

    def check(self) -> None:
        """Raises `UserError` if options contradict one another. To be called when no more of them will change."""
        if self.masks.refresh % self.checkpoint_every:  # a resumed run must find the masks of its checkpoint
            raise UserError(f"`masks.refresh`: expected a multiple of `checkpoint_every`, got {self.masks.refresh}")
        if self.masks.refresh and self.smoothing.things.form != "off":
            raise UserError("`masks.refresh`: expected 0 with `smoothing.things.form`, things are joined once")
        if (self.stage1_from is None) == (self.stage1.steps == 0):
            raise UserError("`stage1.steps`: expected at least 1, or 0 with `stage1_from`")
        if self.stage1_from is not None and self.teacher.name == "none":
            raise UserError("`stage1_from`: expected a teacher too, as only stage 2 is left; set `teacher.name`")
        if self.teacher.name == "precomputed" and self.teacher.maps is None:
            raise UserError("`teacher.name` precomputed: expected the folder of its maps too; set `teacher.maps`")
        if self.shard != "none" and self.stage1.strategy == "mcmc" and self.stage1.steps:
            raise UserError(
                "`stage1.strategy` mcmc: draws from all Gaussians of the scene, which no rank has with `shard`; choose "
                "clones or halves"
            )
        if self.shard != "none" and self.stage1.refine_poses and self.stage1.steps:
            raise UserError(
                "`stage1.refine_poses`: cannot move cameras with `shard`, as parts of a scene give poses no gradients; "
                "turn one of them off"
            )
