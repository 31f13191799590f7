"""Every option of a training run, as frozen dataclasses. The line under a field is its help text.

Values come from three places, later ones winning: the defaults here, a TOML preset (`--config`), the command line.
The tables of a TOML file are the dataclasses (`[stage1]`), its keys their fields (`steps = 2000`).
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from gsdff.config.choices import TEACHERS, TeacherName, describe
from gsdff.config.smoothing import MaskConfig, SmoothingConfig

DEMO = Path("demo")
"""The value of `data` that stands for the built-in scene."""


@dataclass(frozen=True)
class DataConfig:
    """Where the photos come from and at what size they are used."""

    downscale: Annotated[int, arg(name="downscale", prefix_name=False)] = 1
    """Use images this many times smaller; `images_2`, `images_4`, `images_8` are read where they are there."""
    background: Literal["black", "white", "random"] = "black"
    """What shows behind transparent pixels and behind the last Gaussian; `random` is another colour every step."""
    random_points: int = 20_000
    """Initial points drawn at random where the input has no point cloud."""


@dataclass(frozen=True)
class Stage1Config:
    """RGB only: 3D Gaussian splatting with densification."""

    steps: int = 30_000
    """Steps in this stage."""
    sh_degree: int = 3
    """Highest band of spherical harmonics (0 to 3)."""
    sh_interval: int = 1000
    """One more band every so many steps."""
    ssim_weight: float = 0.2
    """Weight of D-SSIM beside L1, in [0, 1]."""
    refine_start: int = 500
    """Gaussians are added and removed after this step."""
    refine_stop: int = 15_000
    """No Gaussian is added or removed from here on."""
    refine_every: int = 100
    """Steps between refinements."""
    reset_every: int = 3000
    """Steps between resets of the opacities to almost nothing; 0 never does."""
    grow_grad2d: float = 0.0002
    """Gaussians whose mean screen-space gradient is larger are cloned or split."""
    absgrad: bool = False
    """Grow by summed absolute gradients (AbsGS), which do not cancel; wants `grow_grad2d` about 4 times as large."""
    max_gaussians: int = 5_000_000
    """There are never more; those with the largest gradients grow first."""
    rasterize_mode: Literal["classic", "antialiased"] = "classic"
    """`antialiased` keeps the energy of Gaussians smaller than a pixel (Mip-Splatting)."""


@dataclass(frozen=True)
class LearningRates:
    """Adam's rate of every attribute of the Gaussians, those of 3DGS; `gsdff.gaussians.Gaussians` has their names."""

    means: float = 1.6e-4
    """Times the scene's extent; decays to 1 % over stage 1."""
    quats: float = 1e-3
    """Rotations."""
    log_scales: float = 5e-3
    """Logarithms of the scales."""
    logit_opacities: float = 5e-2
    """Opacities before the sigmoid."""
    sh0: float = 2.5e-3
    """Constant band of the spherical harmonics."""
    shN: float = 1.25e-4
    """Higher bands."""
    features: float = 1e-2
    """Latent features, in stage 2."""


@dataclass(frozen=True)
class Stage2Config:
    """RGB and features together; the number of Gaussians is fixed."""

    steps: int = 3000
    """Steps in this stage; 0 keeps the lifted features as they are."""
    feature_weight: float = 1.0
    """Weight of the feature loss beside the image loss."""
    adam_eps: float = 1e-4
    """Adam's eps for the features, about the gradient of one pixel of a map: Adam moves whatever has a gradient at its
    full rate, and Gaussians hardly seen would walk off from their lift at random."""
    huber: float = 0.3
    """Feature errors larger than this (teacher vectors have length 1) count by their length, not its square, so that
    views in which the teacher is mistaken pull less; 0 squares them all."""
    parts: int = 4
    """A step looks at one strip of the photo, of so many that take turns; 1 looks at all of it."""
    freeze_radiance: bool = False
    """Train the features alone: colours, geometry and opacities stay as they are, and no photo is looked at."""


