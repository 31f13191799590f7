"""What every door shares: a user's mistake becomes one line and a non-zero exit, never a traceback."""

import errno
import sys
from collections.abc import Callable

from gsdff.errors import UserError


def run_door(main: Callable[[], None]) -> None:
    """Runs `main`; exits 1 with one line on stderr for a `UserError` or a failing file operation, 130 on Ctrl-C."""
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        full = "disk full, nothing already written is lost" if error.errno == errno.ENOSPC else error.strerror or error
        sys.exit(f"error: {full}{where}")
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        sys.exit(130)
