"""Edit lists in files: TOML read and written, YAML read.

    background = "white"            # optional: what pictures of the result are drawn over

    [[edit]]                        # in the order they are made in
    operation = "recolor"           # extract, delete, recolor, move, rotate, scale, duplicate, opacity, stylize
    positives = ["table", "desk"]   # or selection = "table.safetensors", or click = { view = "a.png", x = 5, y = 9 }
    negatives = ["floor"]
    threshold = 0.6
    color = "#2a6fdb"
    keep_largest = 1

The keys of an edit are the fields of `Selector`, of the operation and of `Cleanup` (`gsdff.editing.operations`), side
by side. A saved selection is looked for beside the edit file. YAML may say the same, or be of DFF's or Feature 3DGS's
kind (`gsdff.editing.yaml_file`). Nothing in a file is ever run.
"""

from collections.abc import Callable
from dataclasses import MISSING, fields, replace
from os.path import abspath
from pathlib import Path
from typing import Any

import tomli_w

from gsdff.config.file import read_table
from gsdff.editing.operations import Cleanup, Click, Color, EditList, EditStep, Selector, Vector, parse_color
from gsdff.editing.yaml_file import read_yaml_table
from gsdff.errors import UserError, nearest
from gsdff.files import whole_file


def read_edits(path: Path) -> EditList:
    """The edits of a .toml, .yaml or .yml file; `UserError` names file, edit and key where something is wrong."""
    readers = {".toml": read_table, ".yaml": read_yaml_table, ".yml": read_yaml_table}
    if path.suffix.lower() not in readers:
        raise UserError(f"{path}: expected a file of edits that ends in {', '.join(readers)}")
    if not path.is_file():
        raise UserError(f"{path}: expected a file of edits, there is no such file")
    table = readers[path.suffix.lower()](path)
    for key in table:
        if key not in ("edit", "background"):
            raise UserError(f"{path}: unknown key {key}; did you mean {_nearest_key(key)}?")
    entries = table.get("edit", [])
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{path}: edit: expected at least one [[edit]] table, got {entries!r}")
    try:
        background = parse_color(table["background"]) if "background" in table else None
    except ValueError as error:
        raise UserError(f"{path}: background: {error}") from error
    steps = [_read_step(entry, f"{path}: edit {number}") for number, entry in enumerate(entries, 1)]
    return EditList(tuple(_looked_for_in(path.parent, step) for step in steps), background)


def write_edits(path: Path, edits: EditList) -> None:
    """Writes a .toml that `read_edits` reads back to equal edits, but for paths, which become absolute; atomically."""
    table = {} if edits.background is None else {"background": _color_value(edits.background)}
    table["edit"] = [_to_table(step) for step in edits.steps]
    with whole_file(path) as partial:
        partial.write_text(tomli_w.dumps(table), encoding="utf-8")


def _read_step(table: object, where: str) -> EditStep:
    """One [[edit]] table."""
    if not isinstance(table, dict):
        raise UserError(f"{where}: expected a table of keys and values, got {table!r}")
    names = ", ".join(EditStep.OPERATIONS)
    name = table.get("operation")
    if not isinstance(name, str) or name not in EditStep.OPERATIONS:
        meant = f"; did you mean {nearest(name, EditStep.OPERATIONS)}?" if isinstance(name, str) else ""
        raise UserError(f"{where}: operation: expected one of {names}, got {'none' if name is None else name!r}{meant}")
    kinds = Selector, EditStep.OPERATIONS[name], Cleanup
    valid = [key for kind in kinds for key in _keys(kind)]
    values = {}
    for key, value in table.items():
        if key == "operation":
            continue
        if key not in valid:
            owners = [other for other, kind in EditStep.OPERATIONS.items() if key in _keys(kind)]
            hint = f"it belongs to {' and '.join(owners)}" if owners else f"did you mean {nearest(str(key), valid)}?"
            raise UserError(f"{where}: unknown key {key} of {name}; {hint}")
        try:
            values[key] = _READERS[key](value)
        except ValueError as error:
            raise UserError(f"{where}: {key}: {error}") from error
    for entry in fields(kinds[1]):
        if entry.default is MISSING and entry.name not in values:
            raise UserError(f"{where}: {entry.name}: expected one, as {name} needs it, got none")
    try:
        selector, operation, cleanup = (
            kind(**{key: values[key] for key in _keys(kind) if key in values}) for kind in kinds
        )
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error
    return EditStep(operation, selector, cleanup)


