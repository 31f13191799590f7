"""YAML files of edits: in our own layout (`gsdff.editing.toml_file`), or with the keys of DFF and Feature 3DGS.

Their keys may be at the top or in nested tables named `edit_config`, `edit_dict`, `edit` or `query`:

- `texts` or `objects`: list of texts, or one string with commas; in `objects` underscores stand for spaces. DFF's
  `query_type` may only be `text`.
- `positive_ids` (indices into the texts) or `targets` (texts of them, list or string with commas): the texts to select;
  without either the first text. The other texts become the negatives, none if there is no other.
- `score_threshold` or `threshold`: lowest share of a softmax of temperature 1 over all the texts, or lowest cosine of a
  single text. Without it a threshold is suggested by the scores; those programs select by the best of the texts.
- `operations`: `extraction` or `deletion`, as a list, a string with commas, a table of true and false, or DFF's list of
  tables with an `edit_type`. `color_func` among them would run Python code and is refused. If it is not among them,
  `color_func` and `colorFunc` are ignored.

A key without a value (`score_threshold:`) counts as left out, as it does there.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from gsdff.errors import UserError, nearest

WRAPPERS = ("edit_config", "edit_dict", "edit", "query")
KEYS = {
    "texts": ("texts", "objects"),
    "positives": ("positive_ids", "targets"),
    "threshold": ("score_threshold", "threshold"),
    "operations": ("operations",),
    "code": ("color_func", "colorFunc"),
    "kind": ("query_type",),
}
"""Keys of either program by their meaning."""
OPERATION_NAMES = {"extraction": "extract", "deletion": "delete"}
"""Names of our operations by theirs."""


def read_yaml_table(path: Path) -> dict[str, Any]:
    """The YAML as a table of our own layout, unchecked if it has that layout already.

    Raises `UserError`, with file and key, if it is not YAML or has other keys and values than the module describes.
    """
    try:
        table = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: expected a YAML file: {' '.join(str(error).split())}") from error
    if not isinstance(table, dict) or not all(isinstance(key, str) for key in table):
        raise UserError(f"{path}: expected a table of keys and values, got {type(table).__name__}")
    if isinstance(table.get("edit"), list):
        return table
    return {"edit": _translate(dict(_flatten(path, table)), path)}


def _flatten(path: Path, table: dict[str, Any]) -> Iterator[tuple[str, tuple[str, Any]]]:
    """Pairs of the meaning of a key, and the key as it is written with its value; from all wrappers."""
    meanings = {key: meaning for meaning, keys in KEYS.items() for key in keys}
    seen: dict[str, str] = {}

    def walk(inner: dict[Any, Any], prefix: str) -> Iterator[tuple[str, tuple[str, Any]]]:
        for key, value in inner.items():
            where = f"{prefix}{key}"
            if key in WRAPPERS:
                if not isinstance(value, dict):
                    raise UserError(f"{path}: {where}: expected a table of keys and values, got {value!r}")
                yield from walk(value, f"{where}.")
            elif key in meanings and value is None:
                continue
            elif key not in meanings:
                raise UserError(f"{path}: unknown key {where}; did you mean {nearest(str(key), meanings)}?")
            elif (meaning := meanings[key]) in seen:
                raise UserError(f"{path}: {where}: means the same as {seen[meaning]}; expected only one of them")
            else:
                seen[meaning] = where
                yield meaning, (where, value)

    yield from walk(table, "")


def _translate(found: dict[str, tuple[str, Any]], path: Path) -> list[dict[str, Any]]:
    """The edits, all with the same selection."""
    where, kind = found.get("kind", ("", "text"))
    if kind != "text":
        raise UserError(f"{path}: {where}: expected text, got {kind!r}; save the selection and name its file")
    for meaning in ("texts", "operations"):
        if meaning not in found:
            raise UserError(f"{path}: {KEYS[meaning][0]}: expected this key, or a list of edits under edit")
    where, value = found["texts"]
    texts = _names(value, f"{path}: {where}")
    if where.endswith("objects"):
        texts = [text.replace("_", " ") for text in texts]
    ids = _positive_ids(found, texts, path)
    selector: dict[str, Any] = {
        "positives": [texts[i] for i in ids],
        "negatives": [text for i, text in enumerate(texts) if i not in ids],
    }
    selector["only_negatives"] = bool(selector["negatives"])
    if len(texts) > 1 and not selector["negatives"]:
        raise UserError(f"{path}: {where}: expected more texts than those to select, for them to compete with")
    if "threshold" in found:
        where, value = found["threshold"]
        if type(value) not in (int, float):
            raise UserError(f"{path}: {where}: expected a number, got {value!r}")
        selector["threshold"] = value
        if selector["negatives"]:
            selector["temperature"] = 1
    return [{"operation": operation, **selector} for operation in _operations(found, selector["positives"], path)]


def _positive_ids(found: dict[str, tuple[str, Any]], texts: list[str], path: Path) -> list[int]:
    """Indices of the texts to select."""
    if "positives" not in found:
        return [0]
    where, value = found["positives"]
    if where.endswith("targets"):
        names = [name.replace("_", " ") for name in _names(value, f"{path}: {where}")]
        for name in names:
            if name not in texts:
                raise UserError(
                    f"{path}: {where}: {name!r} is none of the texts; did you mean {nearest(name, texts)!r}?"
                )
        return [texts.index(name) for name in names]
    ids = value if isinstance(value, list) else [value]
    if not ids or not all(type(i) is int and 0 <= i < len(texts) for i in ids):
        raise UserError(f"{path}: {where}: expected indices of texts, 0 to {len(texts) - 1}, got {value!r}")
    return ids


def _operations(found: dict[str, tuple[str, Any]], positives: list[str], path: Path) -> list[str]:
    """Our names of the operations; raises `UserError` if one of them is code."""
    where, value = found["operations"]
    wanted = [name for name, is_on in value.items() if is_on] if isinstance(value, dict) else value
    if isinstance(wanted, list):  # DFF's tables hold the code beside the type
        wanted = [entry.get("edit_type") if isinstance(entry, dict) else entry for entry in wanted]
    names = _names(wanted, f"{path}: {where}")
    if "color_func" in names:
        raise UserError(
            f"{path}: {where}: color_func is Python code, which is not run; write the edit in a .toml file instead: "
            f'[[edit]] operation = "recolor", positives = {positives}, color = "#2a6fdb"'
        )
    for name in names:
        if name not in OPERATION_NAMES:
            meant = nearest(name, OPERATION_NAMES)
            raise UserError(f"{path}: {where}: unknown operation {name!r}; did you mean {meant!r}?")
    if len(names) > 1:
        raise UserError(f"{path}: {where}: expected extraction or deletion, got both; nothing would be left")
    return [OPERATION_NAMES[name] for name in names]


def _names(value: object, where: str) -> list[str]:
    """Texts of a list, or of a string with commas between them."""
    values = value.split(",") if isinstance(value, str) else value
    if not isinstance(values, list) or not values or not all(isinstance(v, str) and v.strip() for v in values):
        raise UserError(f"{where}: expected a list of texts, got {value!r}")
    return [text.strip() for text in values]
