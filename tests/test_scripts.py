"""All scripts can be imported; what they do is tested in files of their own, or by running them."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
IMPORT = "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]"


def test_every_script_can_be_imported():
    names = sorted(path.stem for path in (ROOT / "scripts").glob("*.py"))
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = ['scripts', '.']; {IMPORT}", *names]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
