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

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from gsdff.errors import UserError, nearest, shown
from gsdff.files.reading import read_text, reading

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
MERGE = "tag:yaml.org,2002:merge"
"""Tag of the key <<."""
MOST_VALUES = 200_000
"""Most values of a file, with every alias written out."""
OPERATION_NAMES = {"extraction": "extract", "deletion": "delete"}
"""Names of our operations by theirs."""


def read_yaml_table(path: Path) -> dict[str, Any]:
    """The YAML as a table of our own layout, unchecked if it has that layout already.

    Raises `UserError`, with file and key, if it is not YAML or has other keys and values than the module describes.
    """
    what, remedy = "a YAML file of edits", "correct it"
    text = read_text(path, what, remedy)
    with reading(path, what, remedy):
        table = _load(text)
    if not isinstance(table, dict) or not all(isinstance(key, str) for key in table):
        raise UserError(f"{path}: expected a table of keys and values, got {type(table).__name__}")
    if isinstance(table.get("edit"), list):
        return table
    return {"edit": _translate(dict(_flatten(path, table)), path)}


class _Loader(yaml.SafeLoader):
    """Refuses what YAML's own loader lets pass: a key that is given twice, aliases that multiply or hold themselves."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.tag != MERGE]
        twice = [key for key, count in Counter(keys).items() if count > 1]
        if twice:
            raise ValueError(f"the key {shown(twice[0])} is given twice")
        return super().construct_mapping(node, deep)


def _load(text: str) -> Any:
    """Plain values of a YAML text; raises ValueError if there are too many, or if it is not YAML."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _count_values(node, {})
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise ValueError(error) from error


def _count_values(node: yaml.Node, counts: dict[yaml.Node, int]) -> int:
    """Number of values below a node, with every alias written out; raises ValueError if there are too many."""
    if node not in counts:
        counts[node] = MOST_VALUES  # of a node that holds itself, which never ends
        parts: list[Any] = [] if isinstance(node, yaml.ScalarNode) else node.value
        inner = [part for pair in parts for part in pair] if isinstance(node, yaml.MappingNode) else parts
        counts[node] = 1 + sum(_count_values(part, counts) for part in inner)
    if counts[node] > MOST_VALUES:
        raise ValueError(f"it has more than {MOST_VALUES:,} values, with its aliases written out")
    return counts[node]


def _flatten(path: Path, table: dict[str, Any]) -> Iterator[tuple[str, tuple[str, Any]]]:
    """Pairs of the meaning of a key, and the key as it is written with its value; from all wrappers."""
    meanings = {key: meaning for meaning, keys in KEYS.items() for key in keys}
    seen: dict[str, str] = {}

    def walk(inner: dict[Any, Any], prefix: str) -> Iterator[tuple[str, tuple[str, Any]]]:
        for key, value in inner.items():
            where = f"{prefix}{key}"
            if key in WRAPPERS:
                if not isinstance(value, dict):
                    raise UserError(f"{path}: {where}: expected a table of keys and values, got {shown(value)}")
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
        raise UserError(f"{path}: {where}: expected text, got {shown(kind)}; save the selection and name its file")
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
            raise UserError(f"{path}: {where}: expected a number, got {shown(value)}")
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
        raise UserError(f"{path}: {where}: expected indices of texts, 0 to {len(texts) - 1}, got {shown(value)}")
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
        raise UserError(f"{where}: expected a list of texts, got {shown(value)}")
    return [text.strip() for text in values]
