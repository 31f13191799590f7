"""The page's app: its own tests, and whether the bundle in the package is what its source builds."""

import gzip
import shutil
import subprocess
from pathlib import Path

import pytest

VIEWER = Path(__file__).resolve().parents[2] / "gsdff" / "viewer"
APP, BUNDLE = VIEWER / "app", VIEWER / "page" / "bundle"


def run_node(*command: str) -> str:
    """Output of a command in the app's folder; skips the test without node or the app's packages."""
    if shutil.which("node") is None or not (APP / "node_modules").is_dir():
        pytest.skip("needs node and the app's packages (npm ci in gsdff/viewer/app)")
    done = subprocess.run(command, cwd=APP, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_types_of_the_app_are_right():
    run_node("node", "node_modules/typescript/bin/tsc", "--noEmit")


def test_the_modules_of_the_app_do_what_their_tests_say():
    run_node("node", "node_modules/vitest/vitest.mjs", "run")


def test_the_bundle_in_the_package_is_built_from_its_source(tmp_path):
    run_node("node", "bundle.mjs", str(tmp_path))
    built, kept = (gzip.decompress((folder / "app.js.gz").read_bytes()) for folder in (tmp_path, BUNDLE))
    assert built == kept, "run `npm run build` in gsdff/viewer/app"
    for name in ("shell.html", "LICENSES.txt"):
        assert (tmp_path / name).read_bytes() == (BUNDLE / name).read_bytes(), name
