"""Benchmark of the page of `gsdff export --format html`: its size, and the time of what a person does in it.

    python scripts/bench_page.py runs/demo [--copies 19]

Writes the page of a run, or with copies of it side by side a larger one, opens it in Chromium (WebGL in software), and
measures in the page, median of `--repeats`: a query from Enter to the numbers on screen (of which the scores), a
threshold, a mode, the Gaussian under a click, what is said of it when the pointer rests, a selection by a box. The
first query of a word counts, words that were searched for before do not. Words are asked for when the picture stands
still, and others at once after a change of the picture, when drawing in software takes the processor. Drawing itself is
not measured: it is asynchronous, and in software it tells nothing of a graphics card. CPU times are those of the page's
process, its worker included. Prints a table with the load. Needs Python's playwright and Chromium or Chrome.
"""

import gsdff  # noqa: F401  # isort: skip  # before torch: it sets how torch's threads wait

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import torch
import tyro
from chromium import open_browser
from study_tools import markdown_table

from gsdff.cli import run_door
from gsdff.editing.operations.transform import Duplicate
from gsdff.field.load import load
from gsdff.selection import Selection
from gsdff.viewer.page import write_page

PATIENCE = 600_000
"""Milliseconds that a page of a million Gaussians may take to open on a machine that is busy."""
SPACING = 4.0
"""Distance between copies, in radii of the scene's cameras."""
ANSWER = "#answer"
STILL = """async () => {
  const { picture } = window.gsdff, context = picture.renderer.getContext();
  let drawn = performance.now();
  picture.drawnHandlers.push(() => (drawn = performance.now()));
  while (performance.now() - drawn < 1500) {
    await new Promise((done) => setTimeout(done, 100));
    // waits for all that is drawn
    context.readPixels(0, 0, 1, 1, context.RGBA, context.UNSIGNED_BYTE, new Uint8Array(4));
  }
  picture.drawnHandlers.pop();
}"""
"""Waits until nothing is drawn any more."""


@dataclass(frozen=True)
class Options:
    """Measures the exported page."""

    run: Annotated[Path, tyro.conf.Positional] = Path("runs/demo")
    """Run with features."""
    copies: int = 0
    """Copies of the scene beside itself: 19 make a million Gaussians of the demo's 50,000."""
    repeats: int = 5
    width: int = 640
    height: int = 360


def main() -> None:
    """Prints a table."""
    options = tyro.cli(Options, description=Options.__doc__)
    with tempfile.TemporaryDirectory() as folder, open_browser("--enable-precise-memory-info") as browser:
        page_file = Path(folder) / "page.html"
        rows = [*export(options, page_file), *measure(browser, page_file, options)]
    print(markdown_table(["what", "figure"], [list(row) for row in rows]))


def export(options: Options, path: Path) -> list[tuple[str, str]]:
    """Writes the page; rows of its size."""
    field = load(options.run, device="cpu")
    if options.copies:
        everything = Selection(torch.ones(len(field), dtype=torch.bool))
        away = (SPACING * field.frame.scale, 0.0, 0.0)
        field = field.edit(Duplicate(everything, translation=away, copies=options.copies))
    start, start_cpu = time.perf_counter(), time.process_time()
    write_page(field, path)
    wall, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    size = path.stat().st_size
    return [
        ("Gaussians", f"{len(field):,}"),
        ("file", f"{size / 2**20:.1f} MiB, {size / len(field):.1f} bytes a Gaussian"),
        ("export", f"{wall:.0f} s, {cpu:.0f} CPU seconds"),
    ]


