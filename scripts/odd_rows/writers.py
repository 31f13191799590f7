"""Rows about pages, other processes, full disks, limits and Ctrl-C: C1 to C7."""

import math
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from unittest import mock

import torch
from fuzz_splats import make_gaussians
from PIL import Image
from tiny_viewer import write_tiny_viewer
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from wire import WirePage

import gsdff
from gsdff.config.file import read_config
from gsdff.editing.toml_file import read_edits
from gsdff.io.ply import read_ply
from gsdff.selection import Selection
from gsdff.viewer.modes import MODES
from gsdff.viewer.rendering import MAX_IMAGE_PIXELS
from gsdff.viewer.server import Address, Server
from odd_rows.make import load, make_run, write_maps, write_model, write_photos, write_transforms
from odd_rows.table import PATIENCE, ROOT, Here, Table, Wrong, code, environment, expect

TABLE = Table()
row = TABLE.row
LONGEST_END = 2.0
"""Seconds within which Ctrl-C ends a command."""


# --- C1


@contextmanager
def started(here: Here, *words: object, until: str = "") -> Iterator[tuple[subprocess.Popen, str]]:
    """A command in a process of its own, and what it had printed when a line held `until`; ended with the block."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "gsdff", *map(str, words)], cwd=here.folder, text=True, env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        said = ""
        while until and until not in said:
            line = process.stdout.readline()
            expect(line, f"it ended: {said[-400:]}")
            said += line
        yield process, said
    finally:
        process.kill()
        process.communicate()


def port_of(said: str) -> tuple[int, str]:
    """Port and path of the page's address in what a command printed."""
    found = re.search(r"http://[\w.]+:(\d+)(/[\w-]+)?", said)
    expect(found, f"no address in {said}")
    assert found is not None
    return int(found[1]), found[2] or "/"


