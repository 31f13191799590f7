"""scripts/gpu_check.sh: a phase goes on after failures, hangs and crashes, and continues when it is called again."""

import json
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest
import torch
from tiny_scene import TinyDataset

ROOT = Path(__file__).resolve().parents[1]
TESTS = {
    "test_first.py": """
import os, signal, time, pytest
from pathlib import Path

def test_good(): (Path(__file__).parent / "runs").open("a").write("x")
def test_bad(): assert 1 == 2
def test_crash(): os.kill(os.getpid(), signal.SIGFPE)
def test_good_after_the_crash(): pass
def test_poison(): raise RuntimeError("CUDA error: an illegal memory access was encountered")
def test_good_after_the_poison(): assert not hasattr(pytest, "poisoned")
def test_hang(): time.sleep(3600)
@pytest.mark.skip(reason="needs weights")
def test_skipped_after_the_hang(): pass
""",
    "test_second.py": "import no_such_module_anywhere\ndef test_never(): pass\n",
    "test_third.py": "def test_good(): pass\n",
}


@pytest.fixture
def phases(monkeypatch):
    """Makes the phases importable."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import gpu_phases.tests
    import gpu_phases.work

    monkeypatch.setattr(gpu_phases.tests, "HUNG_AFTER", 10)
    monkeypatch.setattr(gpu_phases.work, "PATIENCE", 2.0)
    return gpu_phases


def statuses(phase) -> dict[str, str]:
    return {name.rpartition("::")[2]: item["status"] for name, item in phase.items.items() if "::" in name}


def test_a_crash_costs_one_test_and_nothing_is_run_twice(phases, tmp_path):
    folder = tmp_path / "tests"
    folder.mkdir()
    for name, text in TESTS.items():
        (folder / name).write_text(text)
    options = phases.work.Options("tests", tmp_path / "out", tests=(str(folder),))
    phase = phases.tests.tests(options)
    first = {
        "test_good": "ok", "test_bad": "failed", "test_crash": "crashed", "test_good_after_the_crash": "ok",
        "test_poison": "failed", "test_good_after_the_poison": "ok", "test_hang": "hung",
        "test_skipped_after_the_hang": "skipped",
    }  # fmt: skip
    assert statuses(phase) == first
    assert sum(name.endswith("::test_good") for name in phase.items) == 2
    assert phase.items["collect chosen"]["status"] == "failed" and "no_such" in phase.items["collect chosen"]["detail"]
    crash = next(item for name, item in phase.items.items() if name.endswith("test_crash"))
    assert "SIGFPE" in crash["detail"]

    assert statuses(phases.tests.tests(options)) == first
    assert (folder / "runs").read_text() == "x"


def test_failures_are_tried_again_if_this_is_asked_for(phases, tmp_path):
    test = tmp_path / "test_mended.py"
    test.write_text("def test_it(): assert False\n")
    options = {"phase": "tests", "out": tmp_path / "out", "tests": (str(test),)}
    assert statuses(phases.tests.tests(phases.work.Options(**options))) == {"test_it": "failed"}
    test.write_text("def test_it(): pass\n")
    assert statuses(phases.tests.tests(phases.work.Options(**options))) == {"test_it": "failed"}
    assert statuses(phases.tests.tests(phases.work.Options(**options, again=True))) == {"test_it": "ok"}


def test_what_the_time_does_not_suffice_for_is_unfinished_and_comes_next(phases, tmp_path):
    test = tmp_path / "test_two.py"
    test.write_text("def test_one(): pass\ndef test_two(): pass\n")
    options = {"phase": "tests", "out": tmp_path / "out", "tests": (str(test),)}
    phase = phases.tests.tests(phases.work.Options(**options, minutes=1e-6))
    assert {item["status"] for item in phase.items.values()} == {"unfinished"}
    phase = phases.tests.tests(phases.work.Options(**options))
    assert statuses(phase) == {"test_one": "ok", "test_two": "ok"}


@pytest.mark.parametrize(
    ("program", "limit", "status", "detail"),
    [
        ("print('done')", None, "ok", "done"),
        ("import sys; print('no card'); sys.exit(3)", None, "failed", "no card"),
        ("import os; os.abort()", None, "crashed", "SIGABRT"),
        ("import time; print('at it', flush=True); time.sleep(3600)", 3.0, "hung", "at it"),
    ],
)
def test_a_child_s_end_has_a_name(phases, tmp_path, program, limit, status, detail):
    ended = phases.work.run_child([sys.executable, "-c", program], os.environ, tmp_path / "log", 600.0, limit)
    assert ended.status == status and detail in ended.detail


def test_a_killed_phase_leaves_no_process_and_keeps_its_results(phases, tmp_path):
    test = tmp_path / "test_two.py"
    test.write_text("""
