"""Options of a door as its dataclass declares them, and the help that lists them."""

import ast
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, make_dataclass, replace
from textwrap import dedent, indent
from types import MappingProxyType, UnionType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import tyro

from gsdff.cli.doors import Door


@dataclass(frozen=True)
class Option:
    """One option of a door, as its dataclass declares it."""

    name: str
    """Dotted name of the parameter: stage1.steps."""
    flag: str
    """Its spelling on the command line, "--stage1.steps", or the placeholder of a positional one, "RUN"."""
    hint: Any
    """Type annotation."""
    default: Any
    """Default value; `dataclasses.MISSING` if it is required."""
    owner: type
    """Dataclass that declares it."""
    attribute: str
    """Its name there."""


def options_of(kind: type, defaults: Any = None, name_prefix: str = "", flag_prefix: str = "") -> Iterator[Option]:
    """All options of a door's dataclass in order, those of tables in it included; `defaults` is an instance of it."""
    hints = get_type_hints(kind, include_extras=True)
    for entry in fields(kind):
        name, hint = entry.name, hints[entry.name]
        default = _default_of(entry) if defaults is None else getattr(defaults, name)
        inner, extras = _unwrap(hint)
        settings: list[Any] = [extra for extra in extras if hasattr(extra, "prefix_name")]
        given = settings[0].name if settings else None
        prefix = flag_prefix if not settings or settings[0].prefix_name is not False else ""
        flag = prefix + (name if given is None else given)
        if is_dataclass(inner) and isinstance(inner, type):
            own = given == ""  # the fields of this table are the door's own
            yield from options_of(
                inner, default, name_prefix if own else f"{name_prefix}{name}.", flag_prefix if own else f"{flag}."
            )
        elif tyro.conf.Positional in extras:
            yield Option(
                name_prefix + name, settings[0].metavar if settings else name.upper(), hint, default, kind, name
            )
        else:
            yield Option(name_prefix + name, f"--{flag.replace('_', '-')}", hint, default, kind, name)


def _default_of(entry: Any) -> Any:
    return entry.default if entry.default_factory is MISSING else entry.default_factory()


def print_help(
    kind: type,
    door: Door,
    *,
    is_full: bool,
    defaults: Any = None,
    hints: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Prints a door's common options, or all of them, and examples.

    `defaults` is an instance of `kind` whose values are shown as the defaults; `hints`, by dotted name, take their
    place in the short help.
    """
    options = {option.name: option for option in options_of(kind, defaults)}
    common = [options[name] for name in door.common] or list(options.values())
    shown = kind if is_full else _side_by_side(common, hints)
    over = {"default": defaults} if is_full and defaults is not None else {}
    try:
        tyro.cli(shown, args=["--help"], prog=f"gsdff {door.name}", description=inspect.getdoc(kind), **over)
    except SystemExit:  # tyro's way to end a help text
        print("examples:", indent("\n".join(door.examples), "  "), sep="\n")
    if not is_full and len(common) < len(options):
        print(f"\n`gsdff {door.name} --help-all` lists all {len(options)} options.")


def _side_by_side(options: Sequence[Option], hints: Mapping[str, str]) -> type:
    """A dataclass of some options without their tables, which tyro lists in one box."""
    rows = []
    for option in options:
        inner, extras = _unwrap(option.hint)
        settings: Any = next((extra for extra in extras if hasattr(extra, "prefix_name")), tyro.conf.arg())
        is_plain = option.default in (None, ()) or tyro.conf.FlagCreatePairsOff in extras
        settings = replace(
            settings,
            name=option.flag.removeprefix("--"),
            prefix_name=None,
            metavar=settings.metavar or _placeholder(inner),
            help=_docs_of(option.owner).get(option.attribute, settings.help),
            help_behavior_hint=hints.get(option.name, "" if is_plain else None),
        )
        markers = [extra for extra in extras if not hasattr(extra, "prefix_name")]
        entry = field() if option.default is MISSING else field(default=option.default)
        rows.append((option.name.replace(".", "_"), Annotated[(inner, *markers, settings)], entry))
    return make_dataclass("Options", rows)


def _unwrap(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """A type and what `Annotated` adds to it."""
    return (hint.__origin__, hint.__metadata__) if hasattr(hint, "__metadata__") else (hint, ())


def _placeholder(hint: Any) -> str | None:
    """PATH for an optional path, where tyro would write {None}|PATH; None for what tyro writes well."""
    kinds = [kind for kind in get_args(hint) if kind is not type(None)]
    if get_origin(hint) is not UnionType or len(kinds) != 1:
        return None
    if get_origin(kinds[0]) is Literal:
        return "{" + ",".join(map(str, get_args(kinds[0]))) + "}"
    return kinds[0].__name__.upper() if isinstance(kinds[0], type) else None


def _docs_of(kind: type) -> dict[str, str]:
    """The text under every field of a dataclass, those that it inherits included."""
    docs: dict[str, str] = {}
    for owner in reversed(kind.__mro__[:-1]):
        try:
            body = ast.parse(dedent(inspect.getsource(owner))).body[0]
        except (OSError, TypeError):  # a class made at run time
            continue
        assert isinstance(body, ast.ClassDef), "the source of a class"
        for line, below in zip(body.body, body.body[1:], strict=False):
            text = below.value.value if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) else None
            if isinstance(line, ast.AnnAssign) and isinstance(text, str):
                docs[ast.unparse(line.target)] = " ".join(text.split())
    return docs
