"""scripts/bench_page.py at a tiny size: every row of the table has its figure."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_run import make_gaussians, write_run
from tiny_words import write_words

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_the_page_of_a_scene_with_its_copies_is_measured(tmp_path, generator):
    pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install playwright)")
    run = write_run(tmp_path, make_gaussians(generator, num_features=8))
    write_words(tmp_path / "maps", generator)
    command = [
        sys.executable,
        str(ROOT / "scripts" / "bench_page.py"),
        str(run.folder),
        "--copies",
        "2",
        "--repeats",
        "2",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if "needs a browser" in done.stderr:
        pytest.skip("needs a browser: chromium of the system, or `playwright install chromium`")
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    rows = dict(re.findall(r"^\| (.+?) +\| (.+?) +\|$", done.stdout, re.MULTILINE))
    assert rows["Gaussians"] == "180"
    for what in ("query of a new word", "the same while the picture is drawn"):
        assert re.fullmatch(r"\d+ ms, \d+ of them for the scores, \d+ of CPU", rows[what]), what
    for what in (
        "threshold",
        "mode",
        "Gaussian under a click",
        "class, thing and score under the pointer",
        "selection by a box, all depths",
        "selection by a box, visible only",
    ):
        assert re.fullmatch(r"\d+ ms", rows[what]), what
