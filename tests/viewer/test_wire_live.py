"""A run that trains behind the app: pages get its Gaussians as they change, and nothing that it computes changes."""

import base64
import json
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from app_wire import AppPage, rows, wait_until, window_of
from tiny_viewer import NAMES

from gsdff.config.options import TeacherConfig
from gsdff.field.load import field_of_run
from gsdff.io.runs import load_run
from gsdff.training.loop import train
from gsdff.training.trainer import Trainer
from gsdff.viewer import live_scene as live_scene_module
from gsdff.viewer.address import Address
from gsdff.viewer.page.packing import pack
from gsdff.viewer.page.start import choose_cameras
from gsdff.viewer.wire import live as live_module
from gsdff.viewer.wire.live import LiveApp

MORE = "the training has gone on since"


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., LiveApp]]:
    """Makes servers of runs, to be updated by hand; closes them."""
    servers: list[LiveApp] = []
    monkeypatch.setattr(live_module, "MIN_REFRESH_INTERVAL", 0.0)
    monkeypatch.setattr(live_module, "REFRESH_SHARE", 1e9)

    def make(trainer, folder) -> LiveApp:
        servers.append(LiveApp(Address("127.0.0.1", 0), trainer, folder))
        return servers[-1]

    yield make
    for live in servers:
        live.__exit__()


class Looker:
    """A page that follows a training."""

    def __init__(self, live: LiveApp):
        self.live = live
        self.header: dict[str, Any] = json.loads(json.dumps(live.make_page().header))
        self.page = AppPage(live.server)
        self.version = self.header["server"]["version"]
        wait_until(lambda: live.server.tabs)

    def follow(self, *, holds: bool = False) -> tuple[dict[str, Any], bytes]:
        """The next answer of the server, and the columns after it."""
        number = self.page.send("follow", scene=self.header["server"]["scene"], version=self.version, holds=holds)
        wait_until(lambda: any(tab._following is not None for tab in self.live.server.tabs))
        self.live.update_pages()
        answer, payload = self.page.receive()
        assert (answer["type"], answer["id"]) == ("training", number)
        if answer["header"] is not None:
            self.version = answer["version"]
            self.header |= answer["header"]
        return answer, payload

    def column(self, payload: bytes, name: str) -> np.ndarray:
        """A column of the answer, a row per Gaussian."""
        column = self.header["columns"][name]
        rows, columns = column["rows"], column["columns"]
        data = np.frombuffer(zlib.decompress(payload), column["type"], rows * columns, column["start"])
        return data.reshape(columns, rows).T


def test_a_run_that_is_looked_at_ends_with_the_bits_of_one_that_is_not(open_run, show):
    plain, folder, report = open_run("plain")
    train(plain, report, folder)
    numbers = torch.get_rng_state()

    watched, folder, report = open_run("watched")
    live = show(watched, folder)
    ended, errors, seen = threading.Event(), [], set()

    def look() -> None:
        try:
            while not ended.is_set():
                looker = Looker(live)
                answers = live.server.answers
                camera = choose_cameras(answers.shared.field)[0].resized(32, 24)
                with looker.page as page:
                    while not ended.is_set():
                        answer, _ = looker.follow()
                        if answer["is_other"]:
                            break
                        for mode in looker.header["server"]["modes"]:
                            scenery = {"mode": mode, "version": looker.version, "classes": NAMES}
                            page.send("draw", window=window_of(camera), scenery=scenery)
                            seen.add((page.receive()[0]["type"], mode))
                        if looker.header["words"]:
                            seen.add((page.ask("encode", texts=["chair"])["type"], "text"))
        except Exception as error:
            errors.append(error)
            raise

    looking = threading.Thread(target=look)
    looking.start()
    try:
        train(watched, report, folder, live.advance)
    finally:
        ended.set()
        looking.join(60)
    assert not errors
    assert {("pictured", mode) for mode in ("colour", "depth", "features", "classes")} | {("vectors", "text")} <= seen
    assert torch.equal(torch.get_rng_state(), numbers)
    assert len(plain.gaussians) == len(watched.gaussians) > 60
    for name, tensor in plain.gaussians.items():
        assert torch.equal(tensor, getattr(watched.gaussians, name)), name


def test_nothing_is_copied_while_nobody_looks(open_run, show, monkeypatch):
    trainer, folder, _ = open_run()
    live = show(trainer, folder)
    copies = []
    monkeypatch.setattr(live_scene_module, "detached_copy", copies.append)
    for _ in range(6):
        live.advance(trainer)
        live.update_pages()
    assert copies == [] and live.progress.curves.losses == [] and live.progress.step == 6


def test_a_page_gets_the_gaussians_of_the_last_step(open_run, show):
    trainer, folder, _ = open_run()
    live = show(trainer, folder)
    looker = Looker(live)
    assert looker.follow()[0]["header"] is None  # there are no newer ones
    for _ in range(11):
        live.advance(trainer)
    answer, payload = looker.follow()
    assert answer["header"]["numGaussians"] == len(trainer.gaussians) > 60
    expected = pack(trainer.gaussians.map(lambda tensor: tensor.detach()))
    assert np.array_equal(looker.column(payload, "splats"), expected.splats)
    assert np.array_equal(looker.column(payload, "sh1"), expected.harmonics[0])
    assert answer["lines"][0] == "step 11 of 46, stage 1 (colours)" and answer["share"] == pytest.approx(11 / 46)


