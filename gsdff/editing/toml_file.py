"""Edit lists in files: TOML read and written, YAML read.

    background = "white"            # optional: background of pictures of the result

    [[edit]]                        # in the order they are made
    operation = "recolor"           # a name of `gsdff.editing.table.OPERATIONS`
    positives = ["table", "desk"]   # or selection = "table.safetensors", or click = { view = "a.png", x = 5, y = 9 }
    negatives = ["floor"]
    threshold = 0.6
    color = "#2a6fdb"
    keep_largest = 1

The keys of an edit are the fields of its class, but for the target, which has one of three keys: positives, selection
or click. The path of a selection is relative to the folder of the file. YAML may have the same keys, or those of DFF or
Feature 3DGS (`gsdff.editing.yaml_file`). Nothing in a file is ever run.
"""

from dataclasses import MISSING, fields, replace
from os.path import abspath, lexists
from pathlib import Path
from typing import Any

import tomli_w

from gsdff.editing.edit import Edit, EditList
from gsdff.editing.operations import operation
from gsdff.editing.selector import Click, Selector, Target
from gsdff.editing.table import OPERATIONS
from gsdff.editing.values import read_field, read_text, read_texts, write_field
from gsdff.editing.yaml_file import read_yaml_table
from gsdff.errors import UserError, nearest, shown
from gsdff.files.reading import check_file, read_toml
from gsdff.files.writing import settle, together, write_text
from gsdff.selection import Selection

TARGET_KEYS = ("positives", "selection", "click")
MOST_BYTES = 10_000_000
"""Largest file of edits."""
MOST_EDITS = 10_000
"""Most edits in a file."""


def read_edits(path: Path) -> EditList:
    """The edits of a .toml, .yaml or .yml file; raises `UserError` with file, edit and key if something is wrong."""
    readers = {".toml": _read_toml_table, ".yaml": read_yaml_table, ".yml": read_yaml_table}
    if path.suffix.lower() not in readers:
        raise UserError(f"{path}: expected a file of edits that ends in {', '.join(readers)}")
    settle(path)
    if not lexists(path):
        raise UserError(f"{path}: expected a file of edits, there is no such file")
    check_file(path, "a file of edits")
    if (num_bytes := path.stat().st_size) > MOST_BYTES:
        raise UserError(f"{path}: expected a file of edits of at most {MOST_BYTES:,} bytes, it has {num_bytes:,}")
    table = readers[path.suffix.lower()](path)
    for key in table:
        if key not in ("edit", "background"):
            raise UserError(f"{path}: unknown key {key}; did you mean {_nearest_key(key)}?")
    entries = table.get("edit", [])
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{path}: edit: expected at least one [[edit]] table, got {shown(entries)}")
    if len(entries) > MOST_EDITS:
        raise UserError(f"{path}: edit: expected at most {MOST_EDITS:,} edits, got {len(entries):,}")
    edits = [_read_edit(entry, path.parent, f"{path}: edit {number}") for number, entry in enumerate(entries, 1)]
    try:
        return EditList(edits, read_field(EditList, "background", table.get("background")))
    except ValueError as error:
        raise UserError(f"{path}: {_bare(error)}") from error


def _read_toml_table(path: Path) -> dict[str, Any]:
    return read_toml(path, "a TOML file of edits", "correct it")


def write_edits(path: Path, edits: EditList) -> None:
    """Writes a .toml that `read_edits` reads back to equal edits, but for paths, which become absolute; atomically.

    A selection in memory is saved beside it, as `<stem>_<number of the edit>.safetensors`.
    """
    table: dict[str, Any] = {} if edits.background is None else {"background": write_field(edits, "background")}
    with together(path):
        table["edit"] = [_to_table(_saved(edit, number, path)) for number, edit in enumerate(edits.edits, 1)]
        write_text(path, tomli_w.dumps(table))


