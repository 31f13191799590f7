"""Options of a scene's photos that may be other ones when it is read than when it was trained."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from gsdff.config.file import lay_over
from gsdff.config.options import DataConfig
from gsdff.errors import UserError, nearest, shown

CHANGEABLE = ("poses", "made_from", "masks", "memory", "allow_outside")
"""Options of `DataConfig` that say how to read the same photos; the others shaped what was trained."""


def change_dataset(dataset: DataConfig, changes: Mapping[str, Any]) -> DataConfig:
    """The options of a training's photos with some of `CHANGEABLE` changed; None changes nothing.

    Raises `UserError` for others, and for values out of range.
    """
    if not isinstance(changes, Mapping):
        raise UserError(f"`dataset`: expected a dict with some of {', '.join(CHANGEABLE)}, got {shown(changes)}")
    for name in map(str, changes):
        if name not in CHANGEABLE:
            hint = f"did you mean {nearest(name, CHANGEABLE)}? Others are fixed by the training"
            if name in {entry.name for entry in fields(DataConfig)}:
                hint = "that is fixed by the training"
            raise UserError(f"`dataset`: expected some of {', '.join(CHANGEABLE)}, got {name}; {hint}")
    for name, value in changes.items():
        try:
            dataset = dataset if value is None else lay_over(dataset, {name: value}, "options")
        except UserError as error:
            raise UserError(f"`dataset.{name}`{str(error).removeprefix(f'options: {name}')}") from error
    return dataset
