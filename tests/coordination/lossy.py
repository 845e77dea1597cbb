"""A way to a Redis server on which answers get lost: what was asked was done, but nobody is told."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path


class Lossy:
    """Listens on ``path`` and passes all on to the socket ``server``; see `lose`."""

    def __init__(self, path: Path, server: Path) -> None:
        """Begin to listen."""
        self._server = server
        self._lose = 0
        self._guard = threading.Lock()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(128)
        threading.Thread(target=self._accept, daemon=True).start()

    def lose(self, answers: int) -> None:
        """Hang up, instead of passing it on, at each of the next ``answers`` answers."""
        with self._guard:
            self._lose = answers

    def close(self) -> None:
        """Listen no longer; connections end with their ends."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(str(self._server))
            except OSError:
                client.close()
                server.close()
                continue
            threading.Thread(target=self._pass_on, args=(client, server), daemon=True).start()
            threading.Thread(target=self._answer, args=(server, client), daemon=True).start()

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65_536):
                server.sendall(data)
        _hang_up(server)

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65_536):
                if self._is_to_be_lost():
                    break
                client.sendall(data)
        _hang_up(client)
        _hang_up(server)
        client.close()
        server.close()

    def _is_to_be_lost(self) -> bool:
        with self._guard:
            if self._lose:
                self._lose -= 1
                return True
            return False


def _hang_up(line: socket.socket) -> None:
    with suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)
