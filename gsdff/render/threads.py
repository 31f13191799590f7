"""Runs one compiled kernel over parts of its work on all cores.

Plain threads around kernels that release the GIL: no threading layer to choose, safe beside other threads (a viewer)
and after a fork, and torch's own setting (`torch.set_num_threads`) rules.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise

import torch


@cache
def _pool(num_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(num_threads, thread_name_prefix="gsdff")


def run_parts(kernel: Callable, parts: Iterable[tuple]) -> None:
    """Calls `kernel(*part)` for every part and returns when all are done; threads take parts in order.

    What a kernel writes must depend on its part alone, so results do not depend on the number of threads.
    """
    num_threads = torch.get_num_threads()
    if num_threads == 1:
        for part in parts:
            kernel(*part)
    else:
        for done in [_pool(num_threads).submit(kernel, *part) for part in parts]:
            done.result()


def split_range(length: int, smallest: int = 1024) -> list[tuple[int, int]]:
    """`range(length)` cut into near-equal consecutive pieces, one a thread, none smaller than `smallest`."""
    pieces = max(1, min(torch.get_num_threads(), length // smallest))
    edges = [length * piece // pieces for piece in range(pieces + 1)]
    return list(pairwise(edges))
