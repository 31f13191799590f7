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
from typing import Any
from unittest import mock

import torch
from app_wire import AppPage, serve_shared, window_of
from PIL import Image
from tiny_viewer import write_tiny_viewer
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from gsdff.viewer.modes import MODES
from gsdff.viewer.rendering import MAX_IMAGE_PIXELS
from gsdff.viewer.wire.server import AppServer
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
    try:
        with connect(f"ws://127.0.0.1:{port}{path}", origin=origin, proxy=None):  # pyright: ignore[reportArgumentType]
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
    "test_the_page_is_served_and_cannot_be_framed",
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
def page(here: Here) -> Iterator[tuple[AppServer, AppPage]]:
    """A server in this process, and a program that poses as a page of it."""
    tiny = write_tiny_viewer(here.folder, torch.Generator().manual_seed(0))
    with serve_shared(tiny.shared) as server, AppPage(server) as hostile:
        yield server, hostile


# --- C4


@row(
    "C4",
    "a window of 20000² or 32768x1 pixels, one of 10⁹x1, and a saved picture of the first",
    "test_windows_of_any_size_are_drawn_within_the_limits",
    "test_a_saved_picture_of_an_enormous_window_is_of_bounded_size_and_says_so",
)
def sizes(here: Here) -> str:
    with page(here) as (server, hostile):
        camera = server.answers.shared.views[0].camera
        drawn = []
        for width, height in ((20_000, 20_000), (32_768, 1)):
            number = hostile.send("draw", window=window_of(camera, width, height), scenery={"mode": "colour"})
            answer: dict[str, Any] = {}
            while not answer.get("is_whole"):
                answer, _ = hostile.receive()
                expect(answer["id"] == number and answer["type"] == "pictured", f"{answer}")
            drawn.append((answer["width"], answer["height"]))
        hostile.send("draw", window=window_of(camera, 10**9, 1), scenery={"mode": "colour"})
        refused = hostile.receive()[0]["text"]
        before = peak_memory()
        saved = hostile.ask("save_picture", window=window_of(camera, 20_000, 20_000), scenery={"mode": "colour"})
        grown = peak_memory() - before
        with Image.open(saved["path"]) as png:
            size = png.size
    expect(all(1 <= w * h <= MAX_IMAGE_PIXELS for w, h in [*drawn, size]), f"drawn {drawn}, saved {size}")
    expect(grown < 1e9, f"the picture took {grown / 1e9:.1f} GB")
    shown = ", ".join(f"{w}x{h}" for w, h in drawn)
    return (
        f"drawn as {shown}; the third: {code(refused)}; the saved picture takes {max(grown, 0) / 1e6:.0f} MB more and "
        f"says {code(saved['hint'])}"
    )


def peak_memory() -> int:
    """Most memory of this process so far, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


@row(
    "C4",
    "a mode raises an error while it draws",
    "test_the_error_of_a_mode_is_answered_and_the_page_goes_on",
)
def painter(here: Here) -> str:
    def fail(inputs: object, camera: object) -> None:
        raise RuntimeError("no memory left")

    with page(here) as (server, hostile), mock.patch.dict(MODES, opacity=replace(MODES["opacity"], render=fail)):
        camera = server.answers.shared.views[0].camera
        answer = hostile.ask("draw", window=window_of(camera), scenery={"mode": "opacity"})
        expect(answer["type"] == "failed", f"{answer}")
        hostile.draw(camera, "depth")
    return f"the page gets {code(answer['text'])} and goes on drawing"


@row(
    "C4",
    "a threshold of NaN, an unknown mode, a camera at 1e300",
    "test_what_is_no_request_is_refused",
    "test_a_picture_that_cannot_be_drawn_is_refused_in_words_and_the_next_one_comes",
)
def answered(here: Here) -> str:
    with page(here) as (server, hostile):
        camera = server.answers.shared.views[0].camera
        window, question = window_of(camera), {"positives": ["chair"], "negatives": [], "score_range": [0, 1]}
        asked = {"mode": "relevancy", "question": question | {"threshold": math.nan, "colors": [[0, 0, 0], [1, 1, 1]]}}
        wrong = [
            {"window": window, "scenery": asked},
            {"window": window, "scenery": {"mode": "no such mode"}},
            {"window": window | {"position": [1e300, 0.0, 0.0]}, "scenery": {"mode": "colour"}},
        ]
        texts = []
        for request in wrong:
            hostile.send("draw", **request)
            answer, _ = hostile.receive()
            expect(answer["type"] == "failed", f"{answer}")
            texts.append(answer["text"])
        hostile.draw(camera, "depth")
    return f"the page gets {'; '.join(map(code, texts))}, and goes on drawing"
