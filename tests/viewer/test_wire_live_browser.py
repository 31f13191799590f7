"""A run that trains in Chromium: newer Gaussians come, what is selected stays, edits wait for the end."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from page_window import load, wait_until

from gsdff.training.loop import train
from gsdff.training.trainer import Trainer
from gsdff.viewer.address import Address
from gsdff.viewer.wire import live as live_module
from gsdff.viewer.wire.live import LiveApp


class SteppedRun:
    """A run that trains in a thread, as far as it is let."""

    def __init__(self, live: LiveApp, trainer: Trainer, report: Any, folder: Any):
        self.live, self.trainer = live, trainer
        self._may_step = threading.Semaphore(0)
        self._done = threading.Semaphore(0)
        self._thread = threading.Thread(target=lambda: train(trainer, report, folder, self._advance))
        self._thread.start()

    def _advance(self, trainer: Trainer) -> Any:
        self._may_step.acquire()
        measures = self.live.advance(trainer)
        self._done.release()
        return measures

    def step(self, count: int) -> None:
        """Trains some steps."""
        for _ in range(count):
            self._may_step.release()
            assert self._done.acquire(timeout=60)

    def end(self) -> None:
        """Trains to the end."""
        self._may_step.release(1000)
        self._thread.join(120)
        assert not self._thread.is_alive()


@pytest.fixture
def run(open_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[SteppedRun]:
    monkeypatch.setattr(live_module, "MIN_REFRESH_INTERVAL", 0.1)
    monkeypatch.setattr(live_module, "POLL_INTERVAL", 0.1)
    trainer, folder, report = open_run()
    with LiveApp(Address("127.0.0.1", 0), trainer, folder) as live:
        run = SteppedRun(live, trainer, report, folder)
        yield run
        live.progress.resume()
        run.end()


@pytest.fixture
def page(browser: Any, run: SteppedRun) -> Iterator[Any]:
    page = browser.new_context(viewport={"width": 900, "height": 480}).new_page()
    errors = load(page, run.live.server.url)
    yield page
    page.context.close()
    assert errors == []


def said(page: Any, text: str) -> None:
    page.locator("#training-lines", has_text=text).wait_for()


def count(page: Any) -> int:
    return page.evaluate("window.gsdff.data.numGaussians")


def test_a_page_shows_the_training_and_goes_on_as_that_of_the_finished_run(run, page):
    said(page, "step 0 of 46, stage 1 (colours)")
    before = count(page)
    run.step(11)
    said(page, "step 11 of 46")
    wait_until(page, f"window.gsdff.data.numGaussians > {before}")
    page.get_by_text("drawn by server: colours", exact=True).wait_for()
    assert page.locator(".curve").count() == 2
    camera = page.evaluate("window.gsdff.orbit.place([0.1, 0.2, -2, 0, 0, 0.1]); window.gsdff.pose()")

    run.step(20)  # the features begin
    page.locator("#tabs button[value=search]").wait_for()
    page.locator("#loading").wait_for(state="hidden")
    assert page.evaluate("window.gsdff.pose()") == pytest.approx(camera, abs=1e-4)
    page.fill("#search", "chair")
    page.keyboard.press("Enter")
    page.locator("#answer", has_text="chair: ").wait_for()
    scores = page.evaluate("[...window.gsdff.shown.scores]")
    run.step(5)
    wait_until(page, f"window.gsdff.shown.scores && window.gsdff.shown.scores[3] !== {scores[3]}")
    page.get_by_text("drawn by server: heat", exact=True).wait_for()

    run.end()
    run.live.finish()
    page.locator("#training").wait_for(state="hidden")
    page.locator("#answer", has_text="chair: ").wait_for()
    assert page.evaluate("window.gsdff.pose()") == pytest.approx(camera, abs=1e-4)
    assert count(page) == len(run.trainer.gaussians)
    page.click("#tabs button[value=select]")
    page.click("#all")
    page.click("#delete")
    assert page.evaluate("window.gsdff.editor.numDeleted") == count(page)


def test_a_picture_of_an_earlier_state_is_called_one_until_the_next_has_come(run, page):
    page.get_by_text("drawn by server: colours", exact=True).wait_for()
    page.evaluate("""() => {
      const line = document.getElementById("drawn-by");
      window.said = [];
      new MutationObserver(() => window.said.push(line.textContent)).observe(line, { childList: true });
    }""")
    run.step(1)
    wait_until(page, "window.gsdff.data.header.server.version > 0")
    wait_until(page, "window.said.at(-1) === 'drawn by server: colours'")
    assert page.evaluate("window.said[0]") == "drawn by server: colours, of an earlier state"
    assert page.locator("#exact").is_visible()


def test_what_is_selected_stays_and_edits_wait_for_the_end(run, page):
    said(page, "step 0 of 46")
    page.click("#tabs button[value=select]")
    assert "edits wait for the end of the training" in page.inner_text("#edits-wait")
    page.click("#all")
    before = count(page)
    run.step(11)
    said(page, "step 11 of 46")
    said(page, "while something is selected or hidden its Gaussians stay as they are")
    assert count(page) == before == page.evaluate("window.gsdff.editor.numSelected")
    assert page.locator("#delete").is_disabled() and page.locator("#recolor").is_disabled()
    page.keyboard.press("Delete")
    assert page.evaluate("window.gsdff.editor.numDeleted") == 0
    page.click("#none")
    wait_until(page, f"window.gsdff.data.numGaussians > {before}")
    assert page.evaluate("window.gsdff.editor.undoable") is None


def test_the_training_is_paused_and_goes_on(run, page):
    run.step(1)
    said(page, "step 1 of 46")
    page.click("#training-pause")
    said(page, "paused")
    assert run.live.progress.is_paused and page.inner_text("#training-pause") == "continue"
    page.click("#training-pause")
    said(page, "stage 1")
    run.step(1)
    said(page, "step 2 of 46")


def test_states_that_have_been_replaced_leave_no_textures(run, page):
    textures = []
    for _ in range(6):
        before = page.evaluate("window.gsdff.data.header.server.version")
        run.step(1)
        wait_until(page, f"window.gsdff.data.header.server.version > {before}")
        page.get_by_text("drawn by server: colours", exact=True).wait_for()
        textures.append(page.evaluate("window.gsdff.picture.renderer.info.memory.textures"))
    assert max(textures[2:]) <= max(textures[:2]), textures
