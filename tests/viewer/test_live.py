"""The page of a run, with clients that replace browsers: controls of a real server, a fake camera."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import viser

from gsdff import Delete
from gsdff import train as door
from gsdff.cameras import WorldFrame
from gsdff.cli import name_flags
from gsdff.config.options import Stage2Config, TeacherConfig
from gsdff.errors import UserError
from gsdff.field.field import Field
from gsdff.field.load import field_of_run
from gsdff.field.query import Query
from gsdff.io.runs import load_run
from gsdff.training.loop import train
from gsdff.viewer import live as live_module
from gsdff.viewer import live_scene as live_scene_module
from gsdff.viewer import training_progress as progress_module
from gsdff.viewer.live import Live
from gsdff.viewer.live_panel import LivePanel
from gsdff.viewer.panel import Panel
from gsdff.viewer.server import Address
from gsdff.viewer.session import Session
from gsdff.viewer.shared_scene import SharedScene

CPU = torch.device("cpu")
NAMES = ("chair", "lamp", "wall")
SHORT = """
log_every = 5
picture_every = 40
checkpoint_every = 20
[dataset]
random_points = 60
[stage1]
steps = {steps}
refine_start = 10
refine_every = 10
refine_stop = 50
sh_interval = 20
max_gaussians = 300
"""


class Camera:
    """Camera of a window, as viser describes it."""

    def __init__(self):
        self.image_width, self.image_height = 48, 40
        self.wxyz, self.position = np.array([1.0, 0, 0, 0]), np.array([0.0, 0, -2])
        self.look_at, self.up_direction, self.fov = np.zeros(3), np.array([0.0, -1, 0]), 0.9

    def on_update(self, callback):
        self.moved = callback


class Client:
    """Client of a page, whose controls belong to a server without browsers."""

    def __init__(self, number):
        self.client_id = number
        self.server = viser.ViserServer("127.0.0.1", 0, verbose=False)
        self.gui, self.scene, self.camera = self.server.gui, self.server.scene, Camera()
        self.notes = []

    def atomic(self):
        return nullcontext()

    def add_notification(self, title, body, **_options):
        self.notes.append((title, body))


@pytest.fixture
def show(monkeypatch):
    """Makes pages of runs, to be updated by hand; closes pages and clients."""
    pages, clients = [], []
    monkeypatch.setattr(live_module, "MIN_REFRESH_INTERVAL", 0.0)
    monkeypatch.setattr(live_module, "REFRESH_SHARE", 1e9)
    monkeypatch.setattr(live_module, "SPLATS_PER_SECOND", 1e12)

    def make(trainer, folder, tabs=0):
        live = Live(Address("127.0.0.1", 0), trainer, folder)
        pages.append(live)
        ours = {number: Client(number) for number in range(tabs)}
        clients.extend(ours.values())
        live.server.viser.get_clients = lambda: ours
        for client in ours.values():
            live.server._open(client)
        return live

    yield make
    for live in pages:
        live.__exit__()
    for client in clients:
        client.server.stop()


def test_a_run_that_is_looked_at_ends_with_the_bits_of_one_that_is_not(open_run, show):
    plain, folder, report = open_run("plain")
    train(plain, report, folder)
    numbers = torch.get_rng_state()

    watched, folder, report = open_run("watched")
    live = show(watched, folder, tabs=2)
    one, other = (panel.tab for panel in live.server.open_panels)
    other.set_display(renderer="server")
    ended, errors, seen = threading.Event(), [], set()

    def look():
        try:
            while not ended.is_set():
                live.update_pages()
                for tab in (one, other):
                    for mode in set(tab.modes) - {"relevancy", "classes"}:
                        tab.perform(lambda tab=tab, mode=mode: tab.set_display(mode=mode))
                        seen.add(mode)
                if live.shared.field is not None and live.shared.training is not None:
                    one.perform(lambda: one.search("chair", ""))
                    other.perform(lambda: other.segment("chair, lamp"))
                    seen.add("queried")
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
    assert not errors and {"colour", "depth", "opacity", "features", "queried"} <= seen
    assert torch.equal(torch.get_rng_state(), numbers)
    assert len(plain.gaussians) == len(watched.gaussians) > 60
    for name, tensor in plain.gaussians.items():
        assert torch.equal(tensor, getattr(watched.gaussians, name)), name
    for name, optimizer in plain.optimizers.items():
        theirs = watched.optimizers[name].state_dict()["state"][0]
        assert all(torch.equal(value, theirs[key]) for key, value in optimizer.state_dict()["state"][0].items())


def test_a_teacher_that_draws_from_torchs_generator_in_a_query_does_not_change_the_training(open_run, show):
    trainer, folder, _ = open_run()
    live = show(trainer, folder, tabs=1)
    (panel,) = live.server.open_panels
    panel.tab.session.search = lambda query, selection_mode: torch.rand(3)
    panel.tab.session.segment = lambda names: torch.rand(3)
    before = torch.get_rng_state()
    panel.tab.search("chair", "")
    panel.tab.segment("chair, lamp")
    assert torch.equal(torch.get_rng_state(), before)


def test_nothing_is_copied_while_nobody_looks(open_run, show, monkeypatch):
    trainer, folder, report = open_run()
    live = show(trainer, folder)
    copies = []
    monkeypatch.setattr(live_scene_module, "detached_copy", copies.append)
    for _ in range(6):
        report.add(trainer.step + 1, trainer.gaussians, live.advance(trainer))
        live.update_pages()
    assert copies == [] and live.progress.curves.losses == [] and live.progress.step == 6


def test_a_page_shows_the_gaussians_of_the_last_step_and_they_stay_as_they_were(open_run, show):
    trainer, folder, _ = open_run()
    live = show(trainer, folder, tabs=1)
    (panel,) = live.server.open_panels
    for _ in range(11):
        live.advance(trainer)
    live.update_pages()
    shown = panel.tab.session.gaussians
    assert len(shown) == len(trainer.gaussians) > 60  # some have come since the page was opened
    kept = shown.map(torch.clone)
    assert torch.equal(kept.sh0, trainer.gaussians.sh0)
    assert torch.allclose(kept.means, trainer.gaussians.to_input_frame(trainer.scene.frame).means)
    live.advance(trainer)
    assert not torch.equal(trainer.gaussians.sh0, kept.sh0)
    for name, tensor in shown.items():
        assert torch.equal(tensor, getattr(kept, name)) and not tensor.requires_grad
    live.update_pages()
    assert panel.tab.session.gaussians is not shown


def test_pages_get_features_and_questions_with_stage_2_and_edits_at_the_end(open_run, show):
    trainer, folder, report = open_run()
    live = show(trainer, folder, tabs=2)
    first = live.server.open_panels[0]
    assert all(isinstance(panel, LivePanel) for panel in live.server.open_panels)
    assert first.tab.modes == ("colour", "depth", "opacity", "photo") and not hasattr(first, "text")
    steps = []

    def advance(trainer):
        measures = live.advance(trainer)
        live.update_pages()
        steps.append((trainer.step, live.server.open_panels[0].tab.modes))
        if trainer.step == 40:
            tab = live.server.open_panels[0].tab
            tab.perform(lambda: tab.search("chair", ""))
            assert tab.mode == "relevancy" and not tab.client.notes
        return measures

    camera = first.tab.client.camera.position.copy()
    train(trainer, report, folder, advance)
    assert all(("features" in modes) == (step > 30) for step, modes in steps)
    live.update_pages()
    panel = live.server.open_panels[0]
    pca = live.shared.pca
    assert isinstance(panel, LivePanel) and panel.tab is first.tab and panel is not first
    prepared, session = panel.tab.session.prepared, panel.tab.session
    assert torch.equal(session.selected, session.scores >= session.threshold) and session.scores.isfinite().all()
    assert len(panel.psnr.data[0]) == len(panel.loss.data[0]) > 5
    assert "step 46 of 46" in panel.state.content

    live.finish()
    panel = live.server.open_panels[0]
    assert type(panel) is Panel and panel.tab is first.tab and live.shared.training is None
    assert panel.tab.session.prepared is prepared and panel.tab.mode == "relevancy"
    assert np.array_equal(panel.tab.client.camera.position, camera)
    assert live.shared.names == NAMES and live.shared.pca is not pca
    panel.tab.perform(lambda: panel.tab.session.edit(Delete))
    assert len(panel.tab.session.edits) == 1 and not panel.tab.client.notes


def test_the_colours_of_features_hold_still_through_stage_2(open_run, show):
    trainer, folder, report = open_run()
    live = show(trainer, folder, tabs=1)
    bases = []

    def advance(trainer):
        measures = live.advance(trainer)
        live.update_pages()
        bases.append(live.shared.pca)
        return measures

    train(trainer, report, folder, advance)
    assert set(bases[:30]) == {None} and len(set(map(id, bases[30:]))) == 1 and bases[30] is not None


def test_a_run_without_a_teacher_ends_in_a_page_without_questions(open_run, show):
    trainer, folder, report = open_run(teacher=TeacherConfig(name="none"))
    live = show(trainer, folder, tabs=1)
    train(trainer, report, folder, live.advance)
    live.finish()
    (panel,) = live.server.open_panels
    assert not live.shared.field.has_features and type(panel) is Panel
    assert panel.tab.modes == ("colour", "depth", "opacity", "photo")


def test_lifted_features_that_are_trained_no_further_are_there_at_the_end(open_run, show):
    trainer, folder, report = open_run(stage2=Stage2Config(steps=0))
    live = show(trainer, folder, tabs=1)
    train(trainer, report, folder, live.advance)
    live.finish()
    assert {"features", "relevancy"} <= set(live.server.open_panels[0].tab.modes)


@pytest.fixture
def waiting(monkeypatch):
    """Is set when a paused run waits to be resumed."""
    waiting = threading.Event()

    class MayRun(threading.Event):
        def wait(self, timeout=None):
            waiting.set()
            return super().wait(timeout)

    monkeypatch.setattr(progress_module, "threading", SimpleNamespace(Event=MayRun))
    return waiting


def test_a_paused_run_takes_no_step_until_it_is_resumed(open_run, waiting, show):
    trainer, folder, _ = open_run()
    live = show(trainer, folder)
    live.advance(trainer)
    assert not waiting.is_set()
    live.progress.pause()
    step = threading.Thread(target=lambda: live.advance(trainer))
    step.start()
    assert waiting.wait(20) and trainer.step == 1
    live.progress.resume()
    step.join(20)
    assert trainer.step == 2


def test_ctrl_c_gets_through_to_a_paused_run(open_run, waiting, show):
    trainer, folder, _ = open_run()
    live = show(trainer, folder)
    live.progress.pause()
    ended = threading.Event()

    def interrupt():
        waiting.wait(20)
        while not ended.wait(0.2):  # again, as a signal just before a thread falls asleep does not wake it
            os.kill(os.getpid(), signal.SIGINT)

    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    with pytest.raises(KeyboardInterrupt):
        try:
            live.advance(trainer)
        finally:
            ended.set()
    interrupting.join()
    assert trainer.step == 0 and waiting.is_set()


def test_the_page_draws_between_steps_however_fast_they_follow(open_run, show, monkeypatch):
    trainer, folder, _ = open_run()
    live = show(trainer, folder, tabs=1)
    (panel,) = live.server.open_panels
    tab, ended, pictures, drawn = panel.tab, threading.Event(), [], []
    step = trainer.advance

    def step_while_the_page_waits():
        while not live.shared.render_lock._waiting:
            time.sleep(0.001)
        drawn.append(len(pictures))
        return step()

    def look():
        while not ended.is_set():
            pictures.append(tab.render(tab.render_request, tab.camera))

    monkeypatch.setattr(trainer, "advance", step_while_the_page_waits)
    looking = threading.Thread(target=look)
    looking.start()
    for _ in range(20):
        live.advance(trainer)
    ended.set()
    looking.join(20)
    assert len(set(drawn)) == 20  # a picture at least between any two steps


def test_a_closed_tab_is_forgotten_and_the_others_go_on(open_run, show):
    trainer, folder, _ = open_run()
    live = show(trainer, folder, tabs=2)
    one, other = (panel.tab for panel in live.server.open_panels)
    one.set_display(renderer="server")
    client, session = one.client, weakref.ref(one.session)
    thread = one.render_loop._thread
    live.advance(trainer)
    live.update_pages()
    live.server._close(client)
    client.gui.reset()  # as the browser's library does
    assert one.is_closed and not thread.is_alive()
    live.advance(trainer)
    live.update_pages()
    assert [panel.tab for panel in live.server.open_panels] == [other]
    assert other.session.base is live.shared.gaussians
    client.server.stop()
    client.__dict__.clear()
    client.server = other.client.server
    del one, client, thread
    gc.collect()
    assert session() is None


def test_a_page_that_is_closed_while_it_is_updated_does_not_end_the_following(open_run, show):
    trainer, folder, _ = open_run()
    live = show(trainer, folder, tabs=2)
    one, other = live.server.open_panels
    one.gui.reset()  # its controls are gone; the server has not heard of it yet
    one.tab.is_closed = True
    live.advance(trainer)
    live.progress.pause()  # so that there is something to set
    live.update_pages()
    assert other.switch.label == "Resume" and other.tab.session.base is live.shared.gaussians


def test_a_document_answers_anew_for_the_gaussians_it_is_given(tiny_field):
    field, latents = tiny_field
    session = Session(field.gaussians, WorldFrame(), field)
    session.search(Query(positives=("chair",)))
    session.segment(NAMES)
    threshold = session.threshold
    assert session.selected.tolist() == [True, False, False]
    turned = latents[[1, 0, 0, 2]]
    more = field.gaussians.map(lambda tensor: tensor[[0, 0, 0, 0]])
    more = replace(more, features=turned)
    session.replace_scene(more, replace(field, gaussians=more))
    assert session.selected.tolist() == [False, True, True, False] and session.threshold == threshold
    assert session.labels.tolist() == [1, 0, 0, 2] and len(session.visible.gaussians) == 4
    session.select(torch.ones(4, dtype=torch.bool))
    session.replace_scene(more.map(lambda tensor: tensor[:2]), replace(field, basis=None))
    assert not session.selected.any() and session.prepared is None and len(session.visible.gaussians) == 2


@pytest.fixture
def tiny_field(open_run):
    """Three Gaussians, one for each of the words, and their latents."""
    trainer, folder, report = open_run(stage2=Stage2Config(steps=0))
    train(trainer, report, folder)
    report.writer.wait()
    field = field_of_run(load_run(folder.path), "cpu")
    latents = field.encode_text(NAMES) @ field.B
    three = field.gaussians.map(lambda tensor: tensor[:3])
    return replace(field, gaussians=replace(three, features=latents)), latents


def test_copies_of_a_field_share_what_was_read(tiny_field):
    field, _ = tiny_field
    teacher, vocabulary = field.teacher, field.vocabulary
    copy = replace(field, gaussians=field.gaussians.map(lambda tensor: tensor[:1]))
    assert copy.teacher is teacher and copy.vocabulary is vocabulary and len(copy.gaussians) == 1


# --- the door


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--viewer-port", "0"], "--viewer-port: expected 1 to 65535, got 0"),
        (["--viewer-port", "70000"], "--viewer-port: expected 1 to 65535"),
        (["--viewer-host", "no.such.host.invalid"], "--viewer-host no.such.host.invalid: "),
    ],
)
def test_a_page_that_cannot_be_is_an_error_before_training_starts(flags, complaint, dataset, tmp_path, monkeypatch):
    out = tmp_path / "run"
    arguments = ["train", "--data", str(dataset), "--out", str(out), "--device", "cpu", "--viewer", *flags]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(UserError) as error:
        door.main()
    assert complaint in name_flags(str(error.value), door.FLAGS) and not out.exists()


@pytest.fixture
def start(dataset, tmp_path):
    """Starts a run with a page in a process of its own; ends it where the test did not."""
    processes = []

    def start_it(steps):
        preset = tmp_path / "short.toml"
        preset.write_text(SHORT.format(steps=steps))
        command = [
            sys.executable, "-m", "gsdff.train", "--data", dataset, "--config", preset, "--out", tmp_path / "run",
            "--device", "cpu", "--teacher", "none", "--viewer",
        ]  # fmt: skip
        process = subprocess.Popen(
            [*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        processes.append(process)
        return process

    yield start_it
    for process in processes:
        process.kill()
        process.communicate()


def read_until(process, words):
    text = ""
    for line in process.stdout:
        text += line
        if words in line:
            return text
    raise AssertionError(f"ended without saying {words}:\n{text}")


def test_ctrl_c_ends_training_and_page_with_exit_code_130(start, tmp_path):
    process = start(steps=100_000)
    read_until(process, "viewer of the training: open http://127.0.0.1:")
    while not list((tmp_path / "run" / "checkpoints").glob("*.pt")):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "--resume" in text and "Traceback" not in text, text
    assert "viewer" not in (tmp_path / "run" / "config.toml").read_text()


def test_the_page_of_a_finished_run_stays_until_ctrl_c_which_is_no_failure(start, tmp_path):
    process = start(steps=20)
    text = read_until(process, "now shows the finished scene (Ctrl-C stops it)")
    assert "held-out views: PSNR" in text and (tmp_path / "run" / "scene.ply").is_file()
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and "--resume" not in text and "Traceback" not in text, text


def test_a_world_that_is_finished_looks_words_up_without_waiting(open_run):
    trainer, folder, _ = open_run()
    shared = SharedScene(Field(folder.path, trainer.gaussians), [], WorldFrame(), folder.path)
    with shared.render_lock, shared.encoding_text():
        pass
