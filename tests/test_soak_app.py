"""scripts/soak_app.py: a tiny scene for seconds, and what it takes for memory that grows."""

import subprocess
import sys
from pathlib import Path

import pytest
from tiny_run import make_gaussians, write_run
from tiny_words import write_words

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from soak_app import find_growth  # pyright: ignore[reportMissingImports]  # noqa: E402


@pytest.mark.slow
def test_three_tabs_of_a_tiny_scene_log_nothing(tmp_path, generator):
    pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install playwright)")
    run = write_run(tmp_path, make_gaussians(generator, num_features=8))
    write_words(tmp_path / "maps", generator)
    command = [sys.executable, str(ROOT / "scripts" / "soak_app.py"), str(run.folder), "--minutes", "0.5"]
    done = subprocess.run(command, capture_output=True, text=True)
    if "needs a browser" in done.stderr:
        pytest.skip("needs a browser: chromium of the system, or `playwright install chromium`")
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stdout + done.stderr
    assert "nothing was logged, and memory is flat" in done.stdout
    for name in ("tab 1", "tab 3", "processes of the pages", "server"):
        assert f"| {name} |" in done.stdout


TIMES = [float(i) for i in range(100)]


def test_memory_that_grows_to_the_end_is_found():
    assert find_growth(TIMES, [100.0 + i for i in range(100)]) is not None


def test_memory_that_swings_or_settles_is_flat():
    assert find_growth(TIMES, [100.0 + 50 * (i % 2) for i in range(100)]) is None
    assert find_growth(TIMES, [min(100.0 + 10 * i, 300.0) for i in range(100)]) is None
    assert find_growth(TIMES, [300.0 - i for i in range(100)]) is None


def test_growth_within_the_slack_is_none():
    assert find_growth(TIMES, [100.0 + 0.15 * i for i in range(100)]) is None