def _read_edit(table: object, folder: Path, where: str) -> Edit:
    """One [[edit]] table."""
    if not isinstance(table, dict):
        raise UserError(f"{where}: expected a table of keys and values, got {shown(table)}")
    name = table.get("operation")
    if not isinstance(name, str) or name not in OPERATIONS:
        meant = f"; did you mean {nearest(name, OPERATIONS)}?" if isinstance(name, str) else ""
        got = "none" if name is None else shown(name)
        raise UserError(f"{where}: operation: expected one of {', '.join(OPERATIONS)}, got {got}{meant}")
    kind = operation(name)
    values = {key: value for key, value in table.items() if key not in ("operation", *TARGET_KEYS)}
    for key in values:
        if key not in (valid := _keys(kind)):
            owners = [other for other in OPERATIONS if key in _keys(operation(other))]
            hint = f"it belongs to {' and '.join(owners)}" if owners else f"did you mean {nearest(str(key), valid)}?"
            raise UserError(f"{where}: unknown key {key} of {name}; {hint}")
    for entry in fields(kind):
        if entry.default is MISSING and entry.name not in ("target", *values):
            raise UserError(f"{where}: {entry.name}: expected one, as {name} needs it, got none")
    try:
        values = {key: read_field(kind, key, value) for key, value in values.items()}
        return kind(_read_target(table, folder), **values)
    except ValueError as error:
        raise UserError(f"{where}: {_bare(error)}") from error


def _read_target(table: dict[Any, Any], folder: Path) -> Target:
    """The target of an edit; ValueError names the key."""
    given = [key for key in TARGET_KEYS if table.get(key, []) != []]
    if len(given) != 1:
        raise ValueError(f"expected one of {', '.join(TARGET_KEYS)}, got {' and '.join(given) or 'none'}")
    key = given[0]
    value = table[key]
    try:
        if key == "positives":
            return read_texts(value)
        if key == "selection":
            return folder / read_text(value)
        if not isinstance(value, dict) or value.keys() != {"view", "x", "y"}:
            raise ValueError(f'expected {{ view = "PHOTO", x = PIXELS, y = PIXELS }}, got {shown(value)}')
        return Click(**{name: read_field(Click, name, part) for name, part in value.items()})
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error


def _saved(edit: Edit, number: int, path: Path) -> Edit:
    """The edit with its selection in a file beside `path` if it has been in memory."""
    if not isinstance(edit.target, Selection):
        return edit
    file = path.with_name(f"{path.stem}_{number}.safetensors")
    edit.target.save(file, source=f"edit {number} of {path.name}")
    return replace(edit, target=file)


def _to_table(edit: Edit) -> dict[str, Any]:
    """The table that `_read_edit` reads as the edit; defaults are left out."""
    table: dict[str, Any] = {"operation": edit.name}
    match edit.target:
        case Click(view, x, y):
            table["click"] = {"view": view, "x": x, "y": y}
        case Path() as path:
            table["selection"] = abspath(path)
        case _:
            table["positives"] = edit.positives
    num_selecting, num_shared = len(fields(Selector)), len(fields(Edit))
    selecting, shared, own = fields(Selector)[1:], fields(Edit)[num_selecting:], fields(edit)[num_shared:]
    for entry in (*selecting, *own, *shared):
        if getattr(edit, entry.name) != entry.default:
            table[entry.name] = write_field(edit, entry.name)
    return table


def _keys(kind: type[Edit]) -> list[str]:
    """All keys of an operation but its name."""
    return [*TARGET_KEYS, *(entry.name for entry in fields(kind) if entry.name != "target")]


def _nearest_key(key: str) -> str:
    """The key at the top of a file that is most like this one; a key of an edit belongs under [[edit]]."""
    inner = ["operation", *(name for other in OPERATIONS for name in _keys(operation(other)))]
    names = {"edit": "[[edit]]", "background": "background"} | {name: f"{name} under an [[edit]]" for name in inner}
    return names[nearest(key, names)]


def _bare(error: ValueError) -> str:
    """Message with its keys as they stand in files, without backquotes."""
    return str(error).replace("`", "")