@dataclass(frozen=True)
class ToyConfig:
    """How the toy teacher, which knows the truth from label images, errs; all of it drawn from `seed`."""

    channels: int = 64
    """T, channels of its maps; every class is a random unit vector."""
    size: int = 48
    """Longer side of its maps, in pixels."""
    blur: float = 1.0
    """Standard deviation, in pixels of its maps, of the blur across the borders of things."""
    noise: float = 0.5
    """Length of the random vector added to every pixel's unit vector, another one in every view."""
    mistakes: float = 0.1
    """Share of the things in a view that are taken for something else, other ones in every view."""
    seed: int = 0
    """Seed of class vectors, noise and mistakes."""


_TEACHER_HELP = (
    "`none` trains stage 1 only. `auto` takes `precomputed` if maps are given, `lseg` if its checkpoint is given, "
    "`toy` for the built-in scene, otherwise `lseg` if its checkpoint has been downloaded, and `none` if not."
    + describe(TEACHERS)
)


@dataclass(frozen=True)
class TeacherConfig:
    """The 2D network whose features are distilled."""

    name: Annotated[TeacherName, arg(name="teacher", prefix_name=False, help=_TEACHER_HELP)] = "auto"
    maps: Path | None = None
    """precomputed: the folder of `<stem>_fmap_CxHxW.pt` or `.npy` maps, and of `text_features.npz`."""
    checkpoint: Path | None = None
    """lseg: the official demo_e200.ckpt; by default the one that scripts/download_weights.py has fetched."""
    model: str | None = None
    """clip: an open_clip model (ViT-B-16-quickgelu); dino: a timm model (vit_small_patch14_dinov2.lvd142m)."""
    pretrained: str | None = None
    """clip, dino: a weights file, or for clip a tag that open_clip downloads (openai)."""
    size: int | None = None
    """lseg, clip, dino: longer side of the photo as the network sees it; by default that network's own."""
    multi_scale: bool = False
    """lseg: sum over scales 0.75 to 1.75 and mirrored photos, as published; about 25 times the time."""
    batch: int = 4
    """lseg, clip, dino: photos (or windows of them) in one pass."""
    labels: Path | None = None
    """labels, toy: the folder of label images; by default `labels` in the scene's folder."""
    toy: ToyConfig = field(default_factory=ToyConfig)


@dataclass(frozen=True)
class FeatureConfig:
    """The space features live in."""

    dim: int = 32
    """K, latent channels per Gaussian."""
    energy: float | None = None
    """Choose K instead: the fewest channels that keep this share of the teacher's second moment, in (0, 1]."""
    cache: Path | None = None
    """Folder of the teacher's projected maps, which runs on one scene can share; by default `features` in the run's."""


@dataclass(frozen=True)
class TrainConfig:
    """Options of `python -m gsdff.train`."""

    data: Path = Path("demo")
    """A COLMAP folder, a folder with transforms.json, or `demo` for the built-in scene."""
    out: Path | None = None
    """The run's folder; `runs/<data's name>` where not given."""
    stage1_from: Path | None = None
    """Skip stage 1: start stage 2 on the scene of this run, or of this 3DGS PLY in the photos' world frame."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes CUDA where there is a card."""
    seed: int = 0
    """Seed of everything random."""
    log_every: int = 10
    """Steps between lines of metrics.jsonl."""
    picture_every: int = 500
    """Steps between pictures and scores of held-out views."""
    checkpoint_every: int = 500
    """Steps between checkpoints."""
    dataset: DataConfig = field(default_factory=DataConfig)
    stage1: Stage1Config = field(default_factory=Stage1Config)
    stage2: Stage2Config = field(default_factory=Stage2Config)
    rates: LearningRates = field(default_factory=LearningRates)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    features: FeatureConfig = field(default_factory=FeatureConfig)
    masks: MaskConfig = field(default_factory=MaskConfig)
    smoothing: SmoothingConfig = field(default_factory=SmoothingConfig)
