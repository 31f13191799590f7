"""Commands that are killed at any moment, or whose disk is full, and what must be left then.

Every operation runs in a child of this process, in a folder of its own. Killed at a random moment and run again, it
gives the files that it gives undisturbed, to the bit. With a full disk it says which file could not be written, and
every file that was there is as it was, or is replaced as a whole, together with those that belong to it.
"""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from random import Random

import torch
from fuzz_datasets import NAMES, make_scene, write_nerfstudio
from fuzz_doors import write_door
from fuzz_maps import write_masks
from fuzz_splats import HERE

from gsdff.cli import run_door
from gsdff.files.writing import settle

MOMENTS = {"open", "os.rename", "os.remove", "os.mkdir", "shutil.rmtree"}
"""Events of Python's audit before one of which a process is killed, or some milliseconds later."""
VOLATILE = ("*.log", "*/events/*", "*.json.case", "*/config.toml", "*/checkpoints/*", "*/report.md")
"""Files with times or paths in them."""


@dataclass(frozen=True)
class Operation:
    """Something that writes files."""

    name: str
    write: Callable[[Path], None]
    """Makes the folder that it works in."""
    run: Callable[[], None]
    """Does it in the working folder, as often as one likes."""
    results: tuple[str, ...]
    """Patterns of the files that it writes."""
    together: tuple[tuple[str, ...], ...] = ()
    """Files that belong to one another: all old, or all new."""


def door(name: str, *words: str) -> Callable[[], None]:
    """A command line of gsdff."""

    def run() -> None:
        module = import_module(f"gsdff.{name}")
        sys.argv = [name, *words]
        run_door(module.main, module.FLAGS)

    return run


def library(function: Callable[[], None]) -> Callable[[], None]:
    """A call of the library, whose errors are printed as a command does."""
    return lambda: run_door(function)


# --- what is done


TRAIN = (
    "--data", str(HERE / "data"), "--device", "cpu", "--out", "new", "--teacher", "precomputed", "--teacher.maps",
    str(HERE / "maps"), "--features.dim", "3", "--stage1.steps", "12", "--stage2.steps", "8", "--checkpoint-every", "4",
    "--log-every", "2", "--picture-every", "6", "--dataset.random-points", "40", "--masks", "felzenszwalb",
    "--smoothing.sam.form", "target",
)  # fmt: skip


def train() -> None:
    """Both stages, with masks and the extraction of features; goes on if a part of it is there."""
    words = ("--out", "new", "--resume") if Path("new/config.toml").is_file() else TRAIN
    door("train", *words)()


def write_photos_and_maps(folder: Path) -> None:
    write_nerfstudio(folder / "data")
    (folder / "maps").mkdir()
    for i, name in enumerate(NAMES):
        features = torch.randn(5, 4, 4, generator=torch.Generator().manual_seed(i))
        torch.save(features, folder / "maps" / f"{name[:2]}_fmap_CxHxW.pt")


def extract() -> None:
    from gsdff.config.options import FeatureConfig, TeacherConfig
    from gsdff.teachers.precomputed import PrecomputedTeacher
    from gsdff.teachers.store import open_store

    teacher = PrecomputedTeacher(TeacherConfig("precomputed", Path("maps")))
    open_store(teacher, make_scene(Path()).views, Path("store"), FeatureConfig(3))


def segment_views() -> None:
    from gsdff.config.smoothing import MaskConfig
    from gsdff.masks.precomputed import PrecomputedSegmenter
    from gsdff.masks.store import make_masks

    segmenter = PrecomputedSegmenter(MaskConfig(folder=Path("masks"), min_area=1))
    make_masks(segmenter, make_scene(Path()).views, Path("made"))


def write_old(folder: Path) -> None:
    """A run, and the results of other commands than those to come, under the names that these use."""
    write_door(folder)
    run = folder / "run"
    from gsdff.edit import main as edit
    from gsdff.export import main as export

    (run / "viewer").mkdir(exist_ok=True)
    sys.argv = ["export", "run"]
    export()
    for name in ("out.ply", "new.ply"):
        sys.argv = ["edit", "run", "--threshold", "0", "--opacity", "chair:0.5", "--out", name]
        edit()
    for form, name in (("splat", "out.splat"), ("compressed", "small.ply")):
        sys.argv = ["export", "out.ply", "--format", form, "--out", name, "--features", "none"]
        export()
    for name in ("heat.png", "heat_mask.png", "heat_overlay.png", "some.safetensors"):
        (folder / name).write_bytes(b"old")


