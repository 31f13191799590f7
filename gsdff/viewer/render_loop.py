"""Render thread of one tab: coarse images while something moves, full resolution when it stands still."""

import math
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import UInt8
from torch import Tensor

from gsdff.viewer.failures import FAILURES

BUDGET = 0.05
"""Seconds that an image may take while the camera moves; sending and displaying it take some more."""
IDLE_DELAY = 0.15
"""Seconds without a change after which the full resolution is rendered."""
MAX_UNDIVIDED = 0.2
"""Largest number of seconds for a full image in one block; several cut large Gaussians slightly differently."""
MIN_SCALE = 0.12
"""Least width and height of an image, as a share of the window's, on however slow a machine."""
MIN_PIXEL_SHARE = 0.3
"""Least time for the pixels of a coarse image, as a share of the time that any block takes: fewer save nothing."""
INITIAL_SECONDS_PER_PIXEL = 1e-6
"""Cost of a pixel before any measurement: two slow cores and many words to compare with."""
MAX_PIXELS = 2_000_000
"""Largest number of pixels of a full image; in a larger window it is enlarged."""
MAX_BLOCKS = 8
MIN_INFORMATIVE = 0.1
"""Least share of the pixels of a larger image with which an image's time says much about the cost of a pixel."""


@dataclass(frozen=True)
class RowBlock:
    """Some rows of an image."""

    width: int
    height: int
    """Height of the whole image."""
    top: int
    bottom: int


class Timing(NamedTuple):
    """Measured time of one image."""

    blocks: int
    pixels: int
    seconds: float


class RenderCost:
    """Estimated time of an image: seconds per block, whatever its size (all Gaussians are projected), and per pixel."""

    def __init__(self) -> None:
        self.per_block, self.per_pixel = 0.0, INITIAL_SECONDS_PER_PIXEL
        self._last: Timing | None = None
        self._other: Timing | None = None
        """Timing of an image of a clearly different size; without one the two costs cannot be separated."""

    def update(self, blocks: int, pixels: int, seconds: float) -> None:
        """Updates the costs with the time of an image."""
        if self._last is not None and not 2 / 3 < pixels / self._last.pixels < 1.5:
            self._other = self._last
        self._last = Timing(blocks, pixels, seconds)
        if self._other is not None:
            other = self._other
            determinant = other.blocks * pixels - blocks * other.pixels
            if determinant:  # zero for blocks as large as the other image's
                per_block = (other.seconds * pixels - seconds * other.pixels) / determinant
                self.per_block = min(max(per_block, 0.0), 0.9 * seconds / blocks)
        # the slower of the two, if both have enough pixels: while the camera moves, the drawing of the page takes its
        # share of the machine
        seen = [timing for timing in (self._last, self._other) if timing is not None]
        most = max(timing.pixels for timing in seen)
        informative = [timing for timing in seen if timing.pixels >= MIN_INFORMATIVE * most]
        self.per_pixel = max(
            max(timing.seconds - timing.blocks * self.per_block, 1e-9) / timing.pixels for timing in informative
        )

    def pixels_within(self, seconds: float) -> float:
        """Number of pixels that fit into a time, but no fewer than are worthwhile (`MIN_PIXEL_SHARE`)."""
        return max(seconds - self.per_block, MIN_PIXEL_SHARE * self.per_block) / self.per_pixel

    def blocks_for(self, pixels: int) -> int:
        """Number of blocks for a full image, so that each is done soon."""
        if self.per_block + self.per_pixel * pixels <= MAX_UNDIVIDED:
            return 1
        return min(math.ceil(self.per_pixel * pixels / max(BUDGET - self.per_block, self.per_block)), MAX_BLOCKS)


