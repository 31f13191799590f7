"""Runs the cases of every format in children of this process, with limits, and judges what happens.

A case is a valid folder of a format, made anew, of which one file is changed, and the function of the library that the
commands call for it. It passes with a right result or with a clean message. A child has a limit on its memory, a case
one on its time, so a case that breaks them ends as a finding, as does one that ends the process.
"""

import logging
import math
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from random import Random
from typing import Any

import fuzz_mutations as mutations
import torch
from figures import table
from fuzz_foreign import FOREIGN, MARK

from gsdff.errors import UserError

MEMORY = 2 << 30
"""Bytes that a case may take beside what the process has."""
CPU_SECONDS, WALL_SECONDS = 10, 40
"""Limits on one case."""
MOST_HANGS = 4
"""Cases of one format that run into a limit on time before the rest is left out."""
LONGEST_MESSAGE = 8000
BY_SUFFIX = {
    ".json": (mutations.change_json, mutations.change_json, *mutations.TEXT),
    ".jsonl": mutations.TEXT,
    ".toml": (mutations.change_toml, mutations.change_toml, *mutations.TEXT),
    ".yaml": (mutations.change_yaml, mutations.change_yaml, *mutations.TEXT),
    ".csv": mutations.TEXT,
    ".txt": mutations.TEXT,
    ".ply": (mutations.change_ply,),
    ".safetensors": (mutations.change_safetensors,),
    ".npy": (mutations.change_npy,),
    ".npz": (mutations.change_npz,),
    ".bin": (mutations.overwrite_integer, mutations.overwrite_float),
} | dict.fromkeys((".pt", ".pth", ".ckpt"), (mutations.change_torch,))
PICTURES = (".png", ".jpg", ".tif", ".webp", ".bmp")


class WrongResult(Exception):
    """A result that is neither right nor refused."""


class TimeUp(BaseException):
    """A case took too long; no library catches it."""


def expect(is_right: bool, what: str) -> None:
    """Raises `WrongResult` unless the result is right."""
    if not is_right:
        raise WrongResult(what)


@dataclass(frozen=True)
class Format:
    """One file format and the library's way to it."""

    name: str
    owner: str
    """Package that reads it."""
    write: Callable[[Path], Any]
    """Makes a valid folder."""
    read: Callable[[Path, Random], Any]
    """Reads it as a command does, and raises `WrongResult` unless the result is right."""
    targets: tuple[str, ...] = ()
    """Patterns of the files to change; none if `read` draws its own mistakes."""
    weight: float = 1.0
    """Share of the cases, relative to the others."""
    is_new: bool = False
    """Whether older versions refuse even the valid files."""


@dataclass
class Finding:
    """Cases that went wrong in the same way."""

    format: str
    owner: str
    kind: str
    """Exception, or what else happened."""
    where: str
    """Function of gsdff in which it happened."""
    text: str
    """The end of the traceback."""
    cases: list[int] = field(default_factory=list)
    mutations: list[str] = field(default_factory=list)


@dataclass
class Tally:
    """What happened to the cases of one format."""

    format: Format
    num_cases: int = 0
    num_right: int = 0
    """Cases that gave a right result; all others were refused, or are findings."""
    num_findings: int = 0
    num_left_out: int = 0
    """Cases after too many that ran into the limit on time."""
    seconds: float = 0.0
    findings: dict[tuple, Finding] = field(default_factory=dict)


# --- one case


def mutate(form: Format, folder: Path, random: Random) -> str:
    """Changes one file of a format; gives the name of the change."""
    files = sorted(path for target in form.targets for path in folder.glob(target) if path.is_file())
    if not files:
        return "options"
    path = random.choice(files)
    dice, name = random.random(), path.relative_to(folder)
    if dice < 0.05:
        mutations.no_file(random, path)
        return f"no_file {name}"
    if dice < 0.1:
        other = random.choice(sorted(FOREIGN))
        path.write_bytes(FOREIGN[other])
        return f"{other} as {name}"
    of_format = (mutations.change_picture,) if path.suffix in PICTURES else BY_SUFFIX.get(path.suffix, ())
    changes = of_format if of_format and dice < 0.7 else mutations.BYTES
    if path.suffix in (".json", ".jsonl", ".toml", ".yaml", ".csv", ".txt") and dice > 0.85:
        changes = mutations.TEXT
    change = random.choice(changes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = change(random, path.read_bytes())
    path.write_bytes(data)
    return f"{change.__name__} {name}"


def judge(form: Format, folder: Path, random: Random) -> tuple[str, str, str] | None:
    """What is wrong with a case: kind, place and text; None for a right result. Raises `UserError` for a refusal."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            with time_limit():
                form.read(folder, random)
            return ("code of the file was executed", "", "") if MARK.exists() else None
        except UserError as error:
            if problem := find_problem(str(error), form):
                return f"message {problem}", place_of(error), str(error)[:600]
            raise
        except OSError as error:
            if error.errno and error.filename:
                raise UserError(f"{error.filename}: {error.strerror}") from error
            return describe(error)
        except SystemExit as error:
            if error.code == 0:  # asked for help
                return None
            if error.code in (1, 2) or isinstance(error.code, str):
                raise UserError(str(error.code)) from error
            return describe(error)
        except TimeUp as error:
            return "too slow", place_of(error), "".join(traceback.format_exception(error))[-1500:]
        except WrongResult as error:
            return "wrong result", re.sub(r"[\d.]+.*", "...", str(error))[:60], str(error)[:600]
        except BaseException as error:  # anything else is what is looked for
            return describe(error)


def find_problem(message: str, form: Format) -> str:
    """What a message lacks: it is one line that people can read, and says which file or option is meant."""
    if "\n" in message:
        return "has several lines"
    if len(message) > LONGEST_MESSAGE:
        return "is too long"
    if form.targets and not re.search("/|`|--|edit [0-9]", message):
        return "names no file"
    return ""


def describe(error: BaseException) -> tuple[str, str, str]:
    return type(error).__name__, place_of(error), "".join(traceback.format_exception(error))[-1500:]


def place_of(error: BaseException) -> str:
    """The innermost function of gsdff on the way to an error."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/gsdff/" in frame.filename]
    if not frames:
        frames = traceback.extract_tb(error.__traceback__)[-1:]
    return "".join(f"{frame.filename.rpartition('/gsdff/')[2]}:{frame.name}" for frame in frames[-1:])


