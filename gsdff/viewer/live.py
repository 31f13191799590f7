"""A page for a run that trains: the scene as it comes to be, and when it is finished, the finished scene.

    with Live(address, trainer, folder) as live:
        train(trainer, report, folder, live.advance)
        live.stay()

Pages show copies of the Gaussians, made between two steps and only while somebody looks; a page draws in a thread of
its own, which takes turns with the steps. Nothing here changes what is trained, nor torch's generators.
"""

import logging
import threading
import time
from dataclasses import replace
from weakref import WeakKeyDictionary

from torch import Tensor

from gsdff.errors import UserError
from gsdff.field.field import Field, field_of_run
from gsdff.gaussians import Gaussians
from gsdff.io.runs import LoadedRun, RunFolder, data_folder
from gsdff.training.trainer import Trainer
from gsdff.viewer.progress import Progress
from gsdff.viewer.server import Address, Server
from gsdff.viewer.tab import Tab
from gsdff.viewer.world import World

log = logging.getLogger("gsdff")

TICK = 0.5
"""Seconds between looks at how far the run is."""
REFRESH = 2.0
"""Seconds at least between two states of the scene on a page."""
SHARE = 0.1
"""Of the time, what a page that stands still may spend on drawing new states."""
SPLATS_A_SECOND = 100_000
"""How many splats, of 32 bytes, are sent to a page on average."""


class Live:
    """The page of one run; a context manager."""

    def __init__(self, address: Address, trainer: Trainer, folder: RunFolder):
        self.trainer, self.folder = trainer, folder
        config, scene = trainer.config, trainer.scene
        self.progress = Progress(trainer.step, config.stage1.steps, trainer.total_steps, folder.metrics)
        self._run = LoadedRun(
            folder.path,
            replace(config, data=data_folder(config, folder)),
            copy_of(trainer.gaussians),
            scene.frame,
            trainer.step,
        )
        self._field = field_of_run(self._run, trainer.device, scene=scene)
        self._knows_features = False
        self.world = World(self._snapshot(), scene.views, scene.frame, folder.path / "viewer", training=self.progress)
        self.server = Server(self.world, address)
        self._due: WeakKeyDictionary[Tab, float] = WeakKeyDictionary()
        """When a page is to be given the scene again, by `time.perf_counter`."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow_run, name="gsdff-live", daemon=True)

    def __enter__(self) -> "Live":
        self._thread.start()
        log.info("watch it train: open %s", self.server.address.url)
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop_following()
        self.server.close()

    def advance(self, trainer: Trainer) -> dict[str, Tensor]:
        """One step, when it is its turn and nobody has paused."""
        self.progress.wait_while_paused()
        with self.world.rendering:
            measures = trainer.advance()
        self.progress.count(trainer.step, len(trainer.gaussians))
        return measures

    def stay(self) -> None:
        """Shows the finished run as `python -m gsdff.view` does, until Ctrl-C."""
        self.finish()
        try:
            print(f"{self.server.address.url} goes on, with the finished scene (Ctrl-C ends it)", flush=True)
            threading.Event().wait()
        except KeyboardInterrupt:
            print()

    def finish(self) -> None:
        """The pages become those of a finished run."""
        self._stop_following()
        self._take_snapshot()
        if not self._field.has_features:
            self._field = self._open_field()
        self.world.become(self._snapshot(), training=None)
        self.server.renew()

    def follow(self) -> None:
        """Brings all pages to where the run is, as far as it is time for that."""
        has_features = self.trainer.gaussians.features is not None and self.folder.basis.is_file()
        if has_features and not self._knows_features:
            self._begin_stage2()
        panels = self.server.open_panels
        if panels:
            self.progress.curves.read_on()
        for panel in panels:
            try:
                panel.show_training()
                self._follow_in(panel.tab)
            except RuntimeError as error:  # controls of a page that has just been closed cannot be set
                if panel in self.server.open_panels and not panel.tab.is_closed:
                    log.warning("a page could not follow the training: %s", error)

    def _follow_run(self) -> None:
        while not self._ended.wait(TICK):
            self.follow()

    def _stop_following(self) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _follow_in(self, tab: Tab) -> None:
        """Gives a page the scene as it is now, if it is time for that."""
        started = time.perf_counter()
        if tab.screen.is_busy or started < self._due.get(tab, 0.0):
            return
        if self._take_snapshot():
            self.world.field = self._snapshot()
        if tab.document.base is self.world.gaussians:
            return
        tab.follow()
        if tab.draws_here:
            wait = tab.screen.seconds / SHARE
        else:
            wait = max((time.perf_counter() - started) / SHARE, len(self.world.gaussians) / SPLATS_A_SECOND)
        self._due[tab] = started + max(REFRESH, wait)

    def _begin_stage2(self) -> None:
        """Features have come: their colours are found now and kept, and there is something to ask."""
        self._knows_features = True
        self._take_snapshot()
        self._field = self._open_field()
        self.world.become(self._snapshot(), self.progress)
        self.server.renew()

    def _take_snapshot(self) -> bool:
        """A copy of the Gaussians as they are between two steps; false where there is nothing new."""
        with self.world.rendering:
            step, gaussians = self.trainer.step, self.trainer.gaussians
            kept = self._run.gaussians
            if step == self._run.step and (gaussians.features is None) == (kept.features is None):
                return False
            self._run = replace(self._run, gaussians=copy_of(gaussians), step=step)
            return True

    def _snapshot(self) -> Field:
        """The field as of the last snapshot."""
        gaussians = self._run.gaussians.to_input_frame(self._run.frame)
        return replace(self._field, gaussians=gaussians, run=self._run)

    def _open_field(self) -> Field:
        """The field with its features; logs once why they cannot be queried, if they cannot."""
        field = field_of_run(self._run, self.trainer.device, scene=self.trainer.scene)
        if self._run.gaussians.features is None:
            return field
        try:
            field.require_features()
            with self.world.asking():
                log.info("features of the %s teacher: the page can be queried", field.teacher.name)
        except UserError as error:
            log.info("the page cannot be queried: %s", error)
            return replace(field, basis=None, why_no_features=str(error))
        return field


def copy_of(gaussians: Gaussians) -> Gaussians:
    """What stays as it is when the optimizer goes on."""
    return gaussians.map(lambda tensor: tensor.detach().clone())
