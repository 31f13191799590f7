"""Uses `gsdff view RUN` in several tabs for minutes, and fails if anything is logged or memory keeps growing.

    python scripts/soak_app.py runs/demo [--minutes 10]

Every tab asks, changes modes and thresholds, selects by regions and answers, deletes, recolours, moves by handles,
undoes it all, moves the camera and waits for exact pictures, in an order of its own that `--seed` decides. Both logs
are watched: the pages' consoles with their errors, and what the server writes to stderr after every tab has asked its
first question: what it compares with is said once.
Memory is measured between rounds, after garbage was collected: of the pages' scripts with their arrays, and of the
processes of pages and server. It is said to grow if its mean grows from each third of the time to the next, the first
two tenths left out, and by more than `GROWTH` and `SLACK` together. Needs Python's playwright and Chromium or Chrome.
"""

import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import tyro
from chromium import open_browser
from study_tools import markdown_table

from gsdff.cli import run_door
from gsdff.errors import UserError

GROWTH, SLACK = 0.05, 16.0
"""Growth of memory that is none: a share of it, and MiB of whatever is measured."""
WARM = 0.2
"""Share of the time after which memory is compared."""
PATIENCE = 120.0
"""Seconds that an answer may take on a machine that is busy."""
WIDTH, HEIGHT = 720, 400
CLEAR = (380, 60, 690, 350)
"""Part of the window that no panel covers: left, top, right, bottom."""
COLORS = ("#c03028", "#2a6fdb", "#38a048")


@dataclass(frozen=True)
class Options:
    """Uses the app for some time and watches its logs and its memory."""

    run: Annotated[Path, tyro.conf.Positional] = Path("runs/demo")
    """Run, or a PLY without features, which is asked nothing."""
    minutes: float = 10.0
    tabs: int = 3
    seed: int = 0


def main() -> None:
    """Prints what was done, memory over time, and what is wrong."""
    options = tyro.cli(Options, description=Options.__doc__)
    with tempfile.TemporaryDirectory() as folder, open_browser() as browser:
        log = Path(folder) / "stderr"
        command = [sys.executable, "-m", "gsdff.view", str(options.run)]
        with log.open("w") as stderr:
            server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)
        try:
            problems = soak(browser, server, log, options)
        finally:
            server.terminate()
            server.wait()
    if problems:
        print("\n".join(problems))
        sys.exit(1)
    print("nothing was logged, and memory is flat")


def soak(browser: Any, server: "subprocess.Popen[str]", log: Path, options: Options) -> list[str]:
    """Uses the tabs; returns what is wrong."""
    assert server.stdout is not None
    address = server.stdout.readline().partition(": open ")[2].split(" ")[0]
    if not address:
        raise UserError(f"the server has not started:\n{log.read_text()}")
    tabs = [Tab(browser, address, f"tab {i + 1}", random.Random(options.seed + i)) for i in range(options.tabs)]
    for tab in tabs:
        for act in (tab.rest, *([tab.ask, tab.rest] if tab.words else [])):
            act()
    logged = log.stat().st_size
    memory, start = Memory(browser, server.pid), time.monotonic()
    while (now := time.monotonic() - start) < 60 * options.minutes:
        for tab in tabs:
            tab.act()
        memory.measure(now, tabs)
    done = sum((tab.done for tab in tabs), Counter())
    print(f"{sum(done.values())} acts in {now / 60:.1f} minutes, load {os.getloadavg()[0]:.1f}: {dict(done)}\n")
    print(memory.table())
    problems = [f"{tab.name}: {text}" for tab in tabs for text in tab.logged]
    with log.open() as file:
        file.seek(logged)
        problems += [f"server: {line.rstrip()}" for line in file]
    return problems + memory.growing()


