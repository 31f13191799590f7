"""Writing in the background, in order and within bounds."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec

P = ParamSpec("P")


class Writer:
    """Thread that makes calls, in order, while its owner goes on; a context manager, which waits for all of them.

    What is handed over must not change afterwards. An error of a call is raised in the thread of the owner, by the next
    call or at the end. After another error in the block, Ctrl-C among them, what was handed over is still written.
    """

    def __init__(self, in_flight: int = 1):
        self.in_flight = in_flight
        """Largest number of calls that are not done, which bounds the memory: one more waits for the first of them."""
        self._pending: deque[Future[object]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="gsdff-writer")

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: object = None, *_error: object) -> None:
        try:
            if kind is None:
                self.wait()
        finally:
            self._thread.shutdown()

    def write(self, function: Callable[P, object], *arguments: P.args, **options: P.kwargs) -> None:
        """Hands over a call."""
        while len(self._pending) >= self.in_flight:
            self._pending.popleft().result()
        self._pending.append(self._thread.submit(function, *arguments, **options))

    def check(self) -> None:
        """Raises the error of a call that is done, if it had one."""
        while self._pending and self._pending[0].done():
            self._pending.popleft().result()

    def wait(self) -> None:
        """Returns when all calls are done; raises the first error among them."""
        while self._pending:
            self._pending.popleft().result()
