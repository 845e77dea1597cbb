"""One connection per thread: what one thread closes, no other loses under its feet."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CLOSED_BY_ANOTHER = """
import sqlite3, sys, threading
from pathlib import Path
from rollcage.core.errors import StoreError
from rollcage.core.store.connections import Connections

path = Path(sys.argv[1])
connections = Connections(path, lambda: sqlite3.connect(path, isolation_level=None, check_same_thread=False))
inside, closed = threading.Event(), threading.Event()
seen = []

def row(number):
    inside.set()
    return number if closed.wait(10) else None

def work():
    with connections.transaction() as connection:
        connection.create_function("row", 1, row)
        connection.execute("CREATE TABLE a AS SELECT row(1) AS b")
        seen.append(connection)
    try:
        with connections.reading():
            pass
    except StoreError as error:
        print(error)

thread = threading.Thread(target=work)
thread.start()
inside.wait(10)
connections.close()
closed.set()
thread.join(10)
try:
    seen[0].execute("SELECT 1")
except sqlite3.ProgrammingError as error:
    print(error)
with sqlite3.connect(path) as again:
    print(again.execute("SELECT b FROM a").fetchall())
"""


def test_a_statement_under_way_ends_well_though_another_thread_closes(tmp_path: Path) -> None:
    """In a process of its own: SQLite ends it where a connection is closed under a statement."""
    path = tmp_path / "some.db"
    ended = subprocess.run(
        [sys.executable, "-c", CLOSED_BY_ANOTHER, str(path)], check=False, capture_output=True, text=True, timeout=30
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines() == [
        f"{path} was closed; open the store again",
        "Cannot operate on a closed database.",
        "[(1,)]",
    ]
