"""Options of a scene's photos that may be other ones when it is read than when it was trained."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from gsdff.config.file import lay_over
from gsdff.config.options import DataConfig
from gsdff.errors import UserError, nearest, shown


@dataclass(frozen=True)
class PhotoConfig:
    """How to read the photos of a run, or those for a PLY; what is left out is as in the training."""

    made_from: Literal["photos", "views"] | None = None
    """Label images, masks and teacher maps show `photos` as stored, or `views`, which are undistorted and upright."""
    masks: bool | None = None
    """Whether to leave out what the photos' masks cover."""
    memory: float | None = None
    """Gigabytes of photos that stay in memory; larger datasets are read from a temporary file as they are used."""
    allow_outside: bool | None = None
    """Whether to read photos that the dataset lists outside its folder; for files that you trust."""


def change_dataset(dataset: DataConfig, changes: Mapping[str, Any]) -> DataConfig:
    """The options of a training's photos with some of those in `PhotoConfig` changed; None changes nothing.

    Raises `UserError` for others, which shaped what was trained, and for values out of range.
    """
    names = [entry.name for entry in fields(PhotoConfig)]
    if not isinstance(changes, Mapping):
        raise UserError(f"`dataset`: expected a dict with some of {', '.join(names)}, got {shown(changes)}")
    for name in map(str, changes):
        if name not in names:
            raise UserError(
                f"`dataset`: expected {', '.join(names)}, got {name}; did you mean {nearest(name, names)}? Others are "
                "fixed by the training"
            )
    for name, value in changes.items():
        try:
            dataset = dataset if value is None else lay_over(dataset, {name: value}, "options")
        except UserError as error:
            raise UserError(f"`dataset.{name}`{str(error).removeprefix(f'options: {name}')}") from error
    return dataset