def save_from_page() -> None:
    """The edits and the scene of a page, as its buttons save them."""
    from saved_by_page import rows_of, save_edits, save_scene

    from gsdff import load
    from gsdff.viewer.shared_scene import open_shared_scene
    from gsdff.viewer.wire.messages import HandEdit

    field = load("run", device="cpu")
    shared = open_shared_scene(field)
    green = HandEdit("recolor", rows_of(field.query("lamp", threshold=0.0).selection.mask), color=(0.0, 1.0, 0.0))
    save_edits(shared, green)
    save_scene(shared, green)


NO_FEATURES = ("--features", "none")
EXPORT = door("export", "run", "--out", "out.ply")
EXPORT_SPLAT = door("export", "run", "--format", "splat", "--out", "out.splat", *NO_FEATURES)
EXPORT_COMPRESSED = door("export", "run", "--format", "compressed", "--out", "small.ply", *NO_FEATURES)
ALL = ("--threshold", "0")
EDIT = door("edit", "run", "--recolor", "chair:#ff0000", *ALL, "--views", "v0.png", "--out", "new.ply")
QUERY = door(
    "query", "run", "--text", "chair", *ALL, "--view", "v0.png", "--out", "heat.png", "--selection", "some.safetensors"
)
SEGMENT = door("segment", "run", "--classes", "chair", "lamp")
OPERATIONS = (
    Operation("train", write_photos_and_maps, train, ("new/**/*",)),
    Operation("extraction", write_photos_and_maps, library(extract), ("store/**/*",)),
    Operation("masks", write_masks, library(segment_views), ("made/**/*.png",)),
    Operation("export", write_old, EXPORT, ("out.ply", "out.basis*"), (("out.ply", "out.basis.safetensors"),)),
    Operation("export-splat", write_old, EXPORT_SPLAT, ("out.splat",)),
    Operation("export-compressed", write_old, EXPORT_COMPRESSED, ("small.*",)),
    Operation("edit", write_old, EDIT, ("new*",), (("new.ply", "new.basis.safetensors", "new.toml"),)),
    Operation("query", write_old, QUERY, ("heat*.png", "some.safetensors")),
    Operation("segment", write_old, SEGMENT, ("run/segmentation/**/*",)),
    Operation("viewer-save", write_old, library(save_from_page), ("run/viewer/*",)),
)


# --- children


@dataclass(frozen=True)
class Ended:
    """How a child ended."""

    status: int
    """Exit status; negative for a signal."""
    said: str
    """Its output."""
    num_moments: int = 0
    """Number of `MOMENTS`; 0 if it was killed."""


