import errno
import logging

import pytest

from gsdff.cli import run_door
from gsdff.errors import UserError


@pytest.fixture(autouse=True)
def restored_logging():
    """`run_door` sets up logging for a process of its own: put back what it changes here."""
    root, ours = logging.getLogger(), logging.getLogger("gsdff")
    handlers, level = root.handlers[:], ours.level
    yield
    root.handlers = handlers
    ours.setLevel(level)


def fail_with(error):
    def main():
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("scene/x.bin: truncated"), "error: scene/x.bin: truncated"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "a/b"), "error: a/b: No such file or directory"),
        (OSError(errno.ENOSPC, "No space left on device"), "error: disk full, nothing already written is lost"),
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
        log.warning("odd")
        logging.getLogger("other").info("not ours")
        print("result")

    run_door(main)
    out, err = capsys.readouterr()
    assert out == "result\n"
    assert err == "said once\nwarning: odd\n"
