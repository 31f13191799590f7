"""Names that a run or an exported PLY can be queried for, read without torch to refuse a misspelt word at once.

Only closed vocabularies are known here: those of the teachers precomputed, labels and toy, and that in a PLY's sidecar.
If anything is unclear no word is refused, and the teacher itself decides later.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gsdff.errors import UserError
from gsdff.run_folder import DEMO, RunFolder
from gsdff.words import describe_unknown, fold

LONGEST_HEADER = 100_000_000
"""Bytes; the limit of the safetensors library."""
_UNREADABLE = (UserError, OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError)
"""Raised here by what is missing or damaged; what opens it later explains that."""


def check_words(source: Path, words: Mapping[str, Iterable[str]], *, data: Path | None = None) -> None:
    """Raises `UserError` for the first word that is outside the closed vocabulary of `source`, with the nearest name.

    `words` come by what the message starts with, such as a parameter in backquotes; `data` as `known_names` takes it.
    """
    names = known_names(source, data) if any(words.values()) else None
    if names:
        _refuse_others(source, words, names)


def check_classes(source: Path, classes: Sequence[str], *, labels: Path | None) -> None:
    """`check_words` for the classes of an evaluation, which may go by the names in a folder of label images too."""
    names = known_names(source) if classes else None
    try:
        folder = labels or _scene_folder(source, _table(RunFolder(source).config), None) / "labels"
        labelled = _class_names(folder) or []
    except _UNREADABLE:
        return
    if names:
        _refuse_others(source, {"`classes`": classes}, [*names, *labelled])


def known_names(source: Path, data: Path | None = None) -> list[str] | None:
    """Names, in lower case, that a run's folder or an exported PLY can be queried for.

    None if it can be queried for any words, or if its names cannot be found out here. `data` is the folder of photos in
    place of the run's own.
    """
    try:
        return _names_of_ply(source) if source.is_file() else _names_of_run(source, data)
    except _UNREADABLE:
        return None


def _refuse_others(source: Path, words: Mapping[str, Iterable[str]], names: Sequence[str]) -> None:
    names = list(dict.fromkeys(names))
    for prefix, some in words.items():
        for word in some:
            if not word.strip():
                raise UserError(f"{prefix}: is empty ({word!r}): expected a word or a phrase")
            if fold(word) not in names:
                raise UserError(f"{prefix}: {source}: {describe_unknown(word, names)}")


def _names_of_ply(path: Path) -> list[str] | None:
    """The names in the header of the sidecar, JSON after its length in 8 bytes."""
    from gsdff.files.reading import check_file

    sidecar = path.with_suffix(".basis.safetensors")
    check_file(sidecar, "the file beside a PLY")
    with sidecar.open("rb") as file:
        header = json.loads(file.read(min(int.from_bytes(file.read(8), "little"), LONGEST_HEADER)))
    texts = header["__metadata__"].get("texts")
    return None if texts is None else [str(name) for name in json.loads(texts)]


def _names_of_run(folder: Path, data: Path | None) -> list[str] | None:
    config = _table(RunFolder(folder).config)
    teacher = config["teacher"]
    if teacher["name"] == "precomputed":
        return _names_of_texts(Path(teacher["maps"]) / "text_features.npz")
    if teacher["name"] not in ("labels", "toy"):
        return None
    given = teacher.get("labels")
    labels = _scene_folder(folder, config, data) / "labels" if given is None else Path(given)
    if teacher["name"] == "labels" and (labels / "text_features.npz").is_file():  # which may leave classes out
        return None
    return _class_names(labels)


def _scene_folder(run: Path, config: dict[str, Any], data: Path | None) -> Path:
    """The dataset's folder; ValueError if `data` is something inside it."""
    folder = data or (RunFolder(run).demo_data if Path(config["data"]) == DEMO else Path(config["data"]))
    if not any((folder / name).exists() for name in ("images", "transforms.json", "transforms_train.json")):
        raise ValueError(f"{folder} is not the folder of a dataset")
    return folder


def _table(path: Path) -> dict[str, Any]:
    from gsdff.files.reading import read_toml

    return read_toml(path, "the options of a run")


def _names_of_texts(path: Path) -> list[str]:
    """Names of an .npz of text vectors."""
    from gsdff.files.reading import read_arrays

    return list(dict.fromkeys(fold(str(name)) for name in read_arrays(path, "text vectors")["names"]))


def _class_names(labels: Path) -> list[str] | None:
    """Names and text queries of the classes.json in a folder of label images, or beside it; None without one."""
    places = [folder / "classes.json" for folder in (labels, labels.parent)]
    path = next(filter(Path.is_file, places), None)
    if path is None:
        return None
    from gsdff.files.reading import read_json

    content = read_json(path, "the names of classes")
    rows = content["classes"] if isinstance(content, dict) else content
    names = [row if isinstance(row, str) else row["name"] for row in rows]
    queries = [row["text_query"] for row in rows if isinstance(row, dict) and row.get("text_query") is not None]
    return list(dict.fromkeys(fold(name) for name in [*queries, *names]))
