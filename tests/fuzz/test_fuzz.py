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


def run_script(*words: object) -> subprocess.CompletedProcess:
    """The script in a process of its own, whose children have threads of nothing else."""
    command = [sys.executable, str(ROOT / "scripts" / "fuzz.py"), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True)


def test_nothing_but_right_results_and_clean_messages_come_of_a_thousand_changed_files_and_command_lines():
    done = run_script("--cases", 1000)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def test_a_case_can_be_run_again():
    done = run_script("--only", "config", "--seed", 5, "--case", 3)
    assert done.stderr.startswith("config, seed 5, case 3: change_"), done.stderr


@pytest.mark.parametrize("change", [*mutations.BYTES, *mutations.TEXT])
def test_a_seed_gives_the_same_change(change):
    data = b'{"frames": [1.5, 2], "w": 30}\n' * 4
    changed = {change(Random(7), data) for _ in range(2)}
    assert len(changed) == 1
    assert any(change(Random(seed), data) != data for seed in range(5))
