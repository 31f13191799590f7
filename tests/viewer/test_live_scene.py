"""A scene that trains, as its pages see it, and the command that shows it."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from tiny_viewer import see

from gsdff import train as door
from gsdff.cameras import WorldFrame
from gsdff.cli import name_flags
from gsdff.config.options import Stage2Config
from gsdff.errors import UserError
from gsdff.field.field import Field
from gsdff.field.load import field_of_run
from gsdff.io.runs import load_run
from gsdff.training.loop import train
from gsdff.viewer import training_progress as progress_module
from gsdff.viewer.live_scene import LiveScene
from gsdff.viewer.rendering import available_modes
from gsdff.viewer.shared_scene import SharedScene
from gsdff.viewer.wire.answers import Answers

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


def test_a_copy_has_the_gaussians_of_the_last_step_and_stays_as_it_was(open_run):
    trainer, folder, _ = open_run()
    live = LiveScene(trainer, folder)
    for _ in range(11):
        live.advance(trainer)
    assert live.renew() and not live.renew()  # there is no newer one
    shown = live.shared.gaussians
    assert len(shown) == len(trainer.gaussians) > 60  # some have come since the start
    kept = shown.map(torch.clone)
    assert torch.equal(kept.sh0, trainer.gaussians.sh0)
    assert torch.allclose(kept.means, trainer.gaussians.to_input_frame(trainer.scene.frame).means)
    live.advance(trainer)
    assert not torch.equal(trainer.gaussians.sh0, kept.sh0)
    for name, tensor in shown.items():
        assert torch.equal(tensor, getattr(kept, name)) and not tensor.requires_grad
    assert live.renew() and live.shared.gaussians is not shown


def test_a_teacher_that_draws_from_torchs_generator_does_not_change_the_training(open_run):
    trainer, folder, _ = open_run()
    before = torch.get_rng_state()
    with LiveScene(trainer, folder).shared.encoding_text():
        torch.rand(3)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_colours_of_features_hold_still_through_stage_2_and_are_new_at_the_end(open_run):
    trainer, folder, report = open_run()
    live = LiveScene(trainer, folder)
    bases = []

    def advance(trainer):
        measures = live.advance(trainer)
        live.begin_stage2() if live.begins_stage2 else live.renew()
        bases.append(live.shared.pca)
        return measures

    train(trainer, report, folder, advance)
    assert set(bases[:30]) == {None} and len(set(map(id, bases[30:]))) == 1 and bases[30] is not None
    live.end()
    assert live.shared.training is None and live.shared.pca is not bases[-1]


def test_lifted_features_that_are_trained_no_further_are_there_at_the_end(open_run):
    trainer, folder, report = open_run(stage2=Stage2Config(steps=0))
    live = LiveScene(trainer, folder)
    train(trainer, report, folder, live.advance)
    live.end()
    assert {"features", "relevancy"} <= set(available_modes(live.shared))


def test_a_picture_comes_between_steps_however_fast_they_follow(open_run, monkeypatch):
    trainer, folder, _ = open_run()
    live = LiveScene(trainer, folder)
    answers, camera, ended = Answers(live.shared), trainer.scene.views[0].camera, threading.Event()
    pictures, drawn = [], []
    step = trainer.advance

    def step_while_the_page_waits():
        while not live.shared.render_lock._waiting:
            time.sleep(0.001)
        drawn.append(len(pictures))
        return step()

    def look():
        while not ended.is_set():
            pictures.append(answers.render(see(live.shared), "colour", camera))

    monkeypatch.setattr(trainer, "advance", step_while_the_page_waits)
    looking = threading.Thread(target=look)
    looking.start()
    for _ in range(20):
        live.advance(trainer)
    ended.set()
    looking.join(20)
    assert len(set(drawn)) == 20  # a picture at least between any two steps


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


def test_a_paused_run_takes_no_step_until_it_is_resumed(open_run, waiting):
    trainer, folder, _ = open_run()
    live = LiveScene(trainer, folder)
    live.advance(trainer)
    assert not waiting.is_set()
    live.progress.pause()
    step = threading.Thread(target=lambda: live.advance(trainer))
    step.start()
    assert waiting.wait(20) and trainer.step == 1
    live.progress.resume()
    step.join(20)
    assert trainer.step == 2


def test_ctrl_c_gets_through_to_a_paused_run(open_run, waiting):
    trainer, folder, _ = open_run()
    live = LiveScene(trainer, folder)
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