import os, time
from pathlib import Path

def test_good(): Path(__file__).with_name("runs").open("a").write("x")
def test_long():
    Path(__file__).with_name("pid").write_text(f"{os.getpid()} ")
    time.sleep(3600)
""")
    program = "import sys; from pathlib import Path; from gpu_phases import tests, work; "
    program += "tests.tests(work.Options('tests', Path(sys.argv[1]), tests=(sys.argv[2],)))"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "scripts")}
    process = subprocess.Popen([sys.executable, "-c", program, tmp_path / "out", test], env=environment)
    pid = tmp_path / "pid"
    wait_for(lambda: pid.is_file() and pid.read_text().endswith(" "))
    process.kill()
    process.wait()
    wait_for(lambda: not is_running(int(pid.read_text())))

    test.write_text(test.read_text().replace("3600", "0"))
    options = phases.work.Options("tests", tmp_path / "out", tests=(str(test),))
    assert statuses(phases.tests.tests(options)) == {"test_good": "ok", "test_long": "ok"}
    assert (tmp_path / "runs").read_text() == "x"


def wait_for(holds) -> None:
    while not holds():  # for ever, but for the time limit of every test
        threading.Event().wait(0.05)


def is_running(pid: int) -> bool:
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


# --- the whole of it, on the pretended card


@pytest.fixture
def machine(tmp_path):
    """Calls a phase as on a bare machine: an interpreter with torch, a driver, a toolkit, and wheels brought along."""
    cuda, tools, wheels = tmp_path / "cuda", tmp_path / "tools", tmp_path / "wheels"
    for folder in (cuda / "bin", cuda / "include", tools, wheels):
        folder.mkdir(parents=True)
    (cuda / "include" / "cuda_runtime.h").touch()
    version = f"Cuda compilation tools, release {torch.version.cuda}, V1"
    for path, said in ((cuda / "bin" / "nvcc", version), (tools / "nvidia-smi", "580.1"), (tools / "c++", "")):
        path.write_text(f"#!/bin/sh\necho '{said}'\n")
        path.chmod(0o755)
    for name in ("gsdff_brought_along", "torch", "numpy"):
        with zipfile.ZipFile(wheels / f"{name}-99.0-py3-none-any.whl", "w") as wheel:
            info = f"{name}-99.0.dist-info"
            wheel.writestr(f"{name}/__init__.py", "")
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 99.0\n")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")
    environment = {
        **os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "CUDA_HOME": str(cuda),
        "PYTHON": str(ROOT / "tests" / "pretended" / "python"), "PRETENDED_PYTHON": sys.executable,
    }  # fmt: skip

    def call(phase: str, *words: object) -> tuple[int, dict]:
        out = tmp_path / "out"
        command = [
            "bash",
            ROOT / "scripts" / "gpu_check.sh",
            phase,
            "--out",
            out,
            "--wheels",
            wheels,
            "--quick",
            "--minutes",
            30,  # however busy this machine is
            *words,
        ]
        done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True)
        print(done.stdout, done.stderr)
        path = out / f"{phase}.json"
        return done.returncode, json.loads(path.read_text())["items"] if path.is_file() else {}

    return call


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_phase_goes_through_on_the_pretended_card(machine, tmp_path):
    status, items = machine("build")
    assert (status, {item["status"] for item in items.values()}) == (0, {"ok"}), items
    assert items["wheels"]["installed"] == ["gsdff_brought_along-99.0-py3-none-any.whl"]
    assert (tmp_path / "out" / "site" / "gsdff_brought_along").is_dir()
    assert items["card"]["card"] == "Pretended card" and items["gsplat"]["picture_difference"] < 1e-5

    status, items = machine("tests", "--tests", "tests/training/test_lift.py", "tests/test_errors.py")
    assert status == 0 and sum(item["status"] == "ok" for item in items.values()) > 5
    assert [name for name, item in items.items() if item["status"] == "skipped"] == []

    status, items = machine("bench")
    assert status == 0 and all(item["tables"] or "scene" in name for name, item in items.items()), items
    (lift,) = items["features"]["tables"]["Features: the lift"]
    assert lift["device"] == "cuda" and lift["lift_seconds"] > 0

    TinyDataset.write(tmp_path / "photos")
    status, items = machine("train", "--data", tmp_path / "photos")
    assert status == 0 and set(items) == {"demo", "photos"}, items
    assert items["demo"]["miou"] >= 0 and items["demo"]["teacher"] == "toy" and items["photos"]["psnr"] > 0

    assert machine("train", "--data", tmp_path / "photos")[0] == 0
    assert machine("report")[0] == 0
    text = (tmp_path / "out" / "report.md").read_text()
    assert text.startswith("# Pretended card\n") and "Not run." not in text
    assert "- **" not in text, "something is not well"
