"""Two parts of the documentation's build: option tables made from dataclasses, and notebooks as pages."""

import json
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from importlib import import_module
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from docutils import nodes
from myst_parser.parsers.sphinx_ import MystParser
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective
from tyro.conf import Positional

from gsdff.cli import flags_of

METAVARS = {int: "N", float: "X", str: "TEXT", Path: "PATH"}


class Options(SphinxDirective):
    """Table of every option of a command: ```{options} gsdff.view.ViewArguments```."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        module, _, name = self.arguments[0].rpartition(".")
        return self.parse_text_to_nodes("\n".join(option_tables(getattr(import_module(module), name))))


def option_tables(arguments: type) -> Iterator[str]:
    """Lines of Markdown: a table for the fields of the dataclass, then one for each dataclass inside it."""
    flags = flags_of(arguments)
    for prefix, owner in _tables(arguments, ""):
        hints = get_type_hints(owner, include_extras=True)
        own = [entry for entry in fields(owner) if f"{prefix}{entry.name}" in flags]
        if own and prefix:
            yield from ["", f"**{prefix.rstrip('.')}** {_first_paragraph(owner.__doc__ or '')}"]
        if own:
            yield from ["", "| option | default | meaning |", "| --- | --- | --- |"]
        for entry in own:
            kind, marks = _unpack(hints[entry.name])
            option = "" if Positional in marks else flags[f"{prefix}{entry.name}"]
            help_text = _help_text(owner, entry.name, marks)
            meaning = _cell(f"{help_text} {_choices(kind, help_text)}")
            yield f"| `{f'{option} {_metavar(kind, marks)}'.strip()}` | {_default(entry)} | {meaning} |"


def _tables(owner: type, prefix: str) -> Iterator[tuple[str, type]]:
    """The dataclass and those inside it, each with the start of its fields' dotted names."""
    yield prefix, owner
    for name, hint in get_type_hints(owner, include_extras=True).items():
        kind, marks = _unpack(hint)
        if is_dataclass(kind):
            is_own = any(getattr(mark, "name", None) == "" for mark in marks)  # its fields are the command's own
            yield from _tables(kind, prefix if is_own else f"{prefix}{name}.")


def _unpack(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """A type without `Annotated` and `None`, and the marks that `Annotated` put on it."""
    kind, *marks = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    return (get_args(kind)[0] if NoneType in get_args(kind) else kind), tuple(marks)


def _metavar(kind: Any, marks: tuple[Any, ...]) -> str:
    """Placeholder of an option's value; empty for a switch and for a choice."""
    if given := [mark.metavar for mark in marks if getattr(mark, "metavar", None)]:
        return given[0]
    if get_origin(kind) is tuple:
        return f"{_metavar(get_args(kind)[0], ())} ..."
    return METAVARS.get(kind, "")


def _choices(kind: Any, help_text: str) -> str:
    """Sentence with the choices, unless the help text names them all."""
    names = [f"`{name}`" for name in get_args(kind)] if get_origin(kind) is Literal else []
    return "" if all(name in help_text for name in names) else f"One of {', '.join(names)}."


def _default(entry: Field) -> str:
    value = entry.default if entry.default_factory is MISSING else entry.default_factory()
    if value is MISSING:
        return "required"
    if value is None or value == ():
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"`{value}`"


def _help_text(owner: type, field: str, marks: tuple[Any, ...]) -> str:
    """Help text of a field: its mark's, or the docstring under it in the class that declares it."""
    if given := [mark.help for mark in marks if getattr(mark, "help", None)]:
        return given[0]
    declaring = next(kind for kind in owner.__mro__ if field in kind.__annotations__)
    docs = ModuleAnalyzer.for_module(declaring.__module__).find_attr_docs()
    return " ".join(docs.get((declaring.__qualname__, field), ()))


def _first_paragraph(text: str) -> str:
    return " ".join(text.partition("\n\n")[0].split())


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


class NotebookParser(MystParser):
    """Page of a notebook: its text, and its code as code blocks. Nothing is executed, tests/test_docs.py does that."""

    supported = ("notebook",)

    def parse(self, inputstring: str, document: nodes.document) -> None:
        super().parse("\n\n".join(map(_cell_text, json.loads(inputstring)["cells"])), document)


def _cell_text(cell: dict[str, Any]) -> str:
    text = "".join(cell["source"])
    return f"```python\n{text}\n```" if cell["cell_type"] == "code" else text


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers both with Sphinx."""
    app.add_directive("options", Options)
    app.add_source_suffix(".ipynb", "notebook")
    app.add_source_parser(NotebookParser)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