def test_a_page_that_holds_its_gaussians_hears_of_the_progress_alone(open_run, show):
    trainer, folder, _ = open_run()
    live = show(trainer, folder)
    looker = Looker(live)
    live.advance(trainer)
    answer, payload = looker.follow(holds=True)
    assert answer["header"] is None and not payload and answer["lines"][0].startswith("step 1 of 46")
    assert answer["version"] == looker.version


def test_pictures_are_of_the_gaussians_that_the_page_has_and_older_bits_are_refused(open_run, show):
    trainer, folder, _ = open_run()
    live = show(trainer, folder)
    looker = Looker(live)
    camera = choose_cameras(live.shared.field)[0].resized(32, 24)
    for _ in range(3):
        live.advance(trainer)
        looker.follow()
    for version in (looker.version, looker.version - 1):
        assert looker.page.draw(camera, "colour", version=version).any()
    old = {"mode": "colour", "version": looker.version - 2}
    assert MORE in looker.page.ask("draw", window=window_of(camera), scenery=old)["text"]


def test_while_it_trains_only_a_picture_can_be_saved(open_run, show):
    trainer, folder, _ = open_run()
    looker = Looker(show(trainer, folder))
    page, bits = looker.page, base64.b64encode(bytes([255] * 8)).decode()
    camera = choose_cameras(looker.live.shared.field)[0].resized(32, 24)
    assert page.ask("save_picture", window=window_of(camera), scenery={"mode": "colour"})["type"] == "saved"
    for kind, fields in (
        ("save_selection", {"selected": bits}),
        ("save_edits", {"edits": [{"operation": "delete", "rows": bits}]}),
        ("save_scene", {}),
    ):
        assert "still trains" in page.ask(kind, **fields)["text"]


def test_a_page_pauses_the_training_and_resumes_it(open_run, show):
    trainer, folder, _ = open_run()
    live = show(trainer, folder)
    looker = Looker(live)
    assert looker.page.ask("pause", is_paused=True)["type"] == "done"
    step = threading.Thread(target=lambda: live.advance(trainer))
    step.start()
    time.sleep(0.2)
    assert trainer.step == 0
    answer, _ = looker.follow()
    assert answer["is_paused"] and "paused" in answer["lines"][0]
    looker.page.ask("pause", is_paused=False)
    step.join(20)
    assert trainer.step == 1


def test_pages_load_themselves_again_for_features_and_for_the_end(open_run, show):
    trainer, folder, report = open_run()
    live = show(trainer, folder)
    looker = Looker(live)
    assert looker.header["server"]["isTraining"] and not looker.header["words"]
    others = []

    def advance(trainer: Trainer) -> dict[str, torch.Tensor]:
        measures = live.advance(trainer)
        if trainer.step in (30, 31):
            others.append(looker.follow()[0]["is_other"])
        return measures

    train(trainer, report, folder, advance)
    assert others == [False, True]
    second = Looker(live)
    assert [word["name"] for word in second.header["words"]] == list(NAMES)
    assert "classes" in second.header["server"]["modes"] and second.header["server"]["isTraining"]
    assert second.page.ask("encode", texts=["chair"])["type"] == "vectors"

    number = second.page.send("follow", scene="", version=0, holds=False)
    wait_until(lambda: any(tab._following is not None for tab in live.server.tabs))
    live.finish()
    answer, _ = second.page.receive()
    assert answer["id"] == number and answer["is_other"]
    late = second.page.ask("follow", scene="", version=0, holds=False)
    assert "load the page again" in late["text"]

    report.writer.wait()
    last = Looker(live)
    assert not last.header["server"]["isTraining"]
    assert len(load_run(folder.path).gaussians) == last.header["numGaussians"]
    few = torch.arange(last.header["numGaussians"]) < 5
    assert last.page.ask("save_edits", edits=[{"operation": "delete", "rows": rows(few)}])["type"] == "saved"
    assert "the training is over" in last.page.ask("pause", is_paused=True)["text"]


def test_a_run_without_a_teacher_ends_in_a_page_without_questions(open_run, show):
    trainer, folder, report = open_run(teacher=TeacherConfig(name="none"))
    live = show(trainer, folder)
    train(trainer, report, folder, live.advance)
    live.finish()
    header = Looker(live).header
    assert not header["words"] and header["server"]["modes"] == ["colour", "depth", "opacity", "photo"]


def test_a_page_that_takes_nothing_in_holds_nobody_else_up(open_run, show):
    trainer, folder, _ = open_run()
    live = show(trainer, folder)
    stuck = Looker(live)
    (tab,) = live.server.tabs
    may_go = threading.Event()
    tab.do(lambda: may_go.wait(30))
    stuck.page.send("follow", scene="", version=0, holds=False)
    wait_until(lambda: tab._following is not None)
    live.update_pages()
    live.advance(trainer)
    try:
        assert Looker(live).follow()[0]["lines"][0].startswith("step 1 of 46")
    finally:
        may_go.set()


def test_the_finished_field_is_that_of_the_run(open_run, show):
    trainer, folder, report = open_run()
    live = show(trainer, folder)
    train(trainer, report, folder, live.advance)
    live.finish()
    report.writer.wait()
    field = field_of_run(load_run(folder.path), "cpu")
    vectors = torch.tensor(Looker(live).page.ask("encode", texts=list(NAMES))["vectors"])
    torch.testing.assert_close(vectors, field.encode_text(NAMES) @ field.B)
