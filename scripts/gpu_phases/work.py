"""Folder, clock and child processes of a phase; every finished item is written down at once."""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 15.0
"""Seconds that a child has to end by itself, once it is asked to."""
DIE_WITH_PARENT = 1
"""PR_SET_PDEATHSIG of Linux."""
_libc = ctypes.CDLL(None)


@dataclass(frozen=True)
class Options:
    """Command line of a phase."""

    phase: str
    out: Path
    wheels: Path | None = None
    data: Path | None = None
    maps: Path | None = None
    tests: tuple[str, ...] = ()
    minutes: float = 7.5
    again: bool = False
    quick: bool = False
    pages: Path | None = None


@dataclass(frozen=True)
class Ended:
    """End of a child process."""

    status: str
    """ok, failed (it said so), crashed (a signal), hung (longer than its own limit) or unfinished (the phase's)."""
    seconds: float
    detail: str = ""
    """Last lines that it printed, and the signal's name."""

    @property
    def fault(self) -> str:
        """Detail of an end that is not well."""
        return "" if self.status == "ok" else self.detail


@dataclass
class Phase:
    """One phase at work: its items so far, and the time that is left."""

    options: Options
    name: str
    began: float = field(default_factory=time.monotonic)
    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def folder(self) -> Path:
        """Folder for files of this phase alone."""
        return self.options.out / self.name

    @property
    def seconds_left(self) -> float:
        """Seconds until the phase has to end."""
        return self.began + 60 * self.options.minutes - time.monotonic()

    def is_done(self, name: str) -> bool:
        """Whether an item needs no work: it ended well, or it ended and failures are not tried again."""
        status = self.items.get(name, {}).get("status", "unfinished")
        return status == "ok" or (status != "unfinished" and not self.options.again)

    def record(self, name: str, status: str, **facts: Any) -> None:
        """Writes an item down, and says so in one line."""
        with self.lock:
            self.items[name] = {"status": status, **facts}
            day = time.strftime("%Y-%m-%d", time.gmtime())
            write_json(self.options.out / f"{self.name}.json", {"phase": self.name, "date": day, "items": self.items})
        note = str(facts.get("detail", "")).strip().splitlines()[-1:]
        seconds = f"{facts['seconds']:7.1f} s" if facts.get("seconds") is not None else " " * 9
        print(f"{self.name} {seconds}  {status:10} {name}", *(note if status != "ok" else ()), flush=True)

    def log_of(self, name: str) -> Path:
        """File of what an item prints."""
        words = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)
        path = self.options.out / "logs" / f"{self.name}_{words}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def run(self, name: str, command: Sequence[object], *, limit: float | None = None) -> Ended:
        """Runs a child with its output in the log of an item, for at most `limit` seconds and the phase's time."""
        return run_child(command, environment(self.options), self.log_of(name), self.seconds_left, limit)


def open_phase(options: Options, name: str) -> Phase:
    """A phase with the items that earlier calls wrote down."""
    path = options.out / f"{name}.json"
    return Phase(options, name, items=json.loads(path.read_text())["items"] if path.is_file() else {})


def write_json(path: Path, content: object) -> None:
    """Replaces a JSON file in one go, so that a killed phase leaves the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(content, indent=1) + "\n")
    os.replace(partial, path)


def site_of(options: Options) -> Path:
    """Folder that the wheels are installed into."""
    return options.out / "site"


def environment(options: Options) -> dict[str, str]:
    """Environment of all children: gsdff of this checkout, the wheels; all that is compiled is kept in `out`."""
    out, given = options.out, dict(os.environ)
    places = [ROOT, ROOT / "scripts", site_of(options), *given.get("PYTHONPATH", "").split(os.pathsep)]
    given["PYTHONPATH"] = os.pathsep.join(str(place) for place in places if str(place))
    tools = [Path(sys.executable).parent, site_of(options) / "bin"]
    if home := given.get("CUDA_HOME"):
        tools.append(Path(home, "bin"))
    given["PATH"] = os.pathsep.join([*map(str, tools), given.get("PATH", os.defpath)])
    given.setdefault("TRITON_CACHE_DIR", str(out / "triton"))
    given.setdefault("MAX_JOBS", str(os.cpu_count() or 1))
    facts = out / "build.json"
    if "TORCH_CUDA_ARCH_LIST" not in given and facts.is_file():
        card = json.loads(facts.read_text())["items"].get("card", {})
        given |= {"TORCH_CUDA_ARCH_LIST": card["capability"]} if card.get("capability") else {}
    given.setdefault("TORCH_EXTENSIONS_DIR", str(extensions_of(options, given.get("TORCH_CUDA_ARCH_LIST", "any"))))
    return given | {"PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1", "TQDM_MININTERVAL": "10"}


def extensions_of(options: Options, cards: str) -> Path:
    """Folder of compiled extensions, one for every Python, torch and kind of card, as they fit no other."""
    try:
        torch = version("torch")
    except PackageNotFoundError:
        torch = "none"
    return options.out / "extensions" / f"{sys.implementation.cache_tag}_torch{torch}_{cards.replace(' ', '_')}"


def run_child(
    command: Sequence[object], env: Mapping[str, str], log: Path, left: float, limit: float | None = None
) -> Ended:
    """Runs a child until it ends, hangs (`limit`) or the phase's time is over (`left`), in seconds."""
    began, patience = time.monotonic(), min(left, limit if limit is not None else left)
    if patience <= 0:
        return Ended("unfinished", 0.0, "no time was left")
    words = [str(word) for word in command]
    with log.open("ab") as stream:
        stream.write(f"\n$ {' '.join(words)}\n".encode())
        stream.flush()
        start = stream.tell()
        child = subprocess.Popen(
            words, cwd=ROOT, env=dict(env), stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT,
            preexec_fn=_follow_parent,
        )  # fmt: skip
        try:
            child.wait(patience)
        except subprocess.TimeoutExpired:
            end_group(child)
            is_ours = limit is not None and limit < left
            return Ended("hung" if is_ours else "unfinished", time.monotonic() - began, tail(log, start))
        except BaseException:
            end_group(child)
            raise
    seconds = time.monotonic() - began
    if child.returncode < 0:
        return Ended("crashed", seconds, f"{tail(log, start)}\n{signal.Signals(-child.returncode).name}".strip())
    return Ended("failed" if child.returncode else "ok", seconds, tail(log, start))


def _follow_parent() -> None:
    """A process group of its own, so that it can be ended whole; and no life after ours, however that ends."""
    os.setpgid(0, 0)
    _libc.prctl(DIE_WITH_PARENT, signal.SIGTERM)


def end_group(child: subprocess.Popen) -> None:
    """Ends a child and its children: asks, insists, kills."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
        except ProcessLookupError:
            break
        try:
            child.wait(PATIENCE)
            break
        except subprocess.TimeoutExpired:
            continue
    child.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)  # whoever of the group has outlived it


def tail(log: Path, start: int = 0, lines: int = 12) -> str:
    """Last lines of a log from a position on."""
    with log.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(start, size - 20_000))
        text = stream.read().decode(errors="replace").replace("\r", "\n")
    return "\n".join([line for line in text.splitlines() if line.strip()][-lines:])
