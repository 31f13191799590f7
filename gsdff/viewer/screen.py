"""One tab's pictures, drawn by a thread of its own: coarse while something moves, sharp when it stands still."""

import math
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import UInt8
from torch import Tensor

BUDGET = 0.05
"""Seconds that a picture may take while the camera moves; sending and showing it take some more."""
STILL = 0.15
"""Seconds without a change after which it counts as standing still."""
WHOLE = 0.2
"""A sharp picture that takes no longer is drawn in one go: strips cut large Gaussians a little differently."""
SMALLEST = 0.12
"""Of the window's width and height, however slow the machine is."""
WORTHWHILE = 0.3
"""A picture whose pixels take less than so much of what any picture takes is not worth its coarseness."""
FIRST_RATE = 1e-6
"""Seconds a pixel before any is measured: two slow cores and many words to compare with."""
MAX_PIXELS = 2_000_000
"""Of a sharp picture; a larger window gets it enlarged."""
MAX_STRIPS = 8
TELLING = 0.1
"""Of the pixels of a larger picture, that a picture needs for its time to say much about a pixel's."""


@dataclass(frozen=True)
class Strip:
    """Some rows of a picture."""

    width: int
    height: int
    """Of the whole picture."""
    top: int
    bottom: int


class Pace:
    """How long pictures take: seconds a part, whatever its size (all Gaussians are projected), and seconds a pixel."""

    def __init__(self) -> None:
        self.part, self.pixel = 0.0, FIRST_RATE
        self._last: tuple[int, int, float] | None = None
        """Parts, pixels, seconds."""
        self._other: tuple[int, int, float] | None = None
        """Of a picture of clearly another size, without which there is no telling the two apart."""

    def add(self, parts: int, pixels: int, seconds: float) -> None:
        """Learns from a picture."""
        if self._last is not None and not 2 / 3 < pixels / self._last[1] < 1.5:
            self._other = self._last
        self._last = parts, pixels, seconds
        if self._other is not None:
            other_parts, other_pixels, other_seconds = self._other
            scale = other_parts * pixels - parts * other_pixels
            if scale:  # strips as large as the other picture tell nothing
                part = (other_seconds * pixels - seconds * other_pixels) / scale
                self.part = min(max(part, 0.0), 0.9 * seconds / parts)
        # the slower of the two, if both have pixels enough to tell by: a picture while it moves shares the machine with
        # what draws the page
        seen = [row for row in (self._last, self._other) if row is not None]
        most = max(pixels for _, pixels, _ in seen)
        telling = [row for row in seen if row[1] >= TELLING * most]
        self.pixel = max(max(seconds - parts * self.part, 1e-9) / pixels for parts, pixels, seconds in telling)

    def pixels_in(self, seconds: float) -> float:
        """How many fit; no fewer than are worthwhile."""
        return max(seconds - self.part, WORTHWHILE * self.part) / self.pixel

    def parts_of(self, pixels: int) -> int:
        """How many strips to draw a sharp picture in, so that each is done soon."""
        if self.part + self.pixel * pixels <= WHOLE:
            return 1
        return min(math.ceil(self.pixel * pixels / max(BUDGET - self.part, self.part)), MAX_STRIPS)


class Screen:
    """Draws whenever it is told that something changed, until it is closed.

    `paint` draws a strip of a picture, `send` shows a whole one; both are called from the screen's own thread. A sharp
    picture is drawn in strips, and given up between two of them when something changes again.
    """

    def __init__(
        self,
        size: Callable[[], tuple[int, int]],
        paint: Callable[[Strip], UInt8[Tensor, "h W 3"]],
        send: Callable[[UInt8[Tensor, "H W 3"]], None],
        clock: Callable[[], float] = time.perf_counter,
    ):
        self.size, self.paint, self.send = size, paint, send
        self.clock = clock
        """By which `paint` is timed."""
        self.is_on = False
        self.scale = 1.0
        """Of the last picture, to the window's width."""
        self.seconds = 0.0
        """That it took."""
        self._paces: dict[Hashable, Pace] = {}
        """By the kind of picture."""
        self._pace = Pace()
        self._changed = threading.Event()
        self._is_drawing = False
        self._moves = False
        """Whether the next picture may be a coarse one."""
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="gsdff-screen", daemon=True)
        self._thread.start()

    @property
    def is_busy(self) -> bool:
        """Whether there is still something to draw."""
        return self.is_on and (self._is_drawing or self._changed.is_set())

    def touch(self, kind: Hashable = None, *, moves: bool = True) -> None:
        """Something changed. From here on pictures are of this kind, which takes a time of its own; None is as before.

        Where nothing `moves` but the scene itself as it trains, there is no coarse picture first: it would flicker.
        """
        if kind is not None:
            self._pace = self._paces.setdefault(kind, Pace())
        self._moves = self._moves or moves
        self._changed.set()

    def close(self) -> None:
        """Ends the thread, after the strip it is drawing."""
        self._is_closed = True
        self._changed.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=5)

    def _run(self) -> None:
        while True:
            self._changed.wait()
            self._is_drawing = True
            self._changed.clear()  # before the looks at what has changed
            if self._is_closed:
                return
            if self.is_on:
                self._draw()
            self._is_drawing = False

    def _draw(self) -> None:
        full = self._full_size()
        moves, self._moves = self._moves, False
        coarse = self._coarse_size(full) if moves else None
        if coarse is not None:
            self._show(coarse, strips=1)
            if self._changed.wait(STILL):
                return
        self._show(full, strips=min(self._pace.parts_of(full[0] * full[1]), full[1]))

    def _show(self, size: tuple[int, int], strips: int) -> None:
        width, height = size
        started = self.clock()
        rows = [round(height * i / strips) for i in range(strips + 1)]
        parts = []
        for top, bottom in pairwise(rows):
            parts.append(self.paint(Strip(width, height, top, bottom)))
            if bottom < height and self._changed.is_set():
                return
        self.seconds = self.clock() - started
        self._pace.add(strips, width * height, self.seconds)
        self.scale = width / max(self.size()[0], 1)
        self.send(torch.cat(parts))

    def _full_size(self) -> tuple[int, int]:
        width, height = self.size()
        shrink = min(1.0, math.sqrt(MAX_PIXELS / max(width * height, 1)))
        return max(round(width * shrink), 1), max(round(height * shrink), 1)

    def _coarse_size(self, full: tuple[int, int]) -> tuple[int, int] | None:
        """A size that fits the budget; None where the whole one does."""
        scale = math.sqrt(self._pace.pixels_in(BUDGET) / (full[0] * full[1]))
        if scale >= 0.95:
            return None
        scale = max(scale, SMALLEST)
        return max(round(full[0] * scale), 1), max(round(full[1] * scale), 1)
