"""A process that ends between two replacements of a set of files."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import pytest

from gsdff.files import writing


class Killed(BaseException):
    """Stands for the end of a process: what catches errors does not see it."""


@contextmanager
def killed_at(number: int) -> Iterator[None]:
    """Ends the block before the replacement of this number, counted from 0."""
    perform, calls = writing._Replacement.perform, count()

    def dying(self):
        if next(calls) == number:
            raise Killed
        perform(self)

    writing._Replacement.perform = dying
    try:
        with pytest.raises(Killed):
            yield
    finally:
        writing._Replacement.perform = perform
        writing._sweep.cache_clear()  # the next process
