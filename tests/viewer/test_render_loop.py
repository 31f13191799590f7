"""Times and sizes of a tab's images, by a clock of the tests that rendering sets forward."""

import queue
import threading

import pytest
import torch

from gsdff.viewer import render_loop as module
from gsdff.viewer.render_loop import (
    BUDGET,
    INITIAL_SECONDS_PER_PIXEL,
    MAX_BLOCKS,
    MAX_PIXELS,
    MAX_UNDIVIDED,
    MIN_SCALE,
    RenderLoop,
    RowBlock,
)

PATIENCE = 20
"""Timeout in seconds of every wait."""


class Setup:
    """A render loop with a window and a renderer of known speed."""

    def __init__(self, size: tuple[int, int], rate: float, part: float):
        self.window, self.rate, self.per_block, self.now = size, rate, part, 0.0
        """Seconds per pixel, seconds per block, and the time now."""
        self.rendered: list[RowBlock] = []
        self.sent: queue.Queue[torch.Tensor] = queue.Queue()
        self.failures: queue.Queue[BaseException] = queue.Queue()
        self.on_render = lambda block: None
        self.render_loop = RenderLoop(
            lambda: self.window, self._render, self.sent.put, self.failures.put, lambda: self.now
        )
        self.render_loop.is_enabled = True

    def _render(self, block: RowBlock) -> torch.Tensor:
        self.rendered.append(block)
        self.now += self.per_block + self.rate * block.width * (block.bottom - block.top)
        self.on_render(block)
        rows = torch.arange(block.top, block.bottom).remainder(251).byte()
        return rows[:, None, None].expand(-1, block.width, 3)

    def next_size(self) -> tuple[int, int]:
        """Width and height of the next image that is sent; checks that its rows are in order."""
        image = self.sent.get(timeout=PATIENCE)
        assert torch.equal(image[:, 0, 0].long(), torch.arange(len(image)) % 251)
        return image.shape[1], image.shape[0]

    def settle(self) -> None:
        """Waits until everything is rendered."""
        deadline = threading.Event()
        for _ in range(PATIENCE * 100):
            if not (self.render_loop._changed.is_set() or self.render_loop._is_rendering):
                return
            deadline.wait(0.01)
        raise AssertionError("it goes on rendering")


@pytest.fixture
def setup(monkeypatch):
    """Makes render loops, and closes them."""
    monkeypatch.setattr(module, "IDLE_DELAY", 0.0)
    setups = []

    def make(size: tuple[int, int] = (1000, 800), rate: float = 1e-6, part: float = 0.0) -> Setup:
        setups.append(Setup(size, rate, part))
        return setups[-1]

    yield make
    for made in setups:
        made.render_loop.close()
        assert not made.render_loop._thread.is_alive()


def test_a_slow_picture_is_coarse_first_and_then_sharp_in_strips(setup):
    on = setup()
    on.render_loop.invalidate()
    first = (BUDGET / (INITIAL_SECONDS_PER_PIXEL * 800_000)) ** 0.5  # nothing is measured yet
    assert on.next_size() == (round(1000 * first), round(800 * first))
    assert on.next_size() == (1000, 800)
    on.settle()
    assert (on.render_loop.scale, on.render_loop.seconds) == (1.0, pytest.approx(0.8))
    assert [block.width for block in on.rendered].count(1000) == MAX_BLOCKS
    assert [block.bottom for block in on.rendered[1:-1]] == [block.top for block in on.rendered[2:]]
    on.render_loop.invalidate()
    scale = (BUDGET / 0.8) ** 0.5  # by what was measured
    assert on.next_size() == (round(1000 * scale), round(800 * scale))
    assert on.next_size() == (1000, 800)


def test_a_coarse_picture_takes_no_longer_than_the_budget(setup):
    on = setup(rate=3e-6)
    for _ in range(2):
        on.render_loop.invalidate()
        on.next_size(), on.next_size()
        on.settle()
    coarse = next(block for block in reversed(on.rendered) if block.width < 1000)
    assert 0.9 * BUDGET < 3e-6 * coarse.width * coarse.height < 1.1 * BUDGET


@pytest.mark.parametrize(("part", "pixels"), [(0.03, 20_000), (0.1, 30_000)], ids=["fits", "does not fit"])
def test_what_any_picture_takes_makes_it_no_coarser_than_is_worthwhile(setup, part, pixels):
    """A scene so large that projecting it takes longer than the budget: coarser images would be no faster."""
    on = setup(rate=1e-6, part=part)
    for _ in range(3):
        on.render_loop.invalidate()
        coarse = on.next_size()
        assert on.next_size() == (1000, 800)
        on.settle()
    assert coarse[0] * coarse[1] == pytest.approx(pixels, rel=0.02)  # what is left of the budget, or 0.3 of the part
    assert (on.render_loop._cost.per_block, on.render_loop._cost.per_pixel) == (
        pytest.approx(part),
        pytest.approx(1e-6),
    )


def test_a_sharp_picture_that_is_not_slow_is_drawn_in_one_go(setup):
    on = setup(rate=0.9 * MAX_UNDIVIDED / 800_000)
    for _ in range(2):
        on.render_loop.invalidate()
        on.next_size(), on.next_size()
        on.settle()
    assert on.rendered[-1] == RowBlock(1000, 800, 0, 800)