def in_child(
    folder: Path,
    run: Callable[[], None],
    *,
    kill_at: int | None = None,
    delay: float = 0.0,
    prepare: Callable[[], None] = lambda: None,
) -> Ended:
    """Runs in a child in this folder, killed before (or `delay` seconds after) a moment if that is given."""
    (output, theirs), (counts, count_to) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        status, count = 70, [0]
        try:
            os.close(output)
            for descriptor in (1, 2):  # pipes, as the size of files may be limited
                os.dup2(theirs, descriptor)
            # the old ones may remember a place in a file
            sys.stdout, sys.stderr = (os.fdopen(descriptor, "w", 1, closefd=False) for descriptor in (1, 2))
            os.chdir(folder)
            torch.set_num_threads(1)
            count = _watch(kill_at, delay)
            prepare()
            run()
            status = 0
        except SystemExit as error:
            if isinstance(error.code, str):
                print(error.code, file=sys.stderr)
            status = error.code if isinstance(error.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            sys.stdout.flush()
            os.write(count_to, str(count[0]).encode())
            os._exit(status)
    for descriptor in (theirs, count_to):
        os.close(descriptor)
    with os.fdopen(output, errors="replace") as pipe:
        said = pipe.read()
    with os.fdopen(counts) as pipe:
        moments = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return Ended(status, said, int(moments or 0))


def _watch(kill_at: int | None, delay: float) -> list[int]:
    """Counts moments from now on, and ends the process at one of them without any clean-up."""
    count = [0]
    folder = os.getcwd()

    def see(event: str, arguments: tuple) -> None:
        if event not in MOMENTS or not arguments or not _writes(event, arguments, folder):
            return
        count[0] += 1
        if count[0] == kill_at:
            if delay:
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.setitimer(signal.ITIMER_REAL, delay)
            else:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(see)
    return count


def _writes(event: str, arguments: tuple, folder: str) -> bool:
    """Whether an event of Python's audit changes a file here: an open for writing, or any other than an open."""
    if event != "open":
        return True
    path, mode = arguments[0], arguments[1]
    return isinstance(path, str | os.PathLike) and isinstance(mode, str) and mode[:1] in "wax"


def results_of(operation: Operation, folder: Path) -> dict[str, bytes]:
    """The files that an operation wrote, as the next reader finds them, without what differs between any two runs."""
    for journal in folder.rglob(".*.unfinished"):
        settle(journal.with_name(journal.name.removeprefix(".").removesuffix(".unfinished")))
    found = {}
    for pattern in operation.results:
        for path in folder.glob(pattern):
            name = path.relative_to(folder)
            if path.is_file() and not any(name.match(volatile) for volatile in VOLATILE) and "events" not in name.parts:
                data = path.read_bytes()
                if path.name == "metrics.jsonl":
                    lines = [json.loads(line) | {"seconds": 0} for line in data.splitlines() if line.endswith(b"}")]
                    data = json.dumps(lines).encode()
                found[str(name)] = data
    return found


@dataclass
class Outcome:
    """What became of one operation."""

    operation: str
    num_tries: int = 0
    num_struck: int = 0
    """Tries in which the process was killed, or had a full disk."""
    problems: list[str] = field(default_factory=list)


ROOT = tempfile.TemporaryDirectory(prefix="gsdff-torture-")


@cache
def make_template(write: Callable[[Path], None]) -> Path:
    """The folder in which operations work, made once for all that work in the same one."""
    template = Path(ROOT.name) / write.__name__
    template.mkdir()
    made = in_child(template, lambda: write(template))
    if made.status:
        raise RuntimeError(f"{write.__name__}: {made.said[-2000:]}")
    return template


@cache
def undisturbed(operation: Operation) -> tuple[Path, dict[str, bytes], int]:
    """A folder to copy, the results of a run that nothing disturbs, and its number of moments."""
    template, whole = make_template(operation.write), Path(ROOT.name) / operation.name
    shutil.copytree(template, whole, symlinks=True)
    ended = in_child(whole, operation.run)
    if ended.status:
        raise RuntimeError(f"{operation.name}: fails undisturbed: {ended.said[-2000:]}")
    return template, results_of(operation, whole), ended.num_moments


def kill(operation: Operation, num_kills: int, seed: int) -> Outcome:
    """Kills an operation this many times, and runs it again after each."""
    outcome = Outcome(operation.name)
    random = Random(f"{operation.name}/{seed}")
    template, expected, num_moments = undisturbed(operation)
    work = Path(ROOT.name) / "work"
    for _ in range(num_kills):
        moment, delay = random.randint(1, max(1, num_moments)), random.choice((0.0, 0.001, 0.004, 0.02))
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(template, work, symlinks=True)
        old = results_of(operation, work)
        outcome.num_tries += 1
        ended = in_child(work, operation.run, kill_at=moment, delay=delay)
        if ended.status >= 0:
            continue  # it ended before
        outcome.num_struck += 1
        problems = find_mixtures(operation, old, expected, results_of(operation, work))
        problems += compare_again(operation, work, expected)
        where = f"killed at moment {moment} of {num_moments} + {1000 * delay:.0f} ms"
        outcome.problems += [f"{where}: {problem}" for problem in problems]
    return outcome


def compare_again(operation: Operation, work: Path, expected: dict[str, bytes]) -> Iterator[str]:
    """Runs an operation that was killed again; yields what differs from an undisturbed run."""
    again = in_child(work, operation.run)
    if again.status:
        yield f"run again, it fails: {again.said[-600:]}"
        return
    if operation.name == "viewer-save":  # what was saved before keeps its name, and the next has another
        return
    got = results_of(operation, work)
    if differing := sorted(name for name in expected.keys() | got.keys() if expected.get(name) != got.get(name)):
        yield f"run again, {', '.join(differing)} differ"
    if left := [str(path.relative_to(work)) for path in work.rglob("*.partial*")]:
        yield f"run again, it left {', '.join(left)}"


def find_mixtures(
    operation: Operation, old: dict[str, bytes], new: dict[str, bytes], now: dict[str, bytes]
) -> list[str]:
    """Files that were there and are neither old nor new, and sets of files of which one is old and another new."""
    problems = []
    for name, before in old.items():
        if name not in now:
            problems.append(f"{name} is gone")
        elif now[name] not in (before, new.get(name)):
            problems.append(f"{name} is neither the old file nor the new one")
    for group in operation.together:
        differing = [name for name in group if name in old and old[name] != new.get(name)]
        states = {name: "old" if now.get(name) == old[name] else "new" for name in differing}
        if len(set(states.values())) > 1:
            problems.append(f"left {' and '.join(f'{state} {name}' for name, state in states.items())}")
    return problems


FILE = re.compile(
    r"^error: \S+: cannot be written|[\w.-]+\.(ply|safetensors|toml|png|pt|npy|jsonl|json|splat|csv|md|mp4)"
)


def fill_disk(operation: Operation, seed: int, num_tries: int, *, mounted: bool) -> Outcome:
    """Gives an operation too little room, several times: on a small disk, or by a limit on the size of a file."""
    outcome = Outcome(operation.name)
    random = Random(f"{operation.name}/{seed}/full")
    template, expected, _ = undisturbed(operation)
    sizes = sorted({len(data) for data in expected.values() if data})
    pages = sum(-(-len(data) // 4096) for data in expected.values())
    for _ in range(num_tries):
        limit = random.randrange(pages) if mounted else random.choice(sizes)
        with _room(template, limit, mounted) as (work, prepare):
            old = results_of(operation, work)
            outcome.num_tries += 1
            ended = in_child(work, operation.run, prepare=prepare)
            if ended.status == 0:
                continue
            outcome.num_struck += 1
            where = f"room for {limit} pages of 4 kB" if mounted else f"room for files below {limit} bytes"
            problems = find_mixtures(operation, old, expected, results_of(operation, work))
            last = (ended.said.strip().splitlines() or [""])[-1]
            if ended.status != 1 or not last.startswith("error: "):
                problems.append(f"status {ended.status}: {ended.said[-900:]}")
            elif not FILE.search(last):
                problems.append(f"names no file: {last}")
            elif mounted and "free" not in last:
                problems.append(f"does not say how much is free: {last}")
            if left := [path.name for path in work.rglob("*.partial*")]:
                problems.append(f"left {', '.join(left)}")
            outcome.problems += [f"{where}: {problem}" for problem in problems]
    return outcome


@contextmanager
def _room(template: Path, limit: int, mounted: bool) -> Iterator[tuple[Path, Callable[[], None]]]:
    """A copy of a folder, and what limits the child in it: a disk with as many free pages, or files of fewer bytes."""
    work = Path(ROOT.name) / "work"
    shutil.rmtree(work, ignore_errors=True)
    if not mounted:
        shutil.copytree(template, work, symlinks=True)
        yield work, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit - 1, limit - 1))
        return
    work.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(work)], check=True)
    try:
        shutil.copytree(template, work, symlinks=True, dirs_exist_ok=True)
        _fill(work, limit)
        yield work, lambda: None
    finally:
        subprocess.run(["umount", "-l", str(work)], check=True)


def _fill(work: Path, num_pages: int) -> None:
    """Leaves this many pages of 4 kB on the disk."""
    free = os.statvfs(work).f_bavail - num_pages
    with (work / "filling").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free * 4096)


def can_mount() -> bool:
    """Whether this process may mount a small disk."""
    with tempfile.TemporaryDirectory() as folder:
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True).returncode:
            return False
        subprocess.run(["umount", folder], check=True)
    return True


def chosen(names: Sequence[str]) -> list[Operation]:
    """The operations of these names; all without any."""
    return [operation for operation in OPERATIONS if not names or operation.name in names]
