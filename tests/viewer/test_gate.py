"""Who may talk to the page: requests as another web page, a frame, a rebound domain name or a stranger sends them."""

import logging
import socket
from contextlib import closing

import pytest
from app_wire import AppPage, serve_shared
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus

from gsdff.viewer.gate import Gate, is_loopback, make_token
from gsdff.viewer.wire.server import AppServer

PORT = 8080
POLICY = "default-src 'none'"


@pytest.fixture
def server(tiny):
    with serve_shared(tiny.shared) as server:
        yield server


@pytest.fixture
def public(tiny):
    """A server that other machines can reach."""
    with serve_shared(tiny.shared, "0.0.0.0") as server:
        yield server


def get(server: AppServer, path: str = "/", *headers: str, host: str | None = None) -> tuple[int, str]:
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


def refused(server: AppServer, **differences: str | None) -> int:
    """HTTP status with which a websocket is refused."""
    with pytest.raises(InvalidStatus) as stop:
        AppPage(server, **differences)
    return stop.value.response.status_code


# --- websockets


def test_a_page_of_this_server_is_let_in(server):
    with AppPage(server) as page:
        assert page.hello == {"type": "hello", "scene": server.answers.scene}


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "https://evil.example", "null", "", "http://127.0.0.1", "http://127.0.0.1:1",
     "http://localhost.evil.example", "chrome-extension://abc"],
)  # fmt: skip
def test_a_socket_of_another_page_is_refused(server, origin):
    assert refused(server, origin=origin) == 403
    assert not server.tabs


def test_a_page_of_another_server_of_this_machine_is_refused(server):
    assert refused(server, origin=f"http://localhost:{server.address.port}") == 403  # its Host is 127.0.0.1


def test_two_origins_are_no_origin():
    gate, headers = Gate("127.0.0.1", POLICY), Headers(Host="localhost:1", Upgrade="websocket")
    headers["Origin"] = "http://localhost:1"
    assert gate.find_refusal("/", headers) is None
    headers["Origin"] = "http://evil.example"
    assert "another web page" in str(gate.find_refusal("/", headers))


def test_two_names_are_no_name():
    gate, headers = Gate("127.0.0.1", POLICY), Headers(Host="localhost:1")
    assert gate.find_refusal("/", headers) is None
    headers["Host"] = "localhost:1"
    assert "this name" in str(gate.find_refusal("/", headers))


def test_a_page_that_is_refused_is_said_once(server, caplog):
    with caplog.at_level(logging.WARNING, "gsdff"):
        for _ in range(2):
            refused(server, origin="http://evil.example")
    assert caplog.text.count("a web page was refused, from 'http://evil.example'") == 1


def test_another_name_of_this_machine_is_refused_with_the_option_that_lets_it_in(caplog):
    gate, headers = Gate("0.0.0.0", POLICY, "token"), Headers(Host="machine.example.org:8080")
    refusal = gate.find_refusal("/token", headers)
    assert "start `gsdff view` with --host, or `gsdff train` with --viewer-host, and the name" in str(refusal)
    for _ in range(2):
        gate._log(refusal, headers)
    (line,) = caplog.messages
    assert "the name ['machine.example.org:8080'] was refused; if it is this machine's, give it as `host`" in line
    assert Gate("machine.example.org", POLICY, "token").find_refusal("/token", headers) is None


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
    assert Gate(bound, POLICY, token)._is_own(host) == is_own


# --- plain requests


def test_the_page_is_served_and_cannot_be_framed(server):
    status, answer = get(server)
    assert status == 200 and "<title>a page</title>" in answer
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
    "query", ["websocket=ws://evil.example", "%77ebsocket=ws://evil.example", "x", "a&b=", "other=1"]
)
def test_an_address_with_options_gets_no_page(server, public, query):
    assert get(server, f"/?{query}")[0] == 404
    assert get(public, f"/{public.gate.token}?{query}")[0] == 404


def test_a_request_of_another_page_gets_no_answer(server):
    assert get(server, "/", "Origin: http://evil.example")[0] == 403
    assert get(server, "/", "Origin: null")[0] == 403


# --- the token


def test_a_page_that_others_can_reach_has_a_token_in_its_address(public):
    token = public.gate.token
    assert len(token) >= 20 and public.url == f"http://127.0.0.1:{public.address.port}/{token}"
    assert get(public, f"/{token}")[0] == 200 and get(public, f"/{token}/")[0] == 200
    with AppPage(public) as page:
        assert page.hello["type"] == "hello"


@pytest.mark.parametrize(
    "change", [lambda token: "", lambda token: token[:-1], lambda token: token + "x", str.swapcase]
)
def test_without_the_token_nothing_is_served(public, change):
    path = f"/{change(public.gate.token)}"
    status, answer = get(public, path)
    assert status == 403 and "with its token" in answer and public.gate.token not in answer
    assert refused(public, path=path) == 403 and not public.tabs


def test_every_server_has_a_token_of_its_own():
    assert make_token("0.0.0.0") != make_token("0.0.0.0") and make_token("127.0.0.1") == ""


@pytest.mark.parametrize(
    ("host", "is_private"),
    [("127.0.0.1", True), ("127.0.0.2", True), ("::1", True), ("Localhost", True), ("0.0.0.0", False), ("::", False),
     ("192.168.0.7", False), ("box", False)],
)  # fmt: skip
def test_loopback_addresses_need_none(host, is_private):
    assert is_loopback(host) == is_private


def test_strangers_who_speak_no_http_leave_no_traceback(server, capfd, caplog):
    for data in (b"\x16\x03\x01\x02\x00", b"HELLO\r\n\r\n", b""):
        with closing(socket.create_connection(("127.0.0.1", server.address.port), timeout=30)) as stranger:
            stranger.sendall(data)
            stranger.shutdown(socket.SHUT_WR)
            stranger.recv(1000)
    assert get(server)[0] == 200
    assert "Traceback" not in caplog.text + "".join(capfd.readouterr())
