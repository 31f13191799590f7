"""The page of a run that trains: its scene during training and after it.

    with Live(address, trainer, folder) as live:
        train(trainer, report, folder, live.advance)
        live.stay()

Pages show copies of the Gaussians, made between two steps and only while a page is open; every page renders in its own
thread, in turn with the steps. Nothing here changes the trained parameters or torch's generators.
"""

import logging
import threading
import time
from weakref import WeakKeyDictionary

from gsdff.interrupts import expect_interrupt
from gsdff.io.runs import RunFolder
from gsdff.training.trainer import Trainer
from gsdff.viewer.failures import FAILURES
from gsdff.viewer.live_panel import LivePanel
from gsdff.viewer.live_scene import MIN_REFRESH_INTERVAL, POLL_INTERVAL, REFRESH_SHARE, LiveScene
from gsdff.viewer.server import Address, Server
from gsdff.viewer.tab import Tab

log = logging.getLogger("gsdff")

SPLATS_PER_SECOND = 100_000
"""Number of splats, of 32 bytes, that are sent to a page on average."""


class Live(LiveScene):
    """Server of the page of one run; a context manager."""

    def __init__(self, address: Address, trainer: Trainer, folder: RunFolder):
        super().__init__(trainer, folder)
        self.server = Server(self.shared, address)
        self._next_refresh: WeakKeyDictionary[Tab, float] = WeakKeyDictionary()
        """Time of a page's next state of the scene, by `time.perf_counter`."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="gsdff-live", daemon=True)

    def __enter__(self) -> "Live":
        self._thread.start()
        log.info("viewer of the training: open %s", self.server.url)
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop_polling()
        self.server.close()

    def stay(self) -> None:
        """Shows the finished run as `gsdff view` does, until Ctrl-C."""
        self.finish()
        try:
            expect_interrupt()
            print(f"{self.server.url} now shows the finished scene (Ctrl-C stops it)", flush=True)
            threading.Event().wait()
        except KeyboardInterrupt:
            print()

    def finish(self) -> None:
        """Turns the pages into those of a finished run."""
        self._stop_polling()
        self.end()
        self.server.rebuild_pages()

    def update_pages(self) -> None:
        """Updates the numbers of all pages, and the scene of those that are due."""
        if self.begins_stage2:
            self.begin_stage2()
            self.server.rebuild_pages()
        panels = self.server.open_panels
        if panels:
            self.progress.curves.update()
        for panel in panels:
            try:
                assert isinstance(panel, LivePanel), "panels during training are live"
                panel.show_training()
                self._update_scene(panel.tab)
            except FAILURES as error:  # controls of a page that has just been closed cannot be set
                if panel in self.server.open_panels:
                    panel.tab.show_failure(error)

    def _poll(self) -> None:
        while not self._ended.wait(POLL_INTERVAL):
            self.update_pages()

    def _stop_polling(self) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _update_scene(self, tab: Tab) -> None:
        """Shows the present state of the scene in a tab, if that is due."""
        started = time.perf_counter()
        if tab.render_loop.is_busy or started < self._next_refresh.get(tab, 0.0):
            return
        self.renew()
        if tab.session.base is self.shared.gaussians:
            return
        tab.update_scene()
        if tab.renders_on_server:
            wait = tab.render_loop.seconds / REFRESH_SHARE
        else:
            sending = len(self.shared.gaussians) / SPLATS_PER_SECOND
            wait = max((time.perf_counter() - started) / REFRESH_SHARE, sending)
        self._next_refresh[tab] = started + max(MIN_REFRESH_INTERVAL, wait)