def test_a_fast_picture_is_sharp_at_once(setup):
    on = setup(rate=1e-9)
    on.render_loop.invalidate()
    on.next_size(), on.next_size()  # nothing is known of it yet
    on.settle()
    on.render_loop.invalidate()
    assert on.next_size() == (1000, 800)
    on.settle()
    assert on.sent.empty() and on.rendered[-1] == RowBlock(1000, 800, 0, 800)


def test_a_picture_of_another_kind_has_a_time_of_its_own(setup):
    on = setup(rate=1e-9)
    for _ in range(2):
        on.render_loop.invalidate()
        on.settle()
    num_rendered = len(on.rendered)
    on.render_loop.invalidate("another kind")
    on.settle()
    first = round(1000 * (BUDGET / (INITIAL_SECONDS_PER_PIXEL * 800_000)) ** 0.5)
    assert [block.width for block in on.rendered[num_rendered:]] == [first, 1000]
    on.render_loop.invalidate("this kind")
    on.render_loop.invalidate("another kind")  # which is known by now
    on.settle()
    assert [block.width for block in on.rendered[num_rendered + 2 :]] == [1000]


def test_a_scene_that_trains_is_drawn_sharp_alone(setup):
    on = setup()
    on.render_loop.invalidate(is_moving=False)
    assert on.next_size() == (1000, 800)
    on.settle()
    assert on.sent.empty()


def test_a_sharp_picture_is_given_up_when_something_changes(setup):
    on = setup()
    invalidated = []

    def invalidate_once(block: RowBlock) -> None:
        if block.width == 1000 and block.top == 200 and not invalidated:
            invalidated.append(block)
            on.render_loop.invalidate()

    on.on_render = invalidate_once
    on.render_loop.invalidate()
    sizes = [on.next_size() for _ in range(3)]
    on.settle()
    assert [width < 1000 for width, _ in sizes] == [True, True, False] and on.sent.empty()
    widths = [block.width for block in on.rendered]
    assert widths[1:4] == [1000] * 3 and widths[4] < 1000  # three blocks, and no fourth
    assert widths[5:] == [1000] * MAX_BLOCKS


def test_it_is_not_sharp_while_it_moves(setup):
    """Invalidated while the coarse image is rendered, it is coarse again: so far a sharp one was not begun."""
    on = setup()
    moves = iter(range(5))
    on.on_render = lambda block: on.render_loop.invalidate() if next(moves, None) is not None else None
    on.render_loop.invalidate()
    sizes = [on.next_size() for _ in range(7)]
    assert [width < 1000 for width, _ in sizes] == [True] * 6 + [False]


def test_nothing_is_drawn_while_it_is_off(setup):
    on = setup()
    on.render_loop.is_enabled = False
    on.render_loop.invalidate()
    on.settle()
    assert on.rendered == [] and not on.render_loop.is_busy
    on.render_loop.is_enabled = True
    on.render_loop.invalidate()
    on.next_size()


def test_it_closes_after_the_strip_that_is_rendered(setup):
    on = setup()
    painting, closing = threading.Event(), threading.Event()

    def hold(block: RowBlock) -> None:
        if block.width == 1000 and not painting.is_set():
            painting.set()
            assert closing.wait(PATIENCE)

    on.on_render = hold
    on.render_loop.invalidate()
    assert painting.wait(PATIENCE)
    closer = threading.Thread(target=on.render_loop.close)
    closer.start()
    while not on.render_loop._is_closed:
        pass
    closing.set()
    closer.join(PATIENCE)
    assert not closer.is_alive() and not on.render_loop._thread.is_alive()
    assert [block.width for block in on.rendered].count(1000) == 1 and on.sent.qsize() == 1
    on.render_loop.invalidate()
    on.render_loop.close()  # again, to no effect


def test_it_can_be_closed_by_its_own_thread(setup):
    on = setup()
    on.on_render = lambda block: on.render_loop.close()
    on.render_loop.invalidate()
    on.render_loop._thread.join(PATIENCE)
    assert not on.render_loop._thread.is_alive() and len(on.rendered) == 1


@pytest.mark.parametrize(
    ("window", "sharp"),
    [((4000, 3000), (round(4000 * (MAX_PIXELS / 12e6) ** 0.5), round(3000 * (MAX_PIXELS / 12e6) ** 0.5))),
     ((0, 0), (1, 1)), ((3, 1), (3, 1))],
)  # fmt: skip
def test_windows_of_any_size_get_a_picture(setup, window, sharp):
    on = setup(window, rate=1e-10)
    on.render_loop.invalidate(is_moving=False)
    assert on.next_size() == sharp
    on.settle()
    assert on.render_loop.scale == pytest.approx(sharp[0] / max(window[0], 1))


def test_there_is_a_least_size_however_slow_it_is(setup):
    on = setup((100, 50), rate=1.0)
    on.render_loop.invalidate()
    on.settle()
    on.render_loop.invalidate()
    on.settle()
    assert on.rendered[-1 - MAX_BLOCKS] == RowBlock(
        round(100 * MIN_SCALE), round(50 * MIN_SCALE), 0, round(50 * MIN_SCALE)
    )


def test_a_window_that_changes_is_followed(setup):
    on = setup((200, 150), rate=1e-9)
    on.render_loop.invalidate()
    assert on.next_size() == (200, 150)
    on.window = (150, 200)
    on.render_loop.invalidate()
    assert on.next_size() == (150, 200)
