"""Configs in files: presets found by name, TOML read and written, values checked before anything is loaded."""

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from difflib import SequenceMatcher
from math import inf
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import tomli_w

from gsdff.config.options import DEMO, TrainConfig
from gsdff.config.smoothing import MaskConfig, SmoothingConfig
from gsdff.errors import UserError
from gsdff.files import whole_file

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PRESET_FOLDERS = (Path(__file__).parents[1] / "configs", Path(__file__).parents[2] / "configs")
"""Where presets are looked up by name: in an installed package, in a checkout."""


def find_preset(name: str) -> Path:
    """The TOML file `--config` names: a path, or the name of a preset that comes with the package."""
    if Path(name).is_file():
        return Path(name)
    presets = {file.stem: file for folder in PRESET_FOLDERS for file in sorted(folder.glob("*.toml"))}
    if (stem := name.removesuffix(".toml").removeprefix("configs/")) in presets:
        return presets[stem]
    names = ", ".join(sorted(presets))
    raise UserError(f"{name}: no such config file; expected the path of a TOML file or one of: {names}")


def read_config(path: Path, below: TrainConfig | None = None) -> TrainConfig:
    """`below` (by default the defaults) with the values of a TOML file.

    `UserError` names file and key where one does not belong.
    """
    return lay_over(below or TrainConfig(), read_table(path), str(path))


def read_table(path: Path) -> dict[str, Any]:
    """What a TOML file says, as nested plain values; `UserError` where it is none."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: expected a TOML file: {error}") from error


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


def absolute(config: Any) -> Any:
    """A config with absolute paths, but for the built-in scene's name."""
    changes = {}
    for entry in fields(config):
        value = getattr(config, entry.name)
        if is_dataclass(value):
            changes[entry.name] = absolute(value)
        elif isinstance(value, Path) and value != DEMO:
            changes[entry.name] = Path(os.path.abspath(value))
    return replace(config, **changes)


