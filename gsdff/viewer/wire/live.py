"""The app's page of a run that trains: its scene during training and after it.

    with LiveApp(address, trainer, folder) as live:
        train(trainer, report, folder, live.advance)
        live.stay()

A page asks for the next state when it has shown the last, so that a slow line or a hidden tab takes no more than it
can, and while nobody looks nothing is copied. It gets the Gaussians themselves, as it selects and queries by itself,
and then exact pictures of them, as of any scene.
"""

import logging
import threading
import time
import zlib
from functools import partial
from typing import Any

from gsdff.interrupts import expect_interrupt
from gsdff.io.runs import RunFolder
from gsdff.training.trainer import Trainer
from gsdff.viewer.address import Address
from gsdff.viewer.failures import FAILURES, describe_failure
from gsdff.viewer.live_scene import MIN_REFRESH_INTERVAL, POLL_INTERVAL, REFRESH_SHARE, LiveScene
from gsdff.viewer.page.dictionary import Dictionary
from gsdff.viewer.page.document import Page, describe_packing, store_columns
from gsdff.viewer.page.packing import pack
from gsdff.viewer.serve import make_app_page
from gsdff.viewer.training_progress import thin_out
from gsdff.viewer.wire.answers import Answers
from gsdff.viewer.wire.messages import Follow
from gsdff.viewer.wire.replies import Failed, Training, write_answer
from gsdff.viewer.wire.server import AppServer
from gsdff.viewer.wire.tab import AppTab

log = logging.getLogger("gsdff")


class LiveApp(LiveScene):
    """Server of the app's page of one run; a context manager."""

    def __init__(self, address: Address, trainer: Trainer, folder: RunFolder):
        super().__init__(trainer, folder)
        most = max(trainer.config.stage1.max_gaussians, len(trainer.gaussians))
        self.server = AppServer(Answers(self.shared), self.make_page, address, most_gaussians=most)
        self._changing = threading.Lock()
        """Held while the scene changes, or a page is made of it."""
        self._packing = threading.Lock()
        self._packed: tuple[Answers, dict[str, Any], bytes] | None = None
        """The last state that a page was sent, packed."""
        self._next_refresh = 0.0
        """Time of the next state of the scene, by `time.perf_counter`."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="gsdff-live", daemon=True)

    def __enter__(self) -> "LiveApp":
        self._thread.start()
        log.info("viewer of the training: open %s", self.server.url)
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop_polling()
        self.server.close()

    def make_page(self) -> Page:
        """The page of the scene as it is now."""
        with self._changing:
            if self.shared.training is not None:
                self._renew()
            with self.shared.encoding_text():
                return make_app_page(self.server.answers)

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
        """Turns the pages into those of a finished run: they load themselves again."""
        self._stop_polling()
        with self._changing:
            self.end()
            self._open_again()

    def update_pages(self) -> None:
        """Tells the pages that ask for it how far the training is, and sends those the scene that have an older one."""
        with self._changing:
            if self.begins_stage2:
                self.begin_stage2()
                self._open_again()
            asked = self._take_follows()
            if not asked:
                return
            self.progress.curves.update()
            is_wanted = not all(follow.holds for _, follow in asked)
            if is_wanted and time.perf_counter() >= self._next_refresh:
                self._renew()
            for tab, follow in asked:
                tab.do(partial(self._answer, tab, follow, self.server.answers))

    def _take_follows(self) -> list[tuple[AppTab, Follow]]:
        pairs = [(tab, tab.take_follow()) for tab in self.server.open_tabs]
        return [(tab, follow) for tab, follow in pairs if follow is not None]

    def _renew(self) -> None:
        """Takes over the present state of the Gaussians; the next one is due after a time in proportion to the work."""
        started = time.perf_counter()
        if self.renew():
            self.server.answers = self.server.answers.renewed()
        seconds = time.perf_counter() - started
        self._next_refresh = started + max(MIN_REFRESH_INTERVAL, seconds / REFRESH_SHARE)

    def _open_again(self) -> None:
        """Has all pages load themselves again, as the scene has other parts now."""
        old = self.server.answers
        self.server.answers = answers = Answers(self.shared, old.version + 1)
        for tab in self.server.open_tabs:
            tab.give(answers)
        for tab, follow in self._take_follows():
            tab.do(partial(self._answer, tab, follow, answers))

    def _answer(self, tab: AppTab, follow: Follow, answers: Answers) -> None:
        """Answers a page, in the page's own thread."""
        try:
            is_other = follow.scene != answers.scene
            is_newer = not is_other and not follow.holds and follow.version != answers.version
            header, columns = self._pack(answers) if is_newer else (None, b"")
            if is_newer:
                tab.give(answers)
            training = self._describe(
                follow, answers.version if is_newer else follow.version, header, is_other=is_other
            )
            tab.send(write_answer(training, columns))
        except FAILURES as error:
            tab.send(write_answer(Failed(follow.id, describe_failure(error))))

    def _describe(self, follow: Follow, version: int, header: dict[str, Any] | None, *, is_other: bool) -> Training:
        progress = self.progress
        return Training(
            follow.id,
            progress.describe(),
            progress.step / max(progress.total_steps, 1),
            progress.is_paused,
            is_other,
            _curve(progress.curves.losses),
            _curve(progress.curves.psnrs),
            version,
            header,
        )

    def _pack(self, answers: Answers) -> tuple[dict[str, Any], bytes]:
        """What a page unpacks Gaussians from, made once for all pages; its time counts when the next one is due."""
        with self._packing:
            if self._packed is None or self._packed[0] is not answers:
                started = time.perf_counter()
                gaussians = answers.gaussians.to("cpu")
                packed = pack(gaussians, has_harmonics=not self.shared.is_large)
                columns, data = store_columns(packed, Dictionary(), {})
                columns.pop("vectors", None)  # the page has them, and those of words that it has learned
                header = describe_packing(packed, gaussians) | {"columns": columns}
                self._packed = answers, header, zlib.compress(data, 1)
                due = time.perf_counter() + (time.perf_counter() - started) / REFRESH_SHARE
                self._next_refresh = max(self._next_refresh, due)
            return self._packed[1:]

    def _poll(self) -> None:
        while not self._ended.wait(POLL_INTERVAL):
            self.update_pages()

    def _stop_polling(self) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()


def _curve(points: list[tuple[int, float]]) -> list[tuple[float, float]]:
    """A curve with as many points as a page can show."""
    steps, values = thin_out(list(points))
    return list(zip(steps.tolist(), values.tolist(), strict=True))
