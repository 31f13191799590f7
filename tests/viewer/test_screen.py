"""When a tab's pictures are drawn, and how large: by a clock of the test's own, which painting sets forward."""

import queue
import threading

import pytest
import torch

from gsdff.viewer import screen as screen_module
from gsdff.viewer.screen import BUDGET, FIRST_RATE, MAX_PIXELS, MAX_STRIPS, SMALLEST, WHOLE, Screen, Strip

PATIENCE = 20
"""Seconds until a test that waits has failed."""


class Stage:
    """A screen with a window and painters whose speed is set."""

    def __init__(self, size: tuple[int, int], rate: float, part: float):
        self.window, self.rate, self.part, self.now = size, rate, part, 0.0
        """Seconds a pixel and seconds a strip, and the time."""
        self.painted: list[Strip] = []
        self.sent: queue.Queue[torch.Tensor] = queue.Queue()
        self.on_paint = lambda strip: None
        self.screen = Screen(lambda: self.window, self._paint, self.sent.put, lambda: self.now)
        self.screen.is_on = True

    def _paint(self, strip: Strip) -> torch.Tensor:
        self.painted.append(strip)
        self.now += self.part + self.rate * strip.width * (strip.bottom - strip.top)
        self.on_paint(strip)
        rows = torch.arange(strip.top, strip.bottom).remainder(251).byte()
        return rows[:, None, None].expand(-1, strip.width, 3)

    def next_size(self) -> tuple[int, int]:
        """Width and height of the next picture that is sent; all its rows are in their places."""
        picture = self.sent.get(timeout=PATIENCE)
        assert torch.equal(picture[:, 0, 0].long(), torch.arange(len(picture)) % 251)
        return picture.shape[1], picture.shape[0]

    def settle(self) -> None:
        """Waits until all is drawn."""
        deadline = threading.Event()
        for _ in range(PATIENCE * 100):
            if not (self.screen._changed.is_set() or self.screen._is_drawing):
                return
            deadline.wait(0.01)
        raise AssertionError("it goes on drawing")


@pytest.fixture
def stage(monkeypatch):
    """Makes stages, and takes them down."""
    monkeypatch.setattr(screen_module, "STILL", 0.0)
    stages = []

    def make(size: tuple[int, int] = (1000, 800), rate: float = 1e-6, part: float = 0.0) -> Stage:
        stages.append(Stage(size, rate, part))
        return stages[-1]

    yield make
    for made in stages:
        made.screen.close()
        assert not made.screen._thread.is_alive()


def test_a_slow_picture_is_coarse_first_and_then_sharp_in_strips(stage):
    on = stage()
    on.screen.touch()
    first = (BUDGET / (FIRST_RATE * 800_000)) ** 0.5  # nothing is measured yet
    assert on.next_size() == (round(1000 * first), round(800 * first))
    assert on.next_size() == (1000, 800)
    on.settle()
    assert (on.screen.scale, on.screen.seconds) == (1.0, pytest.approx(0.8))
    assert [strip.width for strip in on.painted].count(1000) == MAX_STRIPS
    assert [strip.bottom for strip in on.painted[1:-1]] == [strip.top for strip in on.painted[2:]]
    on.screen.touch()
    scale = (BUDGET / 0.8) ** 0.5  # by what was measured
    assert on.next_size() == (round(1000 * scale), round(800 * scale))
    assert on.next_size() == (1000, 800)


def test_a_coarse_picture_takes_no_longer_than_the_budget(stage):
    on = stage(rate=3e-6)
    for _ in range(2):
        on.screen.touch()
        on.next_size(), on.next_size()
        on.settle()
    coarse = next(strip for strip in reversed(on.painted) if strip.width < 1000)
    assert 0.9 * BUDGET < 3e-6 * coarse.width * coarse.height < 1.1 * BUDGET


@pytest.mark.parametrize(("part", "pixels"), [(0.03, 20_000), (0.1, 30_000)], ids=["fits", "does not fit"])
def test_what_any_picture_takes_makes_it_no_coarser_than_is_worthwhile(stage, part, pixels):
    """A scene so large that projecting it takes longer than the budget: coarser pictures would be no faster."""
    on = stage(rate=1e-6, part=part)
    for _ in range(3):
        on.screen.touch()
        coarse = on.next_size()
        assert on.next_size() == (1000, 800)
        on.settle()
    assert coarse[0] * coarse[1] == pytest.approx(pixels, rel=0.02)  # what is left of the budget, or 0.3 of the part
    assert (on.screen._pace.part, on.screen._pace.pixel) == (pytest.approx(part), pytest.approx(1e-6))


def test_a_sharp_picture_that_is_not_slow_is_drawn_in_one_go(stage):
    on = stage(rate=0.9 * WHOLE / 800_000)
    for _ in range(2):
        on.screen.touch()
        on.next_size(), on.next_size()
        on.settle()
    assert on.painted[-1] == Strip(1000, 800, 0, 800)


