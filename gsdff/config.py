"""Every option of a training run, as frozen dataclasses. The line under a field is its help text.

Values come from three places, later ones winning: the defaults here, a TOML preset (`--config`), the command line.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class DataConfig:
    """Where the photos come from and at what size they are used."""

    downscale: int = 1
    """Use images this many times smaller; `images_2`, `images_4`, `images_8` are read where they are there."""
    background: Literal["black", "white", "random"] = "black"
    """What shows behind transparent pixels and behind the last Gaussian."""
    random_points: int = 20_000
    """Initial points drawn at random where the input has no point cloud."""


@dataclass(frozen=True)
class Stage1Config:
    """RGB only: 3D Gaussian splatting with densification."""

    steps: int = 30_000
    """Steps in this stage; 0 skips it."""
    sh_degree: int = 3
    """Highest band of spherical harmonics (0 to 3)."""
    sh_interval: int = 1000
    """One more band every so many steps."""
    ssim_weight: float = 0.2
    """Weight of D-SSIM beside L1, in [0, 1]."""
    refine_start: int = 500
    """First step that may add or remove Gaussians."""
    refine_stop: int = 15_000
    """No Gaussian is added from here on."""
    refine_every: int = 100
    """Steps between refinements."""
    reset_every: int = 3000
    """Steps between resets of the opacities."""
    grow_grad2d: float = 0.0002
    """Gaussians whose screen-space gradient is larger are cloned or split."""
    max_gaussians: int = 5_000_000
    """Growth stops here."""
    rasterize_mode: Literal["classic", "antialiased"] = "classic"
    """`antialiased` keeps the energy of Gaussians smaller than a pixel (Mip-Splatting)."""


@dataclass(frozen=True)
class LearningRates:
    """Adam's rates, those of 3DGS; the rate of the means is scaled by the scene's extent and decays to 1 %."""

    means: float = 1.6e-4
    quats: float = 1e-3
    log_scales: float = 5e-3
    logit_opacities: float = 5e-2
    sh0: float = 2.5e-3
    shN: float = 1.25e-4
    features: float = 1e-2


@dataclass(frozen=True)
class Stage2Config:
    """RGB and features together; the number of Gaussians is fixed."""

    steps: int = 3000
    """Steps in this stage."""
    feature_weight: float = 1.0
    """Weight of the feature loss beside the image loss."""


@dataclass(frozen=True)
class TeacherConfig:
    """The 2D network whose features are distilled."""

    name: Literal["none", "precomputed"] = "none"
    """`none` trains stage 1 only."""
    maps: Path | None = None
    """precomputed: the folder of `<stem>_fmap_CxHxW.pt` maps, and of `text_features.npz`."""


@dataclass(frozen=True)
class FeatureConfig:
    """The space features live in."""

    dim: int = 32
    """K, latent channels per Gaussian."""


@dataclass(frozen=True)
class TrainConfig:
    """Options of `python -m gsdff.train`."""

    data: Path = Path("demo")
    """A COLMAP folder, a folder with transforms.json, or `demo` for the built-in scene."""
    out: Path | None = None
    """The run's folder; `runs/<data's name>` where not given."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes CUDA where there is a card."""
    seed: int = 0
    """Seed of everything random."""
    dataset: DataConfig = field(default_factory=DataConfig)
    stage1: Stage1Config = field(default_factory=Stage1Config)
    stage2: Stage2Config = field(default_factory=Stage2Config)
    rates: LearningRates = field(default_factory=LearningRates)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    features: FeatureConfig = field(default_factory=FeatureConfig)
