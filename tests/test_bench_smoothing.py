"""scripts/bench_smoothing.py at a tiny size: what it measures agrees, and a rival without enough memory is no crash."""

import json
import os
import subprocess
import sys
from math import isfinite
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OPTIONS = ["--size", "96", "72", "8", "--segments", "3", "--windows", "11", "--repeats", "1", "--cap-gib", "0.06"]
OPTIONS += ["--device", "cpu"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Output of the only run; its cap is too small for kornia's bilateral blur of the whole map."""
    out = tmp_path_factory.mktemp("bench")
    script = ROOT / "scripts" / "bench_smoothing.py"
    command = [sys.executable, str(script), *OPTIONS, "--out", str(out)]
    # the stacks of many threads would count in the small cap
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "2"})
    return out


@pytest.fixture(scope="module")
def rows(folder) -> list[dict]:
    return json.loads((folder / "smoothing_cpu.json").read_text())["rows"]


def test_every_filter_has_figures_and_agrees(rows):
    assert {"segment_blur", "bilateral_blur", "gaussian_blur", "total_variation"} <= {row["filter"] for row in rows}
    for row in rows:
        assert isfinite(row["ours_ms"]) and row["ours_mib"] > 0 and isfinite(row["times_smaller"])
        assert row["difference"] < 1e-5, row["filter"]
        if row["rival"] != "kornia bilateral_blur":  # which differentiates its weights, too
            assert row["gradient_difference"] < 1e-5, row["filter"]


def test_a_rival_that_does_not_fit_is_measured_on_a_smaller_map(rows):
    sizes = {row["size"]: row for row in rows if row["rival"] == "kornia bilateral_blur"}
    assert sizes["96x72x8"]["times_faster"] is None and sizes["96x72x8"]["compared_with"] == "float64"
    assert isfinite(sizes["32x24x8"]["times_faster"]) and sizes["32x24x8"]["compared_with"] == "rival"


def test_the_table_has_a_line_for_every_row(folder, rows):
    lines = [line for line in (folder / "smoothing_cpu.md").read_text().splitlines() if line.startswith("| ")]
    assert len(lines) == 2 + len(rows)
    assert sum("out of memory above 0.06 GiB" in line for line in lines) == sum(not row["times_faster"] for row in rows)
