"""scripts/bench_viewer.py at a tiny size: every way of drawing has its rows, and every row its figures."""

import json
import subprocess
import sys
from math import isfinite
from pathlib import Path

import pytest
from tiny_answers import write_asked_run

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_both_ways_of_drawing_are_timed_with_what_they_are_worth(tmp_path, generator):
    pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install playwright)")
    run, out = write_asked_run(tmp_path, generator), tmp_path / "viewer.json"
    options = ["--texts", "chair", "lamp", "--gaussians", "700", "--size", "640", "300"]
    options += ["--repeats", "2", "--seconds", "0.5", "--out", str(out)]
    command = [sys.executable, str(ROOT / "scripts" / "bench_viewer.py"), str(run.folder), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    if "needs a browser" in done.stderr:
        pytest.skip("needs a browser: chromium of the system, or `playwright install chromium`")
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    report = json.loads(out.read_text())
    assert report["scene"]["gaussians"] == 700 and report["scene"]["window"] == "640x300"
    rows = {(row["drawn_by"], row["what"].split(",")[0]): row for row in report["rows"]}
    assert set(rows) == {
        *(("browser", what) for what in ("drag", "mode", "query")),
        *(("server", what) for what in ("drag", "move", "mode", "query")),
    }
    for (way, what), row in rows.items():
        assert all(isfinite(value) for value in row.values() if isinstance(value, float)), row
        if what in ("mode", "query"):
            assert row["server_ms"] > 0 and row["shown_ms"] > row["server_ms"]
        assert row["psnr"] is None or (way == "server" and row["psnr"] > 20)
    assert 0 < rows["server", "move"]["first_server_ms"] < rows["server", "move"]["first_ms"]
