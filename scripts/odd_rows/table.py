"""What a row is, how it is judged, and the document that lists all of them."""

import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gsdff.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "odd-inputs.md"
PATIENCE = 90
"""Seconds after which a row counts as hanging."""
LONGEST = 330
"""Letters of what happens, in the document."""
PARTS = {
    "A": "Once wrong without a word",
    "B": "Once refused though usual, or with a misleading word",
    "C": "Many writers, full disks, hostile pages",
    "D": "Once a traceback, by kind",
    "E": "Memory",
}
INTRODUCTION = """\
# Odd input

What people bring is odd in many ways. This table lists inputs that gsdff once got wrong, and what happens with them
now: a right result, or one line that says which file is wrong and what to do. `python scripts/odd_inputs.py --write`
makes every input in a temporary folder, gives it to gsdff, judges what happens, and writes this page; numbers and
messages are of that run, with paths shortened. The suite pins each row by the tests named beside it.
"""


class Wrong(Exception):
    """What happened is not what is right."""


def expect(holds: Any, otherwise: str) -> None:
    """Raises `Wrong` with this text unless the condition holds."""
    if not bool(holds):
        raise Wrong(otherwise)


@dataclass
class Here:
    """The place of one row: a folder of its own, and what gsdff has said in it."""

    folder: Path
    lines: list[str] = field(default_factory=list)
    """Log lines of the package, with a word for warnings, paths shortened."""

    def shorten(self, text: object) -> str:
        """A message without the folder of this row."""
        return " ".join(str(text).replace(f"{self.folder}/", "").replace(str(self.folder), "SCENE").split())

    def refused(self, call: Callable[[], Any], *parts: str) -> str:
        """Message with which a call is refused, as code; it must be one line of some length and hold all parts."""
        try:
            result = call()
        except UserError as error:
            message = self.shorten(error)
            expect("\n" not in str(error) and len(str(error)) < 1500, f"the message is no line: {message[:200]}")
            missing = [part for part in parts if part not in message]
            expect(not missing, f"the message does not say {' nor '.join(missing)}: {message}")
            return code(message)
        raise Wrong(f"accepted, gave {self.shorten(repr(result))[:200]}")

    def said(self, *parts: str) -> str:
        """The log line that holds all parts, as code."""
        found = [line for line in self.lines if all(part in line for part in parts)]
        expect(found, f"nothing says {' and '.join(parts)}, but: {self.lines}")
        return code(found[0])

    def run_door(self, *words: object, expected: int = 0, lines: bool = False) -> str:
        """Runs a command in a process of its own, in the folder; what it printed, in one line or in its own.

        It must end with this status and without a traceback.
        """
        done = subprocess.run(
            [sys.executable, "-m", "gsdff", *map(str, words)],
            cwd=self.folder, capture_output=True, text=True, errors="backslashreplace", timeout=PATIENCE,
            env=environment(),
        )  # fmt: skip
        output = (done.stdout + done.stderr).replace("\r", "\n").splitlines()
        said = "\n".join(filter(None, map(self.shorten, output)))
        said = said if lines else self.shorten(said)
        expect("Traceback" not in said, f"a traceback: {said[-300:]}")
        expect(done.returncode == expected, f"status {done.returncode}, expected {expected}: {said[-300:]}")
        return said


def environment() -> dict[str, str]:
    """Environment of child processes: this checkout, and bars as users see them."""
    return {name: value for name, value in os.environ.items() if name != "TQDM_DISABLE"} | {"PYTHONPATH": str(ROOT)}


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    number: str
    """Letter of the part and number of the kind."""
    given: str
    """The input in words."""
    tests: tuple[str, ...]
    """Names of the tests that pin it."""
    run: Callable[[Here], str]
    """Makes the input, runs gsdff, raises `Wrong` if it is not right; what happened."""


@dataclass
class Table:
    """Rows of a file."""

    rows: list[Row] = field(default_factory=list)

    def row(self, number: str, given: str, *tests: str) -> Callable[[Callable[[Here], str]], Callable[[Here], str]]:
        """Registers the function below as a row."""

        def register(run: Callable[[Here], str]) -> Callable[[Here], str]:
            self.rows.append(Row(number, given, tests, run))
            return run

        return register


@dataclass(frozen=True)
class Result:
    """A row and what happened."""

    row: Row
    is_right: bool
    happens: str

    @property
    def mark(self) -> str:
        """A word for whether it is right."""
        return "right" if self.is_right else "WRONG"


def judge(row: Row) -> Result:
    """Runs a row in a folder of its own; any error but of the row's own judgement is wrong too."""
    with tempfile.TemporaryDirectory(prefix="gsdff-odd-") as name, warnings.catch_warnings():
        warnings.simplefilter("error")
        here = Here(Path(name))
        with listening(here), limited():
            try:
                return Result(row, True, row.run(here))
            except Wrong as error:
                return Result(row, False, here.shorten(error))
            except UserError as error:
                return Result(row, False, f"refused: {here.shorten(error)}")
            except Exception as error:
                place = traceback.extract_tb(error.__traceback__)[-1]
                at = f"{Path(place.filename).name}:{place.lineno}"
                return Result(row, False, f"{type(error).__name__} in {at}: {here.shorten(error)[:300]}")


@contextmanager
def listening(here: Here) -> Iterator[None]:
    """Collects the log lines of the package."""

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            here.lines.append(here.shorten(record.getMessage()))

    logger, listener = logging.getLogger("gsdff"), Listener()
    before, propagates = logger.level, logger.propagate
    logger.addHandler(listener)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(listener)
        logger.setLevel(before)
        logger.propagate = propagates


@contextmanager
def limited() -> Iterator[None]:
    """Ends a block that hangs."""

    def give_up(*_: object) -> None:
        raise Wrong(f"no answer after {PATIENCE} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def code(text: str) -> str:
    """A message as code in Markdown, cut to a readable length."""
    text = text if len(text) <= LONGEST else f"{text[: LONGEST - 2]} …"
    fence = "``" if "`" in text else "`"
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{space}{text}{space}{fence}"


def document(results: Sequence[Result]) -> str:
    """The page with all rows."""
    num_wrong = sum(not result.is_right for result in results)
    lines = [INTRODUCTION]
    if num_wrong:
        lines.append(f"**{num_wrong} of {len(results)} rows are not right; they are marked WRONG.**\n")
    for letter, title in PARTS.items():
        lines += [f"## {title}", "", "| | given | what happens | checked by |", "| --- | --- | --- | --- |"]
        for result in results:
            if result.row.number.startswith(letter):
                mark = "" if result.is_right else "**WRONG** "
                tests = ", ".join(f"`{name}`" for name in result.row.tests)
                cells = result.row.number, result.row.given, mark + result.happens, tests
                lines.append("| " + " | ".join(re.sub(r"(?<!\\)\|", r"\\|", cell) for cell in cells) + " |")
        lines.append("")
    return "\n".join(lines)