def measure(browser: Any, path: Path, options: Options) -> list[tuple[str, str]]:
    """Rows of times and memory."""
    page = browser.new_page(viewport={"width": options.width, "height": options.height})
    page.set_default_timeout(PATIENCE)
    clock = Clock(browser)
    start, before = time.perf_counter(), clock.read()
    page.goto(path.as_uri())
    page.locator("#loading").wait_for(state="hidden")
    opened = f"{time.perf_counter() - start:.1f} s, {clock.read() - before:.1f} CPU seconds"
    rows = [("load", f"{os.getloadavg()[0]:.1f}"), ("open, until the page can be used", opened)]
    words = page.evaluate("window.gsdff.data.header.words.map((word) => word.name)")
    ask(page, words[0])  # the worker has computed the negatives by then
    repeats, fresh = min(options.repeats, (len(words) - 1) // 2), iter(words[1:])
    for what, is_still in (("query of a new word", True), ("the same while the picture is drawn", False)):
        times = [ask(page, next(fresh), clock, is_still=is_still) for _ in range(repeats)]
        query, scoring, cpu = (median(time[key] for time in times) for key in ("query", "scoring", "cpu"))
        rows.append((what, f"{query:.0f} ms, {scoring:.0f} of them for the scores, {cpu:.0f} of CPU"))
    slide = """(value) => { const e = document.querySelector("#threshold"); e.value = value;
        const start = performance.now(); e.dispatchEvent(new Event("input")); return performance.now() - start; }"""
    rows.append(("threshold", time_of(page, slide, [0.2 + 0.05 * i for i in range(options.repeats)])))
    press = """(mode) => { const button = document.querySelector(`#modes button[value=${mode}]`);
        const start = performance.now(); button.click(); return performance.now() - start; }"""
    rows.append(("mode", time_of(page, press, [("isolate", "heat")[i % 2] for i in range(options.repeats)])))
    pick = (
        """(x) => { const start = performance.now(); window.gsdff.pick(x, 0.5); return performance.now() - start; }"""
    )
    page.evaluate(pick, 0.5)  # decodes positions
    places = [0.3 + 0.4 * i / options.repeats for i in range(options.repeats)]
    rows.append(("Gaussian under a click", time_of(page, pick, places)))
    rest = (
        """(x) => { const start = performance.now(); window.gsdff.likely(x, 0.5); return performance.now() - start; }"""
    )
    rows.append(("class, thing and score under the pointer", time_of(page, rest, places)))
    box = """(visible) => { const { gsdff } = window; const start = performance.now(); gsdff.isVisibleOnly = visible;
        gsdff.takeRegion({ kind: "box", from: [innerWidth * 0.3, innerHeight * 0.3],
            to: [innerWidth * 0.7, innerHeight * 0.7] }); const time = performance.now() - start;
        gsdff.editor.undo(); return time; }"""
    rows.append(("selection by a box, all depths", time_of(page, box, [False] * options.repeats)))
    rows.append(("selection by a box, visible only", time_of(page, box, [True] * options.repeats)))
    heap = page.evaluate("performance.memory.usedJSHeapSize")
    rows.append(("memory of the page's script, without the worker and textures", f"{heap / 2**20:.0f} MiB"))
    return rows


class Clock:
    """CPU seconds of all pages' processes."""

    def __init__(self, browser: Any):
        self._session = browser.new_browser_cdp_session()

    def read(self) -> float:
        processes = self._session.send("SystemInfo.getProcessInfo")["processInfo"]
        return sum(process["cpuTime"] for process in processes if process["type"] == "renderer")


def ask(page: Any, word: str, clock: Clock | None = None, *, is_still: bool = True) -> dict[str, float]:
    """Searches for a word; times in milliseconds, in the page."""
    while page.locator(".chip").count():
        page.locator(".chip").first.click()
    page.fill("#search", word)
    if is_still:
        page.evaluate(STILL)
    before = clock.read() if clock else 0.0
    page.keyboard.press("Enter")
    page.locator(ANSWER, has_text=f"{word}: ").wait_for()
    cpu = clock.read() - before if clock else 0.0
    return page.evaluate("window.gsdff.times") | {"cpu": 1000 * cpu}


def time_of(page: Any, script: str, arguments: list[Any]) -> str:
    """Median time of a script that returns its own."""
    return f"{median(page.evaluate(script, argument) for argument in arguments):.0f} ms"


if __name__ == "__main__":
    run_door(main)
