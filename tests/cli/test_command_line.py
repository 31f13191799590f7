import errno
import logging
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Annotated

import pytest
import tyro

from gsdff.cli import flags_of, name_flags, run_door
from gsdff.errors import UserError


def fail_with(error):
    def main():
        raise error

    return main


@pytest.mark.parametrize("name", ["a/b", None])
def test_a_full_disk_is_said_with_the_file_and_the_space_there_is(name):
    with pytest.raises(SystemExit) as stop:
        run_door(fail_with(OSError(errno.ENOSPC, "No space left on device", name)))
    place = re.escape(name or os.getcwd())
    assert re.fullmatch(rf"error: {place}: cannot be written: the disk is full, [\d,.]+ MiB free; .*", stop.value.code)


def test_a_name_that_is_not_in_utf_8_is_printed_as_it_is():
    code = "import os; from gsdff.cli import run_door; run_door(lambda: print(os.fsdecode(b'a\\xff')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env={**os.environ, "PYTHONUTF8": "1"})
    assert (done.returncode, done.stdout, done.stderr) == (0, b"a\xff\n", b"")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("scene/x.bin: truncated"), "error: scene/x.bin: truncated"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "a/b"), "error: a/b: No such file or directory"),
        (OSError("odd"), "error: odd"),
    ],
)
def test_a_users_mistake_is_one_line_and_a_non_zero_exit(error, line):
    with pytest.raises(SystemExit) as stop:
        run_door(fail_with(error))
    assert stop.value.code == line  # sys.exit prints it on stderr and exits with 1


def test_an_interruption_exits_with_130(capsys):
    with pytest.raises(SystemExit) as stop:
        run_door(fail_with(KeyboardInterrupt()))
    assert stop.value.code == 130
    assert capsys.readouterr().err == "\ninterrupted\n"


def test_our_own_mistakes_keep_their_traceback():
    with pytest.raises(AssertionError):
        run_door(fail_with(AssertionError()))


def test_log_lines_go_to_stderr_and_warnings_say_so(capsys, monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # as in a fresh process, without pytest's

    def main():
        log = logging.getLogger("gsdff")
        log.info("said %s", "once")
        log.warning("odd `view`")
        logging.getLogger("other").info("not ours")
        print("result")

    run_door(main, {"view": "--view"})
    out, err = capsys.readouterr()
    assert out == "result\n"
    assert err == "said once\nwarning: odd --view\n"


@dataclass(frozen=True)
class Inner:
    name: Annotated[str, tyro.conf.arg(name="teacher", prefix_name=False)] = ""
    batch_size: int = 1


@dataclass(frozen=True)
class Arguments:
    own: int = 0
    teacher: Inner = field(default_factory=Inner)
    options: Annotated[Inner, tyro.conf.arg(name="")] = field(default_factory=Inner)


def test_the_options_of_a_door_are_known_by_the_parameters_they_set():
    assert flags_of(Arguments) == {
        "own": "--own",
        "teacher.name": "--teacher",
        "teacher.batch_size": "--teacher.batch-size",
        "name": "--teacher",
        "batch_size": "--batch-size",
    }


def test_the_librarys_parameters_are_printed_as_the_doors_options():
    flags = {"view": "--view", "teacher.maps": "--teacher.maps"}
    message = "`view` 7: expected `teacher.maps`, or run `gsdff view`; `other` stays"
    expected = "--view 7: expected --teacher.maps, or run `gsdff view`; `other` stays"
    assert name_flags(message, flags) == expected
    with pytest.raises(SystemExit) as stop:
        run_door(fail_with(UserError("`view` 7: no such photo")), flags)
    assert stop.value.code == "error: --view 7: no such photo"
