"""The address of the page, and the command that serves it."""

import errno
import logging
import re
import socket
import sys
import urllib.error
import urllib.request
from types import SimpleNamespace

import pytest

from gsdff import view
from gsdff.errors import UserError
from gsdff.viewer import address as address_module
from gsdff.viewer import serve
from gsdff.viewer.address import MAX_TRIES, Address, find_address


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
    monkeypatch.setattr(address_module.socket.socket, "bind", lambda probe, place: None)
    assert find_address("127.0.0.1", 8080) == Address("127.0.0.1", 8080) and caplog.text == ""


@pytest.mark.parametrize("host", ["192.0.2.1", "two words", "." * 3])
def test_a_host_that_is_not_ours_is_a_users_mistake(host):
    with pytest.raises(UserError, match="`host`"):
        find_address(host, 8080)


def test_the_ports_end(monkeypatch):
    monkeypatch.setattr(address_module.socket.socket, "bind", refuse(errno.EADDRINUSE))
    with pytest.raises(UserError, match="`port` 65535"):
        find_address("127.0.0.1", 65535)


def test_a_port_that_is_not_allowed_is_a_users_mistake(monkeypatch):
    monkeypatch.setattr(address_module.socket.socket, "bind", refuse(errno.EACCES))
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