def _looked_for_in(folder: Path, step: EditStep) -> EditStep:
    """The step with its saved selection relative to the folder."""
    if step.selector.selection is None:
        return step
    return replace(step, selector=replace(step.selector, selection=folder / step.selector.selection))


def _to_table(step: EditStep) -> dict[str, Any]:
    """What `_read_step` makes the step of; defaults are left out."""
    table: dict[str, Any] = {"operation": step.name}
    for part in (step.selector, step.operation, step.cleanup):
        for entry in fields(part):
            value = getattr(part, entry.name)
            if value != entry.default:
                table[entry.name] = _plain(entry.name, value)
    return table


def _plain(key: str, value: Any) -> Any:
    if isinstance(value, Click):
        return {"view": value.view, "x": value.x, "y": value.y}
    if isinstance(value, Path):
        return abspath(value)
    if key == "color":
        return _color_value(value)
    return list(value) if isinstance(value, tuple) else value


def _color_value(color: Color) -> str | list[float]:
    """As "#rrggbb" where that is exact."""
    text = "#" + "".join(f"{round(255 * channel):02x}" for channel in color)
    return text if parse_color(text) == color else list(color)


def _keys(kind: type) -> list[str]:
    return [entry.name for entry in fields(kind)]


def _nearest_key(key: str) -> str:
    """What a key at the top of a file was meant to be; a key of an edit belongs under [[edit]]."""
    parts = [Selector, Cleanup, *EditStep.OPERATIONS.values()]
    inner = {name: f"{name} under an [[edit]]" for name in ("operation", *(k for part in parts for k in _keys(part)))}
    names = {"edit": "[[edit]]", "background": "background"} | inner
    return names[nearest(key, names)]


# --- values of keys; ValueError says what was expected and what came


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected a text in quotes, got {value!r}")
    return value


def _texts(value: object) -> tuple[str, ...]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(text, str) for text in values):
        raise ValueError(f"expected a text in quotes or a list of them, got {value!r}")
    return tuple(text.strip() for text in values)


def _number(value: object) -> float:
    if type(value) not in (int, float):
        raise ValueError(f"expected a number, got {value!r}")
    return float(value)


def _count(value: object) -> int:
    if type(value) is not int:
        raise ValueError(f"expected a whole number, got {value!r}")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"expected true or false, got {value!r}")
    return value


def _vector(value: object) -> Vector:
    if not isinstance(value, list) or len(value) != 3 or not all(type(number) in (int, float) for number in value):
        raise ValueError(f"expected three numbers [x, y, z], got {value!r}")
    return tuple(float(number) for number in value)


def _path(value: object) -> Path:
    return Path(_text(value))


def _click(value: object) -> Click:
    if not isinstance(value, dict) or value.keys() != {"view", "x", "y"}:
        raise ValueError(f'expected {{ view = "PHOTO", x = PIXELS, y = PIXELS }}, got {value!r}')
    return Click(_text(value["view"]), _count(value["x"]), _count(value["y"]))


_READERS: dict[str, Callable[[object], Any]] = {
    **dict.fromkeys(("positives", "negatives"), _texts),
    **dict.fromkeys(("threshold", "temperature", "degrees", "factor", "opacity", "rate"), _number),
    **dict.fromkeys(("translation", "axis", "euler", "centre"), _vector),
    **dict.fromkeys(("copies", "majority", "keep_largest", "grow", "shrink", "steps", "seed"), _count),
    **dict.fromkeys(("only_negatives", "rim", "drop_floaters"), _flag),
    "selection": _path,
    "click": _click,
    "color": parse_color,
    **dict.fromkeys(("mode", "prompt", "source"), _text),
}
"""By the key, whichever operation has it."""
