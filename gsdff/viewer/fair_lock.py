"""A lock that goes to waiting threads in their order, so that training and pages take turns."""

import threading
import time
from collections import deque


class FairLock:
    """Mutual exclusion as a context manager, in the order of arrival; not reentrant.

    Python's own lock goes to whichever thread takes it first after its release, mostly the one that released it: a
    training loop would take it again and again while a page waits for many steps.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._is_taken = False
        self._waiting: deque[threading.Event] = deque()
        self._waited = threading.local()

    def __enter__(self) -> "FairLock":
        with self._guard:
            if not self._is_taken:
                self._is_taken = True
                return self
            turn = threading.Event()
            self._waiting.append(turn)
        started = time.perf_counter()
        try:
            turn.wait()
        except BaseException:  # Ctrl-C while waiting
            self._cancel(turn)
            raise
        self._waited.seconds = getattr(self._waited, "seconds", 0.0) + time.perf_counter() - started
        return self

    def __exit__(self, *_error: object) -> None:
        with self._guard:
            self._hand_on()

    def clock(self) -> float:
        """Clock of the calling thread in seconds, which stands still while the thread waits for the lock."""
        return time.perf_counter() - getattr(self._waited, "seconds", 0.0)

    def _cancel(self, turn: threading.Event) -> None:
        with self._guard:
            if turn.is_set():
                self._hand_on()
            else:
                self._waiting.remove(turn)

    def _hand_on(self) -> None:
        """Wakes the next thread; the lock stays taken meanwhile, so that no newcomer gets it first."""
        if self._waiting:
            self._waiting.popleft().set()
        else:
            self._is_taken = False
