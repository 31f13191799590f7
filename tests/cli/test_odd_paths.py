"""Paths with bytes that are no text, which Python holds as lone surrogates: every door prints them.

Results hold the bytes, so that other programs find the file; messages have escapes.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_run import make_gaussians, write_run

from gsdff.cli.doors import DOORS
from gsdff.config.file import write_config
from gsdff.config.options import TrainConfig
from gsdff.errors import UserError
from gsdff.files.reading import read_safetensors
from gsdff.files.writing import save_tensors
from gsdff.words import as_words, is_text

ROOT = Path(__file__).resolve().parents[2]
ODD = b"b\xffd"
SHOWN = "b\\udcffd"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")


@pytest.fixture
def odd(tmp_path) -> Path:
    """A folder with such a name."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path / "x").replace(b"x", ODD)))
    folder.mkdir()
    return folder


def start(*words: object) -> tuple[int, str, str]:
    """Status, stdout and stderr of a command, which prints to a terminal of UTF-8."""
    done = subprocess.run(
        [sys.executable, "-m", "gsdff", *map(str, words)], capture_output=True, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8:strict", "COLUMNS": "500"},
    )  # fmt: skip
    return done.returncode, os.fsdecode(done.stdout), done.stderr.decode()


@pytest.mark.parametrize("door", DOORS)
def test_every_door_says_that_there_is_nothing(door, odd):
    missing = odd / "none"
    options = {"prepare": ["--images", missing], "train": ["--data", missing], "query": [missing, "--text", "a"],
               "edit": [missing, "--delete", "a"], "segment": [missing, "--classes", "a", "b"]}  # fmt: skip
    status, _, err = start(door, *options.get(door, [missing]))
    assert status == 1 and SHOWN in err and err.startswith("error: ") and err.count("\n") == 1, err


def test_a_name_that_is_no_command_is_printed():
    status, _, err = start(os.fsdecode(ODD))
    assert status == 2 and SHOWN in err and err.count("\n") == 1


def test_results_are_printed_and_written(odd, generator):
    run = write_run(odd.parent, make_gaussians(generator))
    out = odd / "x.ply"
    status, said, err = start("export", run.folder, "--out", out)
    assert status == 0 and str(out) in said and "Traceback" not in err and out.is_file()  # a program can use its name


def test_a_path_that_the_run_would_have_to_hold_is_refused(odd, tmp_path):
    with pytest.raises(UserError, match=r"`data` .*expected a path in UTF-8"):
        write_config(tmp_path / "config.toml", TrainConfig(data=odd))
    assert not (tmp_path / "config.toml").exists()


def test_tensors_are_read_from_such_a_path(odd):
    save_tensors(odd / "x.safetensors", {"a": torch.arange(3)}, {"format": "f"})
    tensors, metadata = read_safetensors(odd / "x.safetensors", "numbers")
    assert tensors["a"].tolist() == [0, 1, 2] and metadata == {"format": "f"}


def test_words_are_text():
    assert is_text("tasse, スープ") and not is_text(os.fsdecode(ODD))
    with pytest.raises(UserError, match=r"`text`: expected a text"):
        as_words(os.fsdecode(ODD), "text")
