"""Options in files: presets found by name, TOML read and written."""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import tomli_w

from gsdff.config.checks import OptionError
from gsdff.config.options import TrainConfig
from gsdff.errors import UserError, nearest, shown
from gsdff.files.reading import read_toml
from gsdff.files.writing import write_text
from gsdff.run_folder import DEMO
from gsdff.words import is_text

PRESET_FOLDERS = (Path(__file__).parents[1] / "configs", Path(__file__).parents[2] / "configs")
"""Folders in which presets are looked up by name: of an installed package, of a checkout."""


def find_preset(name: str) -> Path:
    """The TOML file of this name: a path, or the name of a preset that comes with the package."""
    if Path(name).is_file():
        return Path(name)
    presets = {file.stem: file for folder in PRESET_FOLDERS for file in sorted(folder.glob("*.toml"))}
    if (stem := name.removesuffix(".toml").removeprefix("configs/")) in presets:
        return presets[stem]
    names = ", ".join(sorted(presets))
    raise UserError(f"{name}: no such config file; expected the path of a TOML file or one of: {names}")


def read_config(path: Path, below: TrainConfig | None = None) -> TrainConfig:
    """Reads a TOML file and lays its values over `below`, by default over the defaults.

    Raises `UserError`, with file and key, for a key or value that is not valid.
    """
    return lay_over(below or TrainConfig(), read_table(path), str(path))


def read_table(path: Path) -> dict[str, Any]:
    """Reads a TOML file as nested plain values. Raises `UserError` if it is not TOML."""
    return read_toml(path, "a TOML file", "correct it")


def write_config(path: Path, config: TrainConfig) -> None:
    """Writes a file, atomically, that `read_config` reads back as an equal config.

    Raises `UserError` for a path with bytes that are no text in UTF-8, as TOML cannot hold it.
    """
    table = to_table(config)
    for name, value in flatten(table):
        if isinstance(value, str) and not is_text(value):
            raise UserError(f"`{name}` {value}: expected a path in UTF-8, as config.toml has to hold it; rename it")
    write_text(path, tomli_w.dumps(table))


def to_table(config: Any) -> dict[str, Any]:
    """Options as nested plain values; paths become strings, and None is left out (TOML has no null)."""
    table = {}
    for entry in fields(config):
        value = getattr(config, entry.name)
        if is_dataclass(value):
            table[entry.name] = to_table(value)
        elif value is not None:
            table[entry.name] = str(value) if isinstance(value, Path) else value
    return table


def flatten(table: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields pairs of dotted key and value: `stage1.steps`, 2000."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def read_presets(names: Iterable[str], below: TrainConfig) -> TrainConfig:
    """Options of TOML files or presets, later ones over earlier ones, over those of `below`."""
    for name in names:
        below = read_config(find_preset(name), below)
    return below


def absolute(config: Any) -> Any:
    """The same options with absolute paths, except for the name of the built-in scene."""
    changes = {}
    for entry in fields(config):
        value = getattr(config, entry.name)
        if is_dataclass(value):
            changes[entry.name] = absolute(value)
        elif isinstance(value, Path) and value != DEMO:
            changes[entry.name] = Path(os.path.abspath(value))
    return replace(config, **changes)


def locate(error: OptionError) -> UserError:
    """The same error with the option named by its dotted key: `stage1.steps`."""
    prefixes = {kind: prefix for prefix, kind in _tables(TrainConfig)}
    return UserError(f"`{prefixes[error.owner]}{error.key}`: {error.complaint}")


def lay_over(base: Any, table: Mapping[str, Any], file: str, prefix: str = "") -> Any:
    """A copy of the options `base` with the values of a TOML table.

    Raises `UserError`, with `file` and the key, for a key or value that is not valid.
    """
    kinds = get_type_hints(type(base))
    values = {}
    for key, value in table.items():
        if key not in kinds:
            valid = [start + entry.name for start, kind in _tables(TrainConfig) for entry in fields(kind)]
            raise UserError(f"{file}: unknown key {prefix}{key}; did you mean {nearest(prefix + key, valid)}?")
        if is_dataclass(kinds[key]) and isinstance(value, dict):
            values[key] = lay_over(getattr(base, key), value, file, f"{prefix}{key}.")
        else:
            values[key] = _convert(kinds[key], value, f"{file}: {prefix}{key}")
    try:
        return replace(base, **values)
    except OptionError as error:
        raise UserError(f"{file}: {prefix}{error.key}: {error.complaint}") from error


def _convert(kind: Any, value: Any, where: str) -> Any:
    """A TOML value as the type of its field: integers become floats and strings become paths if the field is one."""
    if get_origin(kind) is Union:  # a word of some, or numbers
        words, numbers = (get_args(option) for option in get_args(kind))
        if value in words if isinstance(value, str) else _are_numbers(value, len(numbers)):
            return value if isinstance(value, str) else tuple(map(float, value))
        expected = f"one of {', '.join(map(repr, words))} or a list of {len(numbers)} numbers"
        raise UserError(f"{where}: expected {expected}, got {shown(value)}")
    if get_origin(kind) is UnionType:
        kind = next(option for option in get_args(kind) if option is not type(None))
    if get_origin(kind) is Literal:
        if value in get_args(kind):
            return value
        raise UserError(f"{where}: expected one of {', '.join(map(repr, get_args(kind)))}, got {shown(value)}")
    accepted = {float: (int, float), Path: (str,)}.get(kind, (kind,))
    if is_dataclass(kind) or type(value) not in accepted:
        expected = "a table" if is_dataclass(kind) else {Path: "a path in quotes"}.get(kind, kind.__name__)
        raise UserError(f"{where}: expected {expected}, got {shown(value)}")
    if kind is Path and (not value or "\0" in value):
        raise UserError(f"{where}: expected a path in quotes, got {shown(value)}")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise UserError(f"{where}: expected a number of 64 bits, got {shown(value)}")
    convert: Any = kind
    return convert(value)


def _are_numbers(value: Any, count: int) -> bool:
    """Whether a TOML value is a list of so many numbers, none of them too large for a float."""
    if not isinstance(value, list) or len(value) != count:
        return False
    return all(type(item) is float or (type(item) is int and -(2**63) <= item < 2**63) for item in value)


def _tables(kind: type, prefix: str = "") -> Iterator[tuple[str, type]]:
    """A class of options and those nested in it, each with the prefix of its keys: `stage1.`."""
    yield prefix, kind
    for key, entry in get_type_hints(kind).items():
        if isinstance(entry, type) and is_dataclass(entry):
            yield from _tables(entry, f"{prefix}{key}.")
