"""scripts/bench_viewer.py at a tiny size: every row of the table has its figures."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_answers import write_asked_run

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_the_server_behind_the_page_is_timed(tmp_path, generator):
    run = write_asked_run(tmp_path, generator)
    options = ["--gaussians", "700", "--repeats", "2", "--size", "160", "100"]
    command = [sys.executable, str(ROOT / "scripts" / "bench_viewer.py"), str(run.folder), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert "700 Gaussians on" in done.stdout
    for what in ("move, colour", "move, depth", "question"):
        assert re.search(rf"\| {what} \| \d+ ± \d+ ms \| \d+ ± \d+ ms \| [01]\.\d\d \|", done.stdout), done.stdout
