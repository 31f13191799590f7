"""The tests that need a GPU, on the pretended card: a real one shall not be the first to run them."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_the_tests_marked_gpu_pass():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "pretended.plugin", "-p", "no:cacheprovider", "-m", "gpu"]
    places = [path for path in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in path.read_text()]
    assert len(places) >= 5
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests")}
    done = subprocess.run([*command, *places], capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stdout[-3000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    skipped = [line for line in done.stdout.splitlines() if line.startswith("SKIPPED")]
    # kernels in Triton are tested in its interpreter (`tests/render/interpreted_feature_pass.py`)
    assert passed and int(passed[1]) >= 30 and all("needs Triton" in line for line in skipped), done.stdout[-3000:]
