"""What every door shares: a user's mistake becomes one line and a non-zero exit, never a traceback."""

import errno
import logging
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from types import MappingProxyType
from typing import Any, get_type_hints

from tqdm import tqdm

from gsdff.errors import UserError


class _LogHandler(logging.Handler):
    """Log lines on stderr, above a progress bar if there is one."""

    def __init__(self, flags: Mapping[str, str]):
        super().__init__()
        self.flags = flags

    def emit(self, record: logging.LogRecord) -> None:
        prefix = "warning: " if record.levelno >= logging.WARNING else ""
        tqdm.write(prefix + name_flags(self.format(record), self.flags), file=sys.stderr)


def run_door(main: Callable[[], None], flags: Mapping[str, str] = MappingProxyType({})) -> None:
    """Runs `main`; exits 1 with one line on stderr for a `UserError` or a failing file operation, 130 on Ctrl-C.

    `flags` are the door's options by the names of the parameters they set: messages of the library speak of those.
    """
    logging.basicConfig(handlers=[_LogHandler(flags)], format="%(message)s")
    logging.getLogger("gsdff").setLevel(logging.INFO)
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {name_flags(str(error), flags)}")
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        full = "disk full, nothing already written is lost" if error.errno == errno.ENOSPC else error.strerror or error
        sys.exit(f"error: {where}{full}")
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        sys.exit(130)


def name_flags(message: str, flags: Mapping[str, str]) -> str:
    """A message of the library with its parameters, which stand in backquotes, as the options of a door."""
    return re.sub(r"`([\w.]+)`", lambda match: flags.get(match[1], match[0]), message)


def flags_of(arguments: type) -> dict[str, str]:
    """The option of every field of a door's dataclass, by the field's dotted name: stage1.steps, "--stage1.steps"."""
    return {name: f"--{option.replace('_', '-')}" for name, option in _options(arguments, "", "")}


def _options(kind: type, name_prefix: str, option_prefix: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, hint in get_type_hints(kind, include_extras=True).items():
        settings: list[Any] = [extra for extra in getattr(hint, "__metadata__", ()) if hasattr(extra, "prefix_name")]
        given = settings[0].name if settings else None
        inner = getattr(hint, "__origin__", hint)
        prefix = option_prefix if not settings or settings[0].prefix_name is not False else ""
        option = prefix + (name if given is None else given)
        if is_dataclass(inner) and isinstance(inner, type):
            if given == "":  # the fields of this table are the door's own
                found += _options(inner, name_prefix, option_prefix)
            else:
                found += _options(inner, f"{name_prefix}{name}.", f"{option}.")
        else:
            found.append((name_prefix + name, option))
    return found


def choose_device(name: str) -> str:
    """`cpu` or `cuda`; `UserError` where CUDA is asked for and there is none."""
    import torch

    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        raise UserError("--device cuda: torch finds no CUDA card here; leave --device away to use the CPU")
    return "cuda" if has_cuda and name != "cpu" else "cpu"