def status_of(port: int, path: str = "/", *, host: str = "", headers: tuple[str, ...] = ()) -> int:
    """HTTP status of a request."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {host or f'127.0.0.1:{port}'}", *headers, "", ""]
    with closing(socket.create_connection(("127.0.0.1", port), timeout=30)) as browser:
        browser.sendall("\r\n".join(lines).encode())
        return int(browser.recv(100).split()[1])


def socket_status(port: int, origin: str | None, path: str = "/") -> int:
    """HTTP status with which a websocket is answered; 101 if it is opened."""
    import viser

    try:
        with connect(
            f"ws://127.0.0.1:{port}{path}", origin=origin, proxy=None,  # pyright: ignore[reportArgumentType]
            subprotocols=[f"viser-v{viser.__version__}"],  # pyright: ignore[reportArgumentType]
        ):  # fmt: skip
            return 101
    except InvalidStatus as error:
        return error.response.status_code


def check_gate(port: int) -> str:
    """Judges who is let in by a page that only this machine can reach."""
    origins = {
        origin: socket_status(port, origin)
        for origin in (
            "http://evil.example",
            "null",
            None,
            "http://127.0.0.1:1",
            "file://",
            "http://localhost.evil.example",
        )
    }
    names = {host: status_of(port, host=host) for host in ("evil.example", f"evil.example:{port}", "192.168.0.7")}
    upgrade = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
               "Sec-WebSocket-Version: 13", "Origin: http://evil.example")  # fmt: skip
    rebound = status_of(port, host="evil.example", headers=upgrade)
    own = socket_status(port, f"http://127.0.0.1:{port}"), status_of(port)
    expect(set(origins.values()) == {403}, f"websockets by origin: {origins}")
    expect(set(names.values()) == {403} and rebound == 403, f"by name: {names}, {rebound}")
    expect(own == (101, 200), f"its own page: {own}")
    asked = ", ".join(repr(origin) if origin else "none" for origin in origins)
    return f"websockets of origin {asked}: all 403; of a foreign Host: {rebound}, pages under it: 403; its own page: {own[0]} and {own[1]}"  # noqa: E501


@row(
    "C1",
    "`gsdff view`: another web page's websocket (forged Origin, `null`, none), a foreign Host",
    "test_a_socket_of_another_page_is_refused",
    "test_a_name_that_leads_here_is_refused",
    "test_a_socket_under_a_name_that_leads_here_is_refused",
    "test_another_web_page_can_neither_order_nor_frame_this_one",
)
def forged(here: Here) -> str:
    make_run(here.folder)
    with started(here, "view", "run", "--port", free_port(), until="open http") as (_, said):
        return check_gate(port_of(said)[0])


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@row("C1", "the same of `gsdff train --viewer`", "test_a_socket_of_another_page_is_refused")
def forged_training(here: Here) -> str:
    write_transforms(here.folder / "data")
    words = ("--data", "data", "--out", "run", "--teacher", "none", "--device", "cpu", "--stage1.steps", 100000)
    with started(here, "train", *words, "--viewer", "--viewer-port", free_port(), until="http://") as (_, said):
        return check_gate(port_of(said)[0])


@row(
    "C1",
    "`gsdff view --host 0.0.0.0` without the token of its address",
    "test_without_the_token_nothing_is_served",
    "test_a_page_that_others_can_reach_has_a_token_in_its_address",
)
def token(here: Here) -> str:
    make_run(here.folder)
    with started(here, "view", "run", "--host", "0.0.0.0", "--port", free_port(), until="open http") as (_, said):
        port, path = port_of(said)
        origin = f"http://127.0.0.1:{port}"
        without = [status_of(port), status_of(port, path[:-1]), socket_status(port, origin)]
        own = [status_of(port, path), socket_status(port, origin, path)]
    expect(len(path) > 20 and set(without) == {403} and own == [200, 101], f"{path}: without {without}, with {own}")
    return f"the address ends in a token of {len(path) - 1} letters; without it, or a letter short: {without}; with it: {own}"


@contextmanager
def page(here: Here) -> Iterator[WirePage]:
    """A page of a real server in this process."""
    tiny = write_tiny_viewer(here.folder, torch.Generator().manual_seed(0))
    with Server(tiny.shared, Address("127.0.0.1", 0)) as server, WirePage(server) as wire:
        yield wire


@row(
    "C1",
    "a page sends viser's messages for a public share link and an upload",
    "test_messages_that_are_not_offered_do_nothing",
    "test_no_handler_is_left_that_belongs_to_the_server",
)
def share(here: Here) -> str:
    asked: list[str] = []
    with page(here) as wire:
        viser_server = type(wire.server.viser)
        with mock.patch.object(viser_server, "request_share_url", lambda _: asked.append("share")):
            wire.send("ShareUrlRequest")
            wire.send("FileTransferStartUpload", filename="x", mime_type="x", part_count=1, size_bytes=4,
                      transfer_uuid="t", source_component_uuid=wire.control("mode")._impl.uuid)  # fmt: skip
            wire.set("mode", "depth")
            wire.wait_until(lambda: wire.tab.mode == "depth")
        handlers = wire.server.viser._websock_server._incoming_handlers
        uploads = wire.tab.client.gui._current_file_upload_states
    expect(not asked and not handlers and not uploads, f"{asked}, {handlers}, {uploads}")
    return "no tunnel is asked for and no upload begun; the server has 0 handlers of its own, and the page goes on"


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
    return f"both end well, with the scenes of trainings alone to the byte ({len(alone[0]):,} and {len(alone[1]):,} bytes); {len(entries)} entries in the cache"  # noqa: E501


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
    from gsdff import files

    run = make_run(here.folder)
    field = gsdff.load(run, device="cpu")
    out = here.folder / "out"
    out.mkdir()
    field.edit(gsdff.Opacity("chair", 0.5, threshold=0.0)).save(out / "scene.ply")
    old = {path.name: path.read_bytes() for path in out.iterdir()}
    partial_path, said = files.partial_path, []
    for number in range(2):
        seen: list[Path] = []

        def full(path: Path, seen: list[Path] = seen, number: int = number) -> Path:
            partial = partial_path(path)
            if len(seen) >= number:
                partial.symlink_to("/dev/full")
            seen.append(path)
            return partial

        with mock.patch.object(files, "partial_path", full):
            said.append(here.refused(lambda: field.save(out / "scene.ply"), "disk is full", "free", "scene."))
        now = {path.name: path.read_bytes() for path in out.iterdir()}
        expect(now == old, f"after {said[-1]}: {now.keys()}, or other bytes")
    return f"{said[0]}; {said[1]}; both old files are as they were"


# --- C4


@row(
    "C4",
    "a window of 20000², 10⁶² or 10⁹x1 pixels, and a screenshot of it",
    "test_windows_of_any_size_are_drawn_within_the_limits",
    "test_a_screenshot_of_an_enormous_window_is_of_bounded_size_and_says_so",
)
def sizes(here: Here) -> str:
    with page(here) as wire:
        drawn = []
        for width, height in ((20_000, 20_000), (10**6, 10**6), (10**9, 1)):
            wire.move(image_width=width, image_height=height)
            wire.wait_until(lambda width=width: wire.tab.client.camera.image_width == width)
            drawn.append((wire.tab.camera.width, wire.tab.camera.height))
        wire.move(image_width=20_000, image_height=20_000)
        wire.wait_until(lambda: wire.tab.client.camera.image_width == 20_000)
        before = peak_memory()
        wire.tab.perform(wire.tab.save_screenshot)
        note = wire.wait_for_note("Saved screenshot")
        grown = peak_memory() - before
        with Image.open(next(wire.tab.shared.folder.glob("screenshot_*.png"))) as png:
            size = png.size
    expect(all(1 <= w * h <= MAX_IMAGE_PIXELS for w, h in [*drawn, size]), f"drawn {drawn}, screenshot {size}")
    expect(grown < 1e9, f"the screenshot took {grown / 1e9:.1f} GB")
    shown = ", ".join(f"{w}x{h}" for w, h in drawn)
    return f"drawn as {shown}; the screenshot is {size[0]}x{size[1]} and takes {max(grown, 0) / 1e6:.0f} MB more; {code(here.shorten(note))}"  # noqa: E501


def peak_memory() -> int:
    """Most memory of this process so far, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