def check_config(config: TrainConfig) -> None:
    """Raises `UserError` for values that make no sense, before anything is loaded."""
    stage1, masks, smoothing = config.stage1, config.masks, config.smoothing
    at_least_one = {
        "--downscale": config.dataset.downscale,
        "--dataset.random-points": config.dataset.random_points,
        "--log-every": config.log_every,
        "--picture-every": config.picture_every,
        "--checkpoint-every": config.checkpoint_every,
        "--stage1.sh-interval": stage1.sh_interval,
        "--stage1.refine-every": stage1.refine_every,
        "--stage1.max-gaussians": stage1.max_gaussians,
        "--features.dim": config.features.dim,
        "--stage2.parts": config.stage2.parts,
        "--teacher.batch": config.teacher.batch,
        "--teacher.toy.size": config.teacher.toy.size,
        "--masks.sam.points-per-side": masks.sam.points_per_side,
        "--masks.sam.points-per-batch": masks.sam.points_per_batch,
        "--smoothing.graph.steps": smoothing.graph.steps,
        "--smoothing.graph.neighbours": smoothing.graph.neighbours,
    }
    at_least_zero = {
        "--stage1.steps": stage1.steps,
        "--stage1.reset-every": stage1.reset_every,
        "--stage2.steps": config.stage2.steps,
        "--stage2.feature-weight": config.stage2.feature_weight,
        "--stage2.adam-eps": config.stage2.adam_eps,
        "--stage2.huber": config.stage2.huber,
        "--masks.min-area": masks.min_area,
        "--masks.refresh": masks.refresh,
        "--masks.sam.crop-n-layers": masks.sam.crop_n_layers,
        "--masks.sam.min-mask-region-area": masks.sam.min_mask_region_area,
        "--masks.felzenszwalb.sigma": masks.felzenszwalb.sigma,
        "--masks.felzenszwalb.min-size": masks.felzenszwalb.min_size,
        "--smoothing.sam.purity": smoothing.sam.purity,
        "--smoothing.graph.weight": smoothing.graph.weight,
        "--teacher.toy.blur": config.teacher.toy.blur,
        "--teacher.toy.noise": config.teacher.toy.noise,
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
    check_smoothing(config.masks, config.smoothing)
    if masks.refresh % config.checkpoint_every:  # a resumed run must find the masks that belong to its checkpoint
        raise UserError(f"--masks.refresh: expected a multiple of --checkpoint-every, got {masks.refresh}")
    if (size := config.teacher.size) is not None and size < 32:
        raise UserError(f"--teacher.size: expected at least 32 pixels, got {size}")
    if config.teacher.toy.channels < 2:
        raise UserError(f"--teacher.toy.channels: expected at least 2, got {config.teacher.toy.channels}")
    if not 0 <= config.teacher.toy.mistakes <= 1:
        raise UserError(f"--teacher.toy.mistakes: expected 0 to 1, got {config.teacher.toy.mistakes}")
    if (energy := config.features.energy) is not None and not 0 < energy <= 1:
        raise UserError(f"--features.energy: expected a share above 0 and at most 1, got {energy}")
    if (config.stage1_from is None) == (stage1.steps == 0):
        raise UserError("--stage1.steps: expected at least 1, or 0 with --stage1-from")
    if config.stage1_from is not None and config.teacher.name == "none":
        raise UserError("--stage1-from: expected a teacher too, as only stage 2 is left to do; add --teacher NAME")
    if config.teacher.name == "precomputed" and config.teacher.maps is None:
        raise UserError("--teacher precomputed: expected the folder of its maps too; add --teacher.maps DIR")


def check_smoothing(masks: MaskConfig, smoothing: SmoothingConfig) -> None:
    """`check_config` for filters and masks."""
    shares = {
        "--masks.nms-iou": masks.nms_iou,
        "--masks.sam.pred-iou-thresh": masks.sam.pred_iou_thresh,
        "--masks.sam.stability-score-thresh": masks.sam.stability_score_thresh,
    }
    positive = {
        "--masks.felzenszwalb.scale": masks.felzenszwalb.scale,
        "--smoothing.sam.sigma": smoothing.sam.sigma,
        "--smoothing.bilateral.sigma": smoothing.bilateral.sigma,
        "--smoothing.bilateral.sigma-range": smoothing.bilateral.sigma_range,
        "--smoothing.gaussian.sigma": smoothing.gaussian.sigma,
        "--smoothing.graph.sigma": smoothing.graph.sigma,
        "--smoothing.graph.sigma-color": smoothing.graph.sigma_color,
        "--smoothing.graph.sigma-feature": smoothing.graph.sigma_feature,
    }
    for flag, value in shares.items():
        if not 0 <= value <= 1:
            raise UserError(f"{flag}: expected 0 to 1, got {value}")
    for flag, value in positive.items():
        if not value > 0 or (value == inf and "graph" not in flag):  # in the graph inf switches a factor off
            raise UserError(f"{flag}: expected more than 0 and finite, got {value}")
    if smoothing.sam.window != 0:
        _check_window("sam", smoothing.sam.window)
    _check_window("bilateral", smoothing.bilateral.window)
    _check_window("gaussian", smoothing.gaussian.window)
    for name in ("sam", "bilateral", "gaussian", "tv"):
        options = getattr(smoothing, name)
        for key in ("weight", "start", "ramp"):
            if not (value := getattr(options, key)) >= 0:
                raise UserError(f"--smoothing.{name}.{key}: expected at least 0, got {value}")


def _check_window(name: str, window: int) -> None:
    if window < 1 or window % 2 == 0:
        raise UserError(f"--smoothing.{name}.window: expected an odd number of pixels, got {window}")


def lay_over(base: Any, table: Mapping[str, Any], file: str, prefix: str = "") -> Any:
    """A copy of the dataclass `base` with the values of a TOML table; `file` is for the `UserError` of a wrong one."""
    kinds = get_type_hints(type(base))
    values = {}
    for key, value in table.items():
        if key not in kinds:
            raise UserError(f"{file}: unknown key {prefix}{key}; did you mean {_nearest_key(prefix + key)}?")
        if is_dataclass(kinds[key]) and isinstance(value, dict):
            values[key] = lay_over(getattr(base, key), value, file, f"{prefix}{key}.")
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
