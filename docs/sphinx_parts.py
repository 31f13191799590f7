"""Parts of the documentation's build: option tables made from dataclasses, notebooks as pages, signatures of edits."""

import json
import re
from collections.abc import Iterator
from dataclasses import MISSING
from importlib import import_module
from inspect import Parameter, Signature, signature
from itertools import groupby
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from docutils import nodes
from myst_parser.parsers.sphinx_ import MystParser
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective
from sphinx.util.inspect import stringify_signature

from gsdff.cli.doors import DOORS
from gsdff.cli.help import Option, options_of
from gsdff.editing.edit import Edit

METAVARS = {int: "N", float: "X", str: "TEXT", Path: "PATH"}


class Options(SphinxDirective):
    """Tables of every option of a command: ```{options} view```."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes("\n".join(option_tables(self.arguments[0])))


def option_tables(command: str) -> Iterator[str]:
    """Lines of Markdown: a table for the command's own options, then one for each dataclass inside its own."""
    arguments = getattr(import_module(f"gsdff.{command}"), DOORS[command].arguments)
    for prefix, options in groupby(options_of(arguments), lambda option: option.name.rpartition(".")[0]):
        group = list(options)
        if prefix:
            summary = (group[0].owner.__doc__ or "").partition("\n\n")[0]
            yield f"\n**{prefix}** {' '.join(summary.split())}"
        yield from ["", "| option | default | meaning |", "| --- | --- | --- |"]
        yield from map(_row, group)


def _row(option: Option) -> str:
    kind, *marks = get_args(option.hint) if get_origin(option.hint) is Annotated else (option.hint,)
    kind = get_args(kind)[0] if NoneType in get_args(kind) else kind
    name = f"{option.flag} {_metavar(kind, marks)}" if option.flag.startswith("-") else option.flag
    help_text = _help_text(option, marks)
    meaning = " ".join(f"{help_text} {_choices(kind, help_text)}".split()).replace("|", "\\|")
    return f"| `{name.strip()}` | {_default(option.default)} | {meaning} |"


def _metavar(kind: Any, marks: list[Any]) -> str:
    """Placeholder of an option's value; empty for a switch and for a choice."""
    if given := [mark.metavar for mark in marks if getattr(mark, "metavar", None)]:
        return given[0]
    if get_origin(kind) is tuple:
        return f"{_metavar(get_args(kind)[0], [])} ..."
    return METAVARS.get(kind, "")


def _help_text(option: Option, marks: list[Any]) -> str:
    """Help text of an option: its mark's, or the docstring under the field in the class that declares it."""
    if given := [mark.help for mark in marks if getattr(mark, "help", None)]:
        return given[0]
    declaring = next(kind for kind in option.owner.__mro__ if option.attribute in kind.__annotations__)
    docs = ModuleAnalyzer.for_module(declaring.__module__).find_attr_docs()
    return " ".join(docs.get((declaring.__qualname__, option.attribute), ()))


def _choices(kind: Any, help_text: str) -> str:
    """Sentence with the choices, unless the help text names them all."""
    names = get_args(kind) if get_origin(kind) is Literal else ()
    return "" if all(name in help_text for name in names) else f"One of {', '.join(f'`{name}`' for name in names)}."


def _default(value: Any) -> str:
    if value is MISSING:
        return "required"
    if value is None or value == ():
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"`{value}`"


class NotebookParser(MystParser):
    """Page of a notebook: its text, and its code as code blocks. Nothing is executed, tests/test_docs.py does that."""

    supported = ("notebook",)

    def parse(self, inputstring: str, document: nodes.document) -> None:
        super().parse("\n\n".join(map(_cell_text, json.loads(inputstring)["cells"])), document)


def _cell_text(cell: dict[str, Any]) -> str:
    text = "".join(cell["source"])
    return f"```python\n{text}\n```" if cell["cell_type"] == "code" else text


def shorten_signature(_app: Sphinx, _what: str, _name: str, obj: Any, *_rest: Any) -> tuple[str, str | None] | None:
    """Signature of an operation: its target and its own parameters; those that all edits share become `**options`."""
    if not (isinstance(obj, type) and issubclass(obj, Edit) and obj is not Edit):
        return None
    shared = signature(Edit).parameters.keys() - {"target"}
    own = [parameter for name, parameter in signature(obj).parameters.items() if name not in shared]
    shown = [parameter.replace(annotation=Parameter.empty) for parameter in own]
    return stringify_signature(Signature([*shown, Parameter("options", Parameter.VAR_KEYWORD)])), None


def drop_formats(_app: Sphinx, document: nodes.document) -> None:
    """Removes types that name how a field is read from files, which no page explains and Sphinx cannot parse."""
    for node in list(document.findall(addnodes.desc_annotation)):
        if re.search(r"Format\(|<lambda>", node.astext()):
            node.parent.remove(node)


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers them with Sphinx."""
    app.add_directive("options", Options)
    app.add_source_suffix(".ipynb", "notebook")
    app.add_source_parser(NotebookParser)
    app.connect("autodoc-process-signature", shorten_signature)
    app.connect("doctree-read", drop_formats)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
