"""What every door shares: a user's mistake becomes one line and a non-zero exit, never a traceback."""

import errno
import logging
import sys
from collections.abc import Callable

from tqdm import tqdm

from gsdff.errors import UserError


class _LogHandler(logging.Handler):
    """Log lines on stderr, above a progress bar where there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        prefix = "warning: " if record.levelno >= logging.WARNING else ""
        tqdm.write(prefix + self.format(record), file=sys.stderr)


def run_door(main: Callable[[], None]) -> None:
    """Runs `main`; exits 1 with one line on stderr for a `UserError` or a failing file operation, 130 on Ctrl-C."""
    logging.basicConfig(handlers=[_LogHandler()], format="%(message)s")
    logging.getLogger("gsdff").setLevel(logging.INFO)
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        full = "disk full, nothing already written is lost" if error.errno == errno.ENOSPC else error.strerror or error
        sys.exit(f"error: {where}{full}")
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        sys.exit(130)


def choose_device(name: str) -> str:
    """`cpu` or `cuda`; `UserError` where CUDA is asked for and there is none."""
    import torch

    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        raise UserError("--device cuda: torch finds no CUDA card here; leave --device away to use the CPU")
    return "cuda" if has_cuda and name != "cpu" else "cpu"
