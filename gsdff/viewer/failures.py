"""Errors that a tab survives: shown in its page, while it goes on."""

import logging

from gsdff.errors import UserError

log = logging.getLogger("gsdff")

FAILURES = (
    UserError, ArithmeticError, AssertionError, AttributeError, BufferError, EOFError, ImportError, LookupError,
    MemoryError, OSError, RuntimeError, TypeError, ValueError,
)  # fmt: skip
"""Errors that an action or the rendering of an image may raise: our own mistakes, and those of the libraries."""


def describe_failure(error: BaseException) -> str:
    """Text of an error for the page; if it is no mistake of the user, it is logged too."""
    if isinstance(error, UserError):
        return str(error)
    text = " ".join(f"{type(error).__name__}: {error}".split())[:500]
    log.error("error in the page: %s", text)
    log.debug("its cause:", exc_info=error)
    return text
