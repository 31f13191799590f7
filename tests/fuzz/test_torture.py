"""Killed commands and full disks: a handful; `python scripts/torture.py` tries many."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(600)
def test_killed_commands_give_the_same_files_when_run_again_and_full_disks_leave_the_old_ones():
    command = [sys.executable, str(ROOT / "scripts" / "torture.py"), "--kills", "2", "--full", "2"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
