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
from dataclasses import replace
from weakref import WeakKeyDictionary

from torch import Tensor

from gsdff.errors import UserError
from gsdff.field.field import Field
from gsdff.field.load import field_of_run
from gsdff.gaussians import Gaussians
from gsdff.interrupts import expect_interrupt
from gsdff.io.runs import LoadedRun, RunFolder, data_folder
from gsdff.training.trainer import Trainer
from gsdff.viewer.failures import FAILURES
from gsdff.viewer.live_panel import LivePanel
from gsdff.viewer.server import Address, Server
from gsdff.viewer.shared_scene import SharedScene
from gsdff.viewer.tab import Tab
from gsdff.viewer.training_progress import TrainingProgress

log = logging.getLogger("gsdff")

POLL_INTERVAL = 0.5
"""Seconds between two updates of the pages' numbers."""
MIN_REFRESH_INTERVAL = 2.0
"""Least number of seconds between two states of the scene on a page."""
REFRESH_SHARE = 0.1
"""Share of the time that a page may render new states while its camera stands still."""
SPLATS_PER_SECOND = 100_000
"""Number of splats, of 32 bytes, that are sent to a page on average."""


class Live:
    """Server of the page of one run; a context manager."""

    def __init__(self, address: Address, trainer: Trainer, folder: RunFolder):
        self.trainer, self.folder = trainer, folder
        config, scene = trainer.config, trainer.scene
        self.progress = TrainingProgress(trainer.step, config.stage1.steps, trainer.total_steps, folder.metrics)
        self._run = LoadedRun(
            folder.path,
            replace(config, data=data_folder(config, folder)),
            detached_copy(trainer.gaussians),
            scene.frame,
            trainer.step,
        )
        self._field = field_of_run(self._run, trainer.device, scene=scene)
        self._has_begun_stage2 = False
        saved = folder.path / "viewer"
        self.shared = SharedScene(self._snapshot(), scene.views, scene.frame, saved, training=self.progress)
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

    def advance(self, trainer: Trainer) -> dict[str, Tensor]:
        """Trains one step, in turn with the pages and not while paused."""
        self.progress.wait_while_paused()
        with self.shared.render_lock:
            measures = trainer.advance()
        self.progress.update(trainer.step, len(trainer.gaussians))
        return measures

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
        self._take_snapshot()
        if not self._field.has_features:
            self._field = self._open_field()
        self.shared.replace_field(self._snapshot(), training=None)
        self.server.rebuild_pages()

    def update_pages(self) -> None:
        """Updates the numbers of all pages, and the scene of those that are due."""
        has_features = self.trainer.gaussians.features is not None and self.folder.basis.is_file()
        if has_features and not self._has_begun_stage2:
            self._begin_stage2()
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
        if self._take_snapshot():
            self.shared.field = self._snapshot()
        if tab.session.base is self.shared.gaussians:
            return
        tab.update_scene()
        if tab.renders_on_server:
            wait = tab.render_loop.seconds / REFRESH_SHARE
        else:
            sending = len(self.shared.gaussians) / SPLATS_PER_SECOND
            wait = max((time.perf_counter() - started) / REFRESH_SHARE, sending)
        self._next_refresh[tab] = started + max(MIN_REFRESH_INTERVAL, wait)

    def _begin_stage2(self) -> None:
        """Rebuilds the pages with queries and the colours of features, which stay the same through stage 2."""
        self._has_begun_stage2 = True
        self._take_snapshot()
        self._field = self._open_field()
        self.shared.replace_field(self._snapshot(), self.progress)
        self.server.rebuild_pages()

    def _take_snapshot(self) -> bool:
        """Copies the Gaussians between two steps; returns whether they are newer than the last copy."""
        with self.shared.render_lock:
            step, gaussians = self.trainer.step, self.trainer.gaussians
            kept = self._run.gaussians
            if step == self._run.step and (gaussians.features is None) == (kept.features is None):
                return False
            self._run = replace(self._run, gaussians=detached_copy(gaussians), step=step)
            return True

    def _snapshot(self) -> Field:
        """The field with the last copy of the Gaussians."""
        gaussians = self._run.gaussians.to_input_frame(self._run.frame)
        return replace(self._field, gaussians=gaussians, run=self._run)

    def _open_field(self) -> Field:
        """The field with its features; logs once why they cannot be queried, if they cannot."""
        field = field_of_run(self._run, self.trainer.device, scene=self.trainer.scene)
        if self._run.gaussians.features is None:
            return field
        try:
            field.require_features()
            with self.shared.encoding_text():
                log.info("features of the %s teacher: the page can be queried", field.teacher.name)
        except UserError as error:
            log.info("the page cannot be queried: %s", error)
            return replace(field, basis=None, why_no_features=str(error))
        return field


def detached_copy(gaussians: Gaussians) -> Gaussians:
    """Copy of the Gaussians that the optimizer does not change."""
    return gaussians.map(lambda tensor: tensor.detach().clone())
