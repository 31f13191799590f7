"""Rows about other processes, full disks, limits and Ctrl-C: C2, C3, C5, C6 and C7."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest import mock

import torch
from fuzz_splats import make_gaussians
from PIL import Image

import gsdff
from gsdff.config.file import read_config
from gsdff.editing.toml_file import read_edits
from gsdff.io.ply import read_ply
from gsdff.selection import Selection
from odd_rows.make import NAMES, load, make_run, write_maps, write_model, write_photos, write_transforms
from odd_rows.pages import free_port
from odd_rows.table import PATIENCE, ROOT, Here, Table, Wrong, code, environment, expect

TABLE = Table()
row = TABLE.row
LONGEST_END = 2.0
"""Seconds within which Ctrl-C ends a command."""


# --- C2


@row(
    "C2",
    "two trainings at once on one `--features.cache`, K = 3 and K = 4",
    "test_processes_that_start_together_on_one_cache_get_what_each_would_get_alone",
)
def one_cache(here: Here) -> str:
    write_transforms(here.folder / "data")
    write_maps(here.folder / "maps")

    def both(name: str, cache: Callable[[int], str]) -> list[bytes]:
        words = ["train", "--data", "data", "--teacher", "precomputed", "--teacher.maps", "maps", "--device", "cpu",
                 "--stage1.steps", "6", "--stage2.steps", "4", "--dataset.random-points", "80"]  # fmt: skip
        running = [
            subprocess.Popen(
                [sys.executable, "-m", "gsdff", *words, "--features.dim", str(K), "--features.cache", cache(K),
                 "--out", f"{name}{K}"],
                cwd=here.folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )
            for K in (3, 4)
        ]  # fmt: skip
        said = [process.communicate(timeout=PATIENCE)[0] for process in running]
        expect([process.returncode for process in running] == [0, 0], f"one failed: {said}")
        return [(here.folder / f"{name}{K}" / "scene.ply").read_bytes() for K in (3, 4)]

    together, alone = both("together", lambda K: "cache"), both("alone", lambda K: f"cache{K}")
    entries = [path for path in (here.folder / "cache").iterdir() if path.is_dir()]
    expect(together == alone, "the scenes differ from those of trainings alone")
    expect(len(entries) == 2, f"entries {entries}")
    return (
        f"both end well, with the scenes of trainings alone to the byte ({len(alone[0]):,} and {len(alone[1]):,} "
        f"bytes); {len(entries)} entries in the cache"
    )


# --- C3


def torture(*words: str) -> str:
    """Output of scripts/torture.py; it exits with 1 if something is wrong."""
    command = [sys.executable, str(ROOT / "scripts/torture.py"), "--only", "edit", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE * 2)
    said = " ".join(done.stdout.split())
    expect(done.returncode == 0, f"{said[:900]} {done.stderr[-300:]}")
    return said


@row(
    "C3",
    "`gsdff edit` over an earlier result, killed at random moments, and on a full disk (`scripts/torture.py`)",
    "test_a_kill_between_any_two_replacements_leaves_a_set_that_the_next_reader_completes",
    "test_an_edit_and_the_record_of_it_are_replaced_together",
    "test_killed_commands_give_the_same_files_when_run_again_and_full_disks_leave_the_old_ones",
)
def killed(here: Here) -> str:
    return code(torture("--kills", "4", "--full", "3"))


@row(
    "C3",
    "a PLY and the file beside it are replaced, and either write fails as on a full disk (`/dev/full`)",
    "test_a_disk_that_fills_up_at_any_write_leaves_the_old_files",
)
def full_disk(here: Here) -> str:
    from gsdff.files import writing

    run = make_run(here.folder)
    field = gsdff.load(run, device="cpu")
    out = here.folder / "out"
    out.mkdir()
    field.edit(gsdff.Opacity("chair", 0.5, threshold=0.0)).save(out / "scene.ply")
    old = {path.name: path.read_bytes() for path in out.iterdir()}
    partial_path, said = writing.partial_path, []
    for number in range(2):
        seen: list[Path] = []

        def full(path: Path, seen: list[Path] = seen, number: int = number) -> Path:
            partial = partial_path(path)
            if len(seen) >= number:
                partial.symlink_to("/dev/full")
            seen.append(path)
            return partial

        with mock.patch.object(writing, "partial_path", full):
            said.append(here.refused(lambda: field.save(out / "scene.ply"), "disk is full", "free", "scene."))
        now = {path.name: path.read_bytes() for path in out.iterdir()}
        expect(now == old, f"after {said[-1]}: {now.keys()}, or other bytes")
    return f"{said[0]}; {said[1]}; both old files are as they were"


# --- C5


@row("C5", "a file of edits with `grow = 1000000000`", "test_a_toml_file_has_limits")
def huge_grow(here: Here) -> str:
    path = here.folder / "edits.toml"
    path.write_text('[[edit]]\noperation = "delete"\npositives = "chair"\ngrow = 1000000000\n')
    return here.refused(lambda: read_edits(path), "grow", "100")


@row(
    "C5",
    "2,000 edits of a scene of 30,000 Gaussians, by text",
    "test_many_edits_score_the_same_features_for_the_same_words_once",
    "test_a_selection_that_many_edits_name_is_read_once",
)
def many_edits(here: Here) -> str:
    from fuzz_splats import make_basis

    from gsdff.config.options import TeacherConfig
    from gsdff.io.ply import write_ply
    from gsdff.io.sidecar import Sidecar

    write_ply(here.folder / "scene.ply", make_gaussians(30_000))
    basis = make_basis()
    texts = dict(zip(("chair", "lamp", "wall"), basis.B.T, strict=True))
    Sidecar(basis, TeacherConfig("precomputed"), texts).save(here.folder / "scene.basis.safetensors")
    edit = '[[edit]]\noperation = "{}"\npositives = "{}"\n{}\n'
    kinds = (
        ("recolor", "chair", 'color = "red"'),
        ("opacity", "lamp", "opacity = 0.5"),
        ("scale", "chair", "factor = 1.001"),
    )
    text = "".join(edit.format(*kinds[i % 3]) for i in range(2000))
    (here.folder / "edits.toml").write_text(text)
    start = time.monotonic()
    said = here.run_door("edit", "scene.ply", "--edits", "edits.toml", "--out", "out.ply")
    seconds = time.monotonic() - start
    expect(said.count("edit ") >= 2000 and seconds < 60, f"{said.count('edit ')} edits in {seconds:.0f} s")
    return f"{len(read_ply(here.folder / 'out.ply')):,} Gaussians after 2,000 edits in {seconds:.0f} s"


# --- C6


def replaced(here: Here, readers: dict[str, Callable[[], object]]) -> str:
    """Puts a pipe, a folder and a link to itself in the place of each file; judges what reading it says."""
    wrong, samples = [], []
    loop: Callable[[Path], None] = lambda path: path.symlink_to(path)  # noqa: E731
    for name, read in readers.items():
        path = here.folder / name
        saved = path.read_bytes()
        for kind, put in (("pipe", os.mkfifo), ("folder", Path.mkdir), ("link to itself", loop)):
            path.unlink()
            put(path)
            num_lines = len(here.lines)
            try:
                samples.append(here.refused(read, path.name))
            except (Wrong, OSError) as error:
                said = [line for line in here.lines[num_lines:] if path.name in line]  # left out, with a word
                samples += map(code, said[:1])
                wrong += [] if said else [f"a {kind} as {name}: {str(error)[:80]}"]
            path.rmdir() if kind == "folder" else path.unlink()
            path.write_bytes(saved)
    expect(not wrong, f"{len(wrong)} of {3 * len(readers)} are not said: {'; '.join(wrong)}")
    return f"{len(samples)} of {3 * len(readers)} are said, none hangs; {samples[0]}; {samples[-1]}"


@row(
    "C6",
    "a pipe, a folder or a link to itself in place of a photo, `images.txt`, a PLY, a selection, a file of edits, "
    "`config.toml` or a basis",
    "test_a_pipe_a_folder_and_a_link_to_itself_are_named_and_do_not_hang",
    "test_what_is_no_file_of_edits_is_refused_and_does_not_hang",
    "test_what_is_no_file_is_said_and_does_not_hang",
    "test_a_pipe_is_no_point_cloud",
)
def no_files(here: Here) -> str:
    run = make_run(here.folder)
    gsdff.load(run, device="cpu").save(run / "scene.ply")
    write_model(here.folder / "colmap")
    (here.folder / "edits.toml").write_text('[[edit]]\noperation = "delete"\npositives = "chair"\n')
    Selection(torch.ones(3, dtype=torch.bool)).save(here.folder / "a.safetensors", source="a test")
    readers: dict[str, Callable[[], object]] = {
        "colmap/images/v1.png": lambda: load(here.folder / "colmap"),
        "colmap/sparse/0/images.txt": lambda: load(here.folder / "colmap"),
        "run/scene.ply": lambda: gsdff.load(run / "scene.ply", device="cpu"),
        "run/config.toml": lambda: read_config(run / "config.toml"),
        "a.safetensors": lambda: Selection.load(here.folder / "a.safetensors", expected=3),
        "edits.toml": lambda: read_edits(here.folder / "edits.toml"),
        "run/basis.safetensors": lambda: gsdff.load(run, device="cpu").require_features(),
    }
    return replaced(here, readers)


@row("C6", "the same in place of `points3D.txt`", "test_a_pipe_a_folder_and_a_link_to_itself_are_named_and_do_not_hang")
def no_points(here: Here) -> str:
    write_model(here.folder)
    return replaced(here, {"sparse/0/points3D.txt": lambda: load(here.folder)})


@row(
    "C6",
    "the same in place of `transforms.json`",
    "test_a_pipe_a_folder_and_a_link_to_itself_are_named_and_do_not_hang",
)
def no_transforms(here: Here) -> str:
    write_transforms(here.folder)
    return replaced(here, {"transforms.json": lambda: load(here.folder)})


@row(
    "C6",
    "the same in place of `cameras.txt`",
    "test_a_pipe_a_folder_and_a_link_to_itself_are_named_and_do_not_hang",
)
def no_cameras(here: Here) -> str:
    write_model(here.folder)
    return replaced(here, {"sparse/0/cameras.txt": lambda: load(here.folder)})


@row(
    "C6",
    "links of a mask and of `points3D.txt` that lead nowhere, as to a disk that is not there",
    "test_what_is_no_file_is_said_and_does_not_hang",
)
def broken_links(here: Here) -> str:
    said = []
    for name in ("masks/v1.png", "sparse/0/points3D.txt"):
        folder = here.folder / Path(name).stem
        write_model(folder)
        (folder / "masks").mkdir()
        for photo in NAMES:
            Image.new("L", (16, 12), 255).save(folder / "masks" / photo)
        (folder / name).unlink()
        (folder / name).symlink_to("/gone/file")
        try:
            said.append(here.refused(partial(load, folder), Path(name).name))
        except Wrong:
            told = [line for line in here.lines if Path(name).name in line]
            expect(told, f"{name}: accepted, and nothing is said of it")
            said.append(code(told[0]))
    return "; ".join(said)


@row("C6", "the same in place of a photo's mask", "test_what_is_no_file_is_said_and_does_not_hang")
def no_mask(here: Here) -> str:
    write_model(here.folder)
    (here.folder / "masks").mkdir()
    for name in NAMES:
        Image.new("L", (16, 12), 255).save(here.folder / "masks" / name)
    return replaced(here, {"masks/v1.png": lambda: load(here.folder)})


# --- C7


@row(
    "C7",
    "Ctrl-C in each of the eight commands, half a second after its start and later",
    "test_every_door_ends_while_torch_is_loaded",
    "test_a_door_ends_with_one_line_whatever_it_does",
    "test_ctrl_c_ends_training_and_page_with_exit_code_130",
)
def ctrl_c(here: Here) -> str:
    make_run(here.folder)
    write_photos(here.folder / "photos", [f"{i}.jpg" for i in range(30)], (800, 600))
    commands = {
        "prepare": ("--images", "photos"),
        "train": ("--data", "data", "--out", "new", "--teacher", "none", "--device", "cpu", "--stage1.steps", 100000),
        "view": ("run", "--port", free_port()),
        "query": ("run", "--text", "chair"),
        "edit": ("run", "--delete", "chair", "--turntable", "--turntable-seconds", 3000),
        "segment": ("run", "--classes", "chair", "lamp", "--out", "labels"),
        "evaluate": ("run",),
        "export": ("run",),
    }
    slowest: dict[str, float] = {}
    for name, words in commands.items():
        for delay in (0.5, 4.0 if name in ("prepare", "train", "view", "edit") else 1.2):
            process = subprocess.Popen(
                [sys.executable, "-m", "gsdff", name, *map(str, words)], cwd=here.folder, text=True,
                env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
            try:
                time.sleep(delay)
                before = time.monotonic()
                process.send_signal(signal.SIGINT)
                said = process.communicate(timeout=PATIENCE)[0]
            finally:
                process.kill()
            seconds = time.monotonic() - before
            expect("Traceback" not in said, f"{name}: a traceback: {said[-300:]}")
            expect(
                process.returncode in (130, 0, -signal.SIGINT), f"{name}: status {process.returncode}: {said[-300:]}"
            )
            slowest[name] = max(seconds, slowest.get(name, 0))
    late = {name: f"{seconds:.1f} s" for name, seconds in slowest.items() if seconds > LONGEST_END}
    expect(not late, f"later than {LONGEST_END:g} s: {late}")
    shown = ", ".join(f"{name} {seconds:.1f}" for name, seconds in slowest.items())
    return f"seconds until the process has ended, the slower of two: {shown}"
