"""Watch over the ranks of a job: one that ends without a word ends all of them, within seconds and by name.

Every rank keeps a connection to the first one for as long as it lives. The operating system closes it however the
process ends, killed or out of memory too. Without this, ranks that exchange tensors on cards would wait for each other.
"""

import hmac
import os
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress

LEFT, LOST = b"left", b"lost"
"""Words of a rank that ends as it should, and of the first rank if another has not."""
WORD = 4
CONNECTING = 60.0
"""Seconds within which ranks connect."""
STATUS = 1
"""Exit status of ranks that end because another has ended."""


class RankWatch:
    """Threads of this rank that wait for the end of others; a context manager, which all ranks leave together.

    An error in the block leaves the others to their watch, and this rank's message is the error's.
    """

    def __init__(self, rank: int, processes: Sequence[str], on_loss: str):
        self.rank = rank
        self.processes = processes
        """Names of the ranks in messages."""
        self.on_loss = on_loss
        self._connections: dict[int, socket.socket] = {}
        self._is_over = threading.Event()
        self._ending = threading.Lock()
        """Held by the thread that ends the process."""

    def __enter__(self) -> "RankWatch":
        return self

    def __exit__(self, kind: object, *_error: object) -> None:
        self._is_over.set()
        if kind is None:  # otherwise connections close when the process has ended, and its message is out
            for connection in self._connections.values():
                _send(connection, LEFT)
                connection.close()

    def open_port(self) -> tuple[socket.socket | None, int]:
        """The first rank's port, and its number."""
        if self.rank > 0:
            return None, 0
        server = socket.create_server(("", 0), backlog=len(self.processes))
        server.settimeout(CONNECTING)
        return server, server.getsockname()[1]

    def accept(self, server: socket.socket, token: bytes) -> None:
        """Waits for the connections of all other ranks, at the first; others than they do not know the token."""
        with server:
            while len(self._connections) < len(self.processes) - 1:
                connection, _ = server.accept()
                connection.settimeout(CONNECTING)
                greeting = _receive(connection, len(token) + WORD)
                if not hmac.compare_digest(greeting[: len(token)], token):
                    connection.close()
                    continue
                self._watch(int.from_bytes(greeting[len(token) :], "big"), connection)

    def connect(self, address: str, port: int, token: bytes) -> None:
        """Connects this rank to the first."""
        connection = socket.create_connection((address, port), timeout=CONNECTING)
        connection.sendall(token + self.rank.to_bytes(WORD, "big"))
        self._watch(0, connection)

    def _watch(self, other: int, connection: socket.socket) -> None:
        connection.settimeout(None)
        self._connections[other] = connection
        threading.Thread(target=self._listen, args=(other, connection), name=f"gsdff-rank-{other}", daemon=True).start()

    def _listen(self, other: int, connection: socket.socket) -> None:
        """Waits until another rank ends, or the first one says that one has."""
        word = _receive(connection, WORD)
        if word == LEFT or self._is_over.is_set():
            return
        with self._ending:
            for peer in self._connections.values():
                _send(peer, LOST)
            if word != LOST and self.rank == min({*range(len(self.processes))} - {other}):
                message = f"\nerror: {self.processes[other]} has ended, and so end all; {self.on_loss}\n"
                os.write(2, message.encode(errors="backslashreplace"))  # not by sys.stderr, which may be held
            os._exit(STATUS)


def _receive(connection: socket.socket, length: int) -> bytes:
    """So many bytes; fewer if the other process has closed the connection or ended."""
    received = b""
    try:
        while len(received) < length and (more := connection.recv(length - len(received))):
            received += more
    except OSError:
        pass
    return received


def _send(connection: socket.socket, word: bytes) -> None:
    with suppress(OSError):
        connection.sendall(word)
