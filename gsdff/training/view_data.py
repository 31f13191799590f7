"""Data of the training views on the device: kept there as far as it fits, otherwise fetched one step ahead."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from gsdff.device import free_bytes
from gsdff.scene import View

SHARE = 0.5
"""Share of a card's free memory that may be taken; the rest is for Gaussians and rendering."""
CPU_BYTES = 1e9
"""Limit on the CPU, where reading the data of a view again costs a tenth of a step."""

T = TypeVar("T")


class ViewData:
    """The views on the device, and caches of what else a step needs of them: they share memory and a thread."""

    def __init__(self, views: list[View], device: torch.device | str):
        is_card = torch.device(device).type == "cuda"
        # with its number, by which a camera that two caches send is one object
        self.device = torch.empty(0, device=device).device
        self.room = SHARE * free_bytes(self.device) if is_card else CPU_BYTES
        """Bytes that may still be taken."""
        self._caches: list[ViewCache[Any]] = []
        # on a CPU every core is busy with the step, and nothing is gained by working ahead
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="gsdff-fetch") if is_card else None
        self.views = self.cache(lambda view_id: views[view_id].to(self.device)) if is_card else views
        """Photos with their cameras, by the id of the view."""

    def cache(self, make: Callable[[int], T]) -> "ViewCache[T]":
        """A cache of the values that `make` puts on the device; it may be called in the thread."""
        made = ViewCache(make, self)
        self._caches.append(made)
        return made

    def fetch(self, view_id: int) -> None:
        """Begins to make what is not kept of a view, while the device works on another."""
        if self._ahead is not None:
            for cache in self._caches:
                cache.fetch(view_id, self._ahead)

    def take(self, num_bytes: int) -> bool:
        """Whether there is room for a value; if so, it is taken."""
        fits = num_bytes <= self.room
        self.room -= num_bytes if fits else 0
        return fits


@dataclass(frozen=True)
class ViewCache(Generic[T]):
    """Values by view, made when first needed; as many as fit stay on the device."""

    make: Callable[[int], T]
    data: ViewData
    _kept: dict[int, T] = field(default_factory=dict)
    _coming: dict[int, Future[T]] = field(default_factory=dict)

    def __getitem__(self, view_id: int) -> T:
        if view_id in self._kept:
            return self._kept[view_id]
        coming = self._coming.pop(view_id, None)
        self._coming.clear()
        made = self.make(view_id) if coming is None else coming.result()
        if self.data.take(count_bytes(made)):
            self._kept[view_id] = made
        return made

    def fetch(self, view_id: int, thread: ThreadPoolExecutor) -> None:
        """Begins to make a value in a thread, unless it is kept, or the last one made ahead was not wanted."""
        if view_id not in self._kept and not self._coming:
            self._coming[view_id] = thread.submit(self.make, view_id)

    def clear(self) -> None:
        """Drops all values, so that they are made again."""
        self.data.room += sum(map(count_bytes, self._kept.values()))
        self._kept.clear()
        self._coming.clear()


def count_bytes(value: object) -> int:
    """Bytes of a tensor, or of all tensors in a dataclass."""
    if isinstance(value, Tensor):
        return value.nbytes
    if not is_dataclass(value):
        return 0
    return sum(count_bytes(getattr(value, entry.name)) for entry in fields(value))
