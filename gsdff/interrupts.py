"""Answers Ctrl-C soon, whatever the process is doing, and drops the work of thread pools that nobody waits for."""

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor
    from types import ModuleType

GRACE = 1.2
"""Seconds from Ctrl-C until the process ends in any case."""
STATUS = 130
"""Exit status of a process that Ctrl-C has ended."""
_regular_end = threading.Event()
"""Set if Ctrl-C is how the process is meant to end."""


@contextmanager
def answer_interrupts() -> Iterator[None]:
    """Context in which Ctrl-C exits with `STATUS` and the word "interrupted", and does so soon.

    Within `GRACE` seconds the process ends in any case, and at once after a second Ctrl-C. Python alone raises
    KeyboardInterrupt only after the main thread's call of a library, such as the loading of torch, which may lose it;
    and it waits for all threads before it exits. Files are safe at any moment, as `gsdff.files.writing.whole_file`
    writes them.
    """
    handler = signal.getsignal(signal.SIGINT)
    if isinstance(getattr(handler, "__self__", None), _Watch):  # within another such context
        yield
        return
    is_ours = handler is signal.default_int_handler and threading.current_thread() is threading.main_thread()
    try:
        with _watched() if is_ours else nullcontext():
            yield
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        sys.exit(STATUS)


def expect_interrupt() -> None:
    """Makes the next Ctrl-C a regular end, with exit status 0 and without a word."""
    _regular_end.set()


@contextmanager
def _watched() -> Iterator[None]:
    """Context that watches for Ctrl-C, and ends the process after one."""
    watch, finder = _Watch(), _TorchFinder()
    sys.meta_path.insert(0, finder)
    signal.signal(signal.SIGINT, watch.interrupt)
    before = signal.set_wakeup_fd(watch.writer.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        if watch.is_interrupted:
            with suppress(OSError):  # whoever read it may have ended too
                sys.stdout.flush()
            watch.end()  # now: to unload torch takes seconds, and threads may take hours
        signal.set_wakeup_fd(before)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.meta_path.remove(finder)
        watch.writer.close()


class _Watch:
    """Thread that hears of Ctrl-C from the operating system, while the main thread may be in a long call."""

    def __init__(self) -> None:
        self.is_interrupted = False
        self._reader, self.writer = socket.socketpair()
        self.writer.setblocking(False)
        threading.Thread(target=self._run, name="gsdff-interrupts", daemon=True).start()

    def interrupt(self, _signal: int, _frame: object) -> None:
        """Handler of the signal in the main thread."""
        self.is_interrupted = True
        raise KeyboardInterrupt

    def _run(self) -> None:
        with self._reader:
            if not self._wait():
                return
            self._reader.settimeout(GRACE)
            try:
                if not self._wait():
                    return
            except TimeoutError:
                pass
        self.end()

    def _wait(self) -> bool:
        """Waits for Ctrl-C; False if the context has ended."""
        while received := self._reader.recv(1):
            if received[0] == signal.SIGINT:
                return True
        return False

    def end(self) -> None:
        """Ends the process, whatever its threads are doing."""
        if _regular_end.is_set():
            os._exit(0)
        os.write(2, b"\ninterrupted\n")  # not by sys.stderr, which the main thread may hold
        os._exit(STATUS)


class _TorchFinder(MetaPathFinder):
    """Lets Ctrl-C end the process at once while torch is loaded.

    That takes seconds in which no other thread of Python runs, so nothing of ours could answer; and it writes no file.
    """

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        """Finds torch as usual, with a loader that changes the signal's handler meanwhile."""
        spec = PathFinder.find_spec(fullname, path, target) if fullname == "torch" else None
        if spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def load_at_once(module: "ModuleType") -> None:
            if threading.current_thread() is not threading.main_thread():
                return load(module)
            before = signal.signal(signal.SIGINT, signal.SIG_DFL)
            try:
                load(module)
            finally:
                signal.signal(signal.SIGINT, before)

        spec.loader.exec_module = load_at_once
        return spec


@contextmanager
def worker_threads(num_threads: int, name: str = "") -> "Iterator[ThreadPoolExecutor]":
    """Thread pool; if the block ends with an error, work that has not begun is dropped and not waited for."""
    from concurrent.futures import ThreadPoolExecutor  # here, as it loads much before Ctrl-C is answered

    pool = ThreadPoolExecutor(num_threads, thread_name_prefix=name)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