class RenderLoop:
    """Thread that renders an image after every change, until it is closed.

    `render` renders a block of an image, `send` displays a whole one; both are called from this thread. A full image is
    rendered in blocks, and abandoned between two of them if something changes again. An image that fails is given up,
    and `fail` gets the error.
    """

    def __init__(
        self,
        size: Callable[[], tuple[int, int]],
        render: Callable[[RowBlock], UInt8[Tensor, "h W 3"]],
        send: Callable[[UInt8[Tensor, "H W 3"]], None],
        fail: Callable[[BaseException], None],
        clock: Callable[[], float] = time.perf_counter,
    ):
        self.size, self.render, self.send = size, render, send
        """`size` is the window's width and height."""
        self.fail = fail
        self.clock = clock
        """Clock that times `render`."""
        self.is_enabled = False
        self.scale = 1.0
        """Width of the last image, as a share of the window's."""
        self.seconds = 0.0
        """Time that the last image took."""
        self._costs: dict[Hashable, RenderCost] = {}
        """Costs by the kind of image."""
        self._cost = RenderCost()
        self._changed = threading.Event()
        self._is_rendering = False
        self._is_moving = False
        """Whether the next image may be coarse."""
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="gsdff-render", daemon=True)
        self._thread.start()

    @property
    def is_busy(self) -> bool:
        """Whether there is still something to render."""
        return self.is_enabled and (self._is_rendering or self._changed.is_set())

    @property
    def full_size(self) -> tuple[int, int]:
        """Width and height of a full image; smaller than a window that is too large."""
        width, height = self.size()
        shrink = min(1.0, math.sqrt(MAX_PIXELS / max(width * height, 1)))
        return max(round(width * shrink), 1), max(round(height * shrink), 1)

    def invalidate(self, kind: Hashable = None, *, is_moving: bool = True) -> None:
        """Renders anew, with the costs of this kind of image from now on; None keeps the kind.

        With `is_moving` False, for a scene that changes as it trains, no coarse image comes first: it would flicker.
        """
        if kind is not None:
            self._cost = self._costs.setdefault(kind, RenderCost())
        self._is_moving = self._is_moving or is_moving
        self._changed.set()

    def close(self) -> None:
        """Ends the thread, after the present block."""
        self._is_closed = True
        self._changed.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=5)

    def _run(self) -> None:
        while True:
            self._changed.wait()
            self._is_rendering = True
            self._changed.clear()  # before the new state is read
            if self._is_closed:
                return
            if self.is_enabled:
                try:
                    self._render_state()
                except FAILURES as error:
                    self.fail(error)
            self._is_rendering = False

    def _render_state(self) -> None:
        full = self.full_size
        is_moving, self._is_moving = self._is_moving, False
        coarse = self._coarse_size(full) if is_moving else None
        if coarse is not None:
            self._render_image(coarse, num_blocks=1)
            if self._changed.wait(IDLE_DELAY):
                return
        self._render_image(full, num_blocks=min(self._cost.blocks_for(full[0] * full[1]), full[1]))

    def _render_image(self, size: tuple[int, int], num_blocks: int) -> None:
        width, height = size
        started = self.clock()
        rows = [round(height * i / num_blocks) for i in range(num_blocks + 1)]
        blocks = []
        for top, bottom in pairwise(rows):
            blocks.append(self.render(RowBlock(width, height, top, bottom)))
            if bottom < height and self._changed.is_set():
                return
        self.seconds = self.clock() - started
        self._cost.update(num_blocks, width * height, self.seconds)
        self.scale = width / max(self.size()[0], 1)
        self.send(torch.cat(blocks))

    def _coarse_size(self, full: tuple[int, int]) -> tuple[int, int] | None:
        """Size that fits the budget; None if the full size does."""
        scale = math.sqrt(self._cost.pixels_within(BUDGET) / (full[0] * full[1]))
        if scale >= 0.95:
            return None
        scale = max(scale, MIN_SCALE)
        return max(round(full[0] * scale), 1), max(round(full[1] * scale), 1)


def render_whole(width: int, height: int, render: Callable[[slice], UInt8[Tensor, "h W 3"]]) -> UInt8[Tensor, "H W 3"]:
    """A whole image of the rows that `render` gives; a large one in blocks, which bounds the memory that it takes."""
    num_rows = max(MAX_PIXELS // width, 1)
    return torch.cat([render(slice(top, top + num_rows)) for top in range(0, height, num_rows)])
