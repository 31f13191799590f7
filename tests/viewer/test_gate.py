"""Who may talk to the page: requests as another web page, a frame, a rebound domain name or a stranger sends them."""

import logging
import socket
from contextlib import closing

import msgspec
import pytest
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus
from wire import WirePage

from gsdff.viewer import server as server_module
from gsdff.viewer.gate import Gate, is_loopback, make_token
from gsdff.viewer.server import Address, Server

PORT = 8080
VISER_LEFT = {
    "FileTransferPart", "FileTransferStartUpload", "CommandTriggerMessage", "GuiButtonHoldMessage", "ShareUrlRequest",
    "ShareUrlDisconnect",
}  # fmt: skip
"""Messages that viser handles and our pages do not send."""


@pytest.fixture
def server(tiny):
    with Server(tiny.shared, Address("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def public(tiny):
    """A server that other machines can reach."""
    with Server(tiny.shared, Address("0.0.0.0", 0)) as server:
        yield server


def get(server: Server, path: str = "/", *headers: str, host: str | None = None) -> tuple[int, str]:
    """Status of an HTTP request, and all that came with it."""
    lines = [f"GET {path} HTTP/1.1", *headers]
    if host != "":
        lines.insert(1, f"Host: {host or f'127.0.0.1:{server.address.port}'}")
    with closing(socket.create_connection(("127.0.0.1", server.address.port), timeout=30)) as browser:
        browser.sendall("\r\n".join([*lines, "", ""]).encode())
        answer = b""
        while block := browser.recv(1 << 16):
            answer += block
    text = answer.decode("utf-8", "replace")
    return int(text.split(" ", 2)[1]), text


def refused(server: Server, **differences: str | None) -> int:
    """HTTP status with which a websocket is refused."""
    with pytest.raises(InvalidStatus) as stop:
        WirePage(server, **differences)
    return stop.value.response.status_code


# --- websockets


def test_a_page_of_this_server_is_let_in(server):
    with WirePage(server) as page:
        assert page.tab.session.base is server.shared.gaussians


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "https://evil.example", "null", "", "http://127.0.0.1", "http://127.0.0.1:1",
     "http://localhost.evil.example", "chrome-extension://abc"],
)  # fmt: skip
def test_a_socket_of_another_page_is_refused(server, origin):
    assert refused(server, origin=origin) == 403
    assert server.panels == {}


def test_a_page_of_another_server_of_this_machine_is_refused(server):
    assert refused(server, origin=f"http://localhost:{server.address.port}") == 403  # its Host is 127.0.0.1


def test_two_origins_are_no_origin():
    gate, headers = Gate("127.0.0.1", is_open=True), Headers(Host="localhost:1", Upgrade="websocket")
    headers["Origin"] = "http://localhost:1"
    assert gate.find_refusal("/", headers) is None
    headers["Origin"] = "http://evil.example"
    assert "another web page" in str(gate.find_refusal("/", headers))


def test_two_names_are_no_name():
    gate, headers = Gate("127.0.0.1", is_open=True), Headers(Host="localhost:1")
    assert gate.find_refusal("/", headers) is None
    headers["Host"] = "localhost:1"
    assert "this name" in str(gate.find_refusal("/", headers))


def test_a_page_that_is_refused_is_said_once(server, caplog):
    with caplog.at_level(logging.WARNING, "gsdff"):
        for _ in range(2):
            refused(server, origin="http://evil.example")
    assert caplog.text.count("a web page was refused, from 'http://evil.example'") == 1


def test_another_name_of_this_machine_is_refused_with_the_option_that_lets_it_in(caplog):
    gate, headers = Gate("0.0.0.0", "token", is_open=True), Headers(Host="machine.example.org:8080")
    refusal = gate.find_refusal("/token", headers)
    assert "start `gsdff view` with --host, or `gsdff train` with --viewer-host, and the name" in str(refusal)
    for _ in range(2):
        gate._log(refusal, headers)
    (line,) = caplog.messages
    assert "the name ['machine.example.org:8080'] was refused; if it is this machine's, give it as `host`" in line
    assert Gate("machine.example.org", "token", is_open=True).find_refusal("/token", headers) is None


