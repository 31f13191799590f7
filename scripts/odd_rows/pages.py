"""Rows about the page in the browser and who talks to it: C1 and C4."""

import math
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from unittest import mock

import torch
from PIL import Image
from tiny_viewer import write_tiny_viewer
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from wire import WirePage

from gsdff.viewer.modes import MODES
from gsdff.viewer.rendering import MAX_IMAGE_PIXELS
from gsdff.viewer.server import Address, Server
from odd_rows.make import make_run, write_transforms
from odd_rows.table import Here, Table, code, environment, expect

TABLE = Table()
row = TABLE.row


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
    return (
        f"websockets of origin {asked}: all 403; of a foreign Host: {rebound}, pages under it: 403; its own page: "
        f"{own[0]} and {own[1]}"
    )


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
    letters = f"the address ends in a token of {len(path) - 1} letters"
    return f"{letters}; without it, or a letter short: {without}; with it: {own}"


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
    return (
        f"drawn as {shown}; the screenshot is {size[0]}x{size[1]} and takes {max(grown, 0) / 1e6:.0f} MB more; "
        f"{code(here.shorten(note))}"
    )


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
