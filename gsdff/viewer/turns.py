"""A lock that is handed on in the order of those who wait for it, so that training and pages get it in turn."""

import threading
import time
from collections import deque


class Turns:
    """A context manager that one thread at a time is in; not to be entered twice by the same thread.

    Python's own lock goes to whoever grabs it first after it was let go, which is mostly who let it go: a training
    loop would take it again and again while a page waits for many steps.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._is_taken = False
        self._waiting: deque[threading.Event] = deque()
        self._waited = threading.local()

    def __enter__(self) -> "Turns":
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
            self._give_up(turn)
            raise
        self._waited.seconds = getattr(self._waited, "seconds", 0.0) + time.perf_counter() - started
        return self

    def __exit__(self, *_error: object) -> None:
        with self._guard:
            self._hand_on()

    def clock(self) -> float:
        """Seconds that pass for the calling thread while it does not wait for its turn."""
        return time.perf_counter() - getattr(self._waited, "seconds", 0.0)

    def _give_up(self, turn: threading.Event) -> None:
        with self._guard:
            if turn.is_set():
                self._hand_on()
            else:
                self._waiting.remove(turn)

    def _hand_on(self) -> None:
        """It stays taken where somebody waits: who comes anew cannot get in between."""
        if self._waiting:
            self._waiting.popleft().set()
        else:
            self._is_taken = False
