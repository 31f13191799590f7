"""Command line of all doors: options, help, and errors in one line instead of a traceback."""

import atexit
import codecs
import logging
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from io import TextIOWrapper
from threading import Event
from types import MappingProxyType
from typing import TypeVar

import tyro

from gsdff.cli.doors import DOORS, NEEDLESS_OPTIONS, find_own_names
from gsdff.cli.help import options_of, print_help
from gsdff.errors import UserError
from gsdff.files.places import FULL, describe_failure
from gsdff.interrupts import answer_interrupts

NAMES = "gsdff.names"
"""Name of the error handler for characters that cannot be encoded (`_print_name`)."""
_PARAMETER = re.compile(r"`([\w.]+)`")
HELP_OPTIONS = ("-h", "--help", "--help-all")

T = TypeVar("T")
_END_AT_ONCE = Event()


class _LogHandler(logging.Handler):
    """Log lines on stderr, above a progress bar if there is one; parameters are printed as options.

    A line with an attribute `hint` ends with it if the door has all options that it names.
    """

    def __init__(self, flags: Mapping[str, str]):
        super().__init__()
        self.flags = flags

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm  # here, as an error before the first log line is to come at once

        prefix = "warning: " if record.levelno >= logging.WARNING else ""
        hint = getattr(record, "hint", "")
        ending = f"; {hint}" if hint and self.flags.keys() >= set(_PARAMETER.findall(hint)) else ""
        tqdm.write(prefix + name_flags(self.format(record) + ending, self.flags), file=sys.stderr)


def run_door(main: Callable[[], None], flags: Mapping[str, str] = MappingProxyType({})) -> None:
    """Runs `main`; exits 1 with one line on stderr for a `UserError` or a failing file operation, 130 on Ctrl-C.

    `flags` are the door's options by the names of their parameters (`flags_of`), which the library's messages and log
    lines use.
    """
    logging.basicConfig(handlers=[_LogHandler(flags)], format="%(message)s")
    logging.getLogger("gsdff").setLevel(logging.INFO)
    is_of_job = "TORCHELASTIC_RUN_ID" in os.environ
    rank = int(os.environ.get("RANK", "0")) if is_of_job else 0
    if rank:  # the first rank of a job prints and shows progress for all
        logging.getLogger("gsdff").setLevel(logging.ERROR)
        os.environ["TQDM_DISABLE"] = "1"
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors=NAMES)
    if isinstance(sys.stderr, TextIOWrapper):
        sys.stderr.reconfigure(errors="backslashreplace")
    try:
        with answer_interrupts():
            main()
        if is_of_job:
            _END_AT_ONCE.set()
    except UserError as error:
        sys.exit(f"error{f' of rank {rank}' if rank else ''}: {name_flags(str(error), flags)}")
    except BrokenPipeError:  # what reads our output, such as `head`, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.errno in FULL:
            sys.exit(f"error: {describe_failure(error.filename or os.getcwd(), error)}; nothing written before is lost")
        where = f"{error.filename}: " if error.filename else ""
        sys.exit(f"error: {where}{error.strerror or error}")


@atexit.register  # when this is imported, so that it comes after what others have registered later
def _end_at_once() -> None:
    """Ends a rank that has done its work before C++ takes apart what torch's exchange has left.

    A thread of it that still runs then would abort the process, and torchrun would count the job as failed.
    """
    if _END_AT_ONCE.is_set():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _print_name(error: UnicodeError) -> tuple[str | bytes, int]:
    """The bytes of a name that is not in UTF-8 as they are, any other character that cannot be encoded as an escape."""
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.backslashreplace_errors(error)


codecs.register_error(NAMES, _print_name)


def name_flags(message: str, flags: Mapping[str, str]) -> str:
    """A message of the library with its parameters, which are in backquotes, replaced by a door's options.

    A parameter that only other doors have is replaced by the option of one of them, with that door: "--downscale of
    `gsdff train`". Words that are no door's parameter stay as they are.
    """

    def name(match: re.Match[str]) -> str:
        return flags.get(match[1]) or _flags_elsewhere().get(match[1], match[0])

    return _PARAMETER.sub(name, message)


@cache
def _flags_elsewhere() -> dict[str, str]:
    """Options of all doors with the door's name, by parameter; that of export before others, that of training last."""
    found: dict[str, str] = {}
    for door in sorted(DOORS, key=lambda name: (name == "train", name != "export")):
        flags: dict[str, str] = import_module(f"gsdff.{door}").FLAGS
        for parameter, flag in flags.items():
            if flag.startswith("--"):
                found.setdefault(parameter, f"{flag} of `gsdff {door}`")
    return found


def flags_of(arguments: type) -> dict[str, str]:
    """The option of every field of a door's dataclass, by the field's dotted name: stage1.steps, "--stage1.steps"."""
    return {option.name: option.flag for option in options_of(arguments)}


def read_options(kind: type[T], door: str, argv: Sequence[str] | None = None, *, defaults: T | None = None) -> T:
    """Options of a door from its command line, over `defaults`.

    Prints the help and exits if the command line has `--help` or `--help-all`. An option that does not exist, or a
    value that cannot be read, exits 2 with the nearest right name. Loads neither torch nor numpy.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    if asks_for_help(words):
        print_help(kind, DOORS[door], is_full="--help-all" in words, defaults=defaults)
        sys.exit(0)
    refuse_foreign_options(words, door, flags_of(kind))
    prog = f"gsdff {door}"
    if defaults is None:
        return tyro.cli(kind, args=words, prog=prog)
    return tyro.cli(kind, args=words, prog=prog, default=defaults)


def asks_for_help(words: Sequence[str]) -> bool:
    """Whether a command line has one of `HELP_OPTIONS`."""
    return not set(HELP_OPTIONS).isdisjoint(words)


def refuse_foreign_options(words: Sequence[str], door: str, flags: Mapping[str, str]) -> None:
    """Exits 2 if the command line has an option of another program whose name here is known, and prints that name."""
    for word in words:
        option = word.partition("=")[0].replace("_", "-")
        if not option.startswith("-") or option in flags.values():
            continue
        own = [flags[name] for name in find_own_names(option, flags)]
        reason = f"use {' and '.join(own)}" if own else NEEDLESS_OPTIONS.get(option, "")
        if reason:
            print(f"error: {word.partition('=')[0]}: no option of `gsdff {door}`; {reason}", file=sys.stderr)
            sys.exit(2)
