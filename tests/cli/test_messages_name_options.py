"""Every parameter that a message names in backquotes is an option of the command that prints it, or said in words.

A message of a module may be printed by every command that imports it, directly or through others.
"""

import ast
import logging
import re
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
from tiny_answers import write_asked_run
from tiny_run import open_field

import gsdff
from gsdff.cli import name_flags
from gsdff.cli.command_line import _LogHandler
from gsdff.cli.doors import DOORS
from gsdff.field import search as searching
from gsdff.field.query import Query
from gsdff.field.search import search

ROOT = Path(gsdff.__file__).parent
HELP_CALLS = ("arg", "TeacherKind", "SegmenterKind", "Door")
"""Calls whose texts are help."""
ONLY_IN_PYTHON = {
    "axis", "color", "dataset", "degrees", "euler", "factor", "hit.selection", "in_view", "like", "mask", "mode",
    "name", "names", "perform", "source", "vectors",
}  # fmt: skip
"""Names in messages that only calls from Python can cause, and words in backquotes that are no parameters."""
NAMED = re.compile(r"`([A-Za-z_][\w.]*)`")


@cache
def parsed(module: str) -> ast.Module:
    path = ROOT.parent / Path(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"))


def exists(module: str) -> bool:
    path = ROOT.parent / Path(*module.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


@cache
def imports(module: str) -> frozenset[str]:
    """Modules of gsdff that a module imports anywhere, those named in texts as `gsdff.x:Class` included."""
    found = set()
    for node in ast.walk(parsed(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not is_for_types(node, module):
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("gsdff."):
            found.add(node.value.partition(":")[0])
    return frozenset(name for name in found if name.startswith("gsdff.") and exists(name))


def is_for_types(node: ast.ImportFrom, module: str) -> bool:
    """Whether an import is for a type checker only."""
    blocks = [block for block in parsed(module).body if isinstance(block, ast.If)]
    return any(node in block.body for block in blocks if ast.unparse(block.test) == "TYPE_CHECKING")


def reached_by(door: str) -> set[str]:
    """Modules that a command may run."""
    todo, seen = [f"gsdff.{door}"], set()
    while todo:
        module = todo.pop()
        if module not in seen:
            seen.add(module)
            todo += imports(module)
    return seen


@cache
def named_in(module: str) -> frozenset[tuple[int, str]]:
    """Lines and names in backquotes of a module's messages: of all its texts but docstrings and help."""
    others = set()
    for node in ast.walk(parsed(module)):
        is_doc = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        is_help = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).endswith("_HELP")
        is_help |= isinstance(node, ast.Call) and ast.unparse(node.func).endswith(HELP_CALLS)
        if is_doc or is_help:
            others |= {id(part) for part in ast.walk(node)}
    found = set()
    for node in ast.walk(parsed(module)):
        if id(node) not in others and isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= {(node.lineno, name) for name in NAMED.findall(node.value)}
    return frozenset(found)


def test_the_scan_finds_messages_where_they_are():
    reached = reached_by("evaluate")
    assert {"gsdff.data.develop", "gsdff.teachers.lseg", "gsdff.field.search"} <= reached
    assert "gsdff.training.trainer" not in reached
    assert "dataset.memory" in {name for _, name in named_in("gsdff.data.pixel_store")}
    assert not named_in("gsdff.errors")  # its docstrings name some


@pytest.mark.parametrize("door", DOORS)
def test_every_parameter_in_a_message_is_an_option_of_its_command_or_of_one_that_is_named(door):
    flags = import_module(f"gsdff.{door}").FLAGS
    wrong = []
    for module in sorted(reached_by(door)):
        for line, name in sorted(named_in(module)):
            printed = name_flags(f"`{name}`", flags)
            own = printed.startswith("-") or printed == flags.get(name)  # an option, or the door's words for it
            if not own and name not in ONLY_IN_PYTHON:
                wrong.append(f"{module}:{line}: {printed}")
    assert not wrong, "name an option, or say it in words (gsdff.cli.command_line, FLAGS of the door)"


def test_names_that_only_python_has_are_no_options():
    flags = {name for door in DOORS for name in import_module(f"gsdff.{door}").FLAGS}
    assert not ONLY_IN_PYTHON & flags
    named = {name for door in DOORS for module in reached_by(door) for _, name in named_in(module)}
    assert named >= ONLY_IN_PYTHON, "there is no such message any more"


@pytest.mark.parametrize(
    ("door", "message", "printed"),
    [
        ("edit", "`origin` auto keeps them", "--origin of `gsdff export` auto keeps them"),
        ("edit", "score by cosine (`method`)", "score by cosine (--method of `gsdff query`)"),
        ("evaluate", "unless `dataset.made_from` is views", "unless --dataset.made-from is views"),
        ("segment", "use `dataset.downscale`", "use --downscale of `gsdff train`"),
        ("train", "give it as `offset`, 1 2 3", "give it as --offset of `gsdff export`, 1 2 3"),
        ("view", "continue with `resume`", "continue with --resume of `gsdff train`"),
        ("view", "arrays `names` and `vectors`", "arrays `names` and `vectors`"),
    ],
)
def test_an_option_that_a_command_lacks_is_named_with_the_command_that_has_it(door, message, printed):
    assert name_flags(message, import_module(f"gsdff.{door}").FLAGS) == printed


@pytest.mark.parametrize("door", DOORS)
def test_a_hint_follows_where_the_command_has_its_option_and_no_other_command_is_named(
    door, tmp_path, generator, capsys
):
    """A search says what it compares with, in `gsdff edit` and `gsdff export` too."""
    endings = {
        "query": "; --only-negatives leaves them out",
        "edit": "; only_negatives in a file of edits leaves them out",
    }
    handler, logger = _LogHandler(import_module(f"gsdff.{door}").FLAGS), logging.getLogger("gsdff")
    searching._log_once.cache_clear()
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.INFO)
    try:
        search(open_field(write_asked_run(tmp_path, generator).folder), Query("chair"))
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "compared with" in line]
    assert line.endswith(f"names, as it does not know object, things, stuff, texture{endings.get(door, '')}")
