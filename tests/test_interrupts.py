"""Ctrl-C ends a process soon, whatever it does. Whatever is to be ended here would take an hour by itself."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tiny_run import make_gaussians, write_run

from gsdff.cli.doors import DOORS
from gsdff.interrupts import _Watch, answer_interrupts, worker_threads

ROOT = Path(__file__).resolve().parents[1]
PREAMBLE = """
import ctypes, hashlib, sys, threading, time
from gsdff import interrupts
from gsdff.cli import run_door
from gsdff.files.writing import whole_file
from gsdff.interrupts import worker_threads

def is_ready():
    print("ready", flush=True)

def compute_for_an_hour():
    hashlib.pbkdf2_hmac("sha256", b"a", b"b", 2**31 - 1)
"""
FAKE_TORCH = """
import ctypes
print("ready", flush=True)
ctypes.PyDLL(None).sleep(3600)  # no other thread of Python runs
"""


def interrupt(program: str | list[str], *, times: int = 1, path: str = "") -> tuple[int, str]:
    """Starts a program, and presses Ctrl-C when it says that it is ready; its exit status and stderr."""
    words = ["-c", PREAMBLE + program] if isinstance(program, str) else ["-m", *program]
    process = subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "PYTHONPATH": f"{path}{os.pathsep}{ROOT}" if path else str(ROOT)},
    )  # fmt: skip
    try:
        assert process.stdout is not None and process.stderr is not None
        said = process.stdout.readline()
        assert said == "ready\n", said + process.stderr.read()
        for _ in range(times):
            process.send_signal(signal.SIGINT)
            threading.Event().wait(0.1)  # a signal that is still pending would swallow the next
        _, err = process.communicate(timeout=120)
    finally:
        process.kill()
    return process.returncode, err


@pytest.mark.parametrize(
    "main",
    [
        "threading.Event().wait(3600)",
        "compute_for_an_hour()",
        "threading.Thread(target=time.sleep, args=(3600,)).start(); is_ready(); time.sleep(3600)",
        "threading.Thread(target=compute_for_an_hour).start(); is_ready(); time.sleep(3600)",
    ],
)
def test_a_door_ends_with_one_line_whatever_it_does(main):
    status, err = interrupt(f"def main():\n    is_ready()\n    {main}\nrun_door(main)")
    assert (status, err) == (130, "\ninterrupted\n")


def test_an_interruption_that_is_lost_ends_the_process_all_the_same():
    program = """
def main():
    is_ready()
    while True:
        try:
            time.sleep(3600)
        except KeyboardInterrupt:
            pass
run_door(main)
"""
    assert interrupt(program) == (130, "\ninterrupted\n")


def test_pending_work_of_a_pool_is_not_waited_for():
    program = """
def main():
    with worker_threads(2) as pool:
        for _ in range(1000):
            pool.submit(time.sleep, 3600)
        is_ready()
        time.sleep(3600)
run_door(main)
"""
    assert interrupt(program) == (130, "\ninterrupted\n")


def test_a_second_ctrl_c_ends_at_once():
    program = """
interrupts.GRACE = 3600

def main():
    is_ready()
    while True:
        try:
            compute_for_an_hour()
        except KeyboardInterrupt:
            pass
run_door(main)
"""
    assert interrupt(program, times=2) == (130, "\ninterrupted\n")


def test_ctrl_c_is_no_failure_where_it_is_expected():
    program = """
def main():
    interrupts.expect_interrupt()
    threading.Thread(target=time.sleep, args=(3600,)).start()
    is_ready()
    try:
        time.sleep(3600)
    except KeyboardInterrupt:
        pass
run_door(main)
"""
    assert interrupt(program) == (0, "")


def test_what_was_printed_before_is_there_and_files_are_whole(tmp_path):
    (tmp_path / "file").write_text("old")
    program = f"""
from pathlib import Path

def main():
    with whole_file(Path({str(tmp_path / "file")!r})) as partial:
        partial.write_text("half")
        is_ready()
        compute_for_an_hour()
run_door(main)
"""
    assert interrupt(program) == (130, "\ninterrupted\n")
    assert (tmp_path / "file").read_text() == "old"


ARGUMENTS = {
    "prepare": ["--images", "{photos}"],
    "train": ["--data", "{photos}"],
    "view": ["{run}", "--port", "18080"],
    "query": ["{run}", "--text", "cup", "--out", "{out}/a.png"],
    "edit": ["{run}", "--delete", "cup", "--out", "{out}/a.ply"],
    "segment": ["{run}", "--classes", "a", "b", "--out", "{out}"],
    "objects": ["{run}", "--out", "{out}/things"],
    "evaluate": ["{run}"],
    "export": ["{run}", "--out", "{out}/a.ply"],
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("command", [["gsdff", "{door}"], ["gsdff.{door}"]], ids=["command", "module"])
def test_every_door_ends_while_torch_is_loaded(tmp_path, door, command, generator):
    """That takes seconds on a busy machine, in which no other thread of Python runs."""
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "torch.py").write_text(FAKE_TORCH)
    (tmp_path / "photos").mkdir()
    run = write_run(tmp_path, make_gaussians(generator)).folder
    places = {"run": run, "photos": tmp_path / "photos", "out": tmp_path}
    words = [word.format(door=door, **places) for word in [*command, *ARGUMENTS[door]]]
    status, err = interrupt(words, path=str(tmp_path / "path"))
    assert status in (130, -signal.SIGINT) and "Traceback" not in err


def test_torch_is_loaded_as_ever_and_ctrl_c_answered_after_it():
    program = """
def main():
    import torch
    assert torch.ones(2).sum() == 2
    is_ready()
    time.sleep(3600)
run_door(main)
"""
    assert interrupt(program) == (130, "\ninterrupted\n")


# --- in this process


def test_all_is_as_before_when_the_context_ends():
    threads = set(threading.enumerate())
    before, finders = signal.getsignal(signal.SIGINT), list(sys.meta_path)
    with answer_interrupts():
        assert isinstance(getattr(signal.getsignal(signal.SIGINT), "__self__", None), _Watch)
        with answer_interrupts():
            assert len(set(threading.enumerate()) - threads) == 1
    assert signal.getsignal(signal.SIGINT) is before and sys.meta_path == finders
    assert signal.set_wakeup_fd(-1) == -1


def test_a_process_that_ignores_ctrl_c_goes_on_doing_so():
    """As one that a shell has put in the background."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with answer_interrupts():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_are_left_alone():
    seen = []

    def enter():
        with answer_interrupts():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]


def test_work_that_has_not_begun_is_dropped_after_an_error():
    begun, may_end = [], threading.Event()

    def work(number: int) -> None:
        begun.append(number)
        may_end.wait(60)

    with pytest.raises(ZeroDivisionError), worker_threads(1) as pool:
        jobs = [pool.submit(work, number) for number in range(50)]
        while not begun:
            pass
        threading.Timer(0.2, may_end.set).start()
        raise ZeroDivisionError
    assert begun == [0] and jobs[-1].cancelled()


def test_work_is_done_without_an_error():
    with worker_threads(2, "name") as pool:
        assert list(pool.map(abs, [-1, -2])) == [1, 2]