def test_a_fast_picture_is_sharp_at_once(stage):
    on = stage(rate=1e-9)
    on.screen.touch()
    on.next_size(), on.next_size()  # nothing is known of it yet
    on.settle()
    on.screen.touch()
    assert on.next_size() == (1000, 800)
    on.settle()
    assert on.sent.empty() and on.painted[-1] == Strip(1000, 800, 0, 800)


def test_a_picture_of_another_kind_has_a_time_of_its_own(stage):
    on = stage(rate=1e-9)
    for _ in range(2):
        on.screen.touch()
        on.settle()
    num_painted = len(on.painted)
    on.screen.touch("another kind")
    on.settle()
    first = round(1000 * (BUDGET / (FIRST_RATE * 800_000)) ** 0.5)
    assert [strip.width for strip in on.painted[num_painted:]] == [first, 1000]
    on.screen.touch("this kind")
    on.screen.touch("another kind")  # which is known by now
    on.settle()
    assert [strip.width for strip in on.painted[num_painted + 2 :]] == [1000]


def test_a_scene_that_trains_is_drawn_sharp_alone(stage):
    on = stage()
    on.screen.touch(moves=False)
    assert on.next_size() == (1000, 800)
    on.settle()
    assert on.sent.empty()


def test_a_sharp_picture_is_given_up_when_something_changes(stage):
    on = stage()
    touched = []

    def touch_once(strip: Strip) -> None:
        if strip.width == 1000 and strip.top == 200 and not touched:
            touched.append(strip)
            on.screen.touch()

    on.on_paint = touch_once
    on.screen.touch()
    sizes = [on.next_size() for _ in range(3)]
    on.settle()
    assert [width < 1000 for width, _ in sizes] == [True, True, False] and on.sent.empty()
    widths = [strip.width for strip in on.painted]
    assert widths[1:4] == [1000] * 3 and widths[4] < 1000  # three strips, and no fourth
    assert widths[5:] == [1000] * MAX_STRIPS


def test_it_is_not_sharp_while_it_moves(stage):
    """Touched while the coarse picture is painted, it is coarse again: so far a sharp one was not begun."""
    on = stage()
    moves = iter(range(5))
    on.on_paint = lambda strip: on.screen.touch() if next(moves, None) is not None else None
    on.screen.touch()
    sizes = [on.next_size() for _ in range(7)]
    assert [width < 1000 for width, _ in sizes] == [True] * 6 + [False]


def test_nothing_is_drawn_while_it_is_off(stage):
    on = stage()
    on.screen.is_on = False
    on.screen.touch()
    on.settle()
    assert on.painted == [] and not on.screen.is_busy
    on.screen.is_on = True
    on.screen.touch()
    on.next_size()


def test_it_closes_after_the_strip_that_is_painted(stage):
    on = stage()
    painting, closing = threading.Event(), threading.Event()

    def hold(strip: Strip) -> None:
        if strip.width == 1000 and not painting.is_set():
            painting.set()
            assert closing.wait(PATIENCE)

    on.on_paint = hold
    on.screen.touch()
    assert painting.wait(PATIENCE)
    closer = threading.Thread(target=on.screen.close)
    closer.start()
    while not on.screen._is_closed:
        pass
    closing.set()
    closer.join(PATIENCE)
    assert not closer.is_alive() and not on.screen._thread.is_alive()
    assert [strip.width for strip in on.painted].count(1000) == 1 and on.sent.qsize() == 1
    on.screen.touch()
    on.screen.close()  # again, to no effect


def test_it_can_be_closed_by_its_own_thread(stage):
    on = stage()
    on.on_paint = lambda strip: on.screen.close()
    on.screen.touch()
    on.screen._thread.join(PATIENCE)
    assert not on.screen._thread.is_alive() and len(on.painted) == 1


@pytest.mark.parametrize(
    ("window", "sharp"),
    [((4000, 3000), (round(4000 * (MAX_PIXELS / 12e6) ** 0.5), round(3000 * (MAX_PIXELS / 12e6) ** 0.5))),
     ((0, 0), (1, 1)), ((3, 1), (3, 1))],
)  # fmt: skip
def test_windows_of_any_size_get_a_picture(stage, window, sharp):
    on = stage(window, rate=1e-10)
    on.screen.touch(moves=False)
    assert on.next_size() == sharp
    on.settle()
    assert on.screen.scale == pytest.approx(sharp[0] / max(window[0], 1))


def test_there_is_a_least_size_however_slow_it_is(stage):
    on = stage((100, 50), rate=1.0)
    on.screen.touch()
    on.settle()
    on.screen.touch()
    on.settle()
    assert on.painted[-1 - MAX_STRIPS] == Strip(round(100 * SMALLEST), round(50 * SMALLEST), 0, round(50 * SMALLEST))


def test_a_window_that_changes_is_followed(stage):
    on = stage((200, 150), rate=1e-9)
    on.screen.touch()
    assert on.next_size() == (200, 150)
    on.window = (150, 200)
    on.screen.touch()
    assert on.next_size() == (150, 200)
