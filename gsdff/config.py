"""Every option of a training run, as frozen dataclasses. The line under a field is its help text.

Values come from three places, later ones winning: the defaults here, a TOML preset (`--config`), the command line.
The tables of a TOML file are the dataclasses (`[stage1]`), its keys their fields (`steps = 2000`).
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass, replace
from difflib import SequenceMatcher
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import tomli_w
from tyro.conf import arg

from gsdff.errors import UserError
from gsdff.files import whole_file

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PRESET_FOLDERS = (Path(__file__).parent / "configs", Path(__file__).parents[1] / "configs")
"""Where presets are looked up by name: in an installed package, in a checkout."""
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
    features: float = 3e-3
    """Latent features, in stage 2; larger ones drift away from what the lift found."""


@dataclass(frozen=True)
class Stage2Config:
    """RGB and features together; the number of Gaussians is fixed."""

    steps: int = 3000
    """Steps in this stage; 0 keeps the lifted features as they are."""
    feature_weight: float = 1.0
    """Weight of the feature loss beside the image loss."""


@dataclass(frozen=True)
class TeacherConfig:
    """The 2D network whose features are distilled."""

    name: Annotated[Literal["none", "precomputed"], arg(name="teacher", prefix_name=False)] = "none"
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


def find_preset(name: str) -> Path:
    """The TOML file `--config` names: a path, or the name of a preset that comes with the package."""
    if Path(name).is_file():
        return Path(name)
    presets = {file.stem: file for folder in PRESET_FOLDERS for file in sorted(folder.glob("*.toml"))}
    if (stem := name.removesuffix(".toml").removeprefix("configs/")) in presets:
        return presets[stem]
    names = ", ".join(sorted(presets))
    raise UserError(f"{name}: no such config file; expected the path of a TOML file or one of: {names}")


def read_config(path: Path) -> TrainConfig:
    """The defaults with the values of a TOML file; `UserError` names file and key where one does not belong."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: expected a TOML file: {error}") from error
    return _from_table(TrainConfig(), table, path)


def write_config(path: Path, config: TrainConfig) -> None:
    """Writes a file that `read_config` reads back to an equal config; atomically."""
    with whole_file(path) as partial:
        partial.write_text(tomli_w.dumps(to_table(config)), encoding="utf-8")


def to_table(config: Any) -> dict[str, Any]:
    """A config as nested plain values; paths are strings, and what is None is left out (TOML knows no null)."""
    table = {}
    for entry in fields(config):
        value = getattr(config, entry.name)
        if is_dataclass(value):
            table[entry.name] = to_table(value)
        elif value is not None:
            table[entry.name] = str(value) if isinstance(value, Path) else value
    return table


def flatten(table: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Pairs of dotted key and value: `stage1.steps`, 2000."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def check_config(config: TrainConfig) -> None:
    """Raises `UserError` for values that make no sense, before anything is loaded."""
    stage1 = config.stage1
    at_least_one = {
        "--downscale": config.dataset.downscale,
        "--dataset.random-points": config.dataset.random_points,
        "--log-every": config.log_every,
        "--picture-every": config.picture_every,
        "--checkpoint-every": config.checkpoint_every,
        "--stage1.steps": stage1.steps,
        "--stage1.sh-interval": stage1.sh_interval,
        "--stage1.refine-every": stage1.refine_every,
        "--stage1.max-gaussians": stage1.max_gaussians,
        "--features.dim": config.features.dim,
    }
    at_least_zero = {
        "--stage1.reset-every": stage1.reset_every,
        "--stage2.steps": config.stage2.steps,
        "--stage2.feature-weight": config.stage2.feature_weight,
        **{f"--rates.{key.replace('_', '-')}": rate for key, rate in to_table(config.rates).items()},
    }
    for least, group in ((1, at_least_one), (0, at_least_zero)):
        for flag, value in group.items():
            if not value >= least:
                raise UserError(f"{flag}: expected at least {least}, got {value}")
    if not 0 <= stage1.sh_degree <= 3:
        raise UserError(f"--stage1.sh-degree: expected 0 to 3, got {stage1.sh_degree}")
    if not 0 <= stage1.ssim_weight <= 1:
        raise UserError(f"--stage1.ssim-weight: expected 0 to 1, got {stage1.ssim_weight}")
    if config.teacher.name == "precomputed" and config.teacher.maps is None:
        raise UserError("--teacher precomputed: expected the folder of its maps too; add --teacher.maps DIR")


def _from_table(base: Any, table: dict[str, Any], file: Path, prefix: str = "") -> Any:
    """A copy of the dataclass `base` with the values of a TOML table."""
    kinds = get_type_hints(type(base))
    values = {}
    for key, value in table.items():
        if key not in kinds:
            raise UserError(f"{file}: unknown key {prefix}{key}; did you mean {_nearest_key(prefix + key)}?")
        if is_dataclass(kinds[key]) and isinstance(value, dict):
            values[key] = _from_table(getattr(base, key), value, file, f"{prefix}{key}.")
        else:
            values[key] = _convert(kinds[key], value, f"{file}: {prefix}{key}")
    return replace(base, **values)


def _convert(kind: Any, value: Any, where: str) -> Any:
    """A TOML value as the field's type; only integers where a float is expected and strings for paths change."""
    if get_origin(kind) is UnionType:
        kind = next(option for option in get_args(kind) if option is not type(None))
    if get_origin(kind) is Literal:
        if value in get_args(kind):
            return value
        raise UserError(f"{where}: expected one of {', '.join(map(repr, get_args(kind)))}, got {value!r}")
    accepted = {float: (int, float), Path: (str,)}.get(kind, (kind,))
    if is_dataclass(kind) or type(value) not in accepted:
        expected = "a table" if is_dataclass(kind) else {Path: "a path in quotes"}.get(kind, kind.__name__)
        raise UserError(f"{where}: expected {expected}, got {value!r}")
    return kind(value)


def _nearest_key(key: str) -> str:
    """The valid dotted key (or table) most like this one, judged by its last part first: tables are easily mistaken."""

    def likeness(valid: str) -> tuple[float, float]:
        ends = key.rpartition(".")[2], valid.rpartition(".")[2]
        return SequenceMatcher(None, *ends).ratio(), SequenceMatcher(None, key, valid).ratio()

    return max(_all_keys(TrainConfig), key=likeness)


def _all_keys(kind: type, prefix: str = "") -> Iterator[str]:
    for key, entry in get_type_hints(kind).items():
        yield prefix + key
        if is_dataclass(entry):
            yield from _all_keys(entry, f"{prefix}{key}.")