def test_the_gate_is_closed_until_the_handlers_that_are_not_offered_are_gone(tiny, monkeypatch):
    seen = []
    guard = server_module.guard

    def look_before(viser_server):
        port = viser_server.get_port()
        with closing(socket.create_connection(("127.0.0.1", port), timeout=30)) as early:
            early.sendall(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
            seen.append(early.recv(12))
        guard(viser_server)

    monkeypatch.setattr(server_module, "guard", look_before)
    with Server(tiny.shared, Address("127.0.0.1", 0)) as server:
        assert seen == [b"HTTP/1.1 503"] and get(server)[0] == 200


def test_a_viser_that_starts_otherwise_is_not_served(tiny, monkeypatch):
    monkeypatch.setattr(Gate, "is_installed", property(lambda gate: False, lambda gate, value: None), raising=False)
    with pytest.raises(RuntimeError, match="in another way"):
        Server(tiny.shared, Address("127.0.0.1", 0))


# --- names


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "localhost.evil.example", "user@localhost", "", "["]
)
def test_a_name_that_leads_here_is_refused(server, host):
    """As after DNS rebinding, where the page and its Origin have the foreign name too."""
    status, answer = get(server, "/", f"Origin: http://{host}", host=host)
    assert status in (400, 403) and "<html" not in answer


def test_a_socket_under_a_name_that_leads_here_is_refused(server):
    request = "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    version = "Sec-WebSocket-Version: 13"
    assert get(server, "/", *request, version, "Origin: http://evil.example", host="evil.example")[0] == 403


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9000", "127.0.0.1:9000", "[::1]:8080", "127.0.0.1"])
def test_names_of_this_machine_are_let_in_through_tunnels_too(server, host):
    assert get(server, host=host)[0] == 200


@pytest.mark.parametrize(
    ("bound", "token", "host", "is_own"),
    [
        ("127.0.0.1", "", "192.168.0.7:8080", False),
        ("127.0.0.1", "", "box:8080", False),
        ("192.168.0.7", "t", "192.168.0.7:8080", True),
        ("192.168.0.7", "t", "192.168.0.8:8080", False),
        ("gpu.example.com", "t", "gpu.example.com", True),
        ("gpu.example.com", "t", "other.example.com", False),
        ("0.0.0.0", "t", "192.168.0.7:8080", True),
        ("0.0.0.0", "t", "[fe80::1]", True),
        ("0.0.0.0", "t", "box:8080", True),
        ("0.0.0.0", "t", "box.local:8080", True),
        ("0.0.0.0", "t", "box.evil.example", False),
    ],
)
def test_a_host_adds_its_own_name(monkeypatch, bound, token, host, is_own):
    monkeypatch.setattr(socket, "gethostname", lambda: "Box")
    assert Gate(bound, token)._is_own(host) == is_own


# --- plain requests


def test_the_page_is_served_and_cannot_be_framed(server):
    status, answer = get(server)
    assert status == 200 and "<!doctype html>" in answer
    assert "frame-ancestors 'none'" in answer and "X-Frame-Options: DENY" in answer
    assert "Referrer-Policy: no-referrer" in answer and "nosniff" in answer


@pytest.mark.parametrize(
    "path",
    ["/../../../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/index.html", "/..%5c..%5cx", "/%00",
     "/favicon.ico", "/\xff"],
)  # fmt: skip
def test_there_is_no_other_file(server, path):
    assert get(server, path)[0] == 404


@pytest.mark.parametrize(
    "query",
    ["websocket=ws://evil.example", "%77ebsocket=ws://evil.example", "playbackPath=https://evil.example/x.viser",
     "playbackPath=data:,x", "darkMode&websocket=", "other=1"],
)  # fmt: skip
def test_an_address_cannot_make_the_page_obey_another_server(server, query):
    """viser's page would connect to the server that its address names, or play a recording, with any script in it."""
    assert get(server, f"/?{query}")[0] == 400


def test_the_page_may_name_its_own_server(server, public):
    assert get(server, f"/?fixedDpr=1&websocket=ws://127.0.0.1:{server.address.port}")[0] == 200
    own = f"127.0.0.1:{public.address.port}/{public.gate.token}"
    assert get(public, f"/{public.gate.token}?websocket=ws://{own}")[0] == 200