@contextmanager
def time_limit() -> Iterator[None]:
    """Raises `TimeUp` after too many seconds of the clock, or of the processor."""

    def stop(*_: object) -> None:
        raise TimeUp

    for number in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(number, stop)
    signal.setitimer(signal.ITIMER_REAL, WALL_SECONDS)
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)


# --- children


def run_cases(form: Format, seed: int, cases: Sequence[int], template: Path, pipe: Connection) -> None:
    """The child's work: every case in turn, and what became of it through the pipe."""
    quieten()
    torch.set_num_threads(1)
    work = template.with_name(f"{form.name}.case")
    try:
        if not template.is_dir():
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            os.chdir(work)
            form.write(work)
            with suppress(OSError):  # another format has made the same files
                os.rename(work, template)
        if form.targets:
            form.read(_fresh(template, work), Random(0))
    except BaseException as error:
        if not (form.is_new and isinstance(error, UserError)):
            pipe.send(("broken", None, "".join(traceback.format_exception(error))))
            raise
    pipe.send(("ready", None, None))
    limit_memory()
    for case in cases:
        random = Random(f"{form.name}/{seed}/{case}")
        folder = _fresh(template, work)
        try:
            change = mutate(form, folder, random)
            pipe.send(("start", case, change))
            verdict = judge(form, folder, random)
        except UserError as error:
            pipe.send(("refused", case, str(error)))
        except BaseException as error:  # a mistake of the fuzzer itself
            pipe.send(("start", case, "?"))
            pipe.send(("finding", case, ("mistake of the fuzzer", *describe(error)[1:])))
        else:
            pipe.send(("right", case, None) if verdict is None else ("finding", case, verdict))
        MARK.unlink(missing_ok=True)
    pipe.send(("end", None, None))


def _fresh(template: Path, folder: Path) -> Path:
    """A copy of a valid folder, which becomes the working folder: a run keeps the paths of its photos and maps."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(template, folder, symlinks=True)
    os.chdir(folder)
    return folder


def quieten() -> None:
    """Silences all output of this process but log records, which are formatted and dropped."""

    class Nowhere(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            record.getMessage()

    for name in (None, "gsdff"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [Nowhere()], False
        logger.setLevel(logging.INFO)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)


def limit_memory() -> None:
    """Lets this process take `MEMORY` more than it has now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            limit = int(line.split()[1]) * 1024 + MEMORY
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


