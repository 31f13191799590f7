"""Compiled kernels: compiling with numba, caching on disk, and running on all cores."""

import logging
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from numba import njit

log = logging.getLogger("gsdff")


def kernel(function: Callable | None = None, **options) -> Callable:
    """Compiles a function with numba's `njit`, without the GIL and cached on disk; `options` are numba's.

    `forceinline=True` is for small kernels that others call. numba's cache looks at a function's own file only, so a
    kernel would go on using outdated code inlined from another file. Here every kernel is recompiled if any file with
    kernels has changed.
    """
    if function is None:
        return lambda function: kernel(function, **options)
    # numpy's error model: x / 0 is inf or NaN as in torch, and no division is preceded by a test
    dispatcher: Any = njit(nogil=True, cache=True, error_model="numpy", **options)(function)
    dispatcher._cache._cache_file._source_stamp = _source_stamp()
    return dispatcher


@cache
def _source_stamp() -> str:
    """Hash of all source files that contain kernels."""
    here = Path(__file__).parent
    patterns = ("kernels.py", "render/*.py", "losses/*.py", "smoothing/*.py", "training/adam.py")
    sources = [path for pattern in patterns for path in sorted(here.glob(pattern))]
    return sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()


_folders_seen: set[str] = set()


def _log_compiling(folder: str) -> None:
    """Logs, once for these sources, that kernels are compiled, if numba's cache `folder` has none of them yet."""
    if folder in _folders_seen:
        return
    marker = Path(folder) / f"gsdff-{_source_stamp()[:16]}"
    if not marker.exists():
        if not _folders_seen:
            log.info("compiling the kernels for this processor; this happens once and takes about a minute")
        marker.touch()
    _folders_seen.add(folder)


@cache
def _pool(num_threads: int, process: int) -> ThreadPoolExecutor:
    """Thread pool of this process; a forked child needs its own, as it has none of its parent's threads."""
    return ThreadPoolExecutor(num_threads, thread_name_prefix="gsdff")


def run_parts(function: Callable, parts: Iterable[tuple]) -> None:
    """Calls `function(*part)` for every part and returns when all are done; threads take parts in order.

    The calling thread works too. Plain threads around kernels that release the GIL: no threading layer to choose, safe
    beside other threads (a viewer), and `torch.set_num_threads` sets their number. The output of a part must depend
    on that part alone, so that results do not depend on the number of threads.
    """
    if hasattr(function, "stats"):
        _log_compiling(function.stats.cache_path)
    rest = iter(list(parts))  # threads take from it in turn; a list's iterator hands out each item once

    def work() -> None:
        for part in rest:
            function(*part)

    helpers = torch.get_num_threads() - 1
    others = [_pool(helpers, os.getpid()).submit(work) for _ in range(helpers)]
    work()
    for other in others:
        other.result()


def split_range(length: int, smallest: int = 1024) -> list[tuple[int, int]]:
    """Splits `range(length)` into near-equal (start, stop) pieces, one per thread, none smaller than `smallest`."""
    pieces = max(1, min(torch.get_num_threads(), length // smallest))
    return list(pairwise(length * piece // pieces for piece in range(pieces + 1)))