class Tab:
    """A page of the app that somebody uses."""

    def __init__(self, browser: Any, address: str, name: str, chance: random.Random):
        self.name, self.chance, self.logged, self.done = name, chance, [], Counter[str]()
        self.page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        self.page.set_default_timeout(1000 * PATIENCE)
        self.page.on("pageerror", lambda error: self.logged.append(str(error)))
        self.page.on("console", lambda message: self.logged.append(f"{message.type}: {message.text}"))
        self.page.goto(address)
        self.page.locator("#loading").wait_for(state="hidden")
        self.words = self.page.evaluate("window.gsdff.data.header.words.map((word) => word.name)")
        acts: list[Callable[[], None]] = [self.look, self.rest, self.region, self.edit, self.undo, self.measure]
        acts += [self.ask, self.threshold, self.mode, self.answer] if self.words else []
        self.acts = acts

    def act(self) -> None:
        """Does something."""
        act = self.chance.choice(self.acts)
        act()
        self.done[act.__name__] += 1

    def press(self, selector: str) -> None:
        """Presses a button, without waiting for pictures as Playwright's own clicks do."""
        self.page.locator(selector).dispatch_event("click")

    def open(self, tab: str) -> None:
        """Opens a tab of the panel."""
        self.press(f"#tabs button[value={tab}]")

    def place(self) -> tuple[float, float]:
        """A place of the picture."""
        left, top, right, bottom = CLEAR
        return self.chance.uniform(left, right), self.chance.uniform(top, bottom)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        self.page.mouse.move(*start)
        self.page.mouse.down()
        self.page.mouse.move(*end, steps=4)
        self.page.mouse.up()

    def look(self) -> None:
        """Turns the camera, comes closer and goes back."""
        self.page.keyboard.press("Escape")
        self.drag(self.place(), self.place())
        self.page.mouse.wheel(0, self.chance.choice((-240, 240)))
        if self.chance.random() < 0.3:
            self.press("#start")

    def rest(self) -> None:
        """Waits for an exact picture, of a mode of the server or the page's own."""
        buttons = self.page.locator("#server-modes button")
        if buttons.count() and self.chance.random() < 0.5:
            buttons.nth(self.chance.randrange(buttons.count())).dispatch_event("click")
        self.page.get_by_text("drawn by server").wait_for()
        if self.words:
            self.press("#modes button[value=colours]")  # leaves the server's mode

    def region(self) -> None:
        """Selects by a box or a lasso, at either depth."""
        self.open("select")
        self.press(f"#depths button:nth-child({self.chance.randint(1, 2)})")
        self.press(f"#tools button[value={self.chance.choice(('box', 'lasso', 'brush'))}]")
        start, end = self.place(), self.place()
        self.page.mouse.move(*start)
        self.page.mouse.down()
        self.page.mouse.move(end[0], start[1], steps=3)
        self.page.mouse.move(*end, steps=3)
        self.page.mouse.up()
        self.press("#tools button[value=move]")

    def edit(self) -> None:
        """Deletes, recolours or moves what is selected, or selects all but that."""
        self.open("select")
        if not self.page.evaluate("window.gsdff.editor.numSelected"):
            self.press("#all")
            return
        act = self.chance.choice(("delete", "recolor", "invert", "handles"))
        if act == "recolor":
            color = self.chance.choice(COLORS)
            self.page.locator("#recolor").evaluate(
                "(e, c) => { e.value = c; e.dispatchEvent(new Event('change')); }", color
            )
        elif act == "handles":
            self.press("#gizmo")
            grip = self.page.locator('.grip[data-handle="free"]')
            box = grip.bounding_box()
            if box is not None and CLEAR[0] < box["x"] < CLEAR[2] and CLEAR[1] < box["y"] < CLEAR[3]:
                self.drag((box["x"] + 8, box["y"] + 8), self.place())
            self.press("#gizmo")
        else:
            self.press(f"#{act}")

    def undo(self) -> None:
        """Undoes everything."""
        for _ in range(self.page.evaluate("window.gsdff.editor.at")):
            self.press("#undo")

    def measure(self) -> None:
        """Measures between two points."""
        self.open("view")
        self.press("#measure")
        for _ in range(2):
            self.page.mouse.click(*self.place())
        self.press("#measure")
        if self.page.locator("#measure-clear").is_visible():
            self.press("#measure-clear")

    def ask(self) -> None:
        """Asks for a word, sometimes with one to compare with."""
        self.open("search")
        while self.page.locator(".chip").count():
            self.page.locator(".chip").first.dispatch_event("click")
        word, other = self.chance.sample(self.words, 2)
        self.page.fill("#search", word)
        self.page.keyboard.press("Enter")
        if self.chance.random() < 0.3:
            self.page.fill("#search", f"-{other}")
            self.page.keyboard.press("Enter")
        self.page.locator("#answer", has_text=f"{word}: ").wait_for()

    def threshold(self) -> None:
        """Slides the threshold, where there is one."""
        self.open("search")
        slider = self.page.locator("#threshold")
        if slider.is_visible():
            slide = "e.value = +e.min + share * (e.max - e.min); e.dispatchEvent(new Event('input'));"
            slider.evaluate(f"(e, share) => {{ {slide} }}", self.chance.random())

    def mode(self) -> None:
        """Shows another mode."""
        buttons = self.page.locator("#modes button:visible:enabled")
        buttons.nth(self.chance.randrange(buttons.count())).dispatch_event("click")

    def answer(self) -> None:
        """Selects the answer, where there is one."""
        self.open("search")
        if self.page.locator("#take-answer").is_visible():
            self.press("#take-answer")


