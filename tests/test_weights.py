"""Published weights: where they are looked for, and how scripts/download_weights.py fetches them, from this machine."""

import hashlib
import importlib.util
import re
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import pytest

from gsdff.cli import run_door
from gsdff.errors import UserError
from gsdff.weights import WEIGHTS, Weights, find_weights, is_downloaded, weights_folder

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "download_weights.py"
CONTENT = bytes(range(256)) * 40


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("download_weights", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[spec.name]
    return module


script = load_script()


@dataclass
class Behaviour:
    """Settings of the test server, and a record of its requests."""

    content: bytes = CONTENT
    content_type: str = "application/octet-stream"
    knows_ranges: bool = True
    breaks_after: int | None = None
    range_shift: int = 0
    says_length: bool = True
    ranges: list[str | None] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    behaviour: Behaviour

    def do_GET(self) -> None:
        does = self.behaviour
        asked = self.headers.get("Range")
        does.ranges.append(asked)
        if self.path != "/weights.bin":
            self.send_error(404)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and does.knows_ranges else 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", does.content_type)
        if start:
            first, length = start + does.range_shift, len(does.content)
            self.send_header("Content-Range", f"bytes {first}-{length - 1}/{length}")
        if does.says_length:
            self.send_header("Content-Length", str(len(does.content) - start))
        self.end_headers()
        self.wfile.write(does.content[start : does.breaks_after])

    def log_message(self, *_: object) -> None:
        pass


@dataclass(frozen=True)
class Server:
    behaviour: Behaviour
    address: str

    def weights(self, content: bytes = CONTENT, path: str = "weights.bin") -> Weights:
        digest = hashlib.sha256(content).hexdigest()
        return Weights("tiny", "tiny.bin", f"{self.address}/{path}", len(content), digest, "PAGE", "flag")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    behaviour = Behaviour()
    handler = type("OneHandler", (Handler,), {"behaviour": behaviour})
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield Server(behaviour, f"http://127.0.0.1:{http.server_port}")
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


def test_a_download_is_whole_verified_and_leaves_nothing_else(server: Server, tmp_path: Path) -> None:
    path = script.download(server.weights(), tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / "tiny.bin" and path.read_bytes() == CONTENT
    assert [file.name for file in path.parent.iterdir()] == ["tiny.bin"]


def test_what_is_there_already_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    for _ in range(2):
        script.download(server.weights(), tmp_path)
    assert server.behaviour.ranges == [None]


def test_a_damaged_file_that_is_there_is_named_and_left_alone(server: Server, tmp_path: Path) -> None:
    (tmp_path / "tiny.bin").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"tiny\.bin: has SHA-256 .*; remove it"):
        script.download(server.weights(), tmp_path)
    assert (tmp_path / "tiny.bin").read_bytes() == b"damaged" and not server.behaviour.ranges


def test_a_broken_download_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.behaviour.breaks_after = 4000
    with pytest.raises(UserError, match=r"run the command again to go on"):
        script.download(server.weights(), tmp_path)
    part = tmp_path / "tiny.bin.part"
    there = part.stat().st_size
    assert not (tmp_path / "tiny.bin").exists() and part.read_bytes() == CONTENT[:there]
    server.behaviour.breaks_after = None
    assert script.download(server.weights(), tmp_path).read_bytes() == CONTENT
    assert server.behaviour.ranges == [None, f"bytes={there}-" if there else None]
    assert not part.exists()


def test_only_what_is_missing_is_asked_for(server: Server, tmp_path: Path) -> None:
    (tmp_path / "tiny.bin.part").write_bytes(CONTENT[:7000])
    assert script.download(server.weights(), tmp_path).read_bytes() == CONTENT
    assert server.behaviour.ranges == ["bytes=7000-"]


def test_a_part_that_is_whole_needs_no_server(server: Server, tmp_path: Path) -> None:
    (tmp_path / "tiny.bin.part").write_bytes(CONTENT)
    assert script.download(server.weights(), tmp_path).read_bytes() == CONTENT
    assert not server.behaviour.ranges


def test_a_part_that_is_too_long_is_downloaded_from_the_start(server: Server, tmp_path: Path) -> None:
    (tmp_path / "tiny.bin.part").write_bytes(CONTENT + b"more")
    assert script.download(server.weights(), tmp_path).read_bytes() == CONTENT
    assert server.behaviour.ranges == [None]


def test_a_server_that_cannot_go_on_sends_all_of_it_again(server: Server, tmp_path: Path) -> None:
    server.behaviour.knows_ranges = False
    (tmp_path / "tiny.bin.part").write_bytes(b"x" * 7000)
    assert script.download(server.weights(), tmp_path).read_bytes() == CONTENT


def test_a_server_that_goes_on_from_elsewhere_is_not_believed(server: Server, tmp_path: Path) -> None:
    server.behaviour.range_shift = 1
    (tmp_path / "tiny.bin.part").write_bytes(CONTENT[:7000])
    with pytest.raises(UserError, match=r"requested bytes from 7000 on, got bytes 7001-"):
        script.download(server.weights(), tmp_path)
    assert (tmp_path / "tiny.bin.part").read_bytes() == CONTENT[:7000]


def test_a_wrong_checksum_keeps_the_file_under_a_name_nobody_loads(server: Server, tmp_path: Path) -> None:
    server.behaviour.content = CONTENT[::-1]
    with pytest.raises(UserError, match=r"tiny\.bin\.unverified: .* has SHA-256 .*, expected .*--flag"):
        script.download(server.weights(), tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["tiny.bin.unverified"]
    server.behaviour.content = CONTENT
    assert script.download(server.weights(), tmp_path).read_bytes() == CONTENT


def test_a_file_of_another_size_is_refused_before_it_is_downloaded(server: Server, tmp_path: Path) -> None:
    server.behaviour.content = CONTENT + b"more"
    with pytest.raises(UserError, match=r"offers 10244 bytes where tiny\.bin has 10240.*--flag"):
        script.download(server.weights(), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("extra", [b"", b"more"])
def test_a_server_that_says_no_length_is_held_to_the_size(server: Server, tmp_path: Path, extra: bytes) -> None:
    server.behaviour.says_length = False
    server.behaviour.content = CONTENT + extra
    if not extra:
        assert script.download(server.weights(), tmp_path).read_bytes() == CONTENT
        return
    with pytest.raises(UserError, match=r"10244 of 10240 bytes came"):
        script.download(server.weights(), tmp_path)
    assert not (tmp_path / "tiny.bin").exists()


def test_a_web_page_is_no_file(server: Server, tmp_path: Path) -> None:
    server.behaviour.content_type = "text/html; charset=utf-8"
    with pytest.raises(UserError, match=r"answers a web page where tiny\.bin was expected.*PAGE"):
        script.download(server.weights(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_missing_file_is_said_with_what_to_do(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"elsewhere\.bin: answers 404 .*; try later, or get the file by hand \(PAGE\)"):
        script.download(server.weights(path="elsewhere.bin"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_without_a_server_one_line_says_so_and_the_exit_code_is_not_zero(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as bound:  # taken, and not listened on
        bound.bind(("127.0.0.1", 0))
        nobody = Server(Behaviour(), f"http://127.0.0.1:{bound.getsockname()[1]}")
        with pytest.raises(SystemExit) as stop:
            run_door(lambda: script.download(nobody.weights(), tmp_path))
    assert re.fullmatch(r"error: http://127\S+: cannot be reached \(.*\); try later, .*--flag", stop.value.code)


def test_the_command_line_fetches_by_name(server: Server, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setitem(WEIGHTS, "tiny", server.weights())
    monkeypatch.setattr(sys, "argv", ["download_weights.py", "tiny", "--folder", str(tmp_path)])
    script.main()
    assert capsys.readouterr().out == f"{tmp_path / 'tiny.bin'}\n"
    assert (tmp_path / "tiny.bin").read_bytes() == CONTENT


def test_without_a_name_the_command_line_lists_what_there_is(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "gsdff").mkdir()
    (tmp_path / "gsdff" / "demo_e200.ckpt").touch()
    monkeypatch.setattr(sys, "argv", ["download_weights.py"])
    script.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:5]] == ["lseg", "sam_vit_b", "sam_vit_l", "sam_vit_h"]
    assert lines[1].endswith("here") and not lines[2].endswith("here") and str(tmp_path / "gsdff") in lines[5]


def test_an_unknown_name_is_refused_with_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["download_weights.py", "lsg"])
    with pytest.raises(UserError, match=r"lsg: no such weights; expected lseg, sam_vit_b"):
        script.main()


def test_the_cache_lies_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert weights_folder() == tmp_path / "gsdff"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert weights_folder() == tmp_path / ".cache" / "gsdff"


def test_weights_given_are_taken_before_those_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    given, fetched = tmp_path / "mine.ckpt", tmp_path / "gsdff" / "demo_e200.ckpt"
    fetched.parent.mkdir()
    fetched.touch()
    given.touch()
    assert find_weights("lseg", given) == given and find_weights("lseg", None) == fetched
    assert is_downloaded("lseg") and not is_downloaded("sam_vit_b")


def test_a_path_given_that_is_no_file_is_refused_even_where_there_are_fetched_ones(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "gsdff").mkdir()
    (tmp_path / "gsdff" / "demo_e200.ckpt").touch()
    with pytest.raises(UserError, match=r"typo\.ckpt: no such file; `teacher\.checkpoint` expects demo_e200\.ckpt"):
        find_weights("lseg", tmp_path / "typo.ckpt")


def test_missing_weights_are_named_in_one_line_with_both_ways_to_get_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(UserError) as refused:
        find_weights("lseg", None)
    message = str(refused.value)
    assert message.startswith(f"{tmp_path / 'gsdff' / 'demo_e200.ckpt'}: missing") and "\n" not in message
    for part in (
        "python scripts/download_weights.py lseg",
        "`teacher.checkpoint`",
        "https://github.com/isl-org/lang-seg",
    ):
        assert part in message


def test_every_row_of_the_table_is_of_the_right_kind() -> None:
    for name, weights in WEIGHTS.items():
        assert (
            weights.name == name and weights.size > 1e8 and weights.option in ("teacher.checkpoint", "masks.checkpoint")
        )
        assert re.fullmatch(r"[0-9a-f]{64}", weights.sha256)
        assert weights.url.startswith("https://") and weights.page.startswith("https://")
    assert len({weights.sha256 for weights in WEIGHTS.values()}) == len(WEIGHTS)
