"""A thousand changed files and command lines: each gives a right result or a clean message.

`python scripts/fuzz.py` runs more; `--only FORMAT --seed S --case N` runs one case again and shows its traceback.
"""

import subprocess
import sys
from pathlib import Path
from random import Random

import fuzz_mutations as mutations
import pytest

ROOT = Path(__file__).resolve().parents[2]
PLANTED = """
import os, sys
sys.path[:0] = ["tests", "tests/fuzz"]
import fuzz_net
from gsdff.errors import UserError

def read(folder, random):
    data = (folder / "a.txt").read_bytes()
    if data == b"right":
        return
    match random.randrange(6):
        case 0:
            raise KeyError("frames")
        case 1:
            while True:
                pass
        case 2:
            return b"x" * (3 << 30)
        case 3:
            os.abort()
        case 4:
            fuzz_net.expect(False, "an answer of 43")
        case 5:
            raise UserError("something is wrong\\nsomewhere")

fuzz_net.CPU_SECONDS, fuzz_net.MOST_HANGS = 0.2, 99
form = fuzz_net.Format("planted", "here", lambda folder: (folder / "a.txt").write_text("right"), read, ("a.txt",))
print(fuzz_net.report(fuzz_net.run([form], 0, 40), 0))
"""


def run_script(*words: object) -> subprocess.CompletedProcess:
    """Python in a process of its own, whose children have threads of nothing else."""
    return subprocess.run([sys.executable, *map(str, words)], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.timeout(600)
def test_nothing_but_right_results_and_clean_messages_come_of_a_thousand_changed_files_and_command_lines():
    done = run_script("scripts/fuzz.py", "--cases", 1000)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def test_every_kind_of_fault_is_found():
    done = run_script("-c", PLANTED)
    found = {
        line.partition(": ")[2].partition(" in ")[0] for line in done.stdout.splitlines() if line.startswith("## ")
    }
    faults = {"KeyError", "too slow", "MemoryError", "the process ended with SIGABRT", "wrong result"}
    assert found == faults | {"message has several lines"}, done.stdout + done.stderr


def test_a_case_can_be_run_again():
    done = run_script("scripts/fuzz.py", "--only", "config", "--seed", 5, "--case", 3)
    assert done.stderr.startswith("config, seed 5, case 3: "), done.stderr


@pytest.mark.parametrize("change", dict.fromkeys([*mutations.BYTES, *mutations.TEXT]))
def test_a_seed_gives_the_same_change(change):
    data = b'{"frames": [1.5, 2], "w": 30}\n' * 4
    assert change(Random(7), data) == change(Random(7), data)
    assert any(change(Random(seed), data) != data for seed in range(5))