class Child:
    """A process with the cases of one format that are still to run."""

    def __init__(self, tally: Tally, seed: int, cases: list[int], template: Path) -> None:
        self.tally, self.seed, self.cases, self.template = tally, seed, cases, template
        self.num_hangs = 0
        self.start()

    def start(self) -> None:
        context = get_context("fork")
        self.pipe, theirs = context.Pipe(duplex=False)
        arguments = (self.tally.format, self.seed, self.cases, self.template, theirs)
        self.process = context.Process(target=run_cases, args=arguments, daemon=True)
        self.process.start()
        theirs.close()
        self.current: tuple[int, str] | None = None
        self.is_ready = False
        self.heard = time.monotonic()

    def listen(self) -> bool:
        """Takes one message; returns whether the child has ended its work."""
        try:
            what, case, value = self.pipe.recv()
        except EOFError:
            self.process.join()
            code = self.process.exitcode
            name = signal.Signals(-code).name if code is not None and code < 0 else f"status {code}"
            return self.give_up(f"the process ended with {name}")
        self.heard = time.monotonic()
        match what:
            case "ready":
                self.is_ready = True
            case "broken":
                form = self.tally.format
                found = Finding(form.name, form.owner, "valid files are refused", "", value, [0], ["none"])
                self.tally.findings[form.name, "broken"] = found
                self.tally.num_findings += 1
                self.tally.num_left_out = len(self.cases)
                self.process.join()
                return True
            case "start":
                self.current = (case, value)
            case "end":
                self.process.join()
                return True
            case _:
                self.count(what, case, value)
        if self.num_hangs >= MOST_HANGS:
            self.tally.num_left_out += len(self.cases)
            self.stop()
            return True
        return False

    def count(self, what: str, case: int, value: Any) -> None:
        self.tally.num_cases += 1
        self.cases = [other for other in self.cases if other > case]
        self.tally.num_right += what == "right"
        if what == "finding":
            kind, where, text = value
            self.num_hangs += kind == "too slow"
            form = self.tally.format
            key = (form.name, kind, where)
            found = self.tally.findings.setdefault(key, Finding(form.name, form.owner, kind, where, text))
            found.cases.append(case)
            found.mutations.append(self.current[1] if self.current else "?")
            self.tally.num_findings += 1

    def give_up(self, kind: str) -> bool:
        """Counts the present case as a finding and goes on with the next in another process."""
        if self.current is None:
            raise RuntimeError(f"{self.tally.format.name}: its valid files are not made or read: {kind}")
        self.num_hangs += kind == HANG
        self.count("finding", self.current[0], (kind, "", ""))
        if self.cases and self.num_hangs < MOST_HANGS:
            self.start()
            return False
        self.tally.num_left_out += len(self.cases)
        return True

    def check_time(self) -> bool:
        """Ends a child that neither answers nor ends itself; returns whether the format has ended."""
        limit = WALL_SECONDS + 10 if self.is_ready else 180
        if time.monotonic() - self.heard < limit:
            return False
        self.stop()
        return self.give_up(HANG)

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


HANG = "hangs, and does not end when asked to"


def run(formats: Sequence[Format], seed: int, num_cases: int, *, workers: int = 2) -> list[Tally]:
    """Runs this many cases, divided among the formats by their weight."""
    total = sum(form.weight for form in formats)
    tallies = [Tally(form) for form in formats]
    with tempfile.TemporaryDirectory(prefix="gsdff-fuzz-") as root:
        waiting = [
            (tally, list(range(math.ceil(num_cases * tally.format.weight / total))))
            for tally in sorted(tallies, key=lambda tally: -tally.format.weight)
        ]
        running: list[Child] = []
        while waiting or running:
            while waiting and len(running) < workers:
                tally, cases = waiting.pop(0)
                tally.seconds = time.monotonic()
                running.append(Child(tally, seed, cases, Path(root) / tally.format.write.__name__))
            ready = wait([child.pipe for child in running], timeout=1.0)
            for child in list(running):
                ended = child.listen() if child.pipe in ready else child.check_time()
                if ended:
                    child.tally.seconds = time.monotonic() - child.tally.seconds
                    running.remove(child)
    return tallies


def report(tallies: Sequence[Tally], seed: int) -> str:
    """All findings, with the command that repeats each."""
    lines = []
    for tally in tallies:
        for found in tally.findings.values():
            cases = ", ".join(map(str, found.cases[:6]))
            lines += [
                f"## {found.format} ({found.owner}): {found.kind} in {found.where or '?'}, "
                f"{len(found.cases)} of {tally.num_cases} cases",
                f"cases {cases}: {'; '.join(dict.fromkeys(found.mutations[:6]))}",
                f"python scripts/fuzz.py --only {found.format} --seed {seed} --case {found.cases[0]}",
                *(f"    {line}" for line in found.text.splitlines()[-14:]),
                "",
            ]
    return "\n".join(lines)


def figures(tallies: Sequence[Tally], seed: int, seconds: float) -> str:
    """The counts as a table for the documentation."""
    head = ("format", "cases", "right result", "clean message", "findings", "seconds")
    rows: list[tuple[object, ...]] = []
    sums = [0, 0, 0, 0]
    for tally in tallies:
        refused = tally.num_cases - tally.num_right - tally.num_findings
        counts = (tally.num_cases, tally.num_right, refused, tally.num_findings)
        sums = [total + count for total, count in zip(sums, counts, strict=True)]
        rows.append((tally.format.name, *counts, f"{tally.seconds:.0f}"))
    rows.append(("all", *sums, f"{seconds:.0f}"))
    words = f"`python scripts/fuzz.py --cases N --write`, seed {seed}, on two cores; formats run two at a time."
    return f"\n{words}\n\n{table(head, rows)}\n"


def show(form: Format, seed: int, case: int) -> None:
    """Runs one case in this process, without limits, and shows what happens."""
    with tempfile.TemporaryDirectory(prefix="gsdff-fuzz-") as root:
        (folder := Path(root) / form.name).mkdir()
        os.chdir(folder)
        form.write(folder)
        random = Random(f"{form.name}/{seed}/{case}")
        print(f"{form.name}, seed {seed}, case {case}: {mutate(form, folder, random)}", file=sys.stderr)
        form.read(folder, random)
        print("a right result", file=sys.stderr)
