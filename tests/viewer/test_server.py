"""The address of the page, its tabs as browsers connect and disconnect, and the command."""

import errno
import logging
import re
import socket
import sys
import threading
import urllib.error
import urllib.request
from types import SimpleNamespace

import pytest
from fake_client import FakeClient

from gsdff import view
from gsdff.errors import UserError
from gsdff.viewer import serve
from gsdff.viewer import server as server_module
from gsdff.viewer.server import MAX_TRIES, Address, Server, find_address


@pytest.fixture
def listener():
    """Socket that occupies a port of this machine."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken


def port_of(taken: socket.socket) -> int:
    return taken.getsockname()[1]


def test_a_taken_port_gives_the_next(listener, caplog):
    with caplog.at_level(logging.INFO, "gsdff"):
        address = find_address("127.0.0.1", port_of(listener))
    assert port_of(listener) < address.port < port_of(listener) + MAX_TRIES
    assert f"port {port_of(listener)} is taken" in caplog.text


def test_a_free_port_is_taken_as_it_is(monkeypatch, caplog):
    monkeypatch.setattr(server_module.socket.socket, "bind", lambda probe, place: None)
    assert find_address("127.0.0.1", 8080) == Address("127.0.0.1", 8080) and caplog.text == ""


def test_a_server_knows_the_port_it_got(tiny):
    with Server(tiny.shared, Address("127.0.0.1", 0)) as server:
        port = server.address.port
        assert port > 0
        with Server(tiny.shared, Address("127.0.0.1", port)) as other:
            assert other.address.port > port


@pytest.mark.parametrize("host", ["192.0.2.1", "two words", "." * 3])
def test_a_host_that_is_not_ours_is_a_users_mistake(host):
    with pytest.raises(UserError, match="`host`"):
        find_address(host, 8080)


def test_the_ports_end(monkeypatch):
    monkeypatch.setattr(server_module.socket.socket, "bind", refuse(errno.EADDRINUSE))
    with pytest.raises(UserError, match="`port` 65535"):
        find_address("127.0.0.1", 65535)


def test_a_port_that_is_not_allowed_is_a_users_mistake(monkeypatch):
    monkeypatch.setattr(server_module.socket.socket, "bind", refuse(errno.EACCES))
    with pytest.raises(UserError, match="`port` 80: not permitted"):
        find_address("127.0.0.1", 80)


def refuse(number: int):
    def bind(probe: socket.socket, place: tuple) -> None:
        raise OSError(number, "refused")

    return bind


@pytest.mark.parametrize(
    ("host", "url", "is_private"),
    [
        ("127.0.0.1", "http://127.0.0.1:8080", True),
        ("localhost", "http://localhost:8080", True),
        ("::1", "http://[::1]:8080", True),
        ("0.0.0.0", "http://127.0.0.1:8080", False),
        ("192.168.0.7", "http://192.168.0.7:8080", False),
    ],
)
def test_an_address_says_where_and_for_whom(host, url, is_private):
    address = Address(host, 8080)
    assert (address.url, address.is_private) == (url, is_private)


# --- a real server with fake clients


@pytest.fixture
def server(tiny, monkeypatch):
    """With pages 1 to 9 connected."""
    with Server(tiny.shared, Address("127.0.0.1", 0)) as server:
        monkeypatch.setattr(server.viser, "get_clients", lambda: dict.fromkeys(range(1, 10)))
        yield server


def render_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "gsdff-render"]


def test_every_page_has_a_tab_of_its_own(server):
    before = len(render_threads())
    clients = [FakeClient(client_id=number) for number in (3, 4)]
    for client in clients:
        server._open(client)
    assert list(server.panels) == [3, 4] and len(render_threads()) == before + 2
    clients[0].gui["Prompts"].value = "chair"
    clients[0].gui["Search"].press()
    first, second = (panel.tab for panel in server.open_panels)
    assert first.session.selection and not second.session.selection
    assert (first.mode, second.mode) == ("relevancy", "colour")
    assert first.shared is second.shared


def test_a_closed_page_frees_what_it_held(server):
    before = len(render_threads())
    client = FakeClient(client_id=5)
    server._open(client)
    tab = server.panels[5].tab
    server._close(client)
    assert server.panels == {} and tab.is_closed and len(render_threads()) == before
    server._close(client)  # again, to no effect
    client.move()  # what still comes of it is not drawn
    assert len(render_threads()) == before


def test_a_page_that_went_while_it_was_built_is_not_kept(server):
    before = len(render_threads())
    server._open(FakeClient(client_id=10))
    assert server.panels == {} and len(render_threads()) == before


def test_a_page_that_cannot_be_built_leaves_no_thread(server, monkeypatch):
    before = len(render_threads())

    def fail(*_arguments: object) -> None:
        raise ValueError("no panel")

    monkeypatch.setattr(server_module, "Panel", fail)
    client = FakeClient(client_id=6)
    server._open(client)
    assert client.notes[0][1] == "ValueError: no panel"
    assert server.panels == {} and len(render_threads()) == before


def test_a_page_that_comes_while_the_server_closes_is_not_built(server):
    before = len(render_threads())
    server.close()
    server._open(FakeClient(client_id=7))
    assert server.panels == {} and len(render_threads()) == before


def test_closing_ends_all_pages(server):
    before = len(render_threads())
    server._open(FakeClient(client_id=1))
    server._open(FakeClient(client_id=2))
    assert len(render_threads()) == before + 2
    server.close()
    assert len(render_threads()) == before and server.open_panels == []


# --- the command


@pytest.fixture
def door(monkeypatch):
    """Runs the command in this process."""

    def call(*arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", ["view", *map(str, arguments)])
        view.main()

    return call


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_port_that_is_none_is_refused_before_anything_is_read(door, tmp_path, port):
    with pytest.raises(UserError, match=f"--port: expected 1 to 65535, got {port}"):
        door(tmp_path, "--port", port)


def test_a_host_that_is_not_ours_is_refused_before_anything_is_read(call, tmp_path):
    with pytest.raises(UserError, match=r"--host 192\.0\.2\.1"):
        call(view, tmp_path, "--host", "192.0.2.1")


def test_what_is_not_there_is_refused(door, tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        door(tmp_path / "nowhere")


def test_the_door_serves_the_old_page_until_it_is_interrupted(door, tiny, monkeypatch, capsys, caplog):
    caplog.set_level("INFO", logger="gsdff")
    ports = []

    class Interrupted:
        def wait(self) -> None:
            folder = re.escape(str(tiny.run.folder))
            line = rf"{folder}: open http://127\.0\.0\.1:(\d+) \(Ctrl-C stops it\)\n"
            ports.append(int(re.fullmatch(line, capsys.readouterr().out)[1]))
            with socket.create_connection(("127.0.0.1", ports[0])) as browser:
                browser.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert browser.recv(12) == b"HTTP/1.1 200"
            raise KeyboardInterrupt

    monkeypatch.setattr(serve, "threading", SimpleNamespace(Event=Interrupted))
    with pytest.raises(KeyboardInterrupt):
        door(tiny.run.folder, "--old-page")
    assert "60 Gaussians on cpu, rendered by the browser by default" in caplog.text
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", ports[0]))


def test_the_command_serves_the_app_until_it_is_interrupted(door, tiny, monkeypatch, capsys):
    seen = []

    class Interrupted:
        def wait(self):
            url = re.search(r"open (http://127\.0\.0\.1:\d+) ", capsys.readouterr().out)[1]
            seen.append((url, urllib.request.urlopen(url, timeout=30).read().decode()))
            raise KeyboardInterrupt

    monkeypatch.setattr(serve, "threading", SimpleNamespace(Event=Interrupted))
    with pytest.raises(KeyboardInterrupt):
        door(tiny.run.folder)
    ((url, page),) = seen
    assert '"server": {"scene": ' in page and "scene-columns" in page
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url, timeout=30)