def test_a_request_of_another_page_gets_no_answer(server):
    assert get(server, "/", "Origin: http://evil.example")[0] == 403
    assert get(server, "/", "Origin: null")[0] == 403


# --- the token


def test_a_page_that_others_can_reach_has_a_token_in_its_address(public):
    token = public.gate.token
    assert len(token) >= 20 and public.url == f"http://127.0.0.1:{public.address.port}/{token}"
    assert get(public, f"/{token}")[0] == 200 and get(public, f"/{token}/?fixedDpr=1")[0] == 200
    with WirePage(public) as page:
        assert page.tab is not None


@pytest.mark.parametrize(
    "change", [lambda token: "", lambda token: token[:-1], lambda token: token + "x", str.swapcase]
)
def test_without_the_token_nothing_is_served(public, change):
    path = f"/{change(public.gate.token)}"
    status, answer = get(public, path)
    assert status == 403 and "with its token" in answer and public.gate.token not in answer
    assert refused(public, path=path) == 403 and public.panels == {}


def test_every_server_has_a_token_of_its_own():
    assert make_token("0.0.0.0") != make_token("0.0.0.0") and make_token("127.0.0.1") == ""


@pytest.mark.parametrize(
    ("host", "is_private"),
    [("127.0.0.1", True), ("127.0.0.2", True), ("::1", True), ("Localhost", True), ("0.0.0.0", False), ("::", False),
     ("192.168.0.7", False), ("box", False)],
)  # fmt: skip
def test_loopback_addresses_need_none(host, is_private):
    assert is_loopback(host) == is_private


# --- what viser offers and our pages do not


def test_no_handler_is_left_that_belongs_to_the_server(server):
    assert server.viser._websock_server._incoming_handlers == {}


def test_messages_that_are_not_offered_do_nothing(server, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(type(server.viser), "request_share_url", lambda viser: asked.append("share"))
    monkeypatch.setattr(type(server.viser), "disconnect_share_url", lambda viser: asked.append("end"))
    with WirePage(server) as page:
        connection = page.tab.client._websock_connection
        assert VISER_LEFT & {kind.__name__ for kind in connection._incoming_handlers}  # viser would handle them
        page.send("ShareUrlRequest")
        page.send("ShareUrlDisconnect")
        control = page.control("mode")._impl.uuid
        upload = {"transfer_uuid": "t", "source_component_uuid": control}
        page.send("FileTransferStartUpload", filename="x", mime_type="x", part_count=1, size_bytes=4, **upload)
        page.send("FileTransferPart", part_index=0, content=b"evil", **upload)
        page.set("mode", "depth")  # the last message: all before it have been handled
        page.wait_until(lambda: page.tab.mode == "depth")
        assert asked == [] and page.tab.client.gui._current_file_upload_states == {}


def test_garbage_ends_the_connection_of_its_sender_alone(server, capfd, caplog):
    with caplog.at_level(logging.WARNING, "gsdff"), WirePage(server) as page, WirePage(server) as other:
        messages = {"type": "ViewerCameraMessage", "wxyz": ["a", 0, 0, 0]}, {"type": "none"}, []
        for data in (b"\xc1garbage", b"", "text", *map(msgspec.msgpack.encode, messages)):
            with WirePage(server) as hostile:
                hostile.socket.send(data)
                page.wait_until(lambda hostile=hostile: hostile.client_id not in server.panels)
        other.set("mode", "depth")
        other.wait_until(lambda: other.tab.mode == "depth")
    assert "was closed" in caplog.text and "Traceback" not in caplog.text + "".join(capfd.readouterr())


def test_strangers_who_speak_no_http_leave_no_traceback(server, capfd, caplog):
    for data in (b"\x16\x03\x01\x02\x00", b"HELLO\r\n\r\n", b""):
        with closing(socket.create_connection(("127.0.0.1", server.address.port), timeout=30)) as stranger:
            stranger.sendall(data)
            stranger.shutdown(socket.SHUT_WR)
            stranger.recv(1000)
    assert get(server)[0] == 200
    assert "Traceback" not in caplog.text + "".join(capfd.readouterr())
