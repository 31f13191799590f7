"""`gsdff DOOR ...`, or `python -m gsdff DOOR ...`: runs one of the doors, or lists them."""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, Union

import gsdff
from gsdff.interrupts import answer_interrupts

if TYPE_CHECKING:
    from gsdff.cli.doors import Door

SHELLS = {
    "bash": "~/.local/share/bash-completion/completions/gsdff",
    "zsh": "~/.zfunc/_gsdff",
    "fish": "~/.config/fish/completions/gsdff.fish",
}
"""Shells that can complete our options, and the files in which they look for how."""


def main() -> None:
    """Runs the door that the command line names; lists all doors if it names none."""
    with answer_interrupts():  # before anything is loaded that takes time
        run_command(sys.argv[1:])


def run_command(words: Sequence[str]) -> None:
    """Runs a command line."""
    from gsdff.cli.doors import DOORS
    from gsdff.errors import nearest

    match words:
        case [] | ["-h" | "--help" | "--help-all" | "help", *_]:
            print(list_doors())
        case ["--version", *_]:
            print(f"gsdff {gsdff.__version__}")
        case ["completion", *shells]:
            print_completion(shells)
        case [name, *words] if name in DOORS:
            sys.argv = [f"gsdff {name}", *words]
            run(DOORS[name])
        case [name, *_]:
            names = ", ".join(DOORS)
            hint = f"expected one of {names} first" if name.startswith("-") else f"did you mean {nearest(name, DOORS)}?"
            print(f"error: {name}: no command of gsdff; {hint}", file=sys.stderr)
            sys.exit(2)


def run(door: "Door") -> None:
    """Runs a door on the command line."""
    from gsdff.cli import run_door

    module = import_module(f"gsdff.{door.name}")
    run_door(module.main, module.FLAGS)


def list_doors() -> str:
    """Help of the command itself: its doors with a line each."""
    from gsdff.cli.doors import DOORS

    rows = {name: door.line for name, door in DOORS.items()}
    rows["completion"] = f"Print a script that completes commands and options in a shell: {', '.join(SHELLS)}."
    lines = [f"  {name:10}  {line}" for name, line in rows.items()]
    return "\n".join(
        [
            "usage: gsdff COMMAND [OPTIONS]",
            "       gsdff COMMAND --help    options of a command, with examples",
            "       gsdff --version",
            "",
            "3D Gaussian scenes with features that can be queried by words.",
            "",
            *lines,
        ]
    )


def print_completion(shells: Sequence[str]) -> None:
    """Prints the script that makes a shell complete our commands; without a shell, how to install such scripts."""
    if len(shells) != 1 or shells[0] not in SHELLS:
        print("usage:", *(f"  gsdff completion {shell} > {path}" for shell, path in SHELLS.items()), sep="\n")
        sys.exit(2 if shells and shells[0] not in ("-h", "--help") else 0)
    import tyro

    from gsdff.cli.doors import DOORS

    kinds: list[Any] = []
    for door in DOORS.values():
        arguments = getattr(import_module(f"gsdff.{door.name}"), door.arguments)
        kinds.append(Annotated[arguments, tyro.conf.subcommand(door.name, description=door.line)])
    doors: Any = Union[tuple(kinds)]  # noqa: UP007
    tyro.cli(doors, prog="gsdff", args=["--tyro-write-completion", shells[0], "-"])


if __name__ == "__main__":
    main()
