"""Training from Python in one call."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import Any

from gsdff.config.file import lay_over
from gsdff.config.options import TrainConfig
from gsdff.errors import UserError
from gsdff.field.field import Field
from gsdff.field.load import load
from gsdff.training.run import complete, options_below, train_run
from gsdff.words import as_words


def fit(
    data: str | Path = "demo",
    *,
    teacher: str | None = None,
    out: str | Path | None = None,
    iterations: int | None = None,
    minutes: float | None = None,
    stage1_from: str | Path | None = None,
    presets: str | Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    resume: bool = False,
    device: str | None = None,
) -> Field:
    """Trains a scene on photos with poses, and features if there is a teacher; returns the field of the run.

    The same as `gsdff train`: options of the device's preset, then `presets` (names, or TOML files), then `options` by
    their dotted names ({"stage1.max_gaussians": 20_000, "teacher.maps": "maps"}), then the arguments here. `data` is a
    COLMAP folder, a folder with transforms.json, or "demo"; `stage1_from` a run or a PLY whose colours are kept.
    `iterations` is the number of steps of both stages, divided between them as the preset does; `minutes` scales the
    schedule so that training takes about as long on this machine (`gsdff.training.budget`). Raises `UserError` for
    options that do not exist or contradict one another, and if `out` holds a run that is not to be resumed.
    """
    if not isinstance(data, str | PathLike):
        raise UserError(f'`data`: expected the path of a folder, or "demo", got {data!r}')
    if iterations is not None and (not isinstance(iterations, Integral) or iterations < 1):
        raise UserError(f"`iterations`: expected a whole number of steps, at least 1, got {iterations!r}")
    if iterations is not None and minutes is not None:
        raise UserError("`iterations` and `minutes` both choose the number of steps; leave one out")
    table: dict[str, Any] = {}
    for name, value in (options or {}).items():
        *tables, key = name.split(".")
        inner = table
        for part in tables:
            inner = inner.setdefault(part, {})
        inner[key] = str(value) if isinstance(value, Path) else value
    given = {"data": data, "out": out, "stage1_from": stage1_from, "device": device}
    table |= {name: str(value) for name, value in given.items() if value is not None}
    if teacher is not None:
        table.setdefault("teacher", {})["name"] = teacher
    first = lay_over(TrainConfig(), table, "options")
    config = lay_over(options_below(first, resume=resume, presets=as_words(presets, "presets")), table, "options")
    config = complete(config)
    if iterations is not None:
        config = _divide(config, iterations)
    return load(train_run(config, resume=resume, minutes=minutes).path, device=config.device)


def _divide(config: TrainConfig, iterations: int) -> TrainConfig:
    """The options with so many steps in both stages, divided between them as before."""
    stage1, stage2 = config.stage1.steps, config.stage2.steps if config.teacher.name != "none" else 0
    first = round(iterations * stage1 / max(1, stage1 + stage2))
    return replace(
        config,
        stage1=replace(config.stage1, steps=first),
        stage2=replace(config.stage2, steps=iterations - first if stage2 else config.stage2.steps),
    )