@row(
    "C4",
    "a painter raises an error",
    "test_the_error_of_a_painter_is_shown_and_the_tab_goes_on_drawing",
)
def painter(here: Here) -> str:
    def fail(inputs: object, camera: object) -> None:
        raise RuntimeError("no memory left")

    with page(here) as wire, mock.patch.dict(MODES, opacity=replace(MODES["opacity"], render=fail)):
        wire.set("mode", "opacity")
        note = wire.wait_for_note("Cannot be drawn")
        wire.set("mode", "depth")
        wire.wait_until(lambda: wire.tab._failure is None and wire.tab.mode == "depth")
        expect(wire.tab.render_loop._thread.is_alive(), "the tab does not draw any more")
    return f"the page shows {code(note)} and goes on drawing"


@row(
    "C4",
    "a threshold of NaN, an unknown mode, a camera at 1e300",
    "test_values_that_a_control_cannot_have_are_answered",
    "test_cameras_that_are_none_are_answered",
)
def answered(here: Here) -> str:
    with page(here) as wire:
        wire.set("threshold", math.nan)
        notes = [wire.wait_for_note("Threshold")]
        wire.set("mode", "no such mode")
        notes.append(wire.wait_for_note("Mode: expected"))
        wire.move(position=(1e300, 0.0, 0.0))
        notes.append(wire.wait_for_note("position of the camera"))
        wire.set("mode", "depth")
        wire.wait_until(lambda: wire.tab.mode == "depth")
    return f"the page shows {'; '.join(map(code, notes))}"


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


@row(
    "C6",
    "a pipe, a folder or a link to itself in place of a photo, a model, transforms.json, a PLY, a selection, edits, "
    "options, a checkpoint, a basis or a mask",
    "test_a_pipe_a_folder_and_a_link_to_itself_are_named_and_do_not_hang",
    "test_what_is_no_file_of_edits_is_refused_and_does_not_hang",
    "test_what_is_no_file_is_said_and_does_not_hang",
    "test_a_pipe_is_no_point_cloud",
)
def no_files(here: Here) -> str:
    run = make_run(here.folder)
    gsdff.load(run, device="cpu").save(run / "scene.ply")
    write_model(here.folder / "colmap")
    write_photos(here.folder / "masked/images")
    write_model(here.folder / "masked")
    (here.folder / "edits.toml").write_text('[[edit]]\noperation = "delete"\npositives = "chair"\n')
    Selection(torch.ones(3, dtype=torch.bool)).save(here.folder / "a.safetensors", source="a test")
    Image.new("L", (16, 12), 255).save(make_folder(here.folder / "masked/masks") / "v1.png")
    readers: dict[str, Callable[[], object]] = {
        "colmap/images/v1.png": lambda: load(here.folder / "colmap"),
        "colmap/sparse/0/images.txt": lambda: load(here.folder / "colmap"),
        "colmap/sparse/0/points3D.txt": lambda: load(here.folder / "colmap"),
        "data/transforms.json": lambda: load(here.folder / "data"),
        "run/scene.ply": lambda: gsdff.load(run / "scene.ply", device="cpu"),
        "run/config.toml": lambda: read_config(run / "config.toml"),
        "run/basis.safetensors": lambda: gsdff.load(run, device="cpu").require_features(),
        "a.safetensors": lambda: Selection.load(here.folder / "a.safetensors", expected=3),
        "edits.toml": lambda: read_edits(here.folder / "edits.toml"),
        "masked/masks/v1.png": lambda: load(here.folder / "masked").views[1].mask,
    }
    wrong, samples = [], []
    for name, read in readers.items():
        path = here.folder / name
        saved = path.read_bytes()
        for kind, replace_by in (
            ("pipe", os.mkfifo),
            ("folder", Path.mkdir),
            ("loop", lambda path: path.symlink_to(path)),
        ):
            path.unlink()
            replace_by(path)
            num_lines = len(here.lines)
            try:
                samples.append(here.refused(read, path.name))
            except (Wrong, OSError) as error:
                said = [line for line in here.lines[num_lines:] if path.name in line]  # left out, with a word
                samples += map(code, said[:1])
                wrong += [] if said else [f"{kind} as {name}: {str(error)[:60]}"]
            path.rmdir() if kind == "folder" else path.unlink()
            path.write_bytes(saved)
    expect(not wrong, f"{len(wrong)} of {3 * len(readers)} are not said: {'; '.join(wrong)}")
    return f"{len(samples)} of {3 * len(readers)} are said, none hangs, such as {samples[0]} and {samples[-9]}"


def make_folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


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