class Memory:
    """Memory of pages and server over time, in MiB."""

    def __init__(self, browser: Any, server: int):
        self._browser, self._server = browser.new_browser_cdp_session(), server
        self._sessions: dict[str, Any] = {}
        self.times: list[float] = []
        self.values: dict[str, list[float]] = {}

    def measure(self, now: float, tabs: list[Tab]) -> None:
        """Measures all."""
        found = {tab.name: self._script(tab) for tab in tabs}
        processes = self._browser.send("SystemInfo.getProcessInfo")["processInfo"]
        pages = [process["id"] for process in processes if process["type"] == "renderer"]
        found |= {"processes of the pages": sum(map(resident, pages)), "server": resident(self._server)}
        self.times.append(now)
        for name, value in found.items():
            self.values.setdefault(name, []).append(value)

    def _script(self, tab: Tab) -> float:
        if tab.name not in self._sessions:
            self._sessions[tab.name] = tab.page.context.new_cdp_session(tab.page)
        session = self._sessions[tab.name]
        session.send("HeapProfiler.collectGarbage")
        usage = session.send("Runtime.getHeapUsage")
        return (usage["usedSize"] + usage.get("backingStorageSize", 0)) / 2**20

    def growing(self) -> list[str]:
        """What has grown from each third to the next."""
        growth = {name: find_growth(self.times, values) for name, values in self.values.items()}
        return [
            f"{name}: memory grows from {pair[0]:.0f} to {pair[1]:.0f} MiB" for name, pair in growth.items() if pair
        ]

    def table(self) -> str:
        """First and last values, and the means of the thirds."""
        rows = [
            [
                name,
                f"{values[0]:.0f}",
                *(f"{value:.0f}" for value in find_thirds(self.times, values)),
                f"{values[-1]:.0f}",
            ]
            for name, values in self.values.items()
        ]
        width = max(map(len, rows))
        head = ["MiB", "first", *(f"third {i + 1}" for i in range(width - 3)), "last"]
        return markdown_table(head, rows)


def find_thirds(times: list[float], values: list[float]) -> list[float]:
    """Means of the three thirds after the first share of the time; fewer if nothing was measured in one."""
    first = WARM * times[-1]
    edges = [first + (times[-1] - first) * i / 3 for i in range(4)]
    pairs = list(zip(times, values, strict=True))
    parts = [[value for time, value in pairs if low <= time <= high] for low, high in pairwise(edges)]
    return [fmean(part) for part in parts if part]


def find_growth(times: list[float], values: list[float]) -> tuple[float, float] | None:
    """Means of the first and the last third, if it grows from each to the next; None if it does not."""
    thirds = find_thirds(times, values)
    is_growing = thirds == sorted(thirds) and thirds[-1] > (1 + GROWTH) * thirds[0] + SLACK
    return (thirds[0], thirds[-1]) if is_growing else None


def resident(process: int) -> float:
    """MiB of memory that a process holds."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    run_door(main)
