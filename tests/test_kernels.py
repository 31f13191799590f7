"""Compiled kernels are cached, and never stale."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import torch

from gsdff import kernels

CALLER = """
from gsdff.kernels import kernel
from gsdff.render.inner import inner

@kernel
def outer():
    return inner()
"""
INNER = """
from gsdff.kernels import kernel

@kernel(forceinline=True)
def inner():
    return {value}
"""


def test_a_change_in_one_file_recompiles_the_kernels_that_inlined_it(tmp_path):
    package = tmp_path / "gsdff"
    (package / "render").mkdir(parents=True)
    for folder in (package, package / "render"):
        (folder / "__init__.py").touch()
    shutil.copy(Path(kernels.__file__), package)
    (package / "render" / "caller.py").write_text(CALLER)

    def run(value: int) -> str:
        (package / "render" / "inner.py").write_text(INNER.format(value=value))
        code = "from gsdff.render.caller import outer; print(outer(), sum(outer.stats.cache_hits.values()))"
        environment = os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    assert run(1) == "1 0"
    assert run(1) == "1 1"  # from the cache
    assert run(2) == "2 0"


def test_parts_cover_a_range_without_gaps():
    torch.set_num_threads(2)
    assert kernels.split_range(5000) == [(0, 2500), (2500, 5000)]
    assert kernels.split_range(100) == [(0, 100)]
    assert kernels.split_range(0) == [(0, 0)]


def test_every_part_is_run_once_on_any_number_of_threads():
    threads = torch.get_num_threads()
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            seen: list[int] = []
            kernels.run_parts(seen.append, [(index,) for index in range(20)])
            assert sorted(seen) == list(range(20))
    finally:
        torch.set_num_threads(threads)


def test_compiling_is_logged_once(tmp_path, caplog, monkeypatch):
    caplog.set_level("INFO", logger="gsdff")
    folders = [tmp_path / name for name in ("render", "losses")]
    for folder in folders:
        folder.mkdir()
    for _process in range(2):
        monkeypatch.setattr(kernels, "_folders_seen", set())
        for folder in folders:
            kernels._log_compiling(str(folder))
    assert [record.message for record in caplog.records] == [
        "compiling the kernels for this processor; this happens once and takes about a minute"
    ]
